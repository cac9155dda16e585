//! The faults that a cluster of processes must survive, row by row: each test's name begins with its row, says what is required,
//! and asserts that its fault struck.
//!
//! Each runs on a simulated cluster: the real cores, messages, QUIC and TLS, on a simulated network under virtual time. *Totals*
//! means: what the sink was given equals a plain count, value by value. Names begin with `row_` and the number; those of other
//! files are given in full.
//!
//! | row | fault | test | what it asserts beside the totals | that the fault struck |
//! |---|---|---|---|---|
//! | 26 | an executor is killed in mid task | `row_26_…` (executors): the receiver's host, and two others | one executor is lost, no more | the driver says that running tasks were lost |
//! | 27 | an executor is paused beyond its detection, and goes on | `row_27_…` (executors), two tests: each of three, with two ways of detection, and under files that tasks write | nothing of what it says or writes afterwards counts; each number once in the files | datagrams were frozen, it was declared dead, lines were repeated |
//! | 28 | two copies of a task both end | `row_28_…` (tasks) | no task is lost, nobody dies | user code ran more often than there are tasks |
//! | 28 | … and state has one chain of parents | *not here*: nothing is kept from batch to batch yet | | |
//! | 29 | a map output is lost before it is fetched | `row_29_…` (executors), two tests | nobody is declared dead: it is made again all the same, and batches are published while the cut lasts | readers report `InputsMissing`; records were mapped again |
//! | 29 | … because two executors do not reach each other, for a minute | `row_29_of_executors_that_do_not_reach_each_other…` (gaps), three seeds each of four kinds of gap | one end gets no tasks for a time, that with more gaps, and nobody is declared dead; from ten batches after the cut on no batch takes longer than 5 s, and half of them no longer than twice as long as before | tasks have failed |
//! | 30 | the lost output of a stage that is not deterministic | `row_30_…` (tasks); who decides: actors, `two_runs_of_a_task_that_is_not_deterministic_are_not_mixed_in_a_sink_that_was_being_published`, runtime, `an_attempt_that_differs_is_reported_with_the_operator` | each number once: no reader mixes two runs | lots were drawn again |
//! | 31 | all executors are lost at once | `row_31_…` (executors) | the job waits, and goes on with the first that returns | three kills, and nothing is counted meanwhile |
//! | 32 | an executor joins in mid batch, or leaves | joins: `row_32_…` (executors); leaves: `a_leave_costs_no_task_and_no_block_while_a_load_runs` (tests/membership.rs), `a_leave_alone_repeats_nothing` (tests/fixed.rs), and 200 seeds of the swarm | no task runs again, no block is struck | it was absent, and holds data at the end; it has left, by the driver's word |
//! | 33 | a slow node and lossy links | totals: `row_33_a_node_ten_times_slower…` (executors); time of batches: `row_33_with_a_node_whose_links…` (lossy), `with_one_node_ten_times_slower_the_99th_percentile_of_batch_time_is_at_most_twice_the_healthy_one` (tests/stragglers.rs) | p99 of batch time in virtual time at most twice that of a healthy run of the same seed; with loss: from the node, to it, and both ways at once | tasks were slowed, datagrams were lost |
//! | 34 | a full disk | under files that tasks write: `row_34_…` (executors); under spilled data: `a_disk_that_is_full_for_a_while_costs_no_record` (tests/memory.rs) | each number once in the files; the cause is told | the disk has refused writes |
//! | 34 | … under the log of received data | *not here*: there is no such log yet (acknowledged data are in two memories) | | |
//! | 35 | the memory limit is reached | by a task: `row_35_…` (tasks); by cold data: `a_cluster_that_spills_counts_exactly` (tests/memory.rs); by what is received: `overload_at_ten_times_capacity_is_throttled_and_forgotten` (tests/overload.rs) | a typed refusal with its remedy, nobody dies, the next pipeline works | each executor has refused; bytes went to disk |
//! | 36 | an actor panics | `row_36_…` (executors): receiver, executor, rate controller | at most one executor is lost, none for the rate controller | the panic was thrown |
//! | 37 | a mailbox is full | a user's slow actor: `row_37_…` (mailbox); all mailboxes: actors, `senders_wait_for_room_and_lose_nothing`; the driver's roles: runtime, `a_flooded_generator_or_scheduler_fails_the_job_with_the_name_of_the_role`; links: protocol, `a_peer_that_does_not_read_fills_the_queue_and_nothing_is_lost` | each message once and in order, never more wait than the capacity | messages were refused as `Full` |
//! | 53 | 30 % loss, 50 % duplicates, disorder, corruption together | `row_53_…` (network), four seeds | | datagrams were lost, doubled, delayed, corrupted |
//! | 54 | the path's MTU drops, a NAT forgets | `row_54_…` (network), two tests | a NAT costs one executor's incarnation, a smaller MTU nobody | datagrams were too long; came from another port |
//! | 55 | a socket fails for good | `row_55_…` (network); no busy loop: protocol, `errors_that_persist_make_it_rest_longer_and_longer` | its executor comes back | sockets were broken |
//! | 56 | a storm of handshakes | `row_56_five_hundred…` (peers) | nobody is lost; each handshake comes to an end | handshakes came about |
//! | 56 | garbage, a flood of first packets | `row_56_garbage…` (strangers); on the join port: protocol, `ten_thousand_datagrams_of_garbage_open_no_connection`, `a_flood_of_initial_packets_is_answered_by_retries_and_forgotten`; memory, over real sockets: runtime, `hostile::ten_thousand_bad_attempts_do_not_disturb_a_running_job_nor_grow_its_memory` | nobody is lost, no task runs again; an executor that comes during the flood is let in and works | all of it came to sockets of the cluster; answers went nowhere |
//! | 57 | stream fragments with gaps | `row_57_…` (peers), two tests; frames that promise too much: protocol, `a_first_frame_longer_than_any_request_is_refused_by_its_header` | nobody is lost; streams, what each may bring and the connection's window bound what is held; the quinn-proto in use bounds the gaps | datagrams were lost under 64 half requests, and there was no room for one more |
//! | 58 | 0-RTT | `row_58_…` (peers), by a client that would resume | nobody is lost; no ticket is given, and each handshake is a whole one | it would have kept what it was given |
//! | 59 | hostile MessagePack | `row_59_…` (peers); every kind of message: protocol/tests/hostile.rs; counted: runtime, `rubbish_on_a_control_link_is_counted_and_cuts_off_its_sender_only` | nobody is lost, no task runs again | 20 bombs of each of three kinds, each cut off as rubbish |
//! | 60 | a foreign authority, a wrong role, another's number | `row_60_…` (strangers); side by side: protocol, `a_server_lets_in_only_the_roles_that_it_names`, `a_client_reaches_only_the_role_and_node_that_it_expects`; one line in the log: runtime, `hostile::…` | nobody is lost; each is refused for its own reason | 25 refusals of each of six kinds |
//! | 61 | certificates expire, and rotate under load | `row_61_…` (certificates); messages one by one: protocol, `under_load_both_sides_rotate_and_no_message_is_lost` | links go on; an executor that was restarted after the old ones' end is let in with the new one; without rotation it is not | a bystander with an old certificate was let in, and is refused as expired |
//! | 62 | a join token is used again, has expired, is of another cluster | `row_62_…` (certificates): a real authority, its join endpoint on the simulated driver's machine; more cases: protocol, `tokens_that_are_used_expired_unknown_or_too_small_are_refused_with_the_reason`, `the_secret_is_shown_to_nobody_but_the_driver_of_the_tokens_cluster` | nobody is lost; who joined works as an executor | the desk has granted 1 and refused 3; the impostor's desk saw no request |

mod certificates;
mod executors;
mod gaps;
mod lossy;
mod mailbox;
mod network;
mod numbers;
mod peers;
mod staged;
mod strangers;
mod tasks;

//! The faults that a cluster of processes must survive, row by row: each test's name begins with its row, says what is required,
//! and asserts that its fault struck.
//!
//! | row | fault | file |
//! |---|---|---|
//! | 26 | an executor is killed in mid task | `executors` |
//! | 27 | an executor is paused beyond its detection, and goes on | `executors` |
//! | 28 | two copies of a task both end | `tasks` |
//! | 29 | a map output is lost before it is fetched | `executors` |
//! | 30 | the lost output of a stage that is not deterministic | `tasks`; actors: `two_runs_of_a_task_that_is_not_deterministic_are_not_mixed_in_a_sink_that_was_being_published`, runtime: `an_attempt_that_differs_is_reported_with_the_operator` |
//! | 31 | all executors are lost at once | `executors` |
//! | 32 | an executor joins in mid batch, or leaves | `executors`; `a_leave_costs_no_task_and_no_block_while_a_load_runs` (tests/membership.rs) |
//! | 33 | a slow node and lossy links | the totals: `executors`; the time of a batch: `with_one_node_ten_times_slower_the_99th_percentile_of_batch_time_is_at_most_twice_the_healthy_one` (tests/stragglers.rs) |
//! | 34 | a full disk | under files that tasks write: `executors`; under spilled data: `a_disk_that_is_full_for_a_while_costs_no_record` (tests/memory.rs) |
//! | 35 | the memory limit is reached | by a task: `tasks`; by cold data: `a_cluster_that_spills_counts_exactly` (tests/memory.rs); by what is received: `overload_at_ten_times_capacity_is_throttled_and_forgotten` (tests/overload.rs) |
//! | 36 | an actor panics | `executors` |
//! | 37 | a mailbox is full | actors: `senders_wait_for_room_and_lose_nothing`, protocol: `a_peer_that_does_not_read_fills_the_queue_and_nothing_is_lost` |
//! | 53 | 30 % loss, 50 % duplicates, disorder, corruption | `network` |
//! | 54 | the path's MTU drops, a NAT forgets | `network` |
//! | 55 | a socket fails for good | `network`; protocol: `errors_that_persist_make_it_rest_longer_and_longer` |
//! | 56 | a storm of handshakes; garbage, a flood of Initials | `peers`; protocol: `ten_thousand_datagrams_of_garbage_open_no_connection`, `a_flood_of_initial_packets_is_answered_by_retries_and_forgotten` |
//! | 57 | stream fragments with gaps | `peers` |
//! | 58 | 0-RTT | `peers` |
//! | 59 | hostile MessagePack | protocol/tests/hostile.rs |
//! | 60 | a foreign authority, a wrong role | protocol: `a_server_lets_in_only_the_roles_that_it_names`, `a_client_reaches_only_the_role_and_node_that_it_expects`, `a_client_of_a_foreign_authority_is_refused`, `a_server_of_a_foreign_authority_is_refused` |
//! | 61 | certificates expire, and rotate under load | protocol: `a_wrong_authority_and_an_expired_certificate_are_refused_on_both_sides`, `under_load_both_sides_rotate_and_no_message_is_lost` |
//! | 62 | a join token is used again, has expired, is of another cluster | protocol: `tokens_that_are_used_expired_unknown_or_too_small_are_refused_with_the_reason`, `the_secret_is_shown_to_nobody_but_the_driver_of_the_tokens_cluster` |

mod executors;
mod network;
mod numbers;
mod peers;
mod tasks;

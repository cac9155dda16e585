//! The faults that a cluster of processes must survive, row by row: each test's name begins with its row, says what is required,
//! and asserts that its fault struck.
//!
//! | row | fault | file |
//! |---|---|---|
//! | 26 | an executor is killed in mid task | `executors` |
//! | 27 | an executor is paused beyond its detection, and goes on | `executors` |
//! | 29 | a map output is lost before it is fetched | `executors` |
//! | 30 | the lost output of a stage that is not deterministic | actors: `two_runs_of_a_task_that_is_not_deterministic_are_not_mixed_in_a_sink_that_was_being_published`, runtime: `an_attempt_that_differs_is_reported_with_the_operator` |
//! | 31 | all executors are lost at once | `executors` |
//! | 32 | an executor joins in mid batch | `executors` |
//! | 33 | a slow node and lossy links: the totals | `executors` |
//! | 34 | a full disk under files that tasks write | `executors` |
//! | 35 | the memory limit is reached | `overload_at_ten_times_capacity_is_throttled_and_forgotten` (tests/overload.rs) |
//! | 36 | an actor panics | `executors` |
//! | 37 | a mailbox is full | actors: `senders_wait_for_room_and_lose_nothing`, protocol: `a_peer_that_does_not_read_fills_the_queue_and_nothing_is_lost` |
//! | 53 | 30 % loss, 50 % duplicates, disorder, corruption | `network` |
//! | 54 | the path's MTU drops, a NAT forgets | `network` |
//! | 55 | a socket fails for good | `network`; protocol: `errors_that_persist_make_it_rest_longer_and_longer` |
//! | 56 | a storm of handshakes | `peers` |
//! | 57 | stream fragments with gaps | `peers` |
//! | 58 | 0-RTT | `peers` |
//! | 59 | hostile MessagePack | protocol/tests/hostile.rs |
//! | 60 | a foreign authority | protocol: `a_client_of_a_foreign_authority_is_refused`, `a_server_of_a_foreign_authority_is_refused` |

mod executors;
mod network;
mod numbers;
mod peers;

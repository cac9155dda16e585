//! Positions that do not grow, what a sender has sent by the time its receiver is told to stop, and what has positions but no records.

use super::sink::{Desk, Rows, now};
use crate::receiver::{ReceiverConfig, SinkClosed};
use std::sync::Arc;
use tidemill_protocol::id::Position;

#[test]
fn what_was_on_its_way_is_taken_after_a_stop_and_without_waiting_but_never_out_of_order() {
    let config = ReceiverConfig { open_bytes_max: 100, ..ReceiverConfig::default() };
    let desk = Desk::new(config, u64::MAX, Some(10));
    desk.append(10, Some(11), Some(20)).expect("open");
    desk.sink.shared.close(SinkClosed::Stopped);
    assert_eq!(desk.append(1, Some(21), Some(21)), Err(SinkClosed::Stopped));
    let late = |first, last| {
        let span = (Some(Position(first)), Some(Position(last)));
        desk.sink.append_on_the_way(Arc::new(Rows(last - first + 1)), span.0, span.1)
    };
    assert_eq!(late(21, 25), Ok(()), "although the block is full");
    let refused = late(25, 26).expect_err("25 was seen");
    assert!(
        matches!(refused, SinkClosed::PositionNotGrowing { seen: Some(Position(25)), .. }),
        "{refused:?}"
    );
    assert_eq!(late(26, 26), Err(refused), "a source that repeats itself is trusted no more");
    let (content, held) = desk.sink.shared.gate().take().expect("what came in order is kept");
    assert_eq!((content.first, content.last), (Some(Position(11)), Some(Position(25))));
    assert_eq!((content.rows, held.rows()), (15, 15));
}

#[test]
fn positions_without_records_are_in_a_block_of_their_own_if_nothing_follows() {
    let desk = Desk::new(ReceiverConfig::default(), u64::MAX, Some(4));
    desk.append(0, None, None).expect("open");
    assert!(desk.sink.shared.gate().take().is_none(), "nothing at all is no block");
    desk.append(0, Some(5), Some(7)).expect("open");
    assert_eq!(desk.events(), ["Appended { full: false }"], "the block will be closed in time");
    let (content, held) = desk.sink.shared.gate().take().expect("the sender waits for 7");
    assert_eq!((content.rows, held.rows()), (0, 0));
    assert_eq!((content.first, content.last), (Some(Position(5)), Some(Position(7))));
    desk.append(2, Some(8), Some(9)).expect("open");
    desk.append(0, Some(10), Some(10)).expect("open");
    let (content, _) = desk.sink.shared.gate().take().expect("two records and three positions");
    assert_eq!((content.rows, content.last), (2, Some(Position(10))));
}

#[test]
fn positions_that_do_not_grow_close_the_sink() {
    let desk = Desk::new(ReceiverConfig::default(), u64::MAX, Some(10));
    desk.append(5, Some(11), Some(15)).expect("they follow 10");
    let refused = desk.append(5, Some(15), Some(19)).expect_err("15 was seen");
    let expected =
        SinkClosed::PositionNotGrowing { seen: Some(Position(15)), first: Position(15), last: Position(19) };
    assert_eq!(refused, expected);
    assert!(desk.sink.is_closed());
    assert_eq!(now(desk.sink.permit(1, 1)), Some(Err(expected)));
    let (content, _) = desk.sink.shared.gate().take().expect("what came before is kept");
    assert_eq!((content.first, content.last), (Some(Position(11)), Some(Position(15))));
}

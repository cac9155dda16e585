//! Control links over real loopback UDP: order, pressure, and what becomes of peers that send rubbish.

use crate::loopback::{control, pair, within};
use quinn::{Connection, ConnectionError};
use std::time::Duration;
use tidemill_protocol::codec::CodecError;
use tidemill_protocol::endpoint::link::{LinkConfig, LinkSender, SendError};
use tidemill_protocol::endpoint::{CloseCode, ControlLink, LinkError, test_identity};
use tidemill_protocol::frame::{self, FrameError, FrameKind, MessageError, encode_message};
use tidemill_protocol::id::{Epoch, Incarnation, Member, NodeId, ProgramId, StreamId};
use tidemill_protocol::message::{Hello, ToDriver, ToExecutor};

fn hello(node: u16) -> Hello {
    let member = Member { node: NodeId(node), incarnation: Incarnation(1) };
    Hello { member, epoch: Epoch(3), program: ProgramId(5) }
}

type Driver = ControlLink<ToExecutor, ToDriver>;
type Executor = ControlLink<ToDriver, ToExecutor>;

async fn links(config: &LinkConfig) -> (Driver, Executor) {
    let (near, far) = pair(&control(test_identity()), &control(test_identity())).await;
    let (driver_hello, executor_hello) = (hello(0), hello(1));
    let both = async {
        tokio::join!(Driver::open(near, &driver_hello, config), Executor::open(far, &executor_hello, config),)
    };
    let (driver, executor) = within(both).await;
    (driver.unwrap(), executor.unwrap())
}

/// Sends every sample both ways `rounds` times at once, and expects it in order, and then the end.
async fn exchange(rounds: usize) {
    let (driver, executor) = links(&LinkConfig::default()).await;
    assert_eq!((&driver.peer, &executor.peer), (&hello(1), &hello(0)));
    let ControlLink { sender: down, receiver: mut from_executor, .. } = driver;
    let ControlLink { sender: up, receiver: mut from_driver, .. } = executor;
    let sending = tokio::spawn(async move {
        for _ in 0..rounds {
            for message in ToExecutor::samples() {
                down.send(&message).await.unwrap();
            }
            for message in ToDriver::samples() {
                up.send(&message).await.unwrap();
            }
        }
    });
    let receiving = async {
        for _ in 0..rounds {
            for expected in ToExecutor::samples() {
                assert_eq!(from_driver.recv().await.unwrap(), expected);
            }
            for expected in ToDriver::samples() {
                assert_eq!(from_executor.recv().await.unwrap(), expected);
            }
        }
        sending.await.unwrap();
        assert!(matches!(from_driver.recv().await, Err(LinkError::Ended)));
        assert!(matches!(from_executor.recv().await, Err(LinkError::Ended)));
    };
    within(receiving).await;
}

#[tokio::test]
async fn messages_go_both_ways_in_order_and_a_dropped_sender_loses_none() {
    exchange(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_works_on_many_threads_as_on_one() {
    exchange(100).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_fills_the_queue_and_nothing_is_lost() {
    let config = LinkConfig { queue_frames_max: 100, queue_bytes_max: 1, ..LinkConfig::default() };
    let (driver, mut executor) = links(&config).await;
    let report = |nonce: u64| ToExecutor::Ping { nonce };
    let mut sent = 0;
    // More than the windows hold: 1 MiB at the receiver, 4 MiB at the sender.
    loop {
        match driver.sender.try_send(&report(sent)) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(sent, 100);
    // One that waits goes on as soon as the writer has taken some.
    within(driver.sender.send(&report(sent))).await.unwrap();
    for nonce in 0..=sent {
        assert_eq!(within(executor.receiver.recv()).await.unwrap(), report(nonce));
    }
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes_too() {
    let config = LinkConfig { queue_bytes_max: 1, ..LinkConfig::default() };
    let (driver, executor) = links(&config).await;
    // The bound is raised to 128 KiB, so that a longest message always fits; three of 60,000 bytes do not.
    let long = |sender: &LinkSender<ToDriver>| {
        sender.try_send(&ToDriver::SourceReport { stream: StreamId(0), what: "x".repeat(60_000), count: 1 })
    };
    let sender = executor.sender;
    long(&sender).unwrap();
    long(&sender).unwrap();
    assert!(matches!(long(&sender), Err(SendError::Full)));
    drop(driver);
}

#[tokio::test]
async fn a_message_that_does_not_fit_a_frame_is_refused_at_the_sender() {
    let (_driver, executor) = links(&LinkConfig::default()).await;
    let message = ToDriver::SourceReport { stream: StreamId(0), what: "x".repeat(65_536), count: 1 };
    let refused = executor.sender.try_send(&message).unwrap_err();
    assert!(
        matches!(refused, SendError::Message(MessageError::Frame(FrameError::TooLong { .. }))),
        "{refused}"
    );
}

#[tokio::test]
async fn a_lost_connection_ends_both_halves() {
    let (driver, mut executor) = links(&LinkConfig::default()).await;
    tidemill_protocol::endpoint::close(driver.receiver.connection(), CloseCode::Refused, "another program");
    let error = within(executor.receiver.recv()).await.unwrap_err();
    assert!(!error.is_rubbish());
    let LinkError::Connection(ConnectionError::ApplicationClosed(close)) = error else { panic!("{error}") };
    assert_eq!(u64::from(close.error_code), CloseCode::Refused as u64);
    // The writer sees it too, and then nothing can be queued any more.
    let closed = async {
        while executor.sender.send(&ToDriver::Alive { nonce: 0 }).await.is_ok() {
            tokio::task::yield_now().await;
        }
        executor.sender.try_send(&ToDriver::Alive { nonce: 0 })
    };
    assert!(matches!(within(closed).await, Err(SendError::Closed)));
}

#[tokio::test]
async fn a_peer_that_never_says_hello_is_given_up() {
    let (near, _far) = pair(&control(test_identity()), &control(test_identity())).await;
    let limit = Duration::from_millis(50);
    let config = LinkConfig { hello_timeout: limit, ..LinkConfig::default() };
    let refused = within(Driver::open(near, &hello(0), &config)).await.unwrap_err();
    assert!(matches!(refused, LinkError::Late(after) if after == limit), "{refused}");
}

/// Opens a link as a driver against a peer that sends `bytes` on its stream; what the driver ends with, and the peer's
/// side of the connection.
async fn against(bytes: Vec<u8>) -> (LinkError, Connection) {
    let (near, far) = pair(&control(test_identity()), &control(test_identity())).await;
    let mut stream = far.open_uni().await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let error = within(async {
        let mut link = Driver::open(near, &hello(0), &LinkConfig::default()).await?;
        loop {
            link.receiver.recv().await?;
        }
        #[expect(unreachable_code, reason = "names the type of the block")]
        Ok::<(), LinkError>(())
    });
    let error = error.await.unwrap_err();
    (error, far)
}

/// The application error code with which the other side closed.
async fn closed_with(connection: &Connection) -> Option<u64> {
    match within(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => Some(u64::from(close.error_code)),
        _ => None,
    }
}

/// What each kind of rubbish has to be told apart by.
type Check = fn(&LinkError) -> bool;

/// Rubbish: what it is, its bytes, and the error that names it.
fn rubbish() -> Vec<(&'static str, Vec<u8>, Check)> {
    let greeting = || encode_message(&hello(1)).unwrap();
    let body = |kind, body: &[u8]| [greeting(), frame::encode(kind, body).unwrap()].concat();
    vec![
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), |e| {
            matches!(e, LinkError::Message(MessageError::Frame(FrameError::UnknownVersion(b'/'))))
        }),
        ("no hello", encode_message(&ToDriver::Alive { nonce: 1 }).unwrap(), |e| {
            matches!(e, LinkError::Message(MessageError::UnexpectedKind { expected: FrameKind::Hello, .. }))
        }),
        ("a second hello", [greeting(), greeting()].concat(), |e| {
            matches!(e, LinkError::Message(MessageError::UnexpectedKind { got: FrameKind::Hello, .. }))
        }),
        ("a kind of the other direction", body(FrameKind::ToExecutor, &[0xc0]), |e| {
            matches!(e, LinkError::Message(MessageError::UnexpectedKind { got: FrameKind::ToExecutor, .. }))
        }),
        ("a kind nobody has", [greeting(), vec![0, 0, 0, 0, 1, 200]].concat(), |e| {
            matches!(e, LinkError::Message(MessageError::Frame(FrameError::UnknownKind(200))))
        }),
        ("a bulk frame's length", [greeting(), vec![0, 0x10, 0, 0, 1, 4]].concat(), |e| {
            matches!(e, LinkError::Message(MessageError::Frame(FrameError::TooLong { max: 65_536, .. })))
        }),
        ("a deep body", body(FrameKind::ToDriver, &[0x91; 60_000]), |e| {
            matches!(e, LinkError::Message(MessageError::Codec(CodecError::TooDeep { .. })))
        }),
        ("another type", body(FrameKind::ToDriver, &[0xc0]), |e| {
            matches!(e, LinkError::Message(MessageError::Codec(CodecError::Malformed(_))))
        }),
    ]
}

#[tokio::test]
async fn rubbish_closes_its_connection_and_no_other() {
    let (mut driver, executor) = links(&LinkConfig::default()).await;
    for (what, bytes, check) in rubbish() {
        let (error, peer) = against(bytes).await;
        assert!(check(&error) && error.is_rubbish() && !error.is_retryable(), "{what}: {error:?}");
        assert_eq!(closed_with(&peer).await, Some(CloseCode::Rubbish as u64), "{what}");
        // The good neighbour goes on.
        executor.sender.try_send(&ToDriver::Alive { nonce: 4 }).unwrap();
        assert_eq!(within(driver.receiver.recv()).await.unwrap(), ToDriver::Alive { nonce: 4 }, "{what}");
    }
}

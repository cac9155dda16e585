//! What the fuzz targets call: plain functions that panic when something is wrong. The stable test protocol/tests/fuzz.rs
//! runs the same functions over the corpus and over seeded mutations of it.
//!
//! Three ways to run them, all from this folder. libFuzzer itself is C++: a C++ compiler is needed.
//!
//! ```text
//! cargo +nightly fuzz run frame      guided by coverage, with AddressSanitizer (cargo-fuzz, a nightly compiler)
//! cargo build && mkdir -p /tmp/found && target/debug/frame -runs=1000000 /tmp/found corpus/frame
//!                                    stable, links as it is; without instrumentation it mutates blindly
//! RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
//!            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table" \
//!     cargo build --release --target x86_64-unknown-linux-gnu
//!                                    stable, guided by coverage; no AddressSanitizer, which only nightly has
//! ```

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use tidemill_protocol::codec::{self, CodecError, Limits, scan};
use tidemill_protocol::frame::{self, Frame, FrameDecoder, FrameError, FrameKind, decode_message};
use tidemill_protocol::message::{
    BulkReply, BulkRequest, Hello, JoinReply, JoinRequest, Reply, Request, ToDriver, ToExecutor,
};

/// A stream of frames. The first byte says in pieces of what size the rest arrives.
///
/// Whatever arrives: the pieces do not matter, nothing is kept beyond the cap, what was accepted is what was sent, and each
/// body is decoded or refused.
pub fn frame(data: &[u8]) {
    let Some((&step, bytes)) = data.split_first() else {
        return;
    };
    let whole = decode(bytes, bytes.len().max(1));
    let pieces = decode(bytes, usize::from(step) + 1);
    assert_eq!(whole, pieces, "the pieces matter");
    let (frames, ended) = whole;
    let mut sent = Vec::new();
    for frame in &frames {
        assert!(frame.body.len() <= frame.kind.limits().bytes);
        sent.extend(frame::encode(frame.kind, &frame.body).expect("an accepted frame can be sent"));
        body(frame);
    }
    assert_eq!(sent, bytes[..sent.len()], "what was accepted is not what was sent");
    match ended {
        Ok(()) => assert_eq!(sent.len(), bytes.len()),
        Err(_) => assert!(sent.len() < bytes.len()),
    }
}

fn decode(bytes: &[u8], step: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let (mut decoder, mut frames) = (FrameDecoder::new(usize::MAX), Vec::new());
    for piece in bytes.chunks(step) {
        if let Err(error) = decoder.push(piece, &mut frames) {
            assert_eq!(decoder.finish(), Err(error), "a refusal is final");
            return (frames, Err(error));
        }
        assert!(decoder.wanted() > 0);
    }
    (frames, decoder.finish())
}

fn body(frame: &Frame) {
    let _ = match frame.kind {
        FrameKind::Hello => decode_message::<Hello>(frame).map(drop),
        FrameKind::ToExecutor => decode_message::<ToExecutor>(frame).map(drop),
        FrameKind::ToDriver => decode_message::<ToDriver>(frame).map(drop),
        FrameKind::BulkRequest => decode_message::<BulkRequest>(frame).map(drop),
        FrameKind::BulkReply => decode_message::<BulkReply>(frame).map(drop),
        FrameKind::Request => decode_message::<Request>(frame).map(drop),
        FrameKind::Reply => decode_message::<Reply>(frame).map(drop),
    };
}

/// One MessagePack value. The first byte chooses the type that it is decoded as.
///
/// The scan agrees with rmp-serde about where a value ends and whether it is whole; what is decoded survives both forms of
/// encoding. Gives the type that it was decoded as; none if it was refused.
pub fn codec(data: &[u8]) -> Option<&'static str> {
    let (&choice, bytes) = data.split_first()?;
    agrees(bytes);
    match choice % 10 {
        0 => survives::<Hello>(bytes, &Limits::CONTROL),
        1 => survives::<ToExecutor>(bytes, &Limits::CONTROL),
        2 => survives::<ToDriver>(bytes, &Limits::CONTROL),
        3 => survives::<BulkRequest>(bytes, &Limits::BULK),
        4 => survives::<BulkReply>(bytes, &Limits::BULK),
        6 => survives::<Request>(bytes, &Limits::CONTROL),
        7 => survives::<Reply>(bytes, &Limits::CONTROL),
        8 => survives::<JoinRequest>(bytes, &Limits::JOIN),
        9 => survives::<JoinReply>(bytes, &Limits::JOIN),
        _ => survives::<Tree>(bytes, &Limits::BLOCK),
    }
}

/// A user's type, recursive to any depth as no wire message is: the scan alone bounds it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Tree {
    /// Ends a branch.
    Leaf(i64),
    /// Directly one in the other, as no depth limit of rmp-serde counts.
    Not(Box<Tree>),
    /// A list.
    All(Vec<Tree>),
    /// An optional.
    Perhaps {
        /// The next one.
        next: Option<Box<Tree>>,
        /// Text.
        name: String,
    },
}

fn agrees(bytes: &[u8]) {
    let scanned = scan(bytes, &Limits::BLOCK);
    if matches!(
        scanned,
        Err(CodecError::TooDeep { .. } | CodecError::TooManyElements { .. } | CodecError::TooLong { .. })
    ) {
        return;
    }
    let mut deserializer = rmp_serde::Deserializer::new(bytes);
    let ignored = IgnoredAny::deserialize(&mut deserializer);
    let rest = deserializer.get_ref().len();
    match scanned {
        Ok(shape) => {
            assert!(shape.depth <= Limits::BLOCK.depth && shape.elements <= bytes.len() as u64);
            assert!(ignored.is_ok(), "the scan took what rmp-serde refuses: {ignored:?}");
            assert_eq!(rest, 0, "rmp-serde ends elsewhere");
        }
        Err(CodecError::Trailing { extra }) => {
            assert!(ignored.is_ok(), "the scan found an end that rmp-serde does not: {ignored:?}");
            assert_eq!(rest, extra, "rmp-serde ends elsewhere");
        }
        Err(CodecError::Truncated { .. } | CodecError::Reserved { .. }) => {
            assert!(ignored.is_err(), "the scan refused what rmp-serde takes");
        }
        Err(error) => panic!("a scan does not say {error:?}"),
    }
}

fn survives<T>(bytes: &[u8], limits: &Limits) -> Option<&'static str>
where
    T: Serialize + serde::de::DeserializeOwned + PartialEq + Debug,
{
    let value = codec::decode::<T>(bytes, limits).ok()?;
    let named = codec::encode(&value).expect("what was decoded can be encoded");
    // Default fields, and names where none came, may make it a little more than it was: only that may then be refused.
    match codec::decode::<T>(&named, limits) {
        Ok(again) => assert_eq!(again, value),
        Err(CodecError::TooLong { .. } | CodecError::TooManyElements { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let compact = codec::encode_compact(&value).expect("no deeper than it came");
    assert_eq!(codec::decode_compact::<T>(&compact, &Limits::BLOCK).expect("as it was encoded"), value);
    std::any::type_name::<T>().rsplit("::").next()
}

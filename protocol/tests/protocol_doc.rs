//! docs/PROTOCOL.md tells the truth: its test vectors are what the codec writes, its table of kinds and limits is the
//! code's, and its hash is that of the message files, so that nobody changes the one without opening the other.

use std::path::{Path, PathBuf};
use tidemill_protocol::codec::{self, Limits, PIECE_BYTES_MAX};
use tidemill_protocol::frame::{Frame, FrameDecoder};
use tidemill_protocol::frame::{
    FrameKind, HEADER_BYTES, VERSION, WireMessage, decode_message, encode_message,
};
use tidemill_protocol::message::{
    BulkReply, BulkRequest, Hello, JOIN_BYTES_MAX, JoinReply, JoinRequest, Reply, Request, ToDriver,
    ToExecutor,
};
use xxhash_rust::xxh3::xxh3_64;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap()
}

/// The lines of the page's code block with this name.
fn block(page: &str, name: &str) -> Vec<String> {
    let opening = format!("```text {name}");
    let lines = page.lines().skip_while(|line| *line != opening).skip(1);
    lines.take_while(|line| *line != "```").map(str::to_string).collect()
}

/// xxh3 (64 bits, no seed) of the message files one after the other, in the order of their names, line ends as LF.
fn hash_of_the_messages() -> String {
    let folder = root().join("protocol/src/message");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    let text: String =
        files.iter().map(|file| std::fs::read_to_string(file).unwrap().replace("\r\n", "\n")).collect();
    format!("messages: {:016x}", xxh3_64(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A line for each sample: kind, variant, the whole frame.
fn vectors() -> Vec<String> {
    fn lines<M: WireMessage>(
        samples: Vec<M>,
        variant: fn(&M) -> &'static str,
    ) -> impl Iterator<Item = String> {
        samples.into_iter().map(move |message| {
            let name = format!("{}::{}", M::KIND, variant(&message));
            format!("{name:<28} {}", hex(&encode_message(&message).unwrap()))
        })
    }
    lines(Hello::samples(), |_| "Hello")
        .chain(lines(ToExecutor::samples(), ToExecutor::variant))
        .chain(lines(ToDriver::samples(), ToDriver::variant))
        .chain(lines(BulkRequest::samples(), BulkRequest::variant))
        .chain(lines(BulkReply::samples(), BulkReply::variant))
        .chain(lines(Request::samples(), Request::variant))
        .chain(lines(Reply::samples(), Reply::variant))
        .collect()
}

fn kinds() -> Vec<String> {
    let line = |kind: FrameKind| {
        let limits = kind.limits();
        let name = kind.to_string();
        format!("{:>2} {name:<12} {:>9} {:>4} {:>9}", kind as u8, limits.bytes, limits.depth, limits.elements)
    };
    let block = Limits::BLOCK;
    let records =
        format!(" - {:<12} {:>9} {:>4} {:>9}", "(a piece)", block.bytes, block.depth, block.elements);
    FrameKind::ALL.into_iter().map(line).chain([records]).collect()
}

#[test]
fn the_hash_is_that_of_the_message_files() {
    let (found, expected) = (block(&page(), "hash"), vec![hash_of_the_messages()]);
    assert_eq!(
        found, expected,
        "protocol/src/message changed: bring docs/PROTOCOL.md up to date, then write there\n{}\n",
        expected[0]
    );
}

#[test]
fn the_vectors_are_what_the_codec_writes() {
    let (found, expected) = (block(&page(), "vectors"), vectors());
    assert!(found == expected, "docs/PROTOCOL.md should have these vectors:\n{}\n", expected.join("\n"));
}

#[test]
fn the_kinds_and_limits_are_the_codes() {
    let (found, expected) = (block(&page(), "kinds"), kinds());
    assert!(found[1..] == expected, "docs/PROTOCOL.md should have these kinds:\n{}\n", expected.join("\n"));
    assert_eq!(PIECE_BYTES_MAX, Limits::BLOCK.bytes);
    assert_eq!((HEADER_BYTES, VERSION), (6, 1), "the page's picture of a frame");
}

/// What the page promises to other implementations: a vector decodes to the sample, and nothing else of the page is needed.
#[test]
fn the_vectors_decode_to_the_samples() {
    fn check<M: WireMessage + PartialEq + std::fmt::Debug>(frames: &mut Vec<Frame>, samples: Vec<M>) {
        for (frame, sample) in frames.drain(..samples.len()).zip(samples) {
            assert_eq!(decode_message::<M>(&frame).unwrap(), sample);
        }
    }
    let (mut decoder, mut frames) = (FrameDecoder::new(usize::MAX), Vec::new());
    for line in block(&page(), "vectors") {
        let (_, frame) = line.rsplit_once(' ').unwrap();
        decoder.push(&unhex(frame), &mut frames).unwrap();
    }
    decoder.finish().unwrap();
    check(&mut frames, Hello::samples());
    check(&mut frames, ToExecutor::samples());
    check(&mut frames, ToDriver::samples());
    check(&mut frames, BulkRequest::samples());
    check(&mut frames, BulkReply::samples());
    check(&mut frames, Request::samples());
    check(&mut frames, Reply::samples());
    assert!(frames.is_empty());
}

/// The two messages of joining have no frames: their bodies.
#[test]
fn the_vectors_of_joining_are_what_the_codec_writes() {
    let line = |name: String, body: Vec<u8>| format!("{name:<28} {}", hex(&body));
    let requests = JoinRequest::samples()
        .into_iter()
        .map(|message| line(format!("JoinRequest::{}", message.variant()), codec::encode(&message).unwrap()));
    let replies = JoinReply::samples()
        .into_iter()
        .map(|message| line(format!("JoinReply::{}", message.variant()), codec::encode(&message).unwrap()));
    let (found, expected) = (block(&page(), "join-vectors"), requests.chain(replies).collect::<Vec<_>>());
    assert!(found == expected, "docs/PROTOCOL.md should have these vectors:\n{}\n", expected.join("\n"));
    assert_eq!(JOIN_BYTES_MAX, 4096, "the page's text");
}

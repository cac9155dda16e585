//! Hostile bodies against every kind of wire message, decoded on a thread with 256 KiB of stack, where a recursion that
//! follows the bytes would end the process: no test below could then report anything.

use serde::Deserialize;
use std::process::Command;
use tidemill_protocol::codec::{self, CodecError, Limits};
use tidemill_protocol::frame::{FrameDecoder, FrameError, FrameKind, header};
use tidemill_protocol::message::{
    BulkReply, BulkRequest, Hello, JoinReply, JoinRequest, Reply, Request, ToDriver, ToExecutor,
};

const CONTROL_BYTES: usize = 64 * 1024;

/// `levels` times `{"Not": …}` around `{"Leaf": 1}`: what rmp-serde's depth limit does not count in an enum.
fn bomb(levels: usize) -> Vec<u8> {
    let mut bytes = b"\x81\xa3Not".repeat(levels);
    bytes.extend(b"\x81\xa4Leaf\x01");
    bytes
}

/// The longest bomb of at most 64 KiB, so that only its depth is wrong with it.
fn bomb_of_64_kib() -> Vec<u8> {
    bomb((CONTROL_BYTES - 7) / 5)
}

/// `{"<variant>": {"x": <bomb>}}`
fn bomb_in_an_unknown_field(variant: &str, levels: usize) -> Vec<u8> {
    let mut bytes = vec![0x81, 0xa0 | u8::try_from(variant.len()).unwrap()];
    bytes.extend(variant.as_bytes());
    bytes.extend([0x81, 0xa1, b'x']);
    bytes.extend(bomb(levels));
    bytes
}

/// An array that announces 70,000 nils, and has them as far as `bytes_max` allows.
fn seventy_thousand(bytes_max: usize) -> Vec<u8> {
    let mut bytes = vec![0xdd, 0x00, 0x01, 0x11, 0x70];
    bytes.resize((5 + 70_000).min(bytes_max), 0xc0);
    bytes
}

fn on_a_small_stack<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    std::thread::Builder::new().stack_size(256 * 1024).spawn(work).unwrap().join().unwrap()
}

/// The kind's own decoder and limits; a new kind does not compile before it has its line here.
fn decode(kind: FrameKind, bytes: &[u8]) -> Result<(), CodecError> {
    let limits = kind.limits();
    match kind {
        FrameKind::Hello => codec::decode::<Hello>(bytes, &limits).map(drop),
        FrameKind::ToExecutor => codec::decode::<ToExecutor>(bytes, &limits).map(drop),
        FrameKind::ToDriver => codec::decode::<ToDriver>(bytes, &limits).map(drop),
        FrameKind::BulkRequest => codec::decode::<BulkRequest>(bytes, &limits).map(drop),
        FrameKind::BulkReply => codec::decode::<BulkReply>(bytes, &limits).map(drop),
        FrameKind::Request => codec::decode::<Request>(bytes, &limits).map(drop),
        FrameKind::Reply => codec::decode::<Reply>(bytes, &limits).map(drop),
    }
}

/// Decodes `bytes` as each of `kinds` on a small stack, and gives each error to `check`.
fn each(kinds: &[FrameKind], bytes: Vec<u8>, check: fn(FrameKind, &CodecError) -> bool) {
    let kinds = kinds.to_vec();
    on_a_small_stack(move || {
        for kind in kinds {
            let error = decode(kind, &bytes).expect_err("a hostile body");
            assert!(check(kind, &error), "{kind}: {error:?}");
        }
    });
}

/// The same for the two messages of joining, which have no frames.
fn each_of_joining(bytes: Vec<u8>, check: fn(&CodecError) -> bool) {
    on_a_small_stack(move || {
        let request = codec::decode::<JoinRequest>(&bytes, &Limits::JOIN).expect_err("a hostile body");
        let reply = codec::decode::<JoinReply>(&bytes, &Limits::JOIN).expect_err("a hostile body");
        for error in [request, reply] {
            assert!(check(&error), "{error:?}");
        }
    });
}

const CONTROL: [FrameKind; 5] =
    [FrameKind::Hello, FrameKind::ToExecutor, FrameKind::ToDriver, FrameKind::Request, FrameKind::Reply];
const BULK: [FrameKind; 2] = [FrameKind::BulkRequest, FrameKind::BulkReply];

#[test]
fn a_500_kb_enum_bomb_is_refused_by_length_in_control_and_by_depth_in_bulk() {
    assert_eq!(CONTROL.len() + BULK.len(), FrameKind::ALL.len());
    let bytes = bomb(100_000);
    assert_eq!(bytes.len(), 500_007);
    each(&CONTROL, bytes.clone(), |_, e| {
        matches!(e, CodecError::TooLong { bytes: 500_007, max: CONTROL_BYTES })
    });
    each(&BULK, bytes, |_, e| matches!(e, CodecError::TooDeep { max: 128, at: 640 }));
}

/// The words of docs/FAULTS.md.
#[test]
fn what_is_refused_is_told_with_its_numbers_and_the_limit() {
    let said = |kind, bytes: &[u8]| decode(kind, bytes).expect_err("a hostile body").to_string();
    for kind in CONTROL {
        assert_eq!(said(kind, &bomb(100_000)), "500007 bytes are more than the limit of 65536");
        assert_eq!(said(kind, &vec![0x91; CONTROL_BYTES]), "nested deeper than 32 at byte 32");
    }
    for kind in BULK {
        assert_eq!(said(kind, &bomb(100_000)), "nested deeper than 128 at byte 640");
        assert_eq!(said(kind, &vec![0x91; CONTROL_BYTES]), "nested deeper than 128 at byte 128");
    }
    for kind in FrameKind::ALL {
        assert_eq!(said(kind, &seventy_thousand(CONTROL_BYTES)), "more than 65536 values at byte 0");
    }
    let header = header(FrameKind::ToDriver, 0).unwrap();
    let bytes = [&500_007u32.to_be_bytes()[..], &header[4..]].concat();
    let refused = FrameDecoder::new(usize::MAX).push(&bytes, &mut Vec::new()).unwrap_err();
    assert_eq!(refused.to_string(), "a ToDriver of 500007 bytes is longer than 65536");
}

#[test]
fn hostile_bodies_on_the_join_port_are_refused_by_its_own_limits() {
    each_of_joining(bomb(100_000), |e| matches!(e, CodecError::TooLong { bytes: 500_007, max: 4_096 }));
    each_of_joining(vec![0x91; 4_096], |e| matches!(e, CodecError::TooDeep { max: 8, at: 8 }));
    each_of_joining(bomb(800), |e| matches!(e, CodecError::TooDeep { max: 8, at: 40 }));
    each_of_joining(seventy_thousand(4_096), |e| {
        matches!(e, CodecError::TooManyElements { max: 256, at: 0 })
    });
    each_of_joining(vec![0xc6, 0xff, 0xff, 0xff, 0xff], |e| matches!(e, CodecError::Truncated { at: 0 }));
    for variant in JoinRequest::VARIANTS.iter().chain(JoinReply::VARIANTS) {
        each_of_joining(bomb_in_an_unknown_field(variant, 800), |e| {
            matches!(e, CodecError::TooDeep { max: 8, .. })
        });
    }
    each_of_joining([vec![0x91; 8], vec![0xc0]].concat(), |e| matches!(e, CodecError::Malformed(_)));
}

#[test]
fn an_enum_bomb_beyond_8_mib_is_refused_by_length_in_bulk() {
    each(&BULK, bomb(1_700_000), |_, e| matches!(e, CodecError::TooLong { max: 8_388_608, .. }));
}

#[test]
fn a_500_kb_control_frame_is_refused_by_its_header_before_any_body() {
    for kind in CONTROL {
        let [_, _, _, _, version, number] = header(kind, 0).unwrap();
        let length = 500_007u32.to_be_bytes();
        let bytes = [&length[..], &[version, number]].concat();
        let mut frames = Vec::new();
        let refused = FrameDecoder::new(usize::MAX).push(&bytes, &mut frames);
        assert_eq!(refused, Err(FrameError::TooLong { kind, bytes: 500_007, max: CONTROL_BYTES }));
        assert!(frames.is_empty());
    }
}

fn is_too_deep(kind: FrameKind, error: &CodecError) -> bool {
    matches!(error, CodecError::TooDeep { max, .. } if *max == kind.limits().depth)
}

#[test]
fn arrays_65_536_deep_are_refused_by_the_scan() {
    each(&FrameKind::ALL, vec![0x91; CONTROL_BYTES], is_too_deep);
}

#[test]
fn the_enum_bomb_cut_to_64_kib_is_refused_by_the_scan() {
    let whole = bomb_of_64_kib();
    assert!(whole.len() <= CONTROL_BYTES);
    each(&FrameKind::ALL, whole, is_too_deep);
    each(&FrameKind::ALL, bomb(100_000)[..CONTROL_BYTES].to_vec(), is_too_deep);
}

#[test]
fn the_enum_bomb_in_an_unknown_field_of_every_variant_is_refused_by_the_scan() {
    fn check(kind: FrameKind, variants: &[&str]) {
        for variant in variants {
            each(&[kind], bomb_in_an_unknown_field(variant, 12_000), is_too_deep);
        }
    }
    check(FrameKind::ToExecutor, ToExecutor::VARIANTS);
    check(FrameKind::ToDriver, ToDriver::VARIANTS);
    check(FrameKind::BulkRequest, BulkRequest::VARIANTS);
    check(FrameKind::BulkReply, BulkReply::VARIANTS);
    check(FrameKind::Request, Request::VARIANTS);
    check(FrameKind::Reply, Reply::VARIANTS);
}

#[test]
fn legal_depth_with_70_000_elements_is_refused_by_count() {
    fn is_too_many(_: FrameKind, error: &CodecError) -> bool {
        matches!(error, CodecError::TooManyElements { max: 65_536, .. })
    }
    // 64 KiB hold no 70,000 values, so a control frame can only announce them.
    each(&FrameKind::ALL, seventy_thousand(CONTROL_BYTES), is_too_many);
    each(&BULK, seventy_thousand(usize::MAX), is_too_many);
    // Two arrays of 35,000: each is legal alone.
    let half = || [vec![0xdc, 0x88, 0xb8], vec![0xc0; 35_000]].concat();
    each(&BULK, [vec![0x92], half(), half()].concat(), is_too_many);
    // The count decides in control too, were the length not there.
    let long = Limits { bytes: 1 << 20, ..Limits::CONTROL };
    let refused = codec::decode::<ToExecutor>(&seventy_thousand(usize::MAX), &long);
    assert!(matches!(refused, Err(CodecError::TooManyElements { max: 65_536, at: 0 })), "{refused:?}");
}

#[test]
fn lengths_that_the_bytes_do_not_have_are_refused_without_allocating() {
    for marker in [0xc6, 0xc9, 0xdb] {
        each(&FrameKind::ALL, vec![marker, 0xff, 0xff, 0xff, 0xff], |_, e| {
            matches!(e, CodecError::Truncated { at: 0 })
        });
    }
    for marker in [0xdd, 0xdf] {
        each(&FrameKind::ALL, vec![marker, 0xff, 0xff, 0xff, 0xff], |_, e| {
            matches!(e, CodecError::TooManyElements { at: 0, .. })
        });
    }
}

#[test]
fn the_deepest_legal_body_fits_the_small_stack() {
    each(&FrameKind::ALL, [vec![0x91; 32], vec![0xc0]].concat(), |_, e| {
        matches!(e, CodecError::Malformed(_))
    });
    each(&BULK, [vec![0x91; 128], vec![0xc0]].concat(), |_, e| matches!(e, CodecError::Malformed(_)));
    on_a_small_stack(|| {
        let bytes = bomb(127);
        codec::decode::<Expression>(&bytes, &Limits::BLOCK).unwrap();
    });
}

/// A type that is recursive to any depth, which no wire message is.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only decoded")]
enum Expression {
    Leaf(u64),
    Not(Box<Expression>),
}

const CHILD: &str = "TIDEMILL_DECODE_WITHOUT_SCAN";
const ACCEPTED: &str = "the decoder accepted it";

/// Why the scan exists: the same bytes, given to rmp-serde alone, end the process or are accepted, but never refused.
#[test]
fn without_the_scan_the_cut_bomb_aborts_the_process_or_is_accepted() {
    const NAME: &str = "without_the_scan_the_cut_bomb_aborts_the_process_or_is_accepted";
    if std::env::var_os(CHILD).is_some() {
        on_a_small_stack(|| {
            let expression: Expression =
                rmp_serde::from_slice(&bomb_of_64_kib()).expect("refused by rmp-serde");
            println!("{ACCEPTED}");
            // Dropping it would recurse too.
            std::mem::forget(expression);
        });
        return;
    }
    let child = std::env::current_exe().unwrap();
    let output = Command::new(child).args([NAME, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let accepted = output.status.success() && said.contains(ACCEPTED);
    // A panic ends a test process with a code; only a signal ends it without one.
    let aborted = output.status.code().is_none() && complained.contains("overflowed its stack");
    assert!(accepted || aborted, "{}: {said}{complained}", output.status);
}

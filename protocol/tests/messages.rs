//! Every wire message: it survives its frame, it stays far below its limits, and other versions' fields are ignored.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::fmt::Debug;
use tidemill_protocol::codec::{self, Limits, PIECE_BYTES_MAX, scan};
use tidemill_protocol::frame::{
    FrameDecoder, HEADER_BYTES, WireMessage, decode_message, encode_in_two, encode_message,
};
use tidemill_protocol::id::DatasetId;
use tidemill_protocol::message::{
    BulkReply, BulkRequest, Hello, PackedPiece, Piece, Reply, Request, ToDriver, ToExecutor,
};

fn survives<M: WireMessage + Clone + PartialEq + Debug>(samples: Vec<M>) {
    for message in samples {
        let bytes = encode_message(&message).unwrap();
        let mut frames = Vec::new();
        FrameDecoder::new(usize::MAX).push(&bytes, &mut frames).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(decode_message::<M>(&frames[0]).unwrap(), message);
        assert_eq!(encode_in_two(message.clone()).unwrap().concat(), bytes);
        // Room for growth: no sample needs more than half of the depth that is allowed.
        let limits = M::KIND.limits();
        let shape = scan(&bytes[HEADER_BYTES..], &limits).unwrap();
        assert!(shape.depth <= limits.depth / 2, "{message:?}: {shape:?}");
    }
}

#[test]
fn every_sample_survives_its_frame() {
    survives(Hello::samples());
    survives(ToExecutor::samples());
    survives(ToDriver::samples());
    survives(BulkRequest::samples());
    survives(BulkReply::samples());
    survives(Request::samples());
    survives(Reply::samples());
}

#[test]
fn a_group_within_a_group_is_refused() {
    let group = |orders| ToExecutor::Group { orders };
    let mut nested = ToExecutor::Shutdown;
    // As deep as a control body may be: 32 arrays and maps, three for each group.
    for levels in 1..=10 {
        nested = group(vec![ToExecutor::Ping { nonce: 1 }, nested]);
        let mut frames = Vec::new();
        FrameDecoder::new(usize::MAX).push(&encode_message(&nested).unwrap(), &mut frames).unwrap();
        match decode_message::<ToExecutor>(&frames[0]) {
            Ok(read) => assert_eq!((read, levels), (nested.clone(), 1)),
            Err(error) => {
                assert!(levels > 1 && error.to_string().contains("a group within a group"), "{error}");
            }
        }
    }
}

#[test]
fn the_samples_hold_every_variant() {
    fn all<M>(samples: &[M], variant: fn(&M) -> &'static str) -> BTreeSet<&'static str> {
        samples.iter().map(variant).collect()
    }
    let named = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(all(&ToExecutor::samples(), ToExecutor::variant), named(ToExecutor::VARIANTS));
    assert_eq!(all(&ToDriver::samples(), ToDriver::variant), named(ToDriver::VARIANTS));
    assert_eq!(all(&BulkRequest::samples(), BulkRequest::variant), named(BulkRequest::VARIANTS));
    assert_eq!(all(&BulkReply::samples(), BulkReply::variant), named(BulkReply::VARIANTS));
    assert_eq!(all(&Request::samples(), Request::variant), named(Request::VARIANTS));
    assert_eq!(all(&Reply::samples(), Reply::variant), named(Reply::VARIANTS));
}

#[test]
fn a_variant_stands_on_the_wire_by_its_name() {
    for message in ToExecutor::samples() {
        let bytes = codec::encode(&message).unwrap();
        let name = message.variant().as_bytes();
        assert!(bytes.windows(name.len()).any(|w| w == name), "{}", message.variant());
    }
}

#[test]
fn an_unknown_field_is_ignored_and_an_unknown_variant_is_refused() {
    // {"Ping": {"nonce": 99, "x": [[[]]]}}
    let newer = [&b"\x81\xa4Ping\x82\xa5nonce\x63\xa1x"[..], &[0x91, 0x91, 0x90]].concat();
    assert_eq!(
        codec::decode::<ToExecutor>(&newer, &Limits::CONTROL).unwrap(),
        ToExecutor::Ping { nonce: 99 }
    );
    let unknown = b"\x81\xa4Pong\x81\xa5nonce\x63";
    let refused = codec::decode::<ToExecutor>(unknown, &Limits::CONTROL).unwrap_err();
    assert!(refused.to_string().contains("unknown variant `Pong`"), "{refused}");
}

#[test]
fn the_longest_piece_fits_a_bulk_frame() {
    let piece = |bytes| Piece { rows: u64::MAX, dataset: DatasetId(u32::MAX), bytes: vec![0; bytes].into() };
    encode_message(&BulkRequest::Piece(piece(PIECE_BYTES_MAX))).unwrap();
    encode_message(&BulkReply::Piece(piece(PIECE_BYTES_MAX))).unwrap();
    encode_message(&BulkReply::Piece(piece(PIECE_BYTES_MAX + 1024))).unwrap_err();
    encode_in_two(BulkReply::Piece(piece(PIECE_BYTES_MAX))).unwrap();
    encode_in_two(BulkReply::Piece(piece(PIECE_BYTES_MAX + 1024))).unwrap_err();
}

#[test]
fn a_frame_in_two_parts_is_the_frame_and_its_end_is_the_piece_itself() {
    // On both sides of each length of a byte string's header.
    for length in [0, 1, 0xff, 0x100, 0xffff, 0x1_0000, 0x10_0000] {
        let bytes = Bytes::from(vec![9; length]);
        let piece = Piece { rows: 1, dataset: DatasetId(2), bytes: bytes.clone() };
        let packed = PackedPiece { rows: 1, dataset: DatasetId(2), bytes_unpacked: 3, packed: bytes.clone() };
        for message in [BulkReply::Piece(piece), BulkReply::Packed(packed)] {
            let whole = encode_message(&message).unwrap();
            let [head, tail] = encode_in_two(message).unwrap();
            assert_eq!([head, tail.clone()].concat(), whole);
            assert!(length == 0 || tail.as_ptr() == bytes.as_ptr(), "{length} bytes were copied");
        }
    }
}

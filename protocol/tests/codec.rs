//! The codec: every MessagePack marker through the scan, and both forms of encoding.

use serde::{Deserialize, Serialize};
use tidemill_protocol::codec::{self, CodecError, Limits, PIECE_BYTES_MAX, Shape, scan};

const LOOSE: Limits = Limits { bytes: 1 << 30, depth: 1 << 20, elements: 1 << 40 };

/// A value of each format of the specification, with its depth and number of values.
fn formats() -> Vec<(&'static str, Vec<u8>, usize, u64)> {
    let with = |head: &[u8], filler: u8, count: usize| [head, &vec![filler; count]].concat();
    vec![
        ("positive fixint", vec![0x7f], 0, 1),
        ("negative fixint", vec![0xe0], 0, 1),
        ("nil", vec![0xc0], 0, 1),
        ("false", vec![0xc2], 0, 1),
        ("true", vec![0xc3], 0, 1),
        ("empty fixmap", vec![0x80], 1, 1),
        ("fixmap", vec![0x82, 1, 2, 3, 4], 1, 5),
        ("fixmap of 15", with(&[0x8f], 0, 30), 1, 31),
        ("empty fixarray", vec![0x90], 1, 1),
        ("fixarray of 15", with(&[0x9f], 0xc0, 15), 1, 16),
        ("empty fixstr", vec![0xa0], 0, 1),
        ("fixstr of 31", with(&[0xbf], b'a', 31), 0, 1),
        ("bin8", with(&[0xc4, 3], 0xc1, 3), 0, 1),
        ("bin16", with(&[0xc5, 1, 0], 0xc1, 256), 0, 1),
        ("bin32", with(&[0xc6, 0, 1, 0, 0], 0xc1, 65_536), 0, 1),
        ("ext8", with(&[0xc7, 2, 5], 0xc1, 2), 0, 1),
        ("ext16", with(&[0xc8, 1, 1, 5], 0xc1, 257), 0, 1),
        ("ext32", with(&[0xc9, 0, 1, 0, 1, 5], 0xc1, 65_537), 0, 1),
        ("f32", with(&[0xca], 0xc1, 4), 0, 1),
        ("f64", with(&[0xcb], 0xc1, 8), 0, 1),
        ("u8", with(&[0xcc], 0xc1, 1), 0, 1),
        ("u16", with(&[0xcd], 0xc1, 2), 0, 1),
        ("u32", with(&[0xce], 0xc1, 4), 0, 1),
        ("u64", with(&[0xcf], 0xc1, 8), 0, 1),
        ("i8", with(&[0xd0], 0xc1, 1), 0, 1),
        ("i16", with(&[0xd1], 0xc1, 2), 0, 1),
        ("i32", with(&[0xd2], 0xc1, 4), 0, 1),
        ("i64", with(&[0xd3], 0xc1, 8), 0, 1),
        ("fixext1", with(&[0xd4, 5], 0xc1, 1), 0, 1),
        ("fixext2", with(&[0xd5, 5], 0xc1, 2), 0, 1),
        ("fixext4", with(&[0xd6, 5], 0xc1, 4), 0, 1),
        ("fixext8", with(&[0xd7, 5], 0xc1, 8), 0, 1),
        ("fixext16", with(&[0xd8, 5], 0xc1, 16), 0, 1),
        ("str8", with(&[0xd9, 200], b'a', 200), 0, 1),
        ("str16", with(&[0xda, 1, 0], b'a', 256), 0, 1),
        ("str32", with(&[0xdb, 0, 1, 0, 0], b'a', 65_536), 0, 1),
        ("array16", with(&[0xdc, 1, 0], 0xc0, 256), 1, 257),
        ("array32", with(&[0xdd, 0, 1, 0, 0], 0xc0, 65_536), 1, 65_537),
        ("map16", with(&[0xde, 0, 3], 0xc0, 6), 1, 7),
        ("map32", with(&[0xdf, 0, 0, 0, 3], 0xc0, 6), 1, 7),
        ("nested", vec![0x92, 0x91, 0x91, 7, 0x81, 0xa1, b'k', 0x90], 3, 7),
    ]
}

#[test]
fn the_scan_measures_every_format_and_refuses_each_of_its_prefixes() {
    for (name, bytes, depth, elements) in formats() {
        assert_eq!(scan(&bytes, &LOOSE).unwrap(), Shape { depth, elements }, "{name}");
        for cut in 0..bytes.len().min(40) {
            let refused = scan(&bytes[..cut], &LOOSE);
            assert!(matches!(refused, Err(CodecError::Truncated { .. })), "{name} cut to {cut}: {refused:?}");
        }
        let longer = [bytes.as_slice(), &[0xc0, 0xc0]].concat();
        assert!(
            matches!(scan(&longer, &LOOSE), Err(CodecError::Trailing { extra: 2 })),
            "{name} with more after it"
        );
    }
}

#[test]
fn the_scan_knows_all_256_markers() {
    // Followed by enough zeros, every marker but the reserved one begins a value, perhaps with others after it.
    for marker in 0..=255u8 {
        let bytes = [&[marker][..], &[0; 40]].concat();
        match scan(&bytes, &LOOSE) {
            Err(CodecError::Reserved { at: 0 }) => assert_eq!(marker, 0xc1),
            Err(CodecError::Trailing { .. }) => assert_ne!(marker, 0xc1),
            other => panic!("{marker:#x}: {other:?}"),
        }
    }
}

#[test]
fn each_limit_is_exact() {
    let nested = |levels: usize| [vec![0x91; levels], vec![0xc0]].concat();
    let limits = Limits { bytes: 100, depth: 5, elements: 9 };
    assert_eq!(scan(&nested(5), &limits).unwrap(), Shape { depth: 5, elements: 6 });
    assert!(matches!(scan(&nested(6), &limits), Err(CodecError::TooDeep { max: 5, at: 5 })));
    assert_eq!(scan(&[0x98, 0, 0, 0, 0, 0, 0, 0, 0], &limits).unwrap(), Shape { depth: 1, elements: 9 });
    let nine = scan(&[0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0], &limits);
    assert!(matches!(nine, Err(CodecError::TooManyElements { max: 9, at: 0 })));
    let bin = |n: u8| [vec![0xc4, n], vec![0; usize::from(n)]].concat();
    scan(&bin(98), &limits).unwrap();
    assert!(matches!(scan(&bin(99), &limits), Err(CodecError::TooLong { bytes: 101, max: 100 })));
}

#[test]
fn an_empty_container_is_as_deep_as_a_full_one() {
    let limits = Limits { depth: 1, ..LOOSE };
    scan(&[0x90], &limits).unwrap();
    assert!(matches!(scan(&[0x91, 0x80], &limits), Err(CodecError::TooDeep { max: 1, at: 1 })));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    key: String,
    count: u64,
    kind: Kind,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Bare,
    With { left: i32 },
}

fn rows() -> Vec<Row> {
    vec![
        Row { key: "ebb".to_string(), count: 1, kind: Kind::Bare },
        Row { key: "flow".to_string(), count: 300, kind: Kind::With { left: -1 } },
    ]
}

#[test]
fn the_named_form_has_field_names_and_the_compact_form_has_none_but_both_name_variants() {
    let named = codec::encode(&rows()).unwrap();
    let compact = codec::encode_compact(&rows()).unwrap();
    let holds = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|w| w == word.as_bytes());
    assert!(holds(&named, "count") && holds(&named, "left") && holds(&named, "With"));
    assert!(!holds(&compact, "count") && !holds(&compact, "left") && holds(&compact, "With"));
    assert_eq!(codec::decode::<Vec<Row>>(&named, &Limits::CONTROL).unwrap(), rows());
    assert_eq!(codec::decode_compact::<Vec<Row>>(&compact, &Limits::BLOCK).unwrap(), rows());
}

#[test]
fn another_type_is_malformed_and_not_a_panic() {
    let bytes = codec::encode(&rows()).unwrap();
    assert!(matches!(codec::decode::<Vec<u64>>(&bytes, &Limits::CONTROL), Err(CodecError::Malformed(_))));
}

#[derive(Debug, Serialize, Deserialize)]
struct Chain {
    next: Option<Box<Chain>>,
}

fn chain(links: usize) -> Chain {
    (1..links).fold(Chain { next: None }, |inner, _| Chain { next: Some(Box::new(inner)) })
}

#[test]
fn a_value_that_is_too_deep_for_a_block_is_refused_where_it_is_encoded() {
    let legal = codec::encode_compact(&chain(128)).unwrap();
    codec::decode_compact::<Chain>(&legal, &Limits::BLOCK).unwrap();
    let refused = codec::encode_compact(&chain(129));
    assert!(
        matches!(&refused, Err(CodecError::Unencodable(why)) if why.to_string() == "nested deeper than 128")
    );
}

#[test]
fn a_value_of_100_000_levels_is_an_error_on_a_small_stack_and_not_the_end_of_the_process() {
    let encoded = std::thread::Builder::new().stack_size(512 * 1024).spawn(|| {
        let deep = chain(100_000);
        let encoded = codec::encode_compact(&deep).map(|bytes| bytes.len());
        // Dropping it would recurse too.
        std::mem::forget(deep);
        encoded
    });
    let refused = encoded.unwrap().join().unwrap();
    assert!(matches!(refused, Err(CodecError::Unencodable(_))), "{refused:?}");
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Name(String);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

/// Every method of serde's data model that a derive, or std, calls.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Model {
    Unit,
    Newtype(Name),
    Tuple(i8, i16),
    Struct { a: Option<i32>, b: Option<i64> },
    Unsigned(u8, u16, u32, u64),
    Wide(i128, u128),
    Floats(f32, f64),
    Letters(char, String, bool),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Map(std::collections::BTreeMap<Name, (u8, ())>),
    Marker(Marker),
    Address(std::net::SocketAddr),
}

#[test]
fn the_compact_form_is_rmp_serdes_default_for_all_of_serdes_data_model() {
    let values = vec![
        Model::Unit,
        Model::Newtype(Name("ebb".to_string())),
        Model::Tuple(-128, -32_768),
        Model::Struct { a: Some(-70_000), b: None },
        Model::Unsigned(255, 65_535, u32::MAX, u64::MAX),
        Model::Wide(i128::MIN, u128::MAX),
        Model::Floats(1.5, -0.1),
        Model::Letters('≈', "flow".to_string(), true),
        Model::Bytes(vec![1, 2, 3]),
        Model::Map([(Name("a".to_string()), (1, ())), (Name("b".to_string()), (2, ()))].into()),
        Model::Marker(Marker),
        Model::Address(([127, 0, 0, 1], 80).into()),
    ];
    let bytes = codec::encode_compact(&values).unwrap();
    assert_eq!(bytes, rmp_serde::to_vec(&values).unwrap());
    assert_eq!(codec::decode_compact::<Vec<Model>>(&bytes, &Limits::BLOCK).unwrap(), values);
}

#[test]
fn a_piece_has_as_many_values_as_bytes() {
    let bytes = codec::encode_compact(&vec![(); PIECE_BYTES_MAX - 5]).unwrap();
    assert_eq!(bytes.len(), PIECE_BYTES_MAX);
    assert_eq!(codec::decode_compact::<Vec<()>>(&bytes, &Limits::BLOCK).unwrap().len(), PIECE_BYTES_MAX - 5);
}

//! The fuzz targets without a fuzzer: their corpus, and 200,000 seeded mutations of it for each target.

#[path = "../fuzz/src/targets.rs"]
mod targets;

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tidemill_protocol::codec;
use tidemill_protocol::frame::{WireMessage, encode_message};
use tidemill_protocol::message::{
    BulkReply, BulkRequest, Hello, JoinReply, JoinRequest, Reply, Request, ToDriver, ToExecutor,
};
use tidemill_protocol::world::SeededRng;

const MUTATIONS: u64 = 200_000;
/// Longer inputs teach nothing new and cost time.
const INPUT_BYTES_MAX: usize = 2_048;

type Corpus = BTreeMap<String, Vec<u8>>;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// For `codec`: each sample, after the byte that chooses its type.
fn codec_corpus() -> Corpus {
    fn add<M: Serialize>(corpus: &mut Corpus, name: &str, choice: u8, samples: Vec<M>) {
        for (n, message) in samples.iter().enumerate() {
            let bytes = [&[choice][..], &codec::encode(message).unwrap()].concat();
            corpus.insert(format!("{name}-{n:02}"), bytes);
        }
    }
    let mut corpus = Corpus::new();
    add(&mut corpus, "Hello", 0, Hello::samples());
    add(&mut corpus, "ToExecutor", 1, ToExecutor::samples());
    add(&mut corpus, "ToDriver", 2, ToDriver::samples());
    add(&mut corpus, "BulkRequest", 3, BulkRequest::samples());
    add(&mut corpus, "BulkReply", 4, BulkReply::samples());
    add(&mut corpus, "Request", 6, Request::samples());
    add(&mut corpus, "Reply", 7, Reply::samples());
    add(&mut corpus, "JoinRequest", 8, JoinRequest::samples());
    add(&mut corpus, "JoinReply", 9, JoinReply::samples());
    let tree = targets::Tree::All(vec![
        targets::Tree::Not(Box::new(targets::Tree::Leaf(-1))),
        targets::Tree::Perhaps {
            next: Some(Box::new(targets::Tree::Leaf(1 << 40))),
            name: "ebb".to_string(),
        },
    ]);
    corpus.insert("Tree-00".to_string(), [&[5][..], &codec::encode(&tree).unwrap()].concat());
    // Every family of markers once: [f32, f64, bin8, ext8, fixext1, map16, str8, array32, nil, true, i8, u64]
    let markers = b"\x05\x9c\xca\0\0\0\0\xcb\0\0\0\0\0\0\0\0\xc4\x01\0\xc7\x01\0\0\xd4\0\0\xde\0\0\xd9\x01a\xdd\0\0\0\0\xc0\xc3\xd0\0\xcf\0\0\0\0\0\0\0\0";
    corpus.insert("markers".to_string(), markers.to_vec());
    corpus
}

/// For `frame`: the frames of each kind, one after the other, in pieces of 7 bytes.
fn frame_corpus() -> Corpus {
    fn add<M: WireMessage>(corpus: &mut Corpus, samples: Vec<M>) {
        let frames = samples.iter().flat_map(|message| encode_message(message).unwrap());
        corpus.insert(M::KIND.to_string(), [6].into_iter().chain(frames).collect());
    }
    let mut corpus = Corpus::new();
    add(&mut corpus, Hello::samples());
    add(&mut corpus, ToExecutor::samples());
    add(&mut corpus, ToDriver::samples());
    add(&mut corpus, BulkRequest::samples());
    add(&mut corpus, BulkReply::samples());
    add(&mut corpus, Request::samples());
    add(&mut corpus, Reply::samples());
    corpus
}

/// The files of a target's corpus, which must be what the samples make. With `TIDEMILL_WRITE_CORPUS` set, writes them.
fn corpus(target: &str, expected: Corpus) -> Vec<Vec<u8>> {
    let folder = folder(target);
    if std::env::var_os("TIDEMILL_WRITE_CORPUS").is_some() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &expected {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    for (name, bytes) in &expected {
        let found = std::fs::read(folder.join(name)).unwrap_or_default();
        assert_eq!(
            &found, bytes,
            "{target}/{name} is not what the samples make: TIDEMILL_WRITE_CORPUS=1 cargo test -p tidemill-protocol --test fuzz"
        );
    }
    // A fuzzer may have added finds of its own: they are run too.
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Bytes at which decoders decide: markers, lengths, header fields.
const TELLING: [u8; 24] = [
    0x00, 0x01, 0x02, 0x05, 0x06, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4,
    0xc7, 0xd8, 0xd9, 0xdc, 0xdd, 0xdf, 0xff,
];

/// One to four small damages.
fn mutate(rng: &mut SeededRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut SeededRng| corpus[rng.range(0, corpus.len() as u64) as usize].clone();
    let mut input = pick(rng);
    for _ in 0..rng.range(1, 5) {
        let at = rng.range(0, input.len() as u64 + 1) as usize;
        let end = (at + rng.range(1, 17) as usize).min(input.len());
        match rng.range(0, 7) {
            0 if at < input.len() => input[at] ^= 1 << rng.range(0, 8),
            1 if at < input.len() => input[at] = TELLING[rng.range(0, TELLING.len() as u64) as usize],
            2 => input.insert(at, TELLING[rng.range(0, TELLING.len() as u64) as usize]),
            3 => drop(input.drain(at..end)),
            4 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            5 => {
                let other = pick(rng);
                let from = rng.range(0, other.len() as u64) as usize;
                input.splice(at.., other[from..].iter().copied());
            }
            // A tower of containers.
            6 => {
                let container = *[0x91, 0x81, 0x92, 0xdd].get(rng.range(0, 4) as usize).unwrap_or(&0x91);
                let levels = rng.range(1, 300) as usize;
                input.splice(at..at, std::iter::repeat_n(container, levels));
            }
            _ => input.truncate(at),
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

fn run<T>(target: fn(&[u8]) -> T, corpus: &[Vec<u8>], seed: u64) {
    corpus.iter().for_each(|input| drop(target(input)));
    let mut rng = SeededRng::new(seed);
    for n in 0..MUTATIONS {
        let input = mutate(&mut rng, corpus);
        let caught = std::panic::catch_unwind(|| drop(target(&input)));
        assert!(caught.is_ok(), "seed {seed}, mutation {n}: {input:02x?}");
    }
}

#[test]
fn the_frame_target_survives_its_corpus_and_200_000_mutations() {
    run(targets::frame, &corpus("frame", frame_corpus()), 0x71de);
}

#[test]
fn the_codec_target_survives_its_corpus_and_200_000_mutations() {
    run(targets::codec, &corpus("codec", codec_corpus()), 0xeb_b0);
}

#[test]
fn each_file_of_the_codec_corpus_reaches_its_own_type() {
    let mut reached = BTreeSet::new();
    for (name, bytes) in codec_corpus() {
        let own = name.split_once('-').map(|(own, _)| own);
        assert_eq!(targets::codec(&bytes), own, "{name}");
        reached.extend(own.map(str::to_owned));
    }
    assert_eq!(reached.len(), 10, "one for each value of the first byte: {reached:?}");
}

#[test]
fn mutations_reach_both_sides_of_every_decision() {
    // A fuzzer whose inputs are all refused in the first byte would find nothing: count what becomes of them.
    let corpus = corpus("codec", codec_corpus());
    let mut rng = SeededRng::new(1);
    let mut seen = BTreeMap::<&str, u32>::new();
    for _ in 0..20_000 {
        let input = mutate(&mut rng, &corpus);
        let became =
            match codec::decode::<ToExecutor>(input.get(1..).unwrap_or_default(), &codec::Limits::CONTROL) {
                Ok(_) => "decoded",
                Err(codec::CodecError::TooDeep { .. }) => "too deep",
                Err(codec::CodecError::TooManyElements { .. }) => "too many",
                Err(codec::CodecError::Truncated { .. }) => "truncated",
                Err(codec::CodecError::Trailing { .. }) => "trailing",
                Err(codec::CodecError::Reserved { .. }) => "reserved",
                Err(codec::CodecError::Malformed(_)) => "malformed",
                Err(error) => panic!("{error}"),
            };
        *seen.entry(became).or_default() += 1;
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert!(seen.values().all(|count| *count >= 20), "{seen:?}");
}

//! Folders of text files, in and out.

use super::support::{Folder, available_now, config, end, published, stop};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};
use tidemill::{StreamContext, sources::Generator};

/// The texts of the files of a folder, by name.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let text = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
    };
    fs::read_dir(folder).unwrap().map(text).collect()
}

#[test]
fn save_as_text_files_writes_each_partition_of_each_batch_once_although_a_task_fails() {
    let folder = Folder::new();
    let context = StreamContext::with_config(available_now());
    let (failed, prefix) = (AtomicBool::new(false), folder.path().join("numbers"));
    let numbers =
        Generator::new(2, |partition, n| n * 2 + u64::from(partition)).records_per_batch(8).records_total(24);
    let numbers = context.generator("numbers", numbers).map(move |n| {
        assert!(n != 11 || failed.swap(true, Ordering::SeqCst), "the first attempt fails");
        n * 10
    });
    numbers.save_as_text_files(prefix.display().to_string(), "txt");
    end(context.start().unwrap()).unwrap();

    // Three batches of two partitions: the even numbers and the odd ones, four of each.
    let expected = |batch: u64| {
        let part =
            |odd: u64| (0..4).map(|n| format!("{}\n", ((batch * 4 + n) * 2 + odd) * 10)).collect::<String>();
        BTreeMap::from([
            ("_SUCCESS".to_owned(), String::new()),
            ("part-00000".to_owned(), part(0)),
            ("part-00001".to_owned(), part(1)),
        ])
    };
    let mut folders: Vec<(u64, BTreeMap<String, String>)> = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(time) = name.strip_prefix("numbers-").and_then(|name| name.strip_suffix(".txt")) {
            folders.push((time.parse().unwrap(), texts(&path)));
        } else {
            assert!(name.starts_with("numbers.staged-"), "{name}");
            assert_eq!(texts(&path), BTreeMap::new(), "nothing stays staged");
        }
    }
    folders.sort();
    let found: Vec<_> = folders.into_iter().map(|(_, texts)| texts).collect();
    assert_eq!(found, (0..3).map(expected).collect::<Vec<_>>());
}

#[test]
fn text_files_reads_what_is_there_and_what_appears_later_once() {
    let folder = Folder::new();
    let put = |name: &str, text: &[u8]| {
        let hidden = folder.path().join(format!(".{name}"));
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, folder.path().join(name)).unwrap();
    };
    put("first", b"one\ntwo\n");
    put("_ignored", b"nothing\n");
    let context = StreamContext::with_config(config());
    let lines = published(&context.text_files("lines", folder.path()).map(|line| line.to_string()));
    let running = context.start().unwrap();
    lines.wait_until("the first file", |lines| lines.len() == 2);
    put("second", b"three\nf\xffour\nfive");
    lines.wait_until("the second file", |lines| lines.len() == 5);
    stop(running).unwrap();
    assert_eq!(lines.all(), ["one", "two", "three", "f\u{fffd}our", "five"]);
}

//! Folders of text files, in and out.

use super::support::{DEADLINE, Folder, available_now, config, end, published, stop};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
};
use tidemill::{Config, StreamContext, sources::Generator};

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

/// Told when the thread that holds it has ended.
struct Ends(SyncSender<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

thread_local! {
    static ENDS: RefCell<Option<Ends>> = const { RefCell::new(None) };
}

#[test]
fn what_an_attempt_writes_after_its_copy_was_taken_does_not_stay_staged() {
    let folder = Folder::new();
    let context = StreamContext::with_config(Config { speculation: true, ..available_now() });
    let prefix = folder.path().join("numbers");
    let (open, gate) = sync_channel::<()>(1);
    let (end_of_thread, ended) = sync_channel(1);
    // What the first attempt that comes to 5 takes along, to wait with.
    let late = Mutex::new(Some((gate, end_of_thread)));
    let numbers = Generator::new(2, |partition, n| n * 2 + u64::from(partition));
    let numbers = context.generator("numbers", numbers.records_per_batch(8).records_total(8));
    let numbers = numbers.map(move |n| {
        let mine = if n == 5 { late.lock().unwrap().take() } else { None };
        if let Some((gate, end_of_thread)) = mine {
            ENDS.set(Some(Ends(end_of_thread)));
            gate.recv_timeout(DEADLINE).expect("the copy ends the batch");
        }
        n
    });
    numbers.save_as_text_files(prefix.display().to_string(), "");
    end(context.start().unwrap()).unwrap();
    open.send(()).expect("the first attempt still waits: its copy was taken");
    ended.recv_timeout(DEADLINE).expect("its thread ends");

    let mut names: Vec<PathBuf> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let [published, staged] = &names[..] else { panic!("{names:?}") };
    assert_eq!(texts(published).into_keys().collect::<Vec<_>>(), ["_SUCCESS", "part-00000", "part-00001"]);
    assert_eq!(texts(published)["part-00001"], "1\n3\n5\n7\n");
    assert_eq!(texts(staged), BTreeMap::new(), "{}", staged.display());
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_next_and_nothing_else() {
    let folder = Folder::new();
    let staged = folder.path().join("numbers.staged-0.txt");
    fs::create_dir(&staged).unwrap();
    let far = format!("{:016x}", u64::MAX);
    let put = |name: String| fs::write(staged.join(name), "an old text").unwrap();
    // The same batch, stage, partition and attempt as the run to come, but of a run in 1970; whole, and half written.
    put("0000000000000007-0-0-0-0".to_owned());
    put(".tidemill-tmp-1-2-3-0000000000000007-0-0-0-0".to_owned());
    put(format!("{far}-0-0-0-0"));
    put("of-somebody-else".to_owned());
    let context = StreamContext::with_config(available_now());
    let numbers = Generator::new(1, |_, n| n).records_per_batch(4).records_total(4);
    let prefix = folder.path().join("numbers");
    context.generator("numbers", numbers).save_as_text_files(prefix.display().to_string(), "txt");
    end(context.start().unwrap()).unwrap();

    let left = [format!("{far}-0-0-0-0"), "of-somebody-else".to_owned()];
    assert_eq!(texts(&staged).into_keys().collect::<Vec<_>>(), left);
    let published = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let published: Vec<PathBuf> = published.filter(|path| *path != staged).collect();
    assert_eq!(published.len(), 1, "{published:?}");
    assert_eq!(texts(&published[0])["part-00000"], "0\n1\n2\n3\n");
}

#[test]
fn a_run_whose_prefix_a_later_one_has_taken_fails_by_name() {
    let folder = Folder::new();
    let prefix = folder.path().join("numbers").display().to_string();
    let start = |before: Box<dyn Fn() + Send + Sync>| {
        let context = StreamContext::with_config(available_now());
        let numbers = Generator::new(1, |_, n| n).records_per_batch(4).records_total(4);
        let numbers = context.generator("numbers", numbers);
        // Sinks are given a batch in order, when all tasks of all of them have ended.
        numbers.foreach_batch(move |_, _| {
            before();
            Ok(())
        });
        numbers.save_as_text_files(prefix.clone(), "txt");
        context.start().unwrap()
    };
    let (reached, is_reached) = sync_channel(1);
    let (open, gate) = sync_channel::<()>(1);
    let gate = Mutex::new(gate);
    let earlier = start(Box::new(move || {
        reached.send(()).unwrap();
        gate.lock().unwrap().recv_timeout(DEADLINE).unwrap();
    }));
    is_reached.recv_timeout(DEADLINE).expect("the earlier run has staged its file");
    end(start(Box::new(|| {}))).unwrap();
    open.send(()).unwrap();
    let error = end(earlier).unwrap_err().to_string();
    assert!(error.contains("a later run with this prefix has swept it"), "{error}");
    assert!(error.contains("numbers-") && error.contains("give each running pipeline a prefix"), "{error}");
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

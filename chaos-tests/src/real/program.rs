//! The application under test: a word count that prints the counts of each batch on the driver, and that leaves a mark in a
//! folder while a task runs. `tidemill-chaos` answers to its commands, so that there is one program to start.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};
use tidemill::{Config, app::App};

/// The commands that belong to the application.
pub const COMMANDS: [&str; 6] = ["ca", "driver", "node", "status", "executor", "graph"];

/// From which part of their memory on executors spill, where that is not the default.
pub const SPILL_FROM_PERCENT: &str = "TIDEMILL_CHAOS_SPILL_FROM_PERCENT";

/// Numbers the marks of this process.
static MARKS: AtomicU64 = AtomicU64::new(0);

/// The word count. Its parameters: `from` is host:port of the feed, `marks` a folder for marks, `task_ms` how long a task that adds
/// up takes at least, `out` where counts are saved as well.
pub fn word_count() -> App {
    // A copy of a late task would be done before the loss of its executor is noticed: here it is recovery that is looked at.
    // One slot each, on every machine: as many tasks that add up as executors.
    let default = Config::default();
    let spill_from = std::env::var(SPILL_FROM_PERCENT).ok().and_then(|percent| percent.parse().ok());
    let spill_from_percent = spill_from.unwrap_or(default.spill_from_percent);
    let config = Config { speculation: false, slots_per_executor: 1, spill_from_percent, ..default };
    App::new("tidemill-chaos").config(config).pipeline(|ctx| {
        let from = ctx.params().text("from", "127.0.0.1:9999");
        let marks = PathBuf::from(ctx.params().text("marks", ""));
        let takes = Duration::from_millis(ctx.params().get("task_ms", 0)?);
        let out = ctx.params().text("out", "");
        let counts = ctx
            .numbered_lines(&from)
            .flat_map(|line| line.split(' ').map(|word| (word.to_owned(), 1_u64)).collect::<Vec<_>>())
            .reduce_by_key(|a, b| a + b)
            .named("count")
            .map_partitions(move |rows| {
                let _mark = Mark::set(&marks);
                thread::sleep(takes);
                rows
            })
            .named("marked");
        if !out.is_empty() {
            counts.map(|(word, count)| format!("{word} {count}")).save_as_text_files(out, "txt");
        }
        counts.foreach_batch(|rows, time| {
            let counts: Vec<String> = rows.iter().map(|(word, count)| format!("{word}={count}")).collect();
            println!("batch {} {}", time.as_millis(), counts.join(" "));
            Ok(())
        });
        Ok(())
    })
}

/// A file with this process's id in its name, as long as a task runs.
struct Mark(Option<PathBuf>);

impl Mark {
    fn set(folder: &std::path::Path) -> Self {
        if folder.as_os_str().is_empty() {
            return Mark(None);
        }
        let number = MARKS.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{}-{number}", std::process::id()));
        // Whoever looks for marks and finds none says so.
        Mark(fs::write(&path, b"").is_ok().then_some(path))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

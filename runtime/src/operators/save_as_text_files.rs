//! `save_as_text_files`: a folder of text files for each batch, prepared in tasks and published by renaming.
//!
//! ```text
//!   task      writes  <prefix>.staged-<sink>.<suffix>/<run>-<batch>-<stage>-<partition>-<attempt>
//!   publish   renames it to  <prefix>-<TIME>.<suffix>/part-<partition>, then writes  _SUCCESS, then sweeps what is staged
//! ```
//!
//! An attempt that does not count removes its file itself, also if it wrote it after it was cancelled. What the dead left is
//! swept by the [names](super::staged).

use super::staged;
use crate::{
    data::{Chunk, Data},
    dstream::{DStream, Output},
    graph::{Push, Sink, SinkSpec, TaskEnv},
};
use futures_util::future::BoxFuture;
use std::{
    collections::BTreeSet,
    fmt::{Display, Write},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};
use tidemill_actors::seam::{PublishError, Published, SinkKind, TaskError};
use tidemill_protocol::{
    id::{RunId, SinkId, TaskId},
    world::Files,
};

impl<T: Data + Display> DStream<T> {
    /// Writes each batch to the folder `prefix-TIME.suffix` (without suffix: `prefix-TIME`), one file a partition, one line
    /// a record, and at last an empty file `_SUCCESS`. Exactly once: files are staged by tasks and renamed when the batch
    /// is decided; publishing again changes nothing. All nodes must see the same folder. Prefix and suffix belong to one running
    /// pipeline: each batch that it publishes removes what earlier runs left staged there. Earlier is by the wall clock of the
    /// driver's start: what a run left whose clock was ahead stays until then.
    ///
    /// ```
    /// use tidemill::{StreamContext, sources::Queue, testing::LocalRunner};
    /// let (context, queue) = (StreamContext::new(), Queue::new(1));
    /// context.queue_stream("numbers", &queue).save_as_text_files("/out/numbers", "txt");
    /// queue.push(vec![1, 2]);
    /// let mut runner = LocalRunner::new(&context).unwrap();
    /// runner.run_batch().unwrap();
    /// let part = runner.files().read_range("/out/numbers-1000.txt/part-00000".as_ref(), 0, 100).unwrap();
    /// assert_eq!(part, b"1\n2\n");
    /// ```
    pub fn save_as_text_files(&self, prefix: impl Into<String>, suffix: impl Into<String>) -> Output {
        let sink = Arc::new(TextFolder { prefix: prefix.into(), suffix: suffix.into() });
        let name = format!("text files {}", sink.prefix);
        self.register_sink(SinkSpec { name, label: "save_as_text_files", kind: SinkKind::Staged, sink })
    }
}

#[derive(Clone)]
struct TextFolder {
    prefix: String,
    suffix: String,
}

impl TextFolder {
    /// With its dot.
    fn ending(&self) -> String {
        if self.suffix.is_empty() { String::new() } else { format!(".{}", self.suffix) }
    }

    fn stage(&self, sink: SinkId) -> PathBuf {
        PathBuf::from(format!("{}.staged-{}{}", self.prefix, sink.0, self.ending()))
    }

    fn staged(&self, run: RunId, sink: SinkId, task: TaskId) -> PathBuf {
        self.stage(sink).join(staged::name(run, task))
    }

    fn publish_all(&self, published: &Published, files: &Files) -> io::Result<()> {
        let folder =
            PathBuf::from(format!("{}-{}{}", self.prefix, published.time.as_millis(), self.ending()));
        files.create_folder(&folder)?;
        let there: BTreeSet<PathBuf> = files.list(&folder)?.into_iter().map(|(path, _)| path).collect();
        for (number, (task, _)) in published.partitions.iter().enumerate() {
            let part = folder.join(format!("part-{number:05}"));
            match files.rename(&self.staged(published.run, published.sink, *task), &part) {
                // Published before, by a driver that did not live to say so.
                Err(error) if error.kind() == io::ErrorKind::NotFound && there.contains(&part) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(swept(&part)),
                other => other?,
            }
        }
        files.write(&folder.join("_SUCCESS"), b"")?;
        staged::sweep(&self.stage(published.sink), published.run, published.batch, files);
        Ok(())
    }
}

/// Why there is nothing staged for a part.
fn swept(part: &Path) -> io::Error {
    let part = part.display();
    let text = format!(
        "nothing is staged for {part}: either this machine does not see the folder in which executors stage (all nodes must see \
         the same one), or a later run with this prefix has swept it (give each running pipeline a prefix of its own)"
    );
    io::Error::new(io::ErrorKind::NotFound, text)
}

impl<T: Data + Display> Sink<T> for TextFolder {
    fn open(&self, sink: SinkId, env: &Rc<TaskEnv>) -> Box<dyn Push<T>> {
        let context = env.context();
        let path = self.staged(context.facts.run, sink, context.task);
        Box::new(Stage { path, text: String::new(), env: env.clone() })
    }

    fn publish(&self, published: Published, files: &Files) -> BoxFuture<'static, Result<(), PublishError>> {
        let (folder, files) = (self.clone(), files.clone());
        Box::pin(async move {
            let failed = |e| PublishError(format!("{} at {}: {e}", folder.prefix, published.time));
            folder.publish_all(&published, &files).map_err(failed)
        })
    }

    fn preflight(&self, files: &Files) -> Result<(), String> {
        let folder = Path::new(&self.prefix).parent().unwrap_or(Path::new("."));
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // A file of our own name, so that two pipelines that look at the same time do not remove each other's.
        let probe = folder.join(format!(".tidemill-probe-{}", std::process::id()));
        let tried = files
            .create_folder(folder)
            .and_then(|()| files.write(&probe, b""))
            .and_then(|()| files.remove(&probe));
        tried.map_err(|error| {
            let folder = folder.display();
            format!("cannot write to the folder {folder}: {error}; make it writable, or choose another for save_as_text_files")
        })
    }

    fn discard(&self, run: RunId, sink: SinkId, task: TaskId, files: &Files) {
        if let Err(error) = files.remove(&self.staged(run, sink, task)) {
            tracing::warn!(%sink, %task, %error, "a staged file could not be removed");
        }
    }
}

struct Stage {
    path: PathBuf,
    text: String,
    env: Rc<TaskEnv>,
}

impl<T: Data + Display> Push<T> for Stage {
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        let before = self.text.len();
        chunk.show_each(|record| {
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "{record}");
        });
        self.env.charge((self.text.len() - before) as u64)
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        let files = &self.env.context().files;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        files
            .create_folder(folder)
            .and_then(|()| files.write(&self.path, self.text.as_bytes()))
            .map_err(|e| TaskError::Failed(format!("{}: {e}", self.path.display())))
    }
}

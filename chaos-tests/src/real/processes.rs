//! Processes: started with what they say kept, signalled, looked at through /proc; none outlives its scenario.

use super::Wrong;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tidemill_protocol::world::World;

/// Nothing here takes so long unless it hangs; the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// How often is looked whether a condition holds.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Asks until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T, Wrong> {
    let clock = World::real().clock;
    let deadline = clock.now() + DEADLINE;
    while clock.now() < deadline {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        thread::sleep(LOOK_EVERY);
    }
    Err(Wrong::new(format!("not within {DEADLINE:?}: {what}")))
}

/// Runs a command to its end; what it prints.
pub fn done(file: impl AsRef<OsStr>, arguments: &[&str]) -> Result<String, Wrong> {
    let file = file.as_ref();
    let output = Command::new(file).args(arguments).env_remove("RUST_LOG").stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Wrong::new(format!("{} {}: {said}", file.display(), arguments.join(" "))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Sends a signal.
pub fn signal(name: &str, pid: u32) -> Result<(), Wrong> {
    done("kill", &[&format!("-{name}"), &pid.to_string()]).map(|_| ())
}

/// A process that runs, with what it has said so far.
pub struct Process {
    child: Child,
    said: Arc<Mutex<[String; 2]>>,
}

impl Process {
    /// Starts it.
    pub fn start(mut command: Command) -> Result<Self, Wrong> {
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let said = Arc::new(Mutex::new([String::new(), String::new()]));
        listen(child.stdout.take(), 0, &said);
        listen(child.stderr.take(), 1, &said);
        Ok(Process { child, said })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn said(&self) -> MutexGuard<'_, [String; 2]> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn output(&self) -> String {
        self.said()[0].clone()
    }

    pub fn log(&self) -> String {
        self.said()[1].clone()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

fn listen(stream: Option<impl Read + Send + 'static>, which: usize, said: &Arc<Mutex<[String; 2]>>) {
    let (Some(stream), said) = (stream, said.clone()) else { return };
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            said.lock().unwrap_or_else(PoisonError::into_inner)[which].push_str(&(line + "\n"));
        }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process of an executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executor {
    pub node: u64,
    pub pid: u32,
    pub incarnation: u64,
    /// The folder of its agent.
    pub data: PathBuf,
}

/// The executors whose agents keep their folders below `folder`, by node.
pub fn executors(folder: &Path) -> BTreeMap<u64, Executor> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let found = pids.filter_map(executor).filter(|executor| executor.data.starts_with(folder));
    found.map(|executor| (executor.node, executor)).collect()
}

fn executor(pid: u32) -> Option<Executor> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = line.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect();
    let after = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    (words.get(1)? == "executor").then_some(())?;
    let (node, incarnation) = (after("--node")?.parse().ok()?, after("--incarnation")?.parse().ok()?);
    Some(Executor { node, pid, incarnation, data: PathBuf::from(after("--data")?.as_ref()) })
}

/// The letter of its state in /proc, such as T for one that is stopped; none once it is gone.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// Whether it runs, or could; a dead one that nobody has waited for does not.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

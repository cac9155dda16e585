//! Processes, folders, ports, and a feeder of flights.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};
use tidemill::demo::feeder::{FeedPlan, FeedStop, Feeder};
use tidemill_protocol::world::World;

pub const TIDEMILL: &str = env!("CARGO_BIN_EXE_tidemill");

/// Nothing here takes so long unless it hangs; the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Three origins: few enough that the driver prints all of them for each batch.
pub const LINES: [&str; 3] =
    ["2001-01-01,5,100,ORD,LAX", "2001-01-01,-3,100,ATL,LAX", "2001-01-01,7,100,ORD,ATL"];

/// A folder that goes with its test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidemill-test-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Two free ports, one after the other: control and joining.
pub fn free_address() -> SocketAddr {
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        if address.port() < u16::MAX && UdpSocket::bind(("127.0.0.1", address.port() + 1)).is_ok() {
            return address;
        }
    }
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(TIDEMILL).args(arguments).env_remove("RUST_LOG").output().unwrap()
}

/// What the program prints when it ends well.
pub fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A process that runs, with what it has said so far; it does not outlive its test.
pub struct Process {
    child: Child,
    said: Arc<Mutex<[String; 2]>>,
}

impl Process {
    pub fn start(file: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(file);
        command.args(arguments).env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let said = Arc::new(Mutex::new([String::new(), String::new()]));
        listen(child.stdout.take().unwrap(), 0, said.clone());
        listen(child.stderr.take().unwrap(), 1, said.clone());
        Process { child, said }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn output(&self) -> String {
        self.said.lock().unwrap()[0].clone()
    }

    pub fn log(&self) -> String {
        self.said.lock().unwrap()[1].clone()
    }

    pub fn wait(&mut self, what: &str) -> ExitStatus {
        until(what, || self.child.try_wait().unwrap()).unwrap_or_else(|| panic!("{what}:\n{}", self.log()))
    }
}

fn listen(stream: impl Read + Send + 'static, which: usize, said: Arc<Mutex<[String; 2]>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            said.lock().unwrap()[which].push_str(&(line + "\n"));
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

/// Asks until there is an answer; none if the deadline passes.
pub fn until<T>(_what: &str, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = World::real().clock;
    let deadline = clock.now() + DEADLINE;
    while clock.now() < deadline {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        thread::yield_now();
    }
    None
}

pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(sent.success(), "process {pid} is there to be signalled");
}

/// The executors' processes that keep their certificate below `folder`, by node.
pub fn executors(folder: &Path) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<String> =
            line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let after = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        if words.get(1).map(String::as_str) == Some("executor")
            && after("--data").is_some_and(|data| Path::new(data).starts_with(folder))
        {
            found.insert(after("--node").unwrap().parse().unwrap(), pid);
        }
    }
    found
}

/// A feed of [`LINES`] in turn: where it listens, and at its end how many lines it were.
pub fn feed(lines_per_s: u64, duration: Duration) -> (SocketAddr, mpsc::Receiver<u64>) {
    let (address, _, end) = feed_that_stops(lines_per_s, duration);
    (address, end)
}

/// The same, with what ends it before its time.
pub fn feed_that_stops(lines_per_s: u64, duration: Duration) -> (SocketAddr, FeedStop, mpsc::Receiver<u64>) {
    let (tell_address, address) = mpsc::sync_channel(1);
    let (tell_end, end) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let world = World::real();
            let listener = world.tcp.listen("127.0.0.1:0").await.unwrap();
            let feeder = Feeder::new(listener, world.clock.clone());
            tell_address.send((feeder.address(), feeder.stopper())).unwrap();
            let plan = FeedPlan { lines: LINES.to_vec(), rate_lines_per_s: lines_per_s, duration };
            let written = feeder.run(plan).await.unwrap();
            let _ = tell_end.send(written);
        });
    });
    let (address, stop) = address.recv().unwrap();
    (address, stop, end)
}

/// A driver of the flights pipeline, and what is needed to join it.
pub struct Cluster {
    pub folder: Folder,
    pub address: SocketAddr,
    pub driver: Process,
}

impl Cluster {
    pub fn start(name: &str, from: SocketAddr) -> Self {
        Cluster::start_with(name, from, &[])
    }

    /// With more options for the driver.
    pub fn start_with(name: &str, from: SocketAddr, options: &[&str]) -> Self {
        let folder = Folder::new(name);
        done(&["ca", "init", &folder.text("ca")]);
        let address = free_address();
        let arguments = [
            "driver",
            "--ca",
            &folder.text("ca"),
            "--listen",
            &address.to_string(),
            "--executors-expected",
            "4",
        ];
        let param = format!("from={from}");
        let arguments =
            [&arguments[..], &["--batch-interval-ms", "200", "--param", &param], options].concat();
        let driver = Process::start(TIDEMILL, &arguments);
        Cluster { folder, address, driver }
    }

    /// A machine that joins with a token for two executors, run by `file`.
    pub fn node(&self, name: &str, file: &str) -> Process {
        self.node_of(name, file, "2")
    }

    /// A machine that joins with a token for so many executors.
    pub fn node_of(&self, name: &str, file: &str, executors: &str) -> Process {
        let token = self.token(name, executors);
        let (data, address) = (self.folder.text(name), self.address.to_string());
        Process::start(
            file,
            &["node", "--join", &token, "--driver", &address, "--data", &data, "--slots", "1"],
        )
    }

    /// The file of a new join token.
    pub fn token(&self, name: &str, executors: &str) -> String {
        let token = done(&["ca", "token", &self.folder.text("ca"), "--executors", executors]);
        let path = self.folder.text(&format!("{name}.token"));
        fs::write(&path, token).unwrap();
        path
    }

    /// The status, once it is what `wanted` looks for.
    pub fn status<T>(&self, what: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let (ca, address) = (self.folder.text("ca"), self.address.to_string());
        let found = until(what, || {
            let output = run(&["status", "--ca", &ca, "--driver", &address, "--json"]);
            serde_json::from_slice(&output.stdout).ok().as_ref().and_then(&wanted)
        });
        found.unwrap_or_else(|| panic!("{what}; the driver says:\n{}", self.driver.log()))
    }

    /// Waits until so many executors are there and a receiver runs; gives its node.
    pub fn receiver_host(&self, executors: usize, life: u64) -> u64 {
        self.status("a receiver runs", |status| {
            let receiver = &status["receivers"][0];
            let there = status["executors"].as_array()?.len() == executors;
            let runs = receiver["incarnation"].as_u64()? >= life && !status["batches"].as_array()?.is_empty();
            (there && runs).then(|| receiver["on"]["node"].as_u64().unwrap())
        })
    }

    /// Flights by origin in all batches, as the driver has printed them last: it names five origins at most, which are all that
    /// [`LINES`] have. The batches that it printed make up the totals.
    pub fn printed(&self) -> BTreeMap<String, u64> {
        let (mut totals, mut all) = (BTreeMap::new(), 0);
        for line in self.driver.output().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [more, "more", "flights,", so_far, "in", "all"] = words[..] {
                all += more.parse::<u64>().unwrap();
                assert_eq!(so_far.parse::<u64>().unwrap(), all, "each batch is counted once");
                totals.clear();
                continue;
            }
            let at = words.iter().position(|word| *word == "flights").expect("a line of an origin");
            totals.insert(words[0].to_owned(), words[at - 1].parse::<u64>().unwrap());
        }
        assert_eq!(totals.values().sum::<u64>(), all, "all origins are named");
        totals
    }
}

/// What a plain loop counts.
pub fn plain(lines: u64) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for number in 0..lines {
        let line = LINES[(number % LINES.len() as u64) as usize];
        *totals.entry(line.split(',').nth(3).unwrap().to_owned()).or_default() += 1;
    }
    totals
}

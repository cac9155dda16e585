//! A feed, a driver, agents and their executors, from the first start to the comparison of the totals.

use super::{
    End, Wrong, ensure,
    feed::{Feed, FeedRate, plain},
    processes::{DEADLINE, Executor, Process, done, executors, is_alive, signal, state, until},
    program::SPILL_FROM_PERCENT,
};
use crate::oracle::{Counts, Difference};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Milliseconds between batches.
const BATCH_INTERVAL_MS: u64 = 300;
/// How long a task that adds up takes at least: long enough to be struck while it runs.
const TASK_MS: u64 = 60;
/// How much of a log is shown when something is wrong.
const LOG_BYTES_SHOWN: usize = 6_000;

/// Numbers the folders of this process.
static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rate: FeedRate,
    /// The agents.
    pub machines: Vec<Machine>,
    /// How many executors each of them has.
    pub executors_each: usize,
    /// Where the driver and the feed listen.
    pub ip: IpAddr,
    /// Where counts are saved as well.
    pub out: Option<PathBuf>,
    /// Where executors spill, with little memory and early; they need not otherwise.
    pub spill: Option<PathBuf>,
}

/// Where an agent runs.
#[derive(Clone, Debug)]
pub struct Machine {
    pub name: &'static str,
    /// Its address.
    pub ip: IpAddr,
    /// The network namespace that it runs in, if it is not ours.
    pub namespace: Option<String>,
}

impl Plan {
    /// Three agents with an executor each, on loopback.
    pub fn new(lines_per_s: u64, seconds: u64) -> Self {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let machine = |name| Machine { name, ip, namespace: None };
        let rate = FeedRate { lines_per_s, lasts: Duration::from_secs(seconds) };
        let machines = ["one", "two", "three"].map(machine).to_vec();
        Plan { rate, machines, executors_each: 1, ip, out: None, spill: None }
    }
}

/// A folder that goes with its scenario.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Result<Self, Wrong> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidemill-real-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A cluster that runs; its processes end before its folder goes.
pub struct Cluster {
    program: PathBuf,
    plan: Plan,
    feed: Feed,
    pub driver: Process,
    pub agents: BTreeMap<&'static str, Process>,
    /// Where the driver listens.
    pub address: SocketAddr,
    folder: Folder,
}

/// Two free ports of `ip`, one after the other: control and joining.
pub fn free_address(ip: IpAddr) -> Result<SocketAddr, Wrong> {
    until("two free ports", || {
        let address = UdpSocket::bind((ip, 0)).ok()?.local_addr().ok()?;
        let next = address.port().checked_add(1)?;
        UdpSocket::bind((ip, next)).ok().map(|_| address)
    })
}

/// Runs a cluster: brings it to work, lets `fault` strike, which says what has struck, and compares the totals. `via` changes the
/// address at which agents look for the driver.
pub fn play(
    program: &Path,
    plan: Plan,
    via: impl FnOnce(SocketAddr) -> Result<SocketAddr, Wrong>,
    fault: impl FnOnce(&mut Cluster) -> Result<Vec<String>, Wrong>,
) -> Result<End, Wrong> {
    let mut cluster = Cluster::start(program, plan)?;
    let played = cluster.play(via, fault);
    played.map_err(|Wrong(what)| Wrong(format!("{what}\n{}", cluster.logs())))
}

/// Agents look for the driver where it listens.
pub fn directly(driver: SocketAddr) -> Result<SocketAddr, Wrong> {
    Ok(driver)
}

impl Cluster {
    fn start(program: &Path, plan: Plan) -> Result<Self, Wrong> {
        let folder = Folder::new()?;
        done(program, &["ca", "init", &folder.text("ca")])?;
        fs::create_dir(folder.path("marks"))?;
        let feed = Feed::start(plan.ip, plan.rate)?;
        let address = free_address(plan.ip)?;
        let mut command = Command::new(program);
        command.args(["driver", "--ca", &folder.text("ca"), "--listen", &address.to_string()]);
        let executors = plan.machines.len() * plan.executors_each;
        command.args(["--executors-expected", &executors.to_string()]);
        command.args(["--batch-interval-ms", &BATCH_INTERVAL_MS.to_string()]);
        command.args([
            "--param",
            &format!("from={}", feed.address),
            "--param",
            &format!("task_ms={TASK_MS}"),
        ]);
        command.args(["--param", &format!("marks={}", folder.text("marks"))]);
        if let Some(out) = &plan.out {
            command.args(["--param", &format!("out={}", out.join("counts").display())]);
        }
        if plan.spill.is_some() {
            command.args(["--memory-mib", "1"]);
        }
        let driver = Process::start(command)?;
        let (program, agents) = (program.to_owned(), BTreeMap::new());
        Ok(Cluster { program, plan, feed, driver, agents, address, folder })
    }

    fn play(
        &mut self,
        via: impl FnOnce(SocketAddr) -> Result<SocketAddr, Wrong>,
        fault: impl FnOnce(&mut Cluster) -> Result<Vec<String>, Wrong>,
    ) -> Result<End, Wrong> {
        let driver = via(self.address)?;
        for machine in self.plan.machines.clone() {
            self.join(&machine, driver)?;
        }
        let all = self.plan.machines.len() * self.plan.executors_each;
        self.status("all executors are there", |status| {
            (status["executors"].as_array()?.len() == all).then_some(())
        })?;
        self.until("a batch is counted", || (!self.driver.output().is_empty()).then_some(()))?;
        let struck = fault(self)?;
        let lines = self.feed.end(DEADLINE)?;
        let status = until("the driver ends", || self.driver.ended())?;
        ensure(status.success(), || format!("the driver ends with {status}"))?;
        let (expected, counted) = (plain(lines), self.counted()?);
        let difference = Difference::between(&expected, &counted);
        ensure(difference.is_none(), || {
            format!("{lines} lines: {difference:?}: counted {counted:?} instead of {expected:?}")
        })?;
        Ok(End::Equal { lines, struck })
    }

    /// Starts an agent that has not joined yet.
    fn join(&mut self, machine: &Machine, driver: SocketAddr) -> Result<(), Wrong> {
        let each = self.plan.executors_each.to_string();
        let token = done(&self.program, &["ca", "token", &self.folder.text("ca"), "--executors", &each])?;
        let path = self.folder.path(&format!("{}.token", machine.name));
        fs::write(&path, token)?;
        let (driver, path) = (driver.to_string(), path.display().to_string());
        self.start_agent(machine, &["--join", &path, "--driver", &driver, "--executors", &each])
    }

    /// Starts an agent again that has joined.
    pub fn start_again(&mut self, name: &str) -> Result<(), Wrong> {
        let machine = self.plan.machines.iter().find(|machine| machine.name == name).cloned();
        let machine = machine.ok_or_else(|| Wrong::new(format!("no machine is called {name}")))?;
        self.start_agent(&machine, &[])
    }

    fn start_agent(&mut self, machine: &Machine, arguments: &[&str]) -> Result<(), Wrong> {
        let mut command = match &machine.namespace {
            None => Command::new(&self.program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.program);
                command
            }
        };
        command.arg("node").args(arguments).args(["--data", &self.folder.text(machine.name)]);
        command.args(["--slots", "1", "--listen", &machine.ip.to_string()]);
        if let Some(folder) = &self.plan.spill {
            command.arg("--spill-dir").arg(folder).env(SPILL_FROM_PERCENT, "5");
        }
        self.agents.insert(machine.name, Process::start(command)?);
        Ok(())
    }

    /// Asks until there is an answer, as long as the driver lives.
    fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T, Wrong> {
        let answered = until(what, || match ask() {
            Some(answer) => Some(Ok(answer)),
            None => (!is_alive(self.driver.pid()))
                .then(|| Err(Wrong(format!("the driver has ended before: {what}")))),
        });
        answered?
    }

    /// The status, once it is what `wanted` looks for.
    pub fn status<T>(
        &self,
        what: &str,
        wanted: impl Fn(&serde_json::Value) -> Option<T>,
    ) -> Result<T, Wrong> {
        let (ca, driver) = (self.folder.text("ca"), self.address.to_string());
        self.until(what, || {
            let text = done(&self.program, &["status", "--ca", &ca, "--driver", &driver, "--json"]).ok()?;
            serde_json::from_str(&text).ok().as_ref().and_then(&wanted)
        })
    }

    /// The executors' processes, by node.
    pub fn executors(&self) -> BTreeMap<u64, Executor> {
        executors(&self.folder.0)
    }

    /// Those of one agent.
    pub fn executors_of(&self, name: &str) -> Vec<Executor> {
        executors(&self.folder.path(name)).into_values().collect()
    }

    /// The machine on which an executor runs.
    pub fn machine_of(&self, executor: &Executor) -> Result<&'static str, Wrong> {
        let mut names = self.plan.machines.iter().map(|machine| machine.name);
        let name = names.find(|name| executor.data.starts_with(self.folder.path(name)));
        name.ok_or_else(|| Wrong(format!("{executor:?} is on no machine of this cluster")))
    }

    /// The process in which the receiver runs.
    pub fn receivers_host(&self) -> Result<Executor, Wrong> {
        self.status("a receiver runs", |status| {
            let node = status["receivers"][0]["on"]["node"].as_u64()?;
            self.executors().remove(&node)
        })
    }

    /// A process in which no receiver runs.
    pub fn another_than_the_host(&self) -> Result<Executor, Wrong> {
        let host = self.receivers_host()?.node;
        self.until("there are other executors", || {
            self.executors().into_values().find(|other| other.node != host)
        })
    }

    /// Whether a task runs in this process right now.
    fn is_marked(&self, pid: u32) -> bool {
        let prefix = format!("{pid}-");
        let entries = fs::read_dir(self.folder.path("marks")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with(&prefix))
    }

    /// Stops a process (SIGSTOP) at a moment at which it runs a task, so that whatever comes next strikes a running batch.
    pub fn stop_in_a_task(&self, executor: &Executor) -> Result<(), Wrong> {
        let pid = executor.pid;
        self.until(&format!("a task runs in the executor of node {}", executor.node), || {
            if !self.is_marked(pid) {
                return None;
            }
            signal("STOP", pid).ok()?;
            until("it is stopped", || (state(pid) == Some('T')).then_some(())).ok()?;
            if self.is_marked(pid) {
                return Some(());
            }
            signal("CONT", pid).ok()?;
            None
        })
    }

    /// Waits until a task runs in a process.
    pub fn in_a_task(&self, executor: &Executor) -> Result<(), Wrong> {
        self.until("a task runs in it", || self.is_marked(executor.pid).then_some(()))
    }

    /// Waits for a line of the driver's log with all these words.
    pub fn driver_says(&self, words: &[&str]) -> Result<(), Wrong> {
        let is_said = |line: &str| words.iter().all(|word| line.contains(word));
        self.until(&format!("the driver says {words:?}"), || {
            self.driver.log().lines().any(is_said).then_some(())
        })
    }

    /// Waits until the driver has named what went with this executor; says what.
    pub fn loss_is_named(&self, executor: &Executor) -> Result<String, Wrong> {
        let name = format!("node-{}.", executor.node);
        self.driver_says(&["an executor is gone", &name])?;
        let named = ["tasks run again", "blocks went with an executor"];
        self.until("the driver names a lost task or block", || {
            let log = self.driver.log();
            let is_of_it = |line: &&str| line.contains(&name);
            let said = |text: &&str| log.lines().filter(is_of_it).any(|line| line.contains(*text));
            named.into_iter().find(said).map(str::to_owned)
        })
    }

    /// Waits until the old process is no more and the driver has its successor, with a higher incarnation.
    pub fn is_succeeded(&self, executor: &Executor) -> Result<(), Wrong> {
        self.until("the old process ends", || (!is_alive(executor.pid)).then_some(()))?;
        self.status(&format!("node {} has a new incarnation", executor.node), |status| {
            let of = |entry: &serde_json::Value, what: &str| entry["executor"][what].as_u64();
            let living = status["executors"].as_array()?.iter();
            let mut living = living.filter(|entry| of(entry, "node") == Some(executor.node));
            living.find(|entry| of(entry, "incarnation") > Some(executor.incarnation)).map(|_| ())
        })
    }

    /// What an executor's process has said when it ended.
    pub fn last_words(&self, executor: &Executor) -> Result<String, Wrong> {
        let name = format!("executor node-{}.i{}: ", executor.node, executor.incarnation);
        self.until(&format!("{name}it says why it ends"), || {
            let logs: Vec<String> = self.agents.values().map(Process::log).collect();
            let said = logs.iter().flat_map(|log| log.lines());
            said.filter_map(|line| line.split_once(&name)).map(|(_, why)| why.to_owned()).next()
        })
    }

    /// Waits for a line of an executor's or agent's log with all these words.
    pub fn a_machine_says(&self, words: &[&str]) -> Result<(), Wrong> {
        let is_said = |line: &str| words.iter().all(|word| line.contains(word));
        self.until(&format!("a machine says {words:?}"), || {
            self.agents.values().any(|agent| agent.log().lines().any(is_said)).then_some(())
        })
    }

    /// How many batches have been counted.
    pub fn batches(&self) -> usize {
        self.driver.output().lines().count()
    }

    /// Waits until another batch is counted.
    pub fn goes_on(&self) -> Result<(), Wrong> {
        let before = self.batches();
        self.until("another batch is counted", || (self.batches() > before).then_some(()))
    }

    /// What the driver has printed of all batches. That one is printed twice is an error.
    fn counted(&self) -> Result<Counts, Wrong> {
        let (mut counts, mut times) = (Counts::new(), BTreeSet::new());
        for line in self.driver.output().lines() {
            let mut words = line.split(' ').skip(1).filter(|word| !word.is_empty());
            let time = words.next().unwrap_or_default();
            ensure(times.insert(time.to_owned()), || format!("batch {time} was counted twice"))?;
            for word in words {
                let pair = word.split_once('=').and_then(|(word, count)| Some((word, count.parse().ok()?)));
                let (word, count): (&str, u64) = pair.ok_or_else(|| Wrong(format!("no count: {line}")))?;
                *counts.entry(word.to_owned()).or_default() += count;
            }
        }
        Ok(counts)
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        let all = self.agents.iter().map(|(name, agent)| (*name, agent.log()));
        let all = std::iter::once(("driver", self.driver.log())).chain(all);
        all.map(|(name, log)| format!("--- {name}\n{}", tail(&log))).collect()
    }
}

fn tail(log: &str) -> &str {
    let from = log.len().saturating_sub(LOG_BYTES_SHOWN);
    let from = log[..from].rfind('\n').map_or(0, |at| at + 1);
    &log[from..]
}

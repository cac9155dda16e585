//! Machines that are network namespaces: each has its own addresses, its own loopback and its own folder; a bridge in a
//! namespace of its own joins them. Needs root and `ip`. Everything is taken down on drop, processes included.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    time::Duration,
};
use tidemill_protocol::world::World;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Some machines on one network.
pub struct Machines {
    hub: String,
    machines: BTreeMap<String, Machine>,
    folder: PathBuf,
}

struct Machine {
    namespace: String,
    folder: PathBuf,
    running: Vec<Child>,
}

/// Whether namespaces can be made here.
pub fn can_make_namespaces() -> bool {
    let name = format!("tm-{}-try", std::process::id());
    let made = ip(&["netns", "add", &name]);
    if made {
        ip(&["netns", "del", &name]);
    }
    made
}

fn ip(arguments: &[&str]) -> bool {
    let run = Command::new("ip").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

fn must(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("`ip` can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", arguments.join(" "));
}

impl Machines {
    /// Makes `machines` (name, address), all in one /24 network, with folders below `folder`.
    pub fn new(machines: &[(&str, &str)], folder: &Path) -> Machines {
        let id = std::process::id();
        let hub = format!("tm-{id}-hub");
        must(&["netns", "add", &hub]);
        // From here on, drop takes down what there is.
        let mut made = Machines { hub: hub.clone(), machines: BTreeMap::new(), folder: folder.to_owned() };
        must(&["-n", &hub, "link", "add", "br0", "type", "bridge"]);
        must(&["-n", &hub, "link", "set", "br0", "up"]);
        for (n, (name, address)) in machines.iter().enumerate() {
            let namespace = format!("tm-{id}-{n}");
            let (inside, outside) = ("eth0", format!("port{n}"));
            must(&["netns", "add", &namespace]);
            let folder = folder.join(name);
            fs::create_dir_all(&folder).expect("the machine's folder can be made");
            let machine = Machine { namespace: namespace.clone(), folder, running: Vec::new() };
            made.machines.insert((*name).to_owned(), machine);
            must(&[
                "-n", &hub, "link", "add", &outside, "type", "veth", "peer", "name", inside, "netns",
                &namespace,
            ]);
            must(&["-n", &hub, "link", "set", &outside, "master", "br0", "up"]);
            must(&["-n", &namespace, "link", "set", "lo", "up"]);
            must(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", inside]);
            must(&["-n", &namespace, "link", "set", inside, "up"]);
        }
        made
    }

    fn machine(&self, name: &str) -> &Machine {
        self.machines.get(name).unwrap_or_else(|| panic!("no machine is called {name}"))
    }

    /// A shell on a machine, in its folder, with `tidemill` in its path and nothing else of ours.
    fn shell(&self, name: &str, commands: &str) -> Command {
        let machine = self.machine(name);
        let program = Path::new(env!("CARGO_BIN_EXE_tidemill"));
        let beside = program.parent().expect("a program lies in a folder").display();
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &machine.namespace, "sh", "-ec", commands])
            .current_dir(&machine.folder)
            .env_clear()
            .env("PATH", format!("{beside}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"))
            .env("HOME", &machine.folder)
            .stdin(Stdio::null());
        command
    }

    /// Runs commands to their end.
    pub fn run(&self, name: &str, commands: &str) -> Output {
        self.shell(name, commands).output().expect("a shell can be started")
    }

    /// Repeats commands until they exit 0 and print `text`.
    pub fn until(&self, name: &str, commands: &str, text: &str) -> String {
        let clock = World::real().clock;
        let deadline = clock.now() + PATIENCE;
        loop {
            let output = self.run(name, commands);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && said.contains(text) {
                return said;
            }
            let wrong = String::from_utf8_lossy(&output.stderr);
            assert!(
                clock.now() < deadline,
                "{name}: `{commands}` does not print `{text}`, but:\n{said}{wrong}\n{}",
                self.logs()
            );
        }
    }

    /// Starts commands, in a process group of their own, and leaves them running.
    pub fn start(&mut self, name: &str, commands: &str) {
        let log = self.machine(name).folder.join(format!("log-{}", self.machine(name).running.len()));
        let log = File::create(log).expect("a log can be made");
        let mut shell = self.shell(name, &format!("exec {commands}"));
        shell.stdout(log.try_clone().expect("a file handle can be doubled")).stderr(log).process_group(0);
        let child = shell.spawn().expect("a shell can be started");
        self.machines.get_mut(name).expect("was found above").running.push(child);
    }

    /// Interrupts what runs on a machine, and gives its exit codes.
    pub fn stop(&mut self, name: &str) -> Vec<Option<i32>> {
        let machine = self.machines.get_mut(name).unwrap_or_else(|| panic!("no machine is called {name}"));
        let mut running = std::mem::take(&mut machine.running);
        for child in &running {
            let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "{name}: nothing runs that could be stopped"
            );
        }
        running.iter_mut().map(|child| wait(name, child).code()).collect()
    }

    /// Copies a file from one machine to another.
    pub fn carry(&self, file: &str, from: &str, to: &str) {
        let (from, to) = (self.machine(from).folder.join(file), self.machine(to).folder.join(file));
        fs::copy(&from, &to).unwrap_or_else(|error| panic!("{} cannot be carried: {error}", from.display()));
    }

    /// What the first command that was left running on a machine has printed.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.machine(name).folder.join("log-0")).expect("something ran there")
    }

    /// What everything in the background has printed.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for (name, machine) in &self.machines {
            let mut number = 0;
            while let Ok(log) = fs::read_to_string(machine.folder.join(format!("log-{number}"))) {
                all += &format!("--- {name}, {number}\n{log}");
                number += 1;
            }
        }
        all
    }
}

fn wait(name: &str, child: &mut Child) -> ExitStatus {
    let (pid, (tell, told)) = (child.id().to_string(), mpsc::sync_channel(1));
    std::thread::scope(|scope| {
        scope.spawn(move || tell.send(child.wait()));
        let ended = told.recv_timeout(PATIENCE);
        if ended.is_err() {
            // Else the thread above would be waited for as well.
            let _ = Command::new("kill").args(["-9", &pid]).status();
        }
        let status = ended.unwrap_or_else(|_| panic!("{name}: what was interrupted does not end"));
        status.expect("a child can be waited for")
    })
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in self.machines.values_mut() {
            let pids = Command::new("ip").args(["netns", "pids", &machine.namespace]).output();
            let pids =
                pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            for pid in pids.split_whitespace() {
                let _ = Command::new("kill").args(["-9", pid]).status();
            }
            for child in &mut machine.running {
                let _ = child.wait();
            }
            ip(&["netns", "del", &machine.namespace]);
        }
        ip(&["netns", "del", &self.hub]);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

//! What the kernel lends to a scenario, as root: a machine behind a link of its own, a small disk. Each is taken down on drop.

use super::{Wrong, processes::done};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

/// Numbers the places of this process.
static PLACES: AtomicU8 = AtomicU8::new(0);
/// The name of a link in its namespace.
const INSIDE: &str = "eth0";
/// An address that nobody has.
const NOBODY: &str = "02:00:00:00:00:01";

/// A network namespace, and a link from us to it.
pub struct Link {
    namespace: String,
    outside: String,
    /// Our address on the link.
    pub here: IpAddr,
    /// Its address.
    pub there: IpAddr,
}

impl Link {
    /// Makes them; none, with the reason, where that cannot be done.
    pub fn make() -> Result<Result<Self, String>, Wrong> {
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let namespace = format!("tm-real-{pid}-{number}");
        if let Err(Wrong(why)) = done("ip", &["netns", "add", &namespace]) {
            return Ok(Err(format!("a network namespace needs root and `ip`: {}", why.trim())));
        }
        let third = u8::try_from(pid % 250).unwrap_or_default();
        let first = number % 60 * 4;
        let address = |last: u8| IpAddr::V4(Ipv4Addr::new(10, 78, third, first + last));
        let outside = format!("tm{pid}r{number}");
        // From here on, drop takes down what there is.
        let link = Link { namespace, outside, here: address(1), there: address(2) };
        let (outside, inside) = (&link.outside, link.namespace.as_str());
        let (here, there) = (format!("{}/30", link.here), format!("{}/30", link.there));
        done("ip", &["link", "add", outside, "type", "veth", "peer", "name", INSIDE, "netns", inside])?;
        done("ip", &["addr", "add", &here, "dev", outside])?;
        done("ip", &["link", "set", outside, "up"])?;
        link.inside(&["addr", "add", &there, "dev", INSIDE])?;
        link.inside(&["link", "set", "lo", "up"])?;
        link.inside(&["link", "set", INSIDE, "up"])?;
        Ok(Ok(link))
    }

    /// Its name.
    pub fn namespace(&self) -> String {
        self.namespace.clone()
    }

    fn inside(&self, arguments: &[&str]) -> Result<String, Wrong> {
        done("ip", &[&["-n", &self.namespace], arguments].concat())
    }

    /// Takes the link down, on its side.
    pub fn down(&self) -> Result<(), Wrong> {
        self.inside(&["link", "set", INSIDE, "down"]).map(|_| ())
    }

    /// Takes it up again.
    pub fn up(&self) -> Result<(), Wrong> {
        self.inside(&["link", "set", INSIDE, "up"]).map(|_| ())
    }

    /// Cuts what it sends: all of that goes to nobody. What we send arrives.
    pub fn cut_its_way(&self) -> Result<(), Wrong> {
        let here = self.here.to_string();
        let wrong = ["neigh", "replace", &here, "lladdr", NOBODY, "nud", "permanent", "dev", INSIDE];
        self.inside(&wrong).map(|_| ())
    }

    /// Heals that.
    pub fn heal(&self) -> Result<(), Wrong> {
        self.inside(&["neigh", "del", &self.here.to_string(), "dev", INSIDE]).map(|_| ())
    }

    /// How many packets have gone there since the link was made.
    pub fn packets_to_there(&self) -> Result<u64, Wrong> {
        number(Path::new(&format!("/sys/class/net/{}/statistics/tx_packets", self.outside)))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Each may be missing if it could not be made.
        let _ = done("ip", &["link", "del", &self.outside]);
        let _ = done("ip", &["netns", "del", &self.namespace]);
    }
}

/// A disk in memory.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many KiB at a folder, which is made; none, with the reason, where that cannot be done.
    pub fn mount(folder: PathBuf, kib: u64) -> Result<Result<Self, String>, Wrong> {
        fs::create_dir_all(&folder)?;
        let size = format!("size={kib}k");
        match done("mount", &["-t", "tmpfs", "-o", &size, "tidemill-real", &folder.display().to_string()]) {
            Ok(_) => Ok(Ok(SmallDisk(folder))),
            Err(Wrong(why)) => Ok(Err(format!("to mount a disk needs root: {}", why.trim()))),
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Takes all space that is left.
    pub fn fill(&self) -> Result<(), Wrong> {
        let mut ballast = fs::File::create(self.0.join("ballast"))?;
        let page = [b'x'; 4_096];
        while std::io::Write::write_all(&mut ballast, &page).is_ok() {}
        Ok(())
    }

    /// Gives it back.
    pub fn empty(&self) -> Result<(), Wrong> {
        Ok(fs::remove_file(self.0.join("ballast"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that ends right now may still use it.
        let _ = done("umount", &["-l", &self.0.display().to_string()]);
    }
}

fn number(path: &Path) -> Result<u64, Wrong> {
    let text = fs::read_to_string(path).map_err(|error| Wrong(format!("{}: {error}", path.display())))?;
    text.trim().parse().map_err(|_| Wrong(format!("{}: no number: {text}", path.display())))
}

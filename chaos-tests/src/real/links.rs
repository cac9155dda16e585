//! A machine behind a link that goes down, or that passes nothing one way; and executors that reach the driver over a way that
//! loses 30 % of all datagrams, each way.

use super::{
    End, Wrong,
    cluster::{Plan, directly, free_address, play},
    ensure,
    places::Link,
    processes::{is_alive, until},
};
use crate::relay::{Relay, RelayConfig, RelayHandle};
use std::{
    cell::OnceCell,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};
use tidemill_protocol::world::World;
use tokio::sync::oneshot;

/// How long a link is broken: longer than the failure detector waits.
const BROKEN: Duration = Duration::from_secs(4);
/// The share of datagrams that is lost, each way.
const LOSS: f64 = 0.3;
/// So many are lost before the rest of the run, which suffers the same.
const LOST_MIN: u64 = 200;
/// The machine behind the link.
const FAR: &str = "three";

pub fn down(program: &Path) -> Result<End, Wrong> {
    broken(program, "link down", false, Link::down, Link::up)
}

pub fn cut_one_way(program: &Path) -> Result<End, Wrong> {
    broken(program, "link cut one way", true, Link::cut_its_way, Link::heal)
}

/// A link that breaks and heals; whether the far machine is reached meanwhile, though nobody hears of it.
fn broken(
    program: &Path,
    what: &str,
    reaches: bool,
    breaks: fn(&Link) -> Result<(), Wrong>,
    heals: fn(&Link) -> Result<(), Wrong>,
) -> Result<End, Wrong> {
    let link = match Link::make()? {
        Ok(link) => link,
        Err(why) => return Ok(End::LeftOut(why)),
    };
    let mut plan = Plan::new(5_000, 14);
    plan.ip = link.here;
    for machine in &mut plan.machines {
        machine.ip = link.here;
    }
    plan.machines[2].ip = link.there;
    plan.machines[2].namespace = Some(link.namespace());
    play(program, plan, directly, |cluster| {
        let far = cluster.executors_of(FAR);
        let [far] = &far[..] else { return Err(Wrong(format!("one executor is there, not {far:?}"))) };
        cluster.in_a_task(far)?;
        breaks(&link)?;
        let before = link.packets_to_there()?;
        let clock = World::real().clock;
        let heals_at = clock.now() + BROKEN;
        let lost = cluster.loss_is_named(far)?;
        ensure(is_alive(cluster.agents[FAR].pid()), || "its agent lives".to_owned())?;
        cluster.goes_on()?;
        until("the time is over", || (clock.now() >= heals_at).then_some(()))?;
        let reached = link.packets_to_there()? - before;
        ensure((reached > 0) == reaches, || format!("{reached} packets have reached the far machine"))?;
        heals(&link)?;
        cluster.is_succeeded(far)?;
        Ok(vec![format!("{what} for {} s ({lost})", BROKEN.as_secs())])
    })
}

pub fn loss_of_30_percent(program: &Path) -> Result<End, Wrong> {
    let between = OnceCell::new();
    let via = |driver| Ok(between.get_or_init(|| Lossy::start(driver)).as_ref()?.address);
    let relay = || -> Result<&Lossy, Wrong> {
        let started = between.get().ok_or_else(|| Wrong::new("there is no relay"))?;
        Ok(started.as_ref()?)
    };
    let mut passed_before = 0;
    let mut end = play(program, Plan::new(5_000, 8), via, |cluster| {
        let control = &relay()?.control;
        for executor in cluster.executors().values() {
            cluster.in_a_task(executor)?;
        }
        passed_before = control.counts().forwarded;
        control.lose(LOSS);
        until("enough is lost", || (control.counts().lost >= LOST_MIN).then_some(()))?;
        cluster.goes_on()?;
        Ok(Vec::new())
    })?;
    if let End::Equal { struck, .. } = &mut end {
        // It was lossy to the end.
        let counts = relay()?.control.counts();
        let percent = 100 * counts.lost / (counts.lost + counts.forwarded - passed_before).max(1);
        ensure((20..40).contains(&percent), || format!("{percent} % were lost: {counts:?}"))?;
        struck.push(format!("{} datagrams lost between executors and driver, {percent} %", counts.lost));
    }
    Ok(end)
}

/// Relays on a thread: one for control, one for joining.
struct Lossy {
    address: SocketAddr,
    control: RelayHandle,
    /// They end with it.
    _stop: oneshot::Sender<()>,
}

impl Lossy {
    fn start(driver: SocketAddr) -> Result<Self, Wrong> {
        let listen = free_address(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let (tell, told) = mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error))),
            };
            runtime.block_on(async move {
                let next = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + 1);
                let control = Relay::start(RelayConfig::sound(listen, driver)).await;
                let join = Relay::start(RelayConfig::sound(next(listen), next(driver))).await;
                match (control, join) {
                    (Ok(control), Ok(_join)) => {
                        let _ = tell.send(Ok(control.handle()));
                        // Nothing is ever sent: the other end goes.
                        let _ = stopped.await;
                    }
                    (Err(error), _) | (_, Err(error)) => drop(tell.send(Err(error))),
                }
            });
        });
        let control = told.recv().map_err(|_| Wrong::new("the relay did not start"))??;
        Ok(Lossy { address: listen, control, _stop: stop })
    }
}

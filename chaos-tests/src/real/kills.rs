//! kill -9 while a task runs: of the executor that receives, of another one, of an agent.

use super::{
    End, Wrong,
    cluster::{Cluster, Plan, directly, play},
    ensure,
    processes::{Executor, is_alive, signal, until},
};
use std::{net::IpAddr, path::Path, time::Duration};
use tidemill_protocol::world::World;

/// Within this, an agent's executors end after it.
const ORPHANS_MAX: Duration = Duration::from_secs(2);

/// What a kill is to leave counted exactly, at least.
const LINES_MIN: u64 = 500_000;

/// More than [`LINES_MIN`] are due: what a receiver cannot take in time is not written.
fn half_a_million_lines() -> Plan {
    Plan::new(50_000, 15)
}

/// An end with fewer lines shows less than it says.
fn of_half_a_million(end: End) -> Result<End, Wrong> {
    match end {
        End::Equal { lines, .. } if lines < LINES_MIN => {
            Err(Wrong(format!("only {lines} lines were written, not {LINES_MIN}: this machine is too slow")))
        }
        end => Ok(end),
    }
}

pub fn of_the_receivers_executor(program: &Path) -> Result<End, Wrong> {
    play(program, half_a_million_lines(), directly, |cluster| {
        let host = cluster.receivers_host()?;
        let struck = kill(cluster, &host)?;
        cluster.driver_says(&["a receiver has ended and will be started again"])?;
        Ok(vec![format!("kill -9 of the receiver's executor ({struck})")])
    })
    .and_then(of_half_a_million)
}

pub fn of_another_executor(program: &Path) -> Result<End, Wrong> {
    play(program, half_a_million_lines(), directly, |cluster| {
        let other = cluster.another_than_the_host()?;
        Ok(vec![format!("kill -9 of another executor ({})", kill(cluster, &other)?)])
    })
    .and_then(of_half_a_million)
}

/// Kills an executor while it runs a task; what the driver says that went with it.
fn kill(cluster: &Cluster, executor: &Executor) -> Result<String, Wrong> {
    cluster.stop_in_a_task(executor)?;
    signal("KILL", executor.pid)?;
    let lost = cluster.loss_is_named(executor)?;
    cluster.is_succeeded(executor)?;
    Ok(lost)
}

pub fn of_an_agent(program: &Path) -> Result<End, Wrong> {
    let mut plan = Plan::new(5_000, 12);
    plan.machines.truncate(2);
    plan.executors_each = 2;
    // Copies are put on another machine, which is known by its address.
    for (machine, last) in plan.machines.iter_mut().zip(2..) {
        machine.ip = IpAddr::from([127, 0, 0, last]);
    }
    play(program, plan, directly, |cluster| {
        // The worst machine to lose: with it goes the receiver, and a copy of all that is not released.
        let name = cluster.machine_of(&cluster.receivers_host()?)?;
        let mine = cluster.executors_of(name);
        ensure(mine.len() == 2, || format!("two executors, not {mine:?}"))?;
        let agent = cluster.agents.get(name).map_or(0, |agent| agent.pid());
        // One is held until its agent is dead, so that it is sure to be in a task then.
        cluster.stop_in_a_task(&mine[0])?;
        let clock = World::real().clock;
        let began = clock.now();
        signal("KILL", agent)?;
        until("the agent is dead", || (!is_alive(agent)).then_some(()))?;
        // The kernel may have been faster: it hangs up on a stopped process whose parent is gone.
        let _ = signal("CONT", mine[0].pid);
        let gone = || mine.iter().all(|executor| !is_alive(executor.pid)).then_some(());
        until("its executors are gone", gone)?;
        let took = clock.now().since(began);
        ensure(took <= ORPHANS_MAX, || format!("executors lived {took:?} longer than their agent"))?;
        ensure(cluster.executors_of(name).is_empty(), || "an executor is an orphan".to_owned())?;
        for executor in &mine {
            cluster.driver_says(&["an executor is gone", &format!("node-{}.", executor.node)])?;
        }
        cluster.driver_says(&["a receiver has ended and will be started again"])?;
        cluster.start_again(name)?;
        for executor in &mine {
            cluster.is_succeeded(executor)?;
        }
        Ok(vec![format!(
            "kill -9 of the agent of the receiver's machine; its executors ended after {} ms",
            took.as_millis()
        )])
    })
}

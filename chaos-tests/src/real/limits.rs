//! Limits of the kernel on the executor that receives: of its memory, and of its processor time.

use super::{
    End, Wrong,
    cluster::{Plan, directly, play},
    groups::{Controller, Group},
    processes::{is_alive, until},
};
use std::path::Path;

/// What a process that runs may take beyond what it has: less than the batches of a second bring.
const MEMORY_BYTES_MAX: u64 = 256 << 10;
/// So little that the kernel has to end whoever touches fresh memory.
const MEMORY_BYTES_OF_NONE: u64 = 16 << 10;
/// Microseconds of processor time in each 100 ms.
const QUOTA_US: u64 = 5_000;
/// So often it is held up by that at least.
const HELD_UP_MIN: u64 = 5;

pub fn memory(program: &Path) -> Result<End, Wrong> {
    let group = match Group::make(Controller::Memory) {
        Ok(group) => group,
        Err(why) => return Ok(End::LeftOut(why)),
    };
    group.limit_memory(MEMORY_BYTES_MAX)?;
    play(program, Plan::new(20_000, 10), directly, |cluster| {
        let host = cluster.receivers_host()?;
        cluster.in_a_task(&host)?;
        group.take(host.pid)?;
        let struck =
            until("it wants more than it may have", || group.memory_hits().ok().filter(|times| *times > 0))?;
        cluster.goes_on()?;
        let is_killed = !is_alive(host.pid);
        if is_killed {
            cluster.driver_says(&["an executor is gone", &format!("node-{}.", host.node)])?;
            cluster.is_succeeded(&host)?;
        }
        let then = if is_killed { "; the kernel ended it, and it was started again" } else { "" };
        Ok(vec![format!("a limit of memory was hit {struck} times{then}")])
    })
}

/// The kernel's last means: it is seen to end the executor, which is started again.
pub fn memory_kill(program: &Path) -> Result<End, Wrong> {
    let group = match Group::make(Controller::Memory) {
        Ok(group) => group,
        Err(why) => return Ok(End::LeftOut(why)),
    };
    group.limit_memory(MEMORY_BYTES_OF_NONE)?;
    play(program, Plan::new(20_000, 10), directly, |cluster| {
        let host = cluster.receivers_host()?;
        cluster.in_a_task(&host)?;
        group.take(host.pid)?;
        let killed = || group.memory_kills().ok().filter(|times| *times > 0);
        let struck = until("the kernel ends it for want of memory", killed)?;
        until("it is gone", || (!is_alive(host.pid)).then_some(()))?;
        cluster.driver_says(&["an executor is gone", &format!("node-{}.", host.node)])?;
        cluster.driver_says(&["a receiver has ended and will be started again"])?;
        cluster.is_succeeded(&host)?;
        cluster.goes_on()?;
        Ok(vec![format!("the kernel ended the receiver's executor for want of memory ({struck} times)")])
    })
}

pub fn cpu(program: &Path) -> Result<End, Wrong> {
    let group = match Group::make(Controller::Cpu) {
        Ok(group) => group,
        Err(why) => return Ok(End::LeftOut(why)),
    };
    group.limit_cpu(QUOTA_US)?;
    play(program, Plan::new(20_000, 10), directly, |cluster| {
        let host = cluster.receivers_host()?;
        cluster.in_a_task(&host)?;
        group.take(host.pid)?;
        // So slow it may be thought dead before it was held up often.
        let held = || {
            let enough = |times: &u64| *times >= HELD_UP_MIN || (*times > 0 && !is_alive(host.pid));
            group.held_up().ok().filter(enough)
        };
        let struck = until("it is held up", held)?;
        let is_dead = !is_alive(host.pid);
        cluster.goes_on()?;
        if is_dead {
            cluster.driver_says(&["an executor is gone", &format!("node-{}.", host.node)])?;
            cluster.is_succeeded(&host)?;
        }
        let then = if is_dead { "; it was thought dead, and was started again" } else { "" };
        Ok(vec![format!("held up {struck} times by a quota of processor time{then}")])
    })
}

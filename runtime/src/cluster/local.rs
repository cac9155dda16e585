//! Plumbing inside one process: messages are handed over, data change hands by `Arc`.

use super::{
    inbox::DriverInbox,
    plumbing::{Connected, Die, End, Hears, Order, Plumbing, Uplink},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tidemill_actors::{
    block_store::BlockStore,
    node::{LinkId, Links},
    scheduler::TellExecutors,
    supervision::Address,
    transport::LocalTransport,
};
use tidemill_protocol::{
    id::Member,
    message::{PeerInfo, ToDriver, ToExecutor},
};

/// The executors of this process.
#[derive(Clone)]
pub(crate) struct LocalPlumbing(Arc<Shared>);

struct Shared {
    transport: LocalTransport,
    inbox: Arc<DriverInbox>,
    lines: Mutex<BTreeMap<Member, Line>>,
}

struct Line {
    link: LinkId,
    orders: Address<Order>,
    die: Address<Die>,
    alive: Arc<AtomicBool>,
}

impl LocalPlumbing {
    pub(crate) fn new(transport: LocalTransport, inbox: Arc<DriverInbox>) -> Self {
        LocalPlumbing(Arc::new(Shared { transport, inbox, lines: Mutex::default() }))
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<Member, Line>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plumbing for LocalPlumbing {
    fn connect(
        &self,
        member: Member,
        store: &BlockStore,
        Hears { orders, ear, die }: Hears,
    ) -> Result<Connected, String> {
        self.0.transport.register(member, store.clone()).map_err(|error| error.to_string())?;
        self.0.transport.listen(member, ear);
        let (link, alive) = (self.0.inbox.new_link(), Arc::new(AtomicBool::new(true)));
        self.lines().insert(member, Line { link, orders, die, alive: alive.clone() });
        Ok(Connected {
            uplink: Arc::new(LocalUplink { link, member, alive, inbox: self.0.inbox.clone() }),
            transport: Arc::new(self.0.transport.clone()),
            bulk_address: None,
        })
    }

    fn peers(&self, _member: Member, _peers: &[PeerInfo]) {}

    fn disconnect(&self, member: Member) {
        let line = self.lines().remove(&member);
        if let Some(line) = line {
            line.alive.store(false, Ordering::SeqCst);
            self.0.transport.unregister(member);
            self.0.inbox.lost(line.link);
        }
    }
}

impl TellExecutors for LocalPlumbing {
    fn tell(&self, to: Member, message: ToExecutor) {
        let line = self.lines().get(&to).map(|line| (line.orders.clone(), line.die.clone()));
        let Some((orders, die)) = line else { return };
        if orders.tell_control(Order { to, message }).is_err() {
            // An agent that does not read its orders is as good as dead; the failure detector would say so later.
            tracing::error!(executor = %to, "an executor does not take its orders: it is taken for lost");
            self.disconnect(to);
            die.end("it did not take its orders".to_owned());
        }
    }
}

impl Links for LocalPlumbing {
    fn bind(&self, _member: Member, _link: LinkId) {}

    fn tell(&self, to: Member, message: ToExecutor) {
        TellExecutors::tell(self, to, message);
    }

    fn close(&self, link: LinkId, reason: &str) {
        let line = self.lines().values().find(|line| line.link == link).map(|line| line.die.clone());
        if let Some(die) = line {
            die.end(reason.to_owned());
        }
    }
}

struct LocalUplink {
    link: LinkId,
    member: Member,
    alive: Arc<AtomicBool>,
    inbox: Arc<DriverInbox>,
}

impl Uplink for LocalUplink {
    fn tell(&self, message: ToDriver) {
        if self.alive.load(Ordering::SeqCst) {
            self.inbox.deliver(self.link, self.member, message);
        }
    }
}

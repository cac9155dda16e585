//! Being interrupted: by Ctrl-C or a termination signal, or by whoever holds the handle.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
    mpsc,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

type Callback = Box<dyn FnOnce() + Send>;

/// A request to end early; cloning gives another handle to the same request.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Default)]
struct Inner {
    struck: AtomicBool,
    callbacks: Mutex<Vec<Callback>>,
}

impl Interrupt {
    /// One that strikes only when [`strike`](Self::strike) is called.
    pub fn never() -> Self {
        Interrupt::default()
    }

    /// One that strikes on SIGINT or SIGTERM, from now on. A second signal ends the process at once.
    pub fn on_signals() -> Self {
        let interrupt = Interrupt::default();
        let strike = interrupt.clone();
        let (ready, listening) = mpsc::sync_channel(1);
        let listen = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let Ok(mut signals) = Signals::listen() else { return };
                // The other end is there: it waits for this.
                let _ = ready.send(());
                signals.next().await;
                strike.strike();
                signals.next().await;
                std::process::exit(i32::from(super::EXIT_INTERRUPTED));
            });
        };
        // Without the thread the signals keep their default effect, which is to end the process.
        let _ = std::thread::Builder::new().name("tidemill-signals".into()).spawn(listen);
        let _ = listening.recv();
        interrupt
    }

    /// Whether it has struck.
    pub fn struck(&self) -> bool {
        self.0.struck.load(Ordering::SeqCst)
    }

    /// Strikes: runs what was registered.
    pub fn strike(&self) {
        self.0.struck.store(true, Ordering::SeqCst);
        let callbacks = std::mem::take(&mut *self.0.callbacks.lock().unwrap_or_else(PoisonError::into_inner));
        callbacks.into_iter().for_each(|callback| callback());
    }

    /// Registers what to do when it strikes; at once if it has.
    pub fn call(&self, callback: impl FnOnce() + Send + 'static) {
        let mut callbacks = self.0.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.struck() {
            drop(callbacks);
            callback();
        } else {
            callbacks.push(Box::new(callback));
        }
    }
}

/// SIGINT and SIGTERM, caught as long as the process lives.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Signals { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_late_runs_at_once() {
        let interrupt = Interrupt::never();
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let add = |n: u32| {
            let count = count.clone();
            move || {
                count.fetch_add(n, Ordering::SeqCst);
            }
        };
        interrupt.call(add(1));
        assert_eq!(count.load(Ordering::SeqCst), 0);
        interrupt.strike();
        interrupt.call(add(10));
        assert_eq!(count.load(Ordering::SeqCst), 11);
    }
}

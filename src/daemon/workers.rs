//! All workers: starts them, sends them commands, and notices when one ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::{mpsc, oneshot};

use super::worker::{self, Command};
use crate::config::ListenScheme;
use crate::message::rpc::Rpc;
use crate::net::conn_limit::ConnLimit;
use crate::net::listen::{Bound, ListenSocket};
use crate::proxy::generation::Generation;
use crate::proxy::worker::Worker;
use crate::server::local::RenderHandle;
use crate::telemetry::counters::WorkerCounters;

/// The workers of the data plane.
pub struct Workers {
    commands: Vec<mpsc::UnboundedSender<Command>>,
    notifier: WorkerNotifier,
    /// The counters of each worker.
    pub counters: Vec<Arc<WorkerCounters>>,
    /// The limit on client connections, shared by all workers.
    pub conn_limit: ConnLimit,
    /// Listeners to open on [`release`](Self::release); `None` when they are opened at once.
    held: Option<Vec<(u64, Vec<ListenSocket>, ListenScheme)>>,
    ended: mpsc::UnboundedReceiver<usize>,
}

/// Sends commands to the workers. The flag of each is true while a recheck is queued.
#[derive(Clone)]
pub struct WorkerNotifier(Vec<(mpsc::UnboundedSender<Command>, Arc<AtomicBool>)>);

impl WorkerNotifier {
    /// Makes every worker check the newest generation and the health of its endpoints. Calls that
    /// come before a worker has got to it are merged into one.
    pub fn recheck(&self) {
        for (commands, called) in &self.0 {
            if !called.swap(true, AcqRel) {
                // A worker that has ended is reported by its exit guard.
                let _ = commands.send(Command::Recheck(called.clone()));
            }
        }
    }

    /// Makes every worker close client connections that have been idle for at least this long.
    pub fn shed(&self, idle: Duration) {
        for (commands, _) in &self.0 {
            let _ = commands.send(Command::Shed(idle));
        }
    }

    /// Waits until every worker has answered, without a time limit. Returns false when one has
    /// ended.
    pub fn ping_all(&self) -> impl Future<Output = bool> + use<> {
        let answers: Vec<_> = self
            .0
            .iter()
            .map(|(commands, _)| {
                let (answer, answered) = oneshot::channel();
                let _ = commands.send(Command::Ping(answer));
                answered
            })
            .collect();
        async move {
            for answered in answers {
                if answered.await.is_err() {
                    return false;
                }
            }
            true
        }
    }

    /// Makes a notifier for workers that a test plays.
    #[cfg(test)]
    pub(super) fn of(commands: Vec<mpsc::UnboundedSender<Command>>) -> Self {
        Self(commands.into_iter().map(|commands| (commands, Arc::default())).collect())
    }
}

impl Workers {
    /// Starts `count` workers that follow `newest`.
    ///
    /// # Errors
    /// When a thread cannot be created.
    pub fn start(
        count: usize,
        newest: &Arc<ArcSwap<Generation>>,
        pages: &RenderHandle,
    ) -> std::io::Result<Self> {
        let (ended_sender, ended) = mpsc::unbounded_channel();
        let (hop, conn_limit) = (hop_mark(), ConnLimit::default());
        let (commands, counters, held) = (Vec::new(), Vec::new(), None);
        let notifier = WorkerNotifier(Vec::new());
        let mut workers =
            Self { commands, notifier, counters, held, ended, conn_limit: conn_limit.clone() };
        for number in 0..count {
            let counters = Arc::new(WorkerCounters::new(Rpc::COUNT));
            let (commands, received) = mpsc::unbounded_channel();
            let make = {
                let (newest, counters, hop) = (newest.clone(), counters.clone(), hop.clone());
                move || Worker::new(number, newest, counters, hop)
            };
            let common = (pages.clone(), conn_limit.clone());
            worker::start(number, make, common, received, ended_sender.clone())?;
            workers.notifier.0.push((commands.clone(), Arc::default()));
            workers.commands.push(commands);
            workers.counters.push(counters);
        }
        Ok(workers)
    }

    /// Gives each worker its socket of a listener, which is known as `number` from then on. When
    /// there are more sockets than workers, as after a run with more of them, some workers get
    /// several, so that every queue is served.
    pub fn open(&mut self, number: u64, bound: &mut Bound, scheme: ListenScheme) {
        let sockets = bound.take_sockets();
        match &mut self.held {
            Some(held) => held.push((number, sockets, scheme)),
            None => self.hand_out(number, sockets, scheme),
        }
    }

    fn hand_out(&self, number: u64, sockets: Vec<ListenSocket>, scheme: ListenScheme) {
        for (commands, socket) in self.commands.iter().cycle().zip(sockets) {
            let _ = commands.send(Command::Open(number, socket, scheme));
        }
    }

    /// Leaves clients in the kernel's queues until [`release`](Self::release). Clients that waited
    /// through a restart are not to get an error moments before there are members to serve them.
    pub fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Whether listeners are being held back.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Opens the listeners that were held; later ones are opened at once.
    pub fn release(&mut self) {
        for (number, sockets, scheme) in self.held.take().unwrap_or_default() {
            self.hand_out(number, sockets, scheme);
        }
    }

    /// Sets the scheme of new connections of a listener.
    pub fn set_scheme(&self, number: u64, scheme: ListenScheme) {
        self.tell_all(|| Command::SetScheme(number, scheme));
    }

    /// Closes a listener on every worker.
    pub fn close(&self, number: u64) {
        self.tell_all(|| Command::Close(number));
    }

    /// Returns a handle that notifies the workers of an endpoint's changed health, even while the
    /// control plane is busy with a reload.
    pub fn notifier(&self) -> WorkerNotifier {
        self.notifier.clone()
    }

    /// Makes every worker check the newest generation and the health of its endpoints.
    pub fn recheck(&self) {
        self.notifier.recheck();
    }

    /// Makes every worker finish within `limit` and end.
    pub fn drain(&self, limit: Duration) {
        self.tell_all(|| Command::Drain(limit));
    }

    /// Waits until a worker ends. Returns its number.
    pub async fn one_ended(&mut self) -> usize {
        match self.ended.recv().await {
            Some(number) => number,
            // Every worker has ended and was reported.
            None => std::future::pending().await,
        }
    }

    /// Waits until all workers have ended.
    pub async fn all_ended(&mut self) {
        while self.ended.recv().await.is_some() {}
    }

    /// Waits until every worker has answered; see [`WorkerNotifier::ping_all`].
    pub fn ping_all(&self) -> impl Future<Output = bool> + use<> {
        self.notifier.ping_all()
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for commands in &self.commands {
            // A worker that has ended is reported by its exit guard.
            let _ = commands.send(command());
        }
    }
}

/// Returns the mark that this process adds to requests. It is random, so that no other process on
/// any host has the same.
fn hop_mark() -> HeaderValue {
    let mark = format!("{:016x}", fastrand::u64(..));
    HeaderValue::try_from(mark).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

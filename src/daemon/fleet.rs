//! All workers: started together, given orders together, watched for life.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::{mpsc, oneshot};

use super::worker::{self, Order};
use crate::config::ListenScheme;
use crate::message::rpc::Rpc;
use crate::net::crowd::Crowd;
use crate::net::listen::{Bound, ListenSocket};
use crate::proxy::generation::Generation;
use crate::proxy::worker::Worker;
use crate::server::local::Pages;
use crate::telemetry::tally::Tally;

/// The workers of the data plane.
pub struct Fleet {
    orders: Vec<mpsc::UnboundedSender<Order>>,
    caller: Caller,
    /// Counters, one for each worker.
    pub tallies: Vec<Arc<Tally>>,
    /// The clients of all workers.
    pub crowd: Crowd,
    /// Listeners that are to open later.
    held: Option<Vec<(u64, Vec<ListenSocket>, ListenScheme)>>,
    ended: mpsc::UnboundedReceiver<usize>,
}

/// Calls the workers, each with a mark that it has been called and has not looked yet.
#[derive(Clone)]
pub struct Caller(Vec<(mpsc::UnboundedSender<Order>, Arc<AtomicBool>)>);

impl Caller {
    /// Has every worker look at the newest generation and at the health of its endpoints: once,
    /// however often it was called until it does.
    pub fn look(&self) {
        for (orders, called) in &self.0 {
            if !called.swap(true, AcqRel) {
                // A worker that has ended is reported by its farewell.
                let _ = orders.send(Order::Look(called.clone()));
            }
        }
    }

    /// Has every worker close client connections that have been idle for so long.
    pub fn shed(&self, idle: Duration) {
        for (orders, _) in &self.0 {
            let _ = orders.send(Order::Shed(idle));
        }
    }

    /// Waits until every worker has answered, however long that takes. False when one has ended.
    pub fn all_answer(&self) -> impl Future<Output = bool> + use<> {
        let answers: Vec<_> = self
            .0
            .iter()
            .map(|(orders, _)| {
                let (answer, answered) = oneshot::channel();
                let _ = orders.send(Order::Answer(answer));
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

    /// Calls workers that a test plays.
    #[cfg(test)]
    pub(super) fn of(orders: Vec<mpsc::UnboundedSender<Order>>) -> Self {
        Self(orders.into_iter().map(|orders| (orders, Arc::default())).collect())
    }
}

impl Fleet {
    /// Starts `count` workers that follow `newest`.
    ///
    /// # Errors
    /// When a thread cannot be had.
    pub fn start(
        count: usize,
        newest: &Arc<ArcSwap<Generation>>,
        pages: &Pages,
    ) -> std::io::Result<Self> {
        let (ended_sender, ended) = mpsc::unbounded_channel();
        let (hop, crowd) = (hop_mark(), Crowd::default());
        let (orders, tallies, held) = (Vec::new(), Vec::new(), None);
        let caller = Caller(Vec::new());
        let mut fleet = Self { orders, caller, tallies, held, ended, crowd: crowd.clone() };
        for number in 0..count {
            let tally = Arc::new(Tally::new(Rpc::COUNT));
            let (orders, received) = mpsc::unbounded_channel();
            let make = {
                let (newest, tally, hop) = (newest.clone(), tally.clone(), hop.clone());
                move || Worker::new(number, newest, tally, hop)
            };
            let common = (pages.clone(), crowd.clone());
            worker::start(number, make, common, received, ended_sender.clone())?;
            fleet.caller.0.push((orders.clone(), Arc::default()));
            fleet.orders.push(orders);
            fleet.tallies.push(tally);
        }
        Ok(fleet)
    }

    /// Gives each worker its socket of a listener that is known as `number` from then on; sockets
    /// of a run that had more workers go round, so that none is left unread.
    pub fn open(&mut self, number: u64, bound: &mut Bound, scheme: ListenScheme) {
        let sockets = bound.take_sockets();
        match &mut self.held {
            Some(held) => held.push((number, sockets, scheme)),
            None => self.hand_out(number, sockets, scheme),
        }
    }

    fn hand_out(&self, number: u64, sockets: Vec<ListenSocket>, scheme: ListenScheme) {
        for (orders, socket) in self.orders.iter().cycle().zip(sockets) {
            let _ = orders.send(Order::Open(number, socket, scheme));
        }
    }

    /// Leaves clients in the kernel's queues until [`release`](Self::release): those that a restart
    /// has kept waiting shall not be told that nothing is there a moment before it is.
    pub fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Whether clients are kept waiting.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Opens what was held, and from now on opens at once.
    pub fn release(&mut self) {
        for (number, sockets, scheme) in self.held.take().unwrap_or_default() {
            self.hand_out(number, sockets, scheme);
        }
    }

    /// Has new connections of a listener speak this.
    pub fn speak(&self, number: u64, scheme: ListenScheme) {
        self.tell_all(|| Order::Speak(number, scheme));
    }

    /// Closes a listener on every worker.
    pub fn close(&self, number: u64) {
        self.tell_all(|| Order::Close(number));
    }

    /// What calls the workers when an endpoint's health has changed, also while the control plane
    /// is busy with a reload.
    pub fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// Has every worker look at the newest generation and at the health of its endpoints.
    pub fn look(&self) {
        self.caller.look();
    }

    /// Has every worker finish within `limit` and end.
    pub fn drain(&self, limit: Duration) {
        self.tell_all(|| Order::Drain(limit));
    }

    /// Waits until a worker ends. Returns its number.
    pub async fn one_ended(&mut self) -> usize {
        match self.ended.recv().await {
            Some(number) => number,
            // Every worker has ended before and said so.
            None => std::future::pending().await,
        }
    }

    /// Waits until all workers have ended.
    pub async fn all_ended(&mut self) {
        while self.ended.recv().await.is_some() {}
    }

    /// Waits until every worker has answered, however long that takes.
    pub fn all_answer(&self) -> impl Future<Output = bool> + use<> {
        self.caller.all_answer()
    }

    fn tell_all(&self, order: impl Fn() -> Order) {
        for orders in &self.orders {
            // A worker that has ended is reported by its farewell.
            let _ = orders.send(order());
        }
    }
}

/// What this process marks requests with: random, so that no other process on any host has the
/// same.
fn hop_mark() -> HeaderValue {
    let mark = format!("{:016x}", fastrand::u64(..));
    HeaderValue::try_from(mark).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

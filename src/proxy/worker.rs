//! What serving requests needs of the worker thread that does it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::Notify;

use super::generation::Generation;
use crate::telemetry::counters::WorkerCounters;
use crate::upstream::worker_endpoint::WorkerEndpoint;

/// A generation as one worker serves it: with the worker's own endpoints, in the generation's
/// order.
pub struct WorkerGeneration {
    /// The generation.
    pub generation: Arc<Generation>,
    /// One of this worker's own for each of its endpoints.
    pub upstreams: Vec<Rc<WorkerEndpoint>>,
}

/// The state of one data-plane thread.
pub struct Worker {
    /// Its number, from 0.
    pub number: usize,
    /// Its counters.
    pub counters: Arc<WorkerCounters>,
    /// The mark that this process leaves on requests, by which it knows them if they come back.
    pub hop: HeaderValue,
    newest: Arc<ArcSwap<Generation>>,
    current: RefCell<Rc<WorkerGeneration>>,
    /// Bytes of requests that are held to be inspected.
    inspected: Cell<usize>,
    /// Exchanges that end by themselves in a while: all but long streams.
    drainable: Cell<usize>,
    drainable_ended: Notify,
    /// Wakes every exchange that waits, to look whether it still should: its member may have gone
    /// silent, or draining may be over. One for all, since both are rare and each registration
    /// costs every request.
    recheck: Arc<Notify>,
    is_ending: Cell<bool>,
}

impl Worker {
    /// Makes the state of worker `number`, which follows `newest`.
    pub fn new(
        number: usize,
        newest: Arc<ArcSwap<Generation>>,
        counters: Arc<WorkerCounters>,
        hop: HeaderValue,
    ) -> Self {
        let recheck = Arc::new(Notify::new());
        let current = WorkerGeneration::new(number, newest.load_full(), &[], &recheck);
        Self {
            number,
            counters,
            hop,
            newest,
            current: RefCell::new(Rc::new(current)),
            inspected: Cell::new(0),
            drainable: Cell::new(0),
            drainable_ended: Notify::new(),
            recheck,
            is_ending: Cell::new(false),
        }
    }

    /// Returns the newest generation with this worker's endpoints.
    ///
    /// When nothing was published since the last call this compares two pointers and counts one
    /// reference.
    pub fn current(&self) -> Rc<WorkerGeneration> {
        let newest = self.newest.load();
        let current = self.current.borrow();
        if Arc::ptr_eq(&newest, &current.generation) {
            return current.clone();
        }
        drop(current);
        self.renew(Arc::clone(&newest))
    }

    fn renew(&self, generation: Arc<Generation>) -> Rc<WorkerGeneration> {
        let old = self.current.borrow().clone();
        let current =
            Rc::new(WorkerGeneration::new(self.number, generation, &old.upstreams, &self.recheck));
        self.current.replace(current.clone());
        let stays: HashSet<*const WorkerEndpoint> =
            current.upstreams.iter().map(Rc::as_ptr).collect();
        for gone in old.upstreams.iter().filter(|old| !stays.contains(&Rc::as_ptr(old))) {
            gone.retire();
        }
        current
    }

    /// Interrupts what waits for endpoints that have gone silent.
    pub fn interrupt_lost(&self) {
        if self.current().upstreams.iter().any(|upstream| upstream.is_lost()) {
            self.recheck.notify_waiters();
        }
    }

    /// Closes connections to members that nobody needs.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.current().upstreams.iter().for_each(|upstream| upstream.sweep(now));
    }

    /// Closes all connections to members that nobody uses now: memory is short.
    pub fn close_idle(&self) {
        self.current().upstreams.iter().for_each(|upstream| upstream.close_idle());
    }

    /// Bytes of requests that this worker holds to inspect them.
    pub fn inspected(&self) -> &Cell<usize> {
        &self.inspected
    }

    /// Counts an exchange that begins and is not a long stream.
    pub fn begin_drainable(&self) {
        self.drainable.set(self.drainable.get() + 1);
    }

    /// Counts an exchange out that [`Worker::begin_drainable`] counted in.
    pub fn end_drainable(&self) {
        self.drainable.set(self.drainable.get().saturating_sub(1));
        if self.drainable.get() == 0 {
            self.drainable_ended.notify_waiters();
        }
    }

    /// Waits until nothing but long streams is open. New requests may begin meanwhile; the caller
    /// keeps them out.
    pub async fn only_streams_left(&self) {
        while self.drainable.get() > 0 {
            self.drainable_ended.notified().await;
        }
    }

    /// Wakes when an exchange should check whether it may still wait.
    pub fn recheck(&self) -> &Arc<Notify> {
        &self.recheck
    }

    /// Whether draining is over, so that nothing new may wait.
    pub fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// Ends every open exchange: the time for draining is over.
    pub fn end_exchanges(&self) {
        self.is_ending.set(true);
        self.recheck.notify_waiters();
    }
}

impl WorkerGeneration {
    fn new(
        worker: usize,
        generation: Arc<Generation>,
        earlier: &[Rc<WorkerEndpoint>],
        recheck: &Arc<Notify>,
    ) -> Self {
        let earlier: HashMap<_, _> =
            earlier.iter().map(|upstream| (Arc::as_ptr(&upstream.endpoint), upstream)).collect();
        let upstreams = generation.endpoints.iter().map(|endpoint| {
            let same = earlier.get(&Arc::as_ptr(endpoint)).copied().cloned();
            let upstream = same.unwrap_or_else(|| {
                Rc::new(WorkerEndpoint::new(
                    endpoint.clone(),
                    worker,
                    generation.timeouts,
                    recheck.clone(),
                ))
            });
            upstream.set_timeouts(generation.timeouts);
            upstream.set_connector(generation.connector.as_ref());
            upstream.on_demand().set(generation.health_interval, generation.health_timeout);
            upstream
        });
        let upstreams = upstreams.collect();
        Self { generation, upstreams }
    }
}

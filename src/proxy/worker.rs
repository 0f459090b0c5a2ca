//! The state of a worker thread that serving requests needs.

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

/// A generation as one worker serves it: with that worker's own state of each endpoint, in the
/// generation's order.
pub struct WorkerGeneration {
    /// The generation that is served.
    pub generation: Arc<Generation>,
    /// The worker's state of each endpoint, in the generation's order.
    pub upstreams: Vec<Rc<WorkerEndpoint>>,
}

/// The state of one data-plane thread.
pub struct Worker {
    /// The worker's number, from 0.
    pub number: usize,
    /// The counters that only this worker adds to.
    pub counters: Arc<WorkerCounters>,
    /// The mark that this process leaves on requests, to recognise them if they loop back.
    pub hop: HeaderValue,
    newest: Arc<ArcSwap<Generation>>,
    current: RefCell<Rc<WorkerGeneration>>,
    /// Bytes of requests that readonly holds for inspection.
    inspected: Cell<usize>,
    /// Number of exchanges that draining waits for: all but long streams.
    drainable: Cell<usize>,
    drainable_ended: Notify,
    /// Wakes every waiting exchange, to check whether it should go on: its member may have gone
    /// silent, or draining may be over. One signal for all, since both are rare and each
    /// registration costs every request.
    recheck: Arc<Notify>,
    /// Notified of each connection to a member.
    dialled: Rc<Notify>,
    is_ending: Cell<bool>,
}

impl Worker {
    /// Creates the state of worker `number`, which follows `newest`.
    pub fn new(
        number: usize,
        newest: Arc<ArcSwap<Generation>>,
        counters: Arc<WorkerCounters>,
        hop: HeaderValue,
    ) -> Self {
        let recheck = Arc::new(Notify::new());
        let dialled = Rc::<Notify>::default();
        let current = WorkerGeneration::new(number, newest.load_full(), &[], &recheck, &dialled);
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
            dialled,
            is_ending: Cell::new(false),
        }
    }

    /// Returns the newest generation with this worker's endpoints.
    ///
    /// When nothing was published since the last call, this compares two pointers and adds one
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
        let current = Rc::new(WorkerGeneration::new(
            self.number,
            generation,
            &old.upstreams,
            &self.recheck,
            &self.dialled,
        ));
        self.current.replace(current.clone());
        let stays: HashSet<*const WorkerEndpoint> =
            current.upstreams.iter().map(Rc::as_ptr).collect();
        for gone in old.upstreams.iter().filter(|old| !stays.contains(&Rc::as_ptr(old))) {
            gone.retire();
        }
        current
    }

    /// Wakes the waiting exchanges if an endpoint has gone silent, has lost its quorum or is no
    /// longer listed.
    pub fn interrupt_lost(&self) {
        let is_in_doubt = |upstream: &Rc<WorkerEndpoint>| {
            upstream.is_lost() || upstream.endpoint.no_quorum.is_on()
        };
        if self.current().upstreams.iter().any(is_in_doubt) {
            self.recheck.notify_waiters();
        }
    }

    /// Closes connections to members that are idle for too long or that their member has closed.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.current().upstreams.iter().for_each(|upstream| upstream.sweep(now));
    }

    /// Returns whether there is anything to sweep: now, or once what is open has ended.
    pub fn needs_sweep(&self) -> bool {
        self.current().upstreams.iter().any(|upstream| upstream.needs_sweep())
    }

    /// Waits until a connection to a member is made. Returns at once if that was since the last
    /// call.
    pub async fn dialled(&self) {
        self.dialled.notified().await;
    }

    /// Closes the idle HTTP/1.1 connections to members, when memory is short.
    pub fn close_idle(&self) {
        self.current().upstreams.iter().for_each(|upstream| upstream.close_idle());
    }

    /// Returns the counter of the bytes of requests that readonly holds for inspection.
    pub fn inspected(&self) -> &Cell<usize> {
        &self.inspected
    }

    /// Counts an exchange that draining waits for.
    pub fn begin_drainable(&self) {
        self.drainable.set(self.drainable.get() + 1);
    }

    /// Removes an exchange from the count of [`Worker::begin_drainable`].
    pub fn end_drainable(&self) {
        self.drainable.set(self.drainable.get().saturating_sub(1));
        if self.drainable.get() == 0 {
            self.drainable_ended.notify_waiters();
        }
    }

    /// Waits until only long streams are open. New requests may begin meanwhile; the caller keeps
    /// them out.
    pub async fn only_streams_left(&self) {
        while self.drainable.get() > 0 {
            self.drainable_ended.notified().await;
        }
    }

    /// Returns the signal on which waiting exchanges check whether they may still wait.
    pub fn recheck(&self) -> &Arc<Notify> {
        &self.recheck
    }

    /// Returns whether draining is over, so that nothing may wait any longer.
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
        dialled: &Rc<Notify>,
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
            upstream.notify_dialled(dialled);
            upstream.set_timeouts(generation.timeouts);
            upstream.set_connector(generation.connector.as_ref());
            upstream.on_demand().set(generation.health_interval, generation.health_timeout);
            upstream
        });
        let upstreams = upstreams.collect();
        Self { generation, upstreams }
    }
}

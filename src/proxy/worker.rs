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
use crate::telemetry::tally::Tally;
use crate::upstream::link::Link;

/// A generation as one worker serves it: with the worker's own links, in the generation's order.
pub struct View {
    /// The generation.
    pub generation: Arc<Generation>,
    /// One link for each of its endpoints.
    pub links: Vec<Rc<Link>>,
}

/// The state of one data-plane thread.
pub struct Worker {
    /// Its number, from 0.
    pub number: usize,
    /// Its counters.
    pub tally: Arc<Tally>,
    /// The mark that this process leaves on requests, by which it knows them if they come back.
    pub hop: HeaderValue,
    newest: Arc<ArcSwap<Generation>>,
    view: RefCell<Rc<View>>,
    /// Bytes of requests that are held to be inspected.
    inspected: Cell<usize>,
    /// Exchanges that end by themselves in a while: all but long streams.
    short: Cell<usize>,
    short_ended: Notify,
    /// Wakes every exchange that waits, to look whether it still should: its member may have gone
    /// silent, or draining may be over. One for all, since both are rare and each registration
    /// costs every request.
    alarm: Arc<Notify>,
    is_ending: Cell<bool>,
}

impl Worker {
    /// Makes the state of worker `number`, which follows `newest`.
    pub fn new(
        number: usize,
        newest: Arc<ArcSwap<Generation>>,
        tally: Arc<Tally>,
        hop: HeaderValue,
    ) -> Self {
        let alarm = Arc::new(Notify::new());
        let view = View::new(number, newest.load_full(), &[], &alarm);
        Self {
            number,
            tally,
            hop,
            newest,
            view: RefCell::new(Rc::new(view)),
            inspected: Cell::new(0),
            short: Cell::new(0),
            short_ended: Notify::new(),
            alarm,
            is_ending: Cell::new(false),
        }
    }

    /// Returns the newest generation with this worker's links.
    ///
    /// When nothing was published since the last call this compares two pointers and counts one
    /// reference.
    pub fn view(&self) -> Rc<View> {
        let newest = self.newest.load();
        let view = self.view.borrow();
        if Arc::ptr_eq(&newest, &view.generation) {
            return view.clone();
        }
        drop(view);
        self.renew(Arc::clone(&newest))
    }

    fn renew(&self, generation: Arc<Generation>) -> Rc<View> {
        let old = self.view.borrow().clone();
        let view = Rc::new(View::new(self.number, generation, &old.links, &self.alarm));
        self.view.replace(view.clone());
        let stays: HashSet<*const Link> = view.links.iter().map(Rc::as_ptr).collect();
        for gone in old.links.iter().filter(|old| !stays.contains(&Rc::as_ptr(old))) {
            gone.retire();
        }
        view
    }

    /// Interrupts what waits for endpoints that have gone silent.
    pub fn interrupt_lost(&self) {
        if self.view().links.iter().any(|link| link.is_lost()) {
            self.alarm.notify_waiters();
        }
    }

    /// Closes connections to members that nobody needs.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.view().links.iter().for_each(|link| link.sweep(now));
    }

    /// Closes all connections to members that nobody uses now: memory is short.
    pub fn close_idle(&self) {
        self.view().links.iter().for_each(|link| link.close_idle());
    }

    /// Bytes of requests that this worker holds to inspect them.
    pub fn inspected(&self) -> &Cell<usize> {
        &self.inspected
    }

    /// Counts an exchange that begins and is not a long stream.
    pub fn begin_short(&self) {
        self.short.set(self.short.get() + 1);
    }

    /// Counts an exchange out that [`Worker::begin_short`] counted in.
    pub fn end_short(&self) {
        self.short.set(self.short.get().saturating_sub(1));
        if self.short.get() == 0 {
            self.short_ended.notify_waiters();
        }
    }

    /// Waits until nothing but long streams is open. New requests may begin meanwhile; the caller
    /// keeps them out.
    pub async fn only_streams_left(&self) {
        while self.short.get() > 0 {
            self.short_ended.notified().await;
        }
    }

    /// What wakes when an exchange should look whether it may still wait.
    pub fn alarm(&self) -> &Arc<Notify> {
        &self.alarm
    }

    /// Whether draining is over, so that nothing new may wait.
    pub fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// Ends every open exchange: the time for draining is over.
    pub fn end_exchanges(&self) {
        self.is_ending.set(true);
        self.alarm.notify_waiters();
    }
}

impl View {
    fn new(
        worker: usize,
        generation: Arc<Generation>,
        earlier: &[Rc<Link>],
        alarm: &Arc<Notify>,
    ) -> Self {
        let earlier: HashMap<_, _> =
            earlier.iter().map(|link| (Arc::as_ptr(&link.endpoint), link)).collect();
        let links = generation.endpoints.iter().map(|endpoint| {
            let same = earlier.get(&Arc::as_ptr(endpoint)).copied().cloned();
            let link = same.unwrap_or_else(|| {
                Rc::new(Link::new(endpoint.clone(), worker, generation.timeouts, alarm.clone()))
            });
            link.set_timeouts(generation.timeouts);
            link.set_connector(generation.connector.as_ref());
            link.on_demand().set(generation.health_interval, generation.health_timeout);
            link
        });
        let links = links.collect();
        Self { generation, links }
    }
}

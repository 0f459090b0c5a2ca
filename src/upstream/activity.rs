//! What requests and streams do on an endpoint: counted by the workers, sampled by its monitor.
//!
//! Each worker writes a slot of its own with plain loads and stores, so a request pays a few
//! instructions and no clock. How long requests wait follows from the ticks of the monitor: a
//! request counts in the cell of the tick in which it began until its answer begins. What is not in
//! the last two cells has waited for a whole tick.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// Ticks that are told apart. A request that waits for longer counts as new for two ticks of each
/// round, which delays nothing that matters.
const CELLS: usize = 16;

/// What happens on one endpoint.
#[derive(Debug)]
pub struct Activity {
    slots: Box<[Slot]>,
    tick: AtomicUsize,
    is_asleep: AtomicBool,
    is_check_requested: AtomicBool,
    wake: Notify,
}

/// One worker's counts, in a cache line pair of its own. Only that worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot {
    open: AtomicU64,
    long: AtomicU64,
    begun: AtomicU64,
    long_begun: AtomicU64,
    answered: AtomicU64,
    waiting: [AtomicU64; CELLS],
}

/// An exchange as it is counted, to be handed back when it is answered and when it ends.
#[derive(Debug)]
pub struct Counted {
    is_long: bool,
    /// The cell in which it waits; `None` for a long one, and once it was answered.
    cell: Option<u8>,
}

/// The counts of all workers at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Requests and streams that are open.
    pub open: u64,
    /// Those of them that may rightly last for ever: streams, locks, v2 watches.
    pub long: u64,
    /// All that have ever begun.
    pub begun: u64,
    /// All long ones that have ever begun.
    pub long_begun: u64,
    /// All whose answer has ever begun.
    pub answered: u64,
    /// Requests, long ones apart, that have waited for their answer for a tick or longer.
    pub overdue: u64,
}

impl Activity {
    /// Makes that of an endpoint without exchanges, for `workers` threads.
    pub fn new(workers: usize) -> Self {
        Self {
            slots: (0..workers).map(|_| Slot::default()).collect(),
            tick: AtomicUsize::new(0),
            is_asleep: AtomicBool::new(false),
            is_check_requested: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Counts an exchange of `worker` that begins, and wakes the monitor if it sleeps. Only that
    /// worker's thread may call this.
    pub fn begin(&self, worker: usize, is_long: bool) -> Counted {
        let mut cell = None;
        if let Some(slot) = self.slots.get(worker) {
            add(&slot.open);
            add(&slot.begun);
            if is_long {
                add(&slot.long);
                add(&slot.long_begun);
            } else {
                let now = self.tick.load(Relaxed) % CELLS;
                add(&slot.waiting[now]);
                cell = Some(now as u8);
            }
        }
        if self.is_asleep.load(Relaxed) {
            self.wake_monitor();
        }
        Counted { is_long, cell }
    }

    /// Counts an answer that has begun. Only the thread of `worker` may call this.
    pub fn answer(&self, worker: usize, counted: &mut Counted) {
        if let Some(slot) = self.slots.get(worker) {
            add(&slot.answered);
            slot.stop_waiting(counted);
        }
    }

    /// Counts an exchange that has ended. Only the thread of `worker` may call this.
    pub fn end(&self, worker: usize, counted: &mut Counted) {
        if let Some(slot) = self.slots.get(worker) {
            slot.stop_waiting(counted);
            subtract(&slot.open);
            if counted.is_long {
                subtract(&slot.long);
            }
        }
    }

    /// Requests and streams of one worker.
    pub fn open_of(&self, worker: usize) -> u64 {
        self.slots.get(worker).map_or(0, |slot| slot.open.load(Relaxed))
    }

    /// Requests and streams of all workers.
    pub fn open(&self) -> u64 {
        self.slots.iter().map(|slot| slot.open.load(Relaxed)).sum()
    }

    /// Adds up the counts of all workers.
    pub fn sample(&self) -> Sample {
        let now = self.tick.load(Relaxed) % CELLS;
        let is_young = |cell: usize| cell == now || (cell + 1) % CELLS == now;
        let mut sample = Sample::default();
        for slot in &self.slots {
            sample.open += slot.open.load(Relaxed);
            sample.long += slot.long.load(Relaxed);
            sample.begun += slot.begun.load(Relaxed);
            sample.long_begun += slot.long_begun.load(Relaxed);
            sample.answered += slot.answered.load(Relaxed);
            let old = slot.waiting.iter().enumerate().filter(|(cell, _)| !is_young(*cell));
            sample.overdue += old.map(|(_, waiting)| waiting.load(Relaxed)).sum::<u64>();
        }
        sample
    }

    /// Begins the next tick. For the monitor only.
    pub fn advance(&self) {
        self.tick.store(self.tick.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Has the next exchange wake the monitor. One that begins at the same moment on another thread
    /// may miss this: sample once more, a tick later, before a long sleep.
    pub fn fall_asleep(&self) {
        self.is_asleep.store(true, Relaxed);
    }

    /// Has exchanges begin without waking anybody.
    pub fn stay_awake(&self) {
        self.is_asleep.store(false, Relaxed);
    }

    /// Waits until an exchange begins after [`Activity::fall_asleep`].
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Has the monitor find out whether the member lives, unless it has just seen a sign of it:
    /// somebody asks. Wakes it once until [`Activity::clear_request`], however often it is called.
    pub fn request_check(&self) {
        if !self.is_check_requested.swap(true, Relaxed) {
            self.wake_monitor();
        }
    }

    /// Returns whether somebody has asked since the last [`Activity::clear_request`].
    pub fn is_check_requested(&self) -> bool {
        self.is_check_requested.load(Relaxed)
    }

    /// Says that it is known again whether the member lives. For the monitor only.
    pub fn clear_request(&self) {
        self.is_check_requested.store(false, Relaxed);
    }

    /// Wakes the monitor if it sleeps.
    #[cold]
    pub fn wake_monitor(&self) {
        if self.is_asleep.swap(false, Relaxed) {
            self.wake.notify_one();
        }
    }
}

impl Slot {
    fn stop_waiting(&self, counted: &mut Counted) {
        if let Some(cell) = counted.cell.take()
            && let Some(waiting) = self.waiting.get(usize::from(cell))
        {
            subtract(waiting);
        }
    }
}

/// One thread writes, so that a load and a store do.
fn add(count: &AtomicU64) {
    count.store(count.load(Relaxed) + 1, Relaxed);
}

fn subtract(count: &AtomicU64) {
    count.store(count.load(Relaxed).saturating_sub(1), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_overdue_after_a_whole_tick_until_its_answer_begins() {
        let activity = Activity::new(2);
        let mut waits = activity.begin(1, false);
        activity.advance();
        assert_eq!(activity.sample().overdue, 0, "it may have begun a moment before the tick");
        activity.advance();
        assert_eq!(activity.sample().overdue, 1);
        let mut young = activity.begin(0, false);
        assert_eq!(
            activity.sample(),
            Sample { open: 2, begun: 2, overdue: 1, ..Sample::default() }
        );
        activity.answer(1, &mut waits);
        assert_eq!(activity.sample().overdue, 0, "its body may take as long as it likes");
        activity.end(1, &mut waits);
        activity.end(0, &mut young);
        assert_eq!(activity.sample(), Sample { begun: 2, answered: 1, ..Sample::default() });
    }

    #[test]
    fn a_request_that_waits_for_long_is_found_in_nearly_every_tick() {
        let activity = Activity::new(1);
        let _waits = activity.begin(0, false);
        let ticks = 10 * CELLS;
        let found = (0..ticks).filter(|_| {
            activity.advance();
            activity.sample().overdue == 1
        });
        assert_eq!(found.count(), ticks - 2 * 10, "of sixteen ticks it is missed in two");
    }

    #[test]
    fn a_stream_is_never_overdue() {
        let activity = Activity::new(1);
        let mut stream = activity.begin(0, true);
        (0..CELLS).for_each(|_| activity.advance());
        let sample = activity.sample();
        assert_eq!((sample.overdue, sample.long, sample.long_begun), (0, 1, 1));
        activity.answer(0, &mut stream);
        activity.end(0, &mut stream);
        assert_eq!((activity.open(), activity.sample().long), (0, 0));
    }

    #[tokio::test]
    async fn who_asks_again_and_again_wakes_the_monitor_once_until_it_is_known() {
        let activity = Activity::new(1);
        for _ in 0..2 {
            activity.fall_asleep();
            activity.request_check();
            activity.woken().await;
            activity.fall_asleep();
            activity.request_check();
            let again =
                tokio::time::timeout(std::time::Duration::from_millis(20), activity.woken());
            assert!(again.await.is_err() && activity.is_check_requested());
            activity.clear_request();
        }
    }

    #[tokio::test]
    async fn an_exchange_wakes_the_monitor_only_while_that_sleeps() {
        let activity = Activity::new(1);
        activity.begin(0, false);
        activity.fall_asleep();
        activity.begin(0, false);
        activity.begin(0, false);
        activity.woken().await;
        let again = tokio::time::timeout(std::time::Duration::from_millis(20), activity.woken());
        assert!(again.await.is_err(), "one wake is enough");
    }
}

//! Tells whether a connection must be driven, and wakes the task that waits for it.
//!
//! A connection without a task of its own is driven by whoever waits for its answer. hyper's driver is polled with
//! this signal as its waker, and not with the task's: what hyper wakes within a poll of that very task (it does so for
//! each request that is handed over, and for each part of a body that is taken out) then costs no second poll of the
//! task, and a task that is polled for another reason does not drive connections on which nothing has happened.
//!
//! Invariant: who has seen `Pending` after [`Signal::lower`] calls [`Signal::wait`] before it returns `Pending` itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use atomic_waker::AtomicWaker;

/// The signal of one connection.
pub struct Signal {
    flag: Arc<Flag>,
    waker: Waker,
}

struct Flag {
    raised: AtomicBool,
    waiting: AtomicWaker,
}

impl Signal {
    /// Makes a signal that is raised: a new connection wants to be driven.
    pub fn raised() -> Self {
        let flag = Arc::new(Flag { raised: AtomicBool::new(true), waiting: AtomicWaker::new() });
        Self { waker: flag.clone().into(), flag }
    }

    /// Lowers it. Returns whether it was raised.
    pub fn lower(&self) -> bool {
        self.flag.raised.swap(false, Ordering::AcqRel)
    }

    /// What the driver is polled with; it raises the signal.
    pub fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Has the task of `cx` woken when the signal is raised, or at once when it is.
    pub fn wait(&self, cx: &Context<'_>) {
        self.flag.waiting.register(cx.waker());
        if self.flag.raised.load(Ordering::Acquire) {
            self.flag.waiting.wake();
        }
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raised.store(true, Ordering::Release);
        self.waiting.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counted(std::sync::atomic::AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Counted>, Waker) {
        let counted = Arc::new(Counted(0.into()));
        (counted.clone(), counted.into())
    }

    #[test]
    fn a_task_that_waits_is_woken_once() {
        let (woken, waker) = counted();
        let signal = Signal::raised();
        assert!(signal.lower() && !signal.lower());
        signal.wait(&Context::from_waker(&waker));
        signal.context().waker().wake_by_ref();
        signal.context().waker().wake_by_ref();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(signal.lower());
    }

    #[test]
    fn what_is_raised_before_the_wait_wakes_at_once() {
        let (woken, waker) = counted();
        let signal = Signal::raised();
        signal.wait(&Context::from_waker(&waker));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn nobody_is_woken_when_nobody_waits() {
        let signal = Signal::raised();
        signal.lower();
        signal.context().waker().wake_by_ref();
        assert!(signal.lower());
    }
}

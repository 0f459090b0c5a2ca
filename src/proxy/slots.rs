//! Limits how many HTTP/1.1 exchanges with members one client connection may have at a time.
//!
//! Each exchange needs its own connection to a member, whereas an HTTP/2 client asks for one with a
//! single stream. The first slot is always granted, which covers everything that an HTTP/1.1 client
//! can ask for. More are granted up to a limit per client, and while the client holds fewer than
//! are free for all ([`crate::net::conn_limit`]): a client that holds many, for example by not
//! reading its answers, leaves as many for others.
//!
//! A short exchange without a slot waits, first come first served, until one of the client's own
//! exchanges ends or other clients need fewer; it holds up no other client. A long stream does not
//! wait, since nothing says when another one ends.

use std::cell::{Cell, OnceCell};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use crate::net::conn_limit::ConnPermit;

/// Limit of exchanges that end by themselves; this many keep a member busy.
const SHORT_MOST: u32 = 64;
/// Limit of long streams: JSON watches, v2 waits and the like.
const LONG_MOST: u32 = 1_000;
/// How often the first waiter checks for capacity that other clients have released; no signal tells
/// it.
const LOOK: Duration = Duration::from_millis(100);

/// The exchanges of one client connection over HTTP/1.1.
#[derive(Debug, Default)]
pub struct Slots {
    short: Cell<u32>,
    long: Cell<u32>,
    /// Number of requests that wait for a slot.
    waiting: Cell<u32>,
    /// Created when the first request waits.
    queue: OnceCell<Box<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Held by the request that has waited longest; the others wait for it in their order.
    first: Mutex<()>,
    /// Signals that request that a slot of this client is free.
    freed: Notify,
}

impl Slots {
    /// Takes a slot if one is free; a short exchange also gets none while others wait. Each slot
    /// needs a [`Slots::release`].
    pub fn try_take(&self, long: bool, permit: Option<&ConnPermit>) -> bool {
        (long || self.waiting.get() == 0) && self.take(long, permit)
    }

    /// Waits for a slot for a short exchange and takes it. It needs a [`Slots::release`] too.
    pub async fn wait(&self, permit: Option<&ConnPermit>) {
        let _waiter = Waiter::new(self);
        let queue = self.queue.get_or_init(Box::default);
        let _first = queue.first.lock().await;
        while !self.take(false, permit) {
            let _ = timeout(LOOK, queue.freed.notified()).await;
        }
    }

    /// Gives a slot back and wakes the first waiter.
    pub fn release(&self, long: bool, permit: Option<&ConnPermit>) {
        let of_kind = if long { &self.long } else { &self.short };
        of_kind.set(of_kind.get().saturating_sub(1));
        if self.all() > 0
            && let Some(permit) = permit
        {
            permit.release_extra();
        }
        if self.waiting.get() > 0
            && let Some(queue) = self.queue.get()
        {
            queue.freed.notify_one();
        }
    }

    fn take(&self, long: bool, permit: Option<&ConnPermit>) -> bool {
        let (of_kind, most) =
            if long { (&self.long, LONG_MOST) } else { (&self.short, SHORT_MOST) };
        let granted = match self.all() {
            0 => true,
            all => {
                of_kind.get() < most
                    && permit.is_none_or(|permit| permit.take_extra(all as usize - 1))
            }
        };
        of_kind.set(of_kind.get() + u32::from(granted));
        granted
    }

    fn all(&self) -> u32 {
        self.short.get() + self.long.get()
    }
}

/// Counts a waiting request, until dropped.
struct Waiter<'a>(&'a Slots);

impl<'a> Waiter<'a> {
    fn new(slots: &'a Slots) -> Self {
        slots.waiting.set(slots.waiting.get() + 1);
        Self(slots)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::net::conn_limit::ConnLimit;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn take_all(slots: &Slots, long: bool, permit: Option<&ConnPermit>) -> u32 {
        (0..).take_while(|_| slots.try_take(long, permit)).count() as u32
    }

    type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

    fn has_got_one(waiting: &mut Waiting<'_>) -> bool {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_client_has_a_bound_of_each_kind() {
        let slots = Slots::default();
        assert_eq!(take_all(&slots, false, None), SHORT_MOST);
        assert_eq!(take_all(&slots, true, None), LONG_MOST);
        slots.release(true, None);
        assert!(!slots.try_take(false, None));
        assert!(slots.try_take(true, None));
    }

    #[test]
    fn who_waits_gets_a_slot_in_turn_and_nobody_overtakes() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let slots = Slots::default();
        take_all(&slots, false, None);
        let mut waiting: Vec<Waiting<'_>> =
            (0..4).map(|_| Box::pin(slots.wait(None)) as Waiting<'_>).collect();
        assert!(!waiting.iter_mut().any(has_got_one));
        slots.release(false, None);
        assert!(!slots.try_take(false, None), "others have waited longer");
        // The first waiter has left, so it is the second one's turn.
        drop(waiting.remove(0));
        assert!(has_got_one(&mut waiting[0]) && !has_got_one(&mut waiting[1]));
        slots.release(false, None);
        slots.release(false, None);
        assert!(has_got_one(&mut waiting[1]) && has_got_one(&mut waiting[2]));
        assert!(!slots.try_take(false, None));
    }

    #[test]
    fn all_of_them_come_back_once_there_is_room() {
        let runtime = runtime();
        let _inside = runtime.enter();
        let (slots, conn_limit) = (Slots::default(), ConnLimit::with_descriptors(264));
        let (mine, others) = (conn_limit.acquire(), Slots::default());
        let other = conn_limit.acquire();
        // An eighth of the descriptors for one, half of what is left for the next.
        assert_eq!(take_all(&others, true, Some(&other)), 34);
        assert_eq!(take_all(&slots, false, Some(&mine)), 18);
        let mut waiting: Vec<Waiting<'_>> =
            (0..20).map(|_| Box::pin(slots.wait(Some(&mine))) as Waiting<'_>).collect();
        assert!(!waiting.iter_mut().any(has_got_one));
        (0..34).for_each(|_| others.release(true, Some(&other)));
        slots.release(false, Some(&mine));
        let got = waiting.iter_mut().filter_map(|one| has_got_one(one).then_some(())).count();
        assert_eq!(slots.all(), 17 + got as u32);
        assert!(got > 10, "{got}");
    }

    #[test]
    fn who_waits_beside_a_long_stream_notices_that_other_clients_have_left() {
        let (slots, conn_limit) = (Slots::default(), ConnLimit::with_descriptors(264));
        let mine = conn_limit.acquire();
        let others: Vec<_> = (0..100).map(|_| conn_limit.acquire()).collect();
        assert!(slots.try_take(true, Some(&mine)));
        assert!(!slots.try_take(false, Some(&mine)), "all descriptors are spoken for");
        runtime().block_on(async {
            let mut waiting: Vec<Waiting<'_>> =
                (0..2).map(|_| Box::pin(slots.wait(Some(&mine))) as Waiting<'_>).collect();
            assert!(!waiting.iter_mut().any(has_got_one));
            drop(others);
            for waiting in waiting {
                let found = timeout(Duration::from_secs(20), waiting).await;
                assert!(found.is_ok(), "it still waits for the long stream to end");
            }
        });
    }

    #[test]
    fn the_first_is_granted_whatever_others_hold() {
        let conn_limit = ConnLimit::with_descriptors(64);
        for _ in 0..100 {
            let (slots, permit) = (Slots::default(), conn_limit.acquire());
            assert!(slots.try_take(false, Some(&permit)));
            assert!(!slots.try_take(false, Some(&permit)));
            std::mem::forget((slots, permit));
        }
    }
}

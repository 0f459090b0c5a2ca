//! What a client URL speaks: gRPC, HTTP, or both, as is usual.
//!
//! A member with `listen-client-http-urls` (etcd 3.6, late 3.4 and 3.5) speaks gRPC alone at
//! `listen-client-urls`, and HTTP alone at the others. Which is which is found out and remembered:
//! by probes, and by requests that meet the wrong one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long it is remembered that something is not spoken: members restart with other flags.
const DENIED_FOR: Duration = Duration::from_secs(60);
/// The same, when nothing but a closed connection says so.
const DOUBTED_FOR: Duration = Duration::from_secs(10);

const UNKNOWN: u64 = 0;
const SPOKEN: u64 = 1;

/// One of the two ways in which members are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// gRPC over HTTP/2.
    Grpc,
    /// The JSON gateway, v2 and everything else over HTTP/1.1.
    Http,
}

/// What says that an API is not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// An answer in another protocol.
    Answered,
    /// Connections that were closed without an answer, which may have other reasons.
    Closed,
}

/// What one URL speaks, as far as that is known.
#[derive(Debug)]
pub struct Protocols {
    born: Instant,
    /// [`UNKNOWN`], [`SPOKEN`], or until when it counts as not spoken, in milliseconds since `born`
    /// plus 1, and in the lowest bit whether nothing but a closed connection says so.
    known: [AtomicU64; 2],
}

impl Protocols {
    /// Makes those of a URL of which nothing is known.
    pub fn new() -> Self {
        Self { born: Instant::now(), known: Default::default() }
    }

    /// Whether `api` is spoken; `None` while that is not known.
    pub fn speaks(&self, api: Api) -> Option<bool> {
        match self.known[api as usize].load(Relaxed) {
            UNKNOWN => None,
            SPOKEN => Some(true),
            denied => (self.age() < (denied >> 1) - 1).then_some(false),
        }
    }

    /// Whether a request by `api` may be sent there when there is no better URL: nothing that was
    /// answered says that it is not spoken.
    pub fn may_speak(&self, api: Api) -> bool {
        // Set in SPOKEN as well, which may be spoken to.
        let is_doubt = self.known[api as usize].load(Relaxed) & 1 == 1;
        is_doubt || self.speaks(api) != Some(false)
    }

    /// Whether `api` counts as not spoken for less than another half of the time that this is
    /// remembered: whoever asks now and renews it in time leaves no gap.
    pub fn is_denial_ending(&self, api: Api) -> bool {
        let known = self.known[api as usize].load(Relaxed);
        if known <= SPOKEN {
            return false;
        }
        let remembered = if known & 1 == 1 { DOUBTED_FOR } else { DENIED_FOR };
        self.age() + remembered.as_millis() as u64 / 2 >= (known >> 1) - 1
    }

    /// Notes that `api` is spoken.
    pub fn confirm(&self, api: Api) {
        let known = &self.known[api as usize];
        if known.load(Relaxed) != SPOKEN {
            known.store(SPOKEN, Relaxed);
        }
    }

    /// Notes that `api` is not spoken, which is remembered for a minute, or 10 s if it is a guess.
    /// Returns whether it is new.
    pub fn deny(&self, api: Api, denial: Denial) -> bool {
        match denial {
            Denial::Answered => self.deny_for(api, DENIED_FOR, 0),
            Denial::Closed => self.deny_for(api, DOUBTED_FOR, 1),
        }
    }

    fn deny_for(&self, api: Api, remembered: Duration, doubt: u64) -> bool {
        let is_new = self.speaks(api) != Some(false);
        let until = self.age() + 1 + remembered.as_millis() as u64;
        self.known[api as usize].store(until << 1 | doubt, Relaxed);
        is_new
    }

    /// Forgets whether `api` is spoken: the member has been away, and may be another one now.
    pub fn forget(&self, api: Api) {
        self.known[api as usize].store(UNKNOWN, Relaxed);
    }

    fn age(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_spoken_is_remembered_for_a_while_and_each_way_by_itself() {
        let protocols = Protocols::new();
        assert_eq!(protocols.speaks(Api::Http), None);
        assert!(protocols.deny(Api::Http, Denial::Answered));
        assert!(!protocols.deny(Api::Http, Denial::Answered));
        assert!(!protocols.may_speak(Api::Http));
        assert_eq!((protocols.speaks(Api::Http), protocols.speaks(Api::Grpc)), (Some(false), None));
        protocols.confirm(Api::Http);
        assert_eq!(protocols.speaks(Api::Http), Some(true));
        protocols.deny_for(Api::Http, Duration::ZERO, 0);
        assert_eq!(protocols.speaks(Api::Http), None);
        protocols.deny(Api::Http, Denial::Closed);
        assert_eq!(protocols.speaks(Api::Http), Some(false));
        assert!(protocols.may_speak(Api::Http), "a closed connection is no answer");
    }

    #[test]
    fn a_denial_can_be_renewed_before_it_ends() {
        let protocols = Protocols::new();
        assert!(!protocols.is_denial_ending(Api::Grpc), "nothing is denied");
        protocols.deny(Api::Grpc, Denial::Answered);
        assert!(!protocols.is_denial_ending(Api::Grpc));
        protocols.deny_for(Api::Grpc, DENIED_FOR / 2, 0);
        assert!(protocols.is_denial_ending(Api::Grpc));
        assert_eq!(protocols.speaks(Api::Grpc), Some(false), "and it is still in force");
        protocols.deny_for(Api::Grpc, DOUBTED_FOR, 1);
        assert!(!protocols.is_denial_ending(Api::Grpc));
        protocols.confirm(Api::Grpc);
        assert!(!protocols.is_denial_ending(Api::Grpc));
    }
}

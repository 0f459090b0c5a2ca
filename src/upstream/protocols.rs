//! Records what a client URL speaks: gRPC, HTTP, or both, as is usual.
//!
//! A member with `listen-client-http-urls` (etcd 3.6, late 3.4 and 3.5) speaks only gRPC at
//! `listen-client-urls`, and only HTTP at the others. Probes find out which URL speaks what, and so
//! do requests that meet the wrong one; the finding is remembered here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a URL counts as not speaking an API after an answer said so. Bounded because members
/// restart with other flags.
const DENIED_FOR: Duration = Duration::from_secs(60);
/// The same, when only closed connections suggest it.
const DOUBTED_FOR: Duration = Duration::from_secs(10);

const UNKNOWN: u64 = 0;
const SPOKEN: u64 = 1;

/// One of the two APIs of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// gRPC over HTTP/2.
    Grpc,
    /// The JSON gateway, v2 and everything else over HTTP/1.1.
    Http,
}

/// The evidence that an API is not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// An answer in another protocol.
    Answered,
    /// Connections that were closed without an answer, which may have other reasons.
    Closed,
}

/// What one URL speaks, as far as known.
#[derive(Debug)]
pub struct Protocols {
    born: Instant,
    /// By [`Api`]: [`UNKNOWN`], [`SPOKEN`], or until when it counts as not spoken. The last is in
    /// milliseconds since `born` plus 1, shifted left by one; the lowest bit is set if only closed
    /// connections suggest it.
    known: [AtomicU64; 2],
}

impl Protocols {
    /// Creates the record of a URL about which nothing is known.
    pub fn new() -> Self {
        Self { born: Instant::now(), known: Default::default() }
    }

    /// Returns whether `api` is spoken; `None` while that is not known.
    pub fn speaks(&self, api: Api) -> Option<bool> {
        match self.known[api as usize].load(Relaxed) {
            UNKNOWN => None,
            SPOKEN => Some(true),
            // Only probes may try gRPC again at a URL that answered something else: a call that was
            // sent there would be lost.
            denied if api == Api::Grpc && denied & 1 == 0 => Some(false),
            denied => (self.age() < (denied >> 1) - 1).then_some(false),
        }
    }

    /// Returns whether a request by `api` may be sent there when there is no better URL: no answer
    /// has shown that the API is not spoken.
    pub fn may_speak(&self, api: Api) -> bool {
        // The bit is set in SPOKEN as well, for which the answer is yes too.
        let is_doubt = self.known[api as usize].load(Relaxed) & 1 == 1;
        is_doubt || self.speaks(api) != Some(false)
    }

    /// Returns whether more than half of the time has passed that a denial of `api` is remembered.
    /// Asking again now, and denying again, leaves no gap.
    pub fn is_denial_ending(&self, api: Api) -> bool {
        let known = self.known[api as usize].load(Relaxed);
        if known <= SPOKEN {
            return false;
        }
        let remembered = if known & 1 == 1 { DOUBTED_FOR } else { DENIED_FOR };
        self.age() + remembered.as_millis() as u64 / 2 >= (known >> 1) - 1
    }

    /// Records that `api` is spoken.
    pub fn confirm(&self, api: Api) {
        let known = &self.known[api as usize];
        if known.load(Relaxed) != SPOKEN {
            known.store(SPOKEN, Relaxed);
        }
    }

    /// Records that `api` is not spoken, for a minute, or for 10 s if that is a guess
    /// ([`Denial::Closed`]); gRPC, if that was answered, until it is found to be spoken after all.
    /// Returns whether this is new.
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

    /// Forgets whether `api` is spoken: the member was away, and may have come back with other
    /// flags.
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

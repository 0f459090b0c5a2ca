//! Counts of gRPC calls, by the call's index and its status.

use std::time::Duration;

use super::buckets::{Buckets, RPC_BOUNDS};
use super::count::Count;

/// The values of the `code` label, by gRPC status, in Go's spelling: etcd's own metrics use it, so
/// one query fits both. The last stands for every number that gRPC does not define.
pub const CODE_NAMES: [&str; 18] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
    "other",
];

/// One worker's counts of one kind of gRPC call.
#[derive(Debug)]
pub struct RpcCounters {
    pub(super) started: Count,
    codes: [Count; CODE_NAMES.len()],
    duration: Buckets<{ RPC_BOUNDS.len() }>,
}

impl RpcCounters {
    pub(super) const fn new() -> Self {
        Self {
            started: Count::new(),
            codes: [const { Count::new() }; CODE_NAMES.len()],
            duration: Buckets::new(),
        }
    }

    #[inline]
    pub(super) fn finished(&self, code: u8, took: Duration) {
        self.codes[usize::from(code).min(CODE_NAMES.len() - 1)].add(1);
        self.duration.observe(&RPC_BOUNDS, took);
    }

    /// Returns how many calls came in.
    pub fn started(&self) -> u64 {
        self.started.value()
    }

    /// Returns how many calls ended.
    pub fn ended(&self) -> u64 {
        self.codes.iter().map(Count::value).sum()
    }

    /// Returns how many calls ended with each status, in the order of [`CODE_NAMES`].
    pub fn codes(&self) -> impl Iterator<Item = u64> {
        self.codes.iter().map(Count::value)
    }

    /// Returns how long calls took.
    pub fn duration(&self) -> &Buckets<{ RPC_BOUNDS.len() }> {
        &self.duration
    }
}

//! Histograms of durations, as arrays.
//!
//! Bounds are whole microseconds, so that finding a bucket takes integer compares only and the
//! bounds print as exact decimals. Each bucket counts its own observations; the renderer adds them
//! up.

use std::time::Duration;

use super::count::Count;

/// Upper bounds of etcd's own `etcd_proxy_handling_duration_seconds`, in microseconds: 0.5 ms ·
/// 2^k.
pub const HTTP_BOUNDS: [u64; 13] = {
    let mut bounds = [500; 13];
    let mut k = 1;
    while k < bounds.len() {
        bounds[k] = bounds[k - 1] * 2;
        k += 1;
    }
    bounds
};

/// Upper bounds of `etcd_proxy_rpc_handling_duration_seconds`, in microseconds: 0.5 ms to 10 s.
pub const RPC_BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// A histogram: counts of durations by `N` upper bounds, and of those above all of them.
#[derive(Debug)]
pub struct Buckets<const N: usize> {
    counts: [Count; N],
    above: Count,
    /// Sum of all durations in nanoseconds; wraps after 584 years.
    sum: Count,
}

impl<const N: usize> Buckets<N> {
    pub(super) const fn new() -> Self {
        Self { counts: [const { Count::new() }; N], above: Count::new(), sum: Count::new() }
    }

    /// Counts one duration against `bounds`, which must be the same at each call.
    #[inline]
    pub(super) fn observe(&self, bounds: &[u64; N], took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        match bounds.iter().position(|bound| nanos <= bound * 1_000) {
            Some(bucket) => self.counts[bucket].add(1),
            None => self.above.add(1),
        }
        self.sum.add(nanos);
    }

    /// Returns the number of durations in each bucket; the last bucket has those above every bound.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().chain([&self.above]).map(Count::value)
    }

    /// Returns the sum of all durations in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum.value() as f64 / 1e9
    }
}

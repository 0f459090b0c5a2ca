//! What the daemon tells people: logs, metrics, profiles, and the snapshot they are read from.
//!
//! Nothing in here waits on the request path. Workers count in a [`counters::WorkerCounters`] of
//! their own and hand log lines to a thread of their own; the control plane reads both. It imports
//! nothing of ours but `config`.

pub mod counters;
pub mod heap;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod profile;
pub mod repeat_filter;
pub mod snapshot;
pub mod time;

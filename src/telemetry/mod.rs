//! Telemetry: logs, metrics, profiles, and the snapshot that status and the metrics are rendered
//! from.
//!
//! Nothing in here waits on the request path. Each worker counts in a [`counters::WorkerCounters`]
//! of its own, which the control plane reads, and log lines are handed to a log thread. Of this
//! crate, `telemetry` imports only `config`.

pub mod counters;
pub mod heap;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod profile;
pub mod repeat_filter;
pub mod snapshot;
pub mod time;

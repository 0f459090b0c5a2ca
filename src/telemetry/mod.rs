//! What the daemon tells people: logs, metrics, profiles, and the snapshot they are read from.

pub mod snapshot;

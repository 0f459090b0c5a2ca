//! The control plane: builds generations, keeps them fresh, and talks to systemd.
//!
//! [`run`] is the daemon. It binds all listeners, starts the workers ([`workers`], [`worker`]) and
//! then runs the loop of [`control`] until it is told to stop.

pub mod apply_errors;
pub mod certificates;
pub mod control;
pub mod endpoint_set;
pub mod generations;
pub mod history;
pub mod listeners;
pub mod local_time;
pub mod memory;
mod off_thread;
pub mod pages;
pub mod probes;
pub mod reload;
mod renewal;
pub mod signals;
pub mod start;
pub mod status_line;
pub mod status_source;
pub mod systemd;
mod task;
mod throttle;
pub mod watch;
mod watchdog;
pub mod worker;
pub mod workers;

pub use start::run;

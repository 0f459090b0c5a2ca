//! The control plane: builds generations, keeps them fresh, and talks to systemd.
//!
//! [`run`] is the daemon. It binds everything, starts the workers ([`fleet`], [`worker`]) and then
//! turns the loop of [`control`] until it is told to stop.

pub mod board;
pub mod certificates;
pub mod control;
pub mod fleet;
pub mod generations;
pub mod history;
pub mod listeners;
pub mod local_time;
pub mod memory;
pub mod obstacles;
mod off_thread;
pub mod pages;
pub mod probes;
pub mod reload;
mod renewal;
pub mod roster;
pub mod signals;
pub mod start;
pub mod status_line;
pub mod systemd;
mod task;
mod throttle;
pub mod watch;
mod watchdog;
pub mod worker;

pub use start::run;

//! The control plane: builds generations, keeps them fresh, and talks to systemd.

pub mod history;
pub mod local_time;
pub mod signals;
pub mod status_line;
pub mod systemd;
pub mod watch;

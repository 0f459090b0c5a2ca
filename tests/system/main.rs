//! The packages on a booted systemd: install, start, reload, restart, upgrade, failures and
//! removal.
//!
//! One Debian is booted in a container with a network of its own (`provision` makes its root), and
//! the tests take turns in it: each begins with the package purged and everything else stopped.
//! What runs in it, real etcd members included, runs as units of that systemd.

#[path = "../support/mod.rs"]
#[allow(unused, reason = "only processes are started the way the other tests do it")]
mod support;

mod load;
mod machine;

mod commands;
mod environment_file;
mod failures;
mod membership;
mod packages;
mod quality;
mod reads;
mod reload;
mod restart;
mod sockets;
mod start;

//! The packages on a booted systemd: install, start, reload, restart, upgrade, failures and
//! removal.
//!
//! One Debian is booted in a container with its own network (`provision` makes its root), and the
//! tests take turns in it. Each test begins with the package purged and everything else stopped.
//! Everything in it, real etcd members included, runs in units of that systemd.

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

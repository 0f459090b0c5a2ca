//! The daemon before real etcd, on each generation of it.

#[path = "../support/mod.rs"]
mod support;

mod stage;

mod auth;
mod command_line;
mod failover;
mod json;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod readonly;
mod reload;
mod v2;
mod watch;

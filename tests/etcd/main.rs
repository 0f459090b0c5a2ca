//! The daemon in front of real etcd, for each version of it.

#[path = "../support/mod.rs"]
mod support;

mod fixture;

mod auth;
mod check;
mod chunks;
mod command_line;
mod discovery;
mod dns;
mod failover;
mod fallback;
mod foreign;
mod hung;
mod idle_watchers;
mod json;
mod kv;
mod lease;
mod lock;
mod long_lists;
mod loops;
mod maintenance;
mod member_faults;
mod member_list;
mod names;
mod promote;
mod readonly;
mod reload;
mod split;
mod stalled;
mod start;
mod streams;
mod tls;
mod v2;
mod watch;

//! The daemon before real etcd, on each generation of it.

#[path = "../support/mod.rs"]
mod support;

mod stage;

mod kv;

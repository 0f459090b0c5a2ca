//! etcd-proxy: makes an etcd cluster look like a local service on every machine.

pub mod cli;
pub mod cluster;
pub mod config;
pub mod daemon;
pub mod message;
pub mod net;
pub mod proxy;
pub mod server;
pub mod telemetry;
pub mod upstream;

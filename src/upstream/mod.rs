//! How members are reached: endpoints, the choice among them, connections, health.
//!
//! [`endpoint::Endpoint`] is one client URL as all threads share it: its address and its health, in
//! atomics. [`worker_endpoint::WorkerEndpoint`] is one worker's view of it, with that worker's own
//! connections, all to addresses that have proved their cluster ([`proof`]). Nothing here knows
//! where members come from.

pub mod activity;
pub mod balance;
pub mod call;
pub mod connect_error;
pub mod endpoint;
pub mod evidence;
pub mod health;
pub mod http1;
pub mod http2;
pub mod http2_pool;
pub mod http_probe;
pub mod io;
pub mod monitor;
pub mod on_demand;
pub mod proof;
pub mod protocols;
#[cfg(test)]
pub mod scripted;
pub mod silence;
pub mod worker_endpoint;

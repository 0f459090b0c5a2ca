//! The client side: listeners, connections, their limits, and the requests that are answered
//! without a member.
//!
//! A worker runs one [`listener`] for each client URL; each accepted [`connection`] is a task.
//! [`service`] sees a request first: it refuses malformed requests, answers the [`local`] pages,
//! and hands the rest to [`crate::proxy::forward`].

pub mod admin;
pub mod authority;
pub mod connection;
pub mod cors;
pub mod drain;
pub mod handshake;
pub mod http1_framing;
pub mod io;
pub mod limits;
pub mod listener;
pub mod local;
pub mod page_hosts;
#[cfg(test)]
mod pieces;
pub mod preface;
pub mod service;
pub mod strict_http1;
pub mod well_formed;

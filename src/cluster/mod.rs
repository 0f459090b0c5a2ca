//! Where members come from: sources, the member list, its refresh and its cache.
//!
//! The control plane owns a [`tracker::Tracker`], which finds peers by way of a [`source`], asks them
//! ([`ask`], [`fetch`]), pins the cluster ([`pin`]) and keeps the last good peers on disk ([`mod@file`]).
//! [`usable`] then says which client URLs of the list may get traffic. Nothing here forwards a request,
//! and nothing here imports `upstream`: the daemon builds each generation from what it finds here.

pub mod ask;
pub mod doubt;
pub mod fetch;
pub mod file;
pub mod grpc;
pub mod member;
pub mod news;
pub mod peers;
pub mod pin;
pub mod record;
pub mod source;
pub mod tracker;
pub mod url;
pub mod usable;

#[cfg(test)]
mod scripted;

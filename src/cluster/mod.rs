//! Where members come from: sources, the member list, its refresh and its cache.
//!
//! The control plane owns a [`tracker::Tracker`], which has the peers from a [`finder`] (a list, a
//! [`registry`] or [`srv`] records), asks them ([`ask`], [`fetch`]), pins the cluster ([`pin`]) and
//! keeps the last good peers on disk ([`mod@file`]). [`usable`] then says which client URLs of the
//! list may get traffic. Nothing here forwards a request, and nothing here imports `upstream`: the
//! daemon builds each generation from what it finds here.

pub mod agree;
pub mod ask;
pub mod doubt;
pub mod fetch;
pub mod file;
pub mod finder;
pub mod grpc;
pub mod member;
pub mod news;
pub mod peers;
pub mod pin;
pub mod record;
pub mod registry;
pub mod source;
pub mod srv;
pub mod survey;
pub mod tracker;
pub mod url;
pub mod usable;

#[cfg(test)]
mod scripted;

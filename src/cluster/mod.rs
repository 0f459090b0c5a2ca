//! The cluster's members: their sources, the member list, its refresh and its cache.
//!
//! The control plane owns a [`tracker::Tracker`]. It gets the peers from a [`peer_discovery`] (a
//! list, a [`discovery_service`] or [`srv`] records), asks them ([`peer_query`], [`fetch`]), pins
//! the cluster ([`pin`]) and keeps the last good peers on disk ([`mod@file`]). [`eligibility`] then
//! decides which client URLs of the list may get traffic. Nothing here forwards a request or
//! imports `upstream`: the daemon builds each generation from the results.

pub mod agree;
pub mod confirm;
pub mod discovery_service;
pub mod eligibility;
pub mod event;
pub mod fetch;
pub mod file;
pub mod grpc;
pub mod member;
pub mod peer_discovery;
pub mod peer_query;
pub mod peers;
pub mod pin;
pub mod refresh_stats;
pub mod source;
pub mod srv;
pub mod survey;
pub mod tracker;
pub mod url;

#[cfg(test)]
mod scripted;

//! The reasons why a peer gave no usable member list, worded for operators. A message always shows
//! the peer's URL beside the reason.

use std::time::Duration;

use super::super::member::{ListError, hex_id};
use super::super::pin::ForeignCluster;
use crate::net::dial::DialReason;
use crate::tls::HandshakeError;

/// Why there is no member list from a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Connecting failed.
    #[error(transparent)]
    Dial(#[from] DialReason),
    /// The TLS handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The TLS handshake did not end within its limit.
    #[error("no answer to the TLS handshake within {0:?}")]
    NoHandshake(Duration),
    /// The URL says `https`, and there is no TLS connector.
    #[error("TLS is not set up")]
    NoTls,
    /// Closed without an answer after the TLS handshake, as etcd does when it rejects our
    /// certificate or the address we come from; the text names the likely cause.
    #[error("{0}")]
    HungAfterTls(String),
    /// No answer within the limit; the kernel of a suspended member still accepts connections.
    #[error("no answer to GET /members within {0:?}")]
    NoAnswer(Duration),
    /// Another peer answered first.
    #[error("no answer yet after {0:?}, another peer was faster")]
    Slow(Duration),
    /// Closed without an answer, as etcd's own TLS listeners do when they receive plain HTTP.
    #[error("it closed the connection without an answer, as a port that speaks TLS does")]
    Hung,
    /// The port speaks TLS, but the URL says `http`.
    #[error("it speaks TLS, but the URL says http")]
    Tls,
    /// The answer is not HTTP/1.
    #[error("it does not answer in HTTP; is this an etcd peer port?")]
    NotHttp,
    /// Status 404, which a peer port never answers to `GET /members`.
    #[error("it answered status 404: this looks like a client port; the peer port is usually 2380")]
    ClientPort,
    /// A redirect, with its status.
    #[error("it answered with a redirect (status {0}), which is not followed")]
    Redirect(u16),
    /// Any other status except 200.
    #[error("it answered status {0}")]
    Status(u16),
    /// The answer has no `X-Etcd-Cluster-ID`.
    #[error("its answer has no X-Etcd-Cluster-ID; is this an etcd peer port?")]
    NoClusterId,
    /// `X-Etcd-Cluster-ID` is malformed.
    #[error("its X-Etcd-Cluster-ID is not a lowercase hexadecimal number of 64 bits")]
    BadClusterId,
    /// The body is not a member list.
    #[error("its answer is not a member list: {0}")]
    Junk(ListError),
    /// The member list has no members.
    #[error("its member list is empty")]
    Empty,
    /// The head or the body is over its limit.
    #[error("its answer is larger than any member list")]
    TooLarge,
    /// The connection broke during the answer, or the request could not be made.
    #[error("{0}")]
    Broken(String),
    /// A valid answer, but other peers belong to other clusters.
    #[error(
        "it belongs to cluster {}, and other peers belong to others; take out those that are not meant, or set \
         accept-cluster-id to the cluster that is", hex_id(*.0)
    )]
    Disputed(u64),
    /// A valid answer, but from a cluster other than the pinned one.
    #[error(transparent)]
    Foreign(#[from] ForeignCluster),
}

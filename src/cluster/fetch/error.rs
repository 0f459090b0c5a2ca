//! Why a peer's answer was of no use, in an operator's words. The peer's URL is always shown beside
//! it.

use std::time::Duration;

use super::super::member::{ListError, hex_id};
use super::super::pin::ForeignCluster;
use crate::net::dial::DialReason;
use crate::tls::HandshakeError;

/// Why there is no member list from a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialReason),
    /// A connection, and no TLS on it.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A connection, and no answer to the TLS handshake in time.
    #[error("no answer to the TLS handshake within {0:?}")]
    NoHandshake(Duration),
    /// Nothing here speaks TLS.
    #[error("TLS is not set up")]
    NoTls,
    /// Closed without a word after the TLS handshake, as etcd does when it does not like our
    /// certificate or where we come from: a sentence about that.
    #[error("{0}")]
    HungAfterTls(String),
    /// No answer in time; a member that was stopped accepts connections and says nothing.
    #[error("no answer to GET /members within {0:?}")]
    NoAnswer(Duration),
    /// Not answered yet when another peer had.
    #[error("no answer yet after {0:?}, another peer was faster")]
    Slow(Duration),
    /// Closed without a word, as etcd's own TLS listeners do when they are spoken to in plain HTTP.
    #[error("it closed the connection without an answer, as a port that speaks TLS does")]
    Hung,
    /// Seen to speak TLS.
    #[error("it speaks TLS, but the URL says http")]
    Tls,
    /// Not HTTP/1.
    #[error("it does not answer in HTTP; is this an etcd peer port?")]
    NotHttp,
    /// Not found, which a peer port never says.
    #[error("it answered status 404: this looks like a client port; the peer port is usually 2380")]
    ClientPort,
    /// A redirect.
    #[error("it answered with a redirect (status {0}), which is not followed")]
    Redirect(u16),
    /// Any other status than 200.
    #[error("it answered status {0}")]
    Status(u16),
    /// No cluster ID.
    #[error("its answer has no X-Etcd-Cluster-ID; is this an etcd peer port?")]
    NoClusterId,
    /// A cluster ID that is none.
    #[error("its X-Etcd-Cluster-ID is not a lowercase hexadecimal number of 64 bits")]
    BadClusterId,
    /// Answered something else.
    #[error("its answer is not a member list: {0}")]
    Junk(ListError),
    /// Answered nobody.
    #[error("its member list is empty")]
    Empty,
    /// Answered too much.
    #[error("its answer is larger than any member list")]
    TooLarge,
    /// The exchange broke off.
    #[error("{0}")]
    Broken(String),
    /// A good answer, and other peers show other clusters.
    #[error(
        "it belongs to cluster {}, and other peers belong to others; take out those that are not meant, or set \
         accept-cluster-id to the cluster that is", hex_id(*.0)
    )]
    Disputed(u64),
    /// A good answer, from another cluster.
    #[error(transparent)]
    Foreign(#[from] ForeignCluster),
}

//! Why a registry could not be used, in an operator's words, and whether etcd would try again.

use std::time::Duration;

use crate::cluster::grpc::CallError;
use crate::net::dial::DialReason;
use crate::tls::HandshakeError;

/// A registry and its fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct RegistryError {
    /// The registry's name in messages.
    pub place: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl RegistryError {
    /// Returns whether etcd would give up instead of trying again: another try will not help until
    /// somebody changes something.
    pub fn is_fatal(&self) -> bool {
        self.fault.is_fatal()
    }
}

/// What can be wrong with a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialReason),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The exchange broke off, or was not HTTP.
    #[error("{0}")]
    Broken(String),
    /// The TLS handshake failed.
    #[error(transparent)]
    Tls(#[from] HandshakeError),
    /// A 5xx status: the service is in trouble, not the request.
    #[error("it answered status {0}")]
    Status(u16),
    /// Too many redirects, or one that cannot be followed.
    #[error("{0}")]
    Redirect(&'static str),
    /// The HTTP proxy that is used refused the tunnel.
    #[error("the HTTP proxy {0} answered status {1} to CONNECT")]
    Proxy(String, u16),
    /// A gRPC call failed.
    #[error("{}", excerpt(&.0.to_string()))]
    Call(#[from] CallError),
    /// Every endpoint of v3 discovery failed.
    #[error("{}", .0.join("; "))]
    NoEndpoint(Vec<String>),
    /// The answer of something other than an etcd with the v2 API.
    #[error(
        "its answer is not that of an etcd registry (status {0}); is `discovery` the whole URL of a token?"
    )]
    NotARegistry(u16),
    /// An answer larger than any registry.
    #[error("its answer is larger than any registry")]
    TooLarge,
    /// No size is set, so the token is unknown, or mistyped.
    #[error(
        "no size is set there, so the token is unknown; make it first, with the cluster's size in `{0}`"
    )]
    NoSize(String),
    /// A size that is not a number above zero.
    #[error("the cluster's size there is \"{0}\", which is not a number above zero")]
    BadSize(String),
    /// An error of etcd's v2 API.
    #[error("it answered \"{message}\" (etcd error {code})")]
    Etcd {
        /// etcd's error code.
        code: u64,
        /// etcd's message.
        message: String,
    },
    /// An entry that cannot be used, and why.
    #[error("the entry \"{0}\" cannot be used: {1}; delete it, or use another token")]
    BadEntry(String, String),
    /// Members that have the same name.
    #[error(
        "the {size} members have only {names} name{} between them; give each its own `name`, and use another token",
        if *names == 1 { "" } else { "s" }
    )]
    DuplicateName {
        /// The number of different names.
        names: usize,
        /// The number of members.
        size: usize,
    },
    /// The user or password is wrong.
    #[error("it refuses `discovery-user`: {0}")]
    Login(String),
}

impl Fault {
    fn is_fatal(&self) -> bool {
        match self {
            Self::Dial(_)
            | Self::NoAnswer(_)
            | Self::Broken(_)
            | Self::Tls(_)
            | Self::Status(_)
            | Self::Redirect(_)
            | Self::Proxy(..)
            | Self::Call(_)
            | Self::NoEndpoint(_) => false,
            Self::NotARegistry(_)
            | Self::TooLarge
            | Self::NoSize(_)
            | Self::BadSize(_)
            | Self::Etcd { .. }
            | Self::BadEntry(..)
            | Self::DuplicateName { .. }
            | Self::Login(_) => true,
        }
    }
}

/// The longest text from a registry that a message repeats, in characters.
const SHOWN: usize = 80;

/// Returns the first [`SHOWN`] characters of a registry's text, escaped. Unlike `config::printable`
/// it escapes quotation marks and backslashes as well, since messages quote the text.
pub(super) fn excerpt(text: &str) -> String {
    let more = if text.chars().nth(SHOWN).is_some() { "..." } else { "" };
    let shown: String = text.chars().take(SHOWN).collect();
    format!("{}{more}", shown.escape_debug())
}

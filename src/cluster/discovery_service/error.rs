//! Why a registry was of no use, in an operator's words, and whether etcd would try again.

use std::time::Duration;

use crate::cluster::grpc::CallError;
use crate::net::dial::DialReason;
use crate::tls::HandshakeError;

/// A registry, and what is the matter with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct RegistryError {
    /// The registry, as people call it.
    pub place: String,
    /// What is the matter.
    pub fault: Fault,
}

impl RegistryError {
    /// Whether etcd ends here instead of trying again: asking again will not help until somebody
    /// changes something.
    pub fn is_fatal(&self) -> bool {
        self.fault.is_fatal()
    }
}

/// What can be the matter with a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialReason),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The exchange broke off, or was no HTTP.
    #[error("{0}")]
    Broken(String),
    /// No TLS with the registry.
    #[error(transparent)]
    Tls(#[from] HandshakeError),
    /// A status that says that the service, not the question, is in trouble.
    #[error("it answered status {0}")]
    Status(u16),
    /// One redirect after the other, or one to nowhere.
    #[error("{0}")]
    Redirect(&'static str),
    /// The HTTP proxy on the way refused.
    #[error("the HTTP proxy {0} answered status {1} to CONNECT")]
    Proxy(String, u16),
    /// A gRPC call failed.
    #[error("{}", excerpt(&.0.to_string()))]
    Call(#[from] CallError),
    /// No endpoint of v3 discovery was of use.
    #[error("{}", .0.join("; "))]
    NoEndpoint(Vec<String>),
    /// Something else than an etcd with the v2 API.
    #[error(
        "its answer is not that of an etcd registry (status {0}); is `discovery` the whole URL of a token?"
    )]
    NotARegistry(u16),
    /// Larger than any registry.
    #[error("its answer is larger than any registry")]
    TooLarge,
    /// Nobody has set a size, so that the token is not known, or mistyped.
    #[error(
        "no size is set there, so the token is unknown; make it first, with the cluster's size in `{0}`"
    )]
    NoSize(String),
    /// A size that is none.
    #[error("the cluster's size there is \"{0}\", and not a number above zero")]
    BadSize(String),
    /// An error of etcd's v2 API.
    #[error("it answered \"{message}\" (etcd error {code})")]
    Etcd {
        /// etcd's number for it.
        code: u64,
        /// etcd's words.
        message: String,
    },
    /// An entry that is not `name=url`.
    #[error("the entry \"{0}\" is of no use: {1}; delete it, or use another token")]
    BadEntry(String, String),
    /// Members that have the same name.
    #[error(
        "the {size} members have only {names} name{} between them; give each its own `name`, and use another token",
        if *names == 1 { "" } else { "s" }
    )]
    DuplicateName {
        /// How many names there are.
        names: usize,
        /// How many members.
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

/// Longest text of a registry that a message repeats, in characters.
const SHOWN: usize = 80;

/// Returns the first [`SHOWN`] characters of a registry's text, escaped. Unlike `config::printable`
/// it escapes quotation marks and backslashes as well, since messages quote the text.
pub(super) fn excerpt(text: &str) -> String {
    let more = if text.chars().nth(SHOWN).is_some() { "..." } else { "" };
    let shown: String = text.chars().take(SHOWN).collect();
    format!("{}{more}", shown.escape_debug())
}

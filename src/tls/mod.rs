//! TLS: our certificates, the authorities we trust, and readable errors when a handshake fails.
//!
//! [`configs::load`] reads every file that the settings name, once, and builds a
//! [`configs::TlsConfigs`]: an [`acceptor::Acceptor`] for listeners and a [`connector::Connector`]
//! each for members, peers and the discovery service. It is built on the control plane, when the
//! daemon starts and whenever a file changes, and is part of a generation; the data plane never
//! reads a file. `pem`, `identity`, `authorities` and `crl_file` each read one kind of file and
//! report everything that can be wrong with it. `verify` checks the other side's certificate in a
//! handshake: with rustls over the `anchors`, and against the revocation lists (`crl`).
//!
//! All of it runs on rustls with aws-lc-rs. The provider is always passed explicitly; the
//! process-wide default is never used.

pub mod acceptor;
mod anchors;
mod authorities;
mod auto_tls;
mod ca_leaf;
pub mod certificate;
pub mod configs;
pub mod connector;
mod crl;
mod crl_file;
pub mod expiry;
mod files;
pub mod handshake_error;
mod identity;
mod lending;
mod pem;
pub mod protocol;
pub mod system_roots;
mod verify;

pub use acceptor::Acceptor;
pub use configs::TlsConfigs;
pub use connector::{Alpn, Connector};
pub use handshake_error::HandshakeError;

#[cfg(test)]
mod tests;

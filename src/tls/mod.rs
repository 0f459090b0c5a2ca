//! TLS: what we show, whom we trust, and plain words when it fails.
//!
//! [`configs::load`] reads every file that the settings name, once, and makes a
//! [`configs::TlsConfigs`] of it: an [`acceptor::Acceptor`] for listeners and a
//! [`connector::Connector`] each for members and for peers. It is built on the control plane, when
//! the daemon starts and whenever a file changes, and travels in a generation; the data plane never
//! reads a file. `pem`, `identity`, `authorities` and `crl_file` each read one kind of file and
//! know everything that can be wrong with it. `verify` judges the other side's certificate in a
//! handshake: by rustls over the `anchors`, and by what is `revoked`.
//!
//! All of it runs on rustls with aws-lc-rs, and the provider is always named: the process-wide
//! default is never asked.

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

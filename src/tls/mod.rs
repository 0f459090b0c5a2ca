//! TLS: what we show, whom we trust, and plain words when it fails.
//!
//! [`material::load`] reads every file that the settings name, once, and makes a
//! [`material::Material`] of it: an [`acceptor::Acceptor`] for listeners and a
//! [`connector::Connector`] each for members and for peers. It is built on the control plane, when
//! the daemon starts and whenever a file changes, and travels in a generation; the data plane never
//! reads a file. `pem`, `identity`, `authorities` and `revocation` each read one kind of file and
//! know everything that can be wrong with it. `verify` judges the other side's certificate in a
//! handshake: by rustls over the `anchors`, and by what is `revoked`.
//!
//! All of it runs on rustls with aws-lc-rs, and the provider is always named: the process-wide
//! default is never asked.

pub mod acceptor;
mod anchors;
mod authorities;
mod ca_leaf;
pub mod certificate;
pub mod connector;
pub mod expiry;
mod files;
mod identity;
mod lending;
pub mod material;
mod pem;
pub mod protocol;
pub mod refusal;
mod revocation;
mod revoked;
mod self_made;
pub mod system;
mod verify;

pub use acceptor::Acceptor;
pub use connector::{Alpn, Connector};
pub use material::Material;
pub use refusal::HandshakeError;

#[cfg(test)]
mod tests;

//! Errors from setting up the logs.

use std::io;
use std::path::PathBuf;

/// Why the logs cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file could not be opened for appending.
    #[error("cannot open the log file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The standard stream is closed, or there are no descriptors left.
    #[error("cannot log to the standard stream: {0}")]
    Stream(io::Error),
    /// `log-format` is `journald` and no journal listens.
    #[error("cannot reach the journal: {0}")]
    Journal(io::Error),
    /// The log thread could not be started.
    #[error("cannot start the log thread: {0}")]
    Thread(io::Error),
    /// [`init`](super::init) was called before in this process.
    #[error("logs were already set up")]
    Twice,
}

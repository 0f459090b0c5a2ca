//! The inputs of a load of the settings.

use std::ffi::OsString;
use std::path::PathBuf;

/// The sources of the settings, except for the file's content. They are fixed when the daemon
/// starts; a reload loads the same inputs again.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The flags, without the command before them.
    pub args: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; relative paths start here. Must be absolute.
    pub cwd: PathBuf,
    /// The settings file when none is named; it need not exist.
    pub default_file: PathBuf,
}

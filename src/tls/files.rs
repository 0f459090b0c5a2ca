//! Reads the files that the settings name, each once, and collects problems.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::pem::{self, Section};
use crate::config::{Origins, Problem, Problems, TlsFile, regular_file};

/// The largest file that is read, 16 MiB; a system's CA bundle has a quarter of a megabyte.
pub(super) const LARGEST: u64 = 16 << 20;

/// Reads files and collects problems. Each problem points to the setting that names the file.
pub(super) struct Files<'a> {
    origins: &'a Origins,
    read: HashMap<PathBuf, Option<Arc<[u8]>>>,
    /// The time at which certificates must be valid.
    pub(super) now: SystemTime,
    pub(super) problems: Problems,
}

impl<'a> Files<'a> {
    pub(super) fn new(origins: &'a Origins, now: SystemTime) -> Self {
        Self { origins, read: HashMap::new(), now, problems: Problems::default() }
    }

    /// Adds an error, unless the same one is there already.
    pub(super) fn error(&mut self, setting: &str, message: impl Into<String>, hint: &str) {
        let problem = Problem::error(message, self.origins.location(setting).clone());
        self.add(if hint.is_empty() { problem } else { problem.hint(hint) });
    }

    /// Adds a warning, unless the same one is there already.
    pub(super) fn warning(&mut self, setting: &str, message: impl Into<String>, hint: &str) {
        let problem = Problem::warning(message, self.origins.location(setting).clone());
        self.add(if hint.is_empty() { problem } else { problem.hint(hint) });
    }

    /// Adds a notice of something that was done.
    pub(super) fn notice(&mut self, setting: &str, message: String) {
        self.add(Problem::notice(message, self.origins.location(setting).clone()));
    }

    fn add(&mut self, problem: Problem) {
        if !self.problems.0.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Forgets a file's content, so that it is read again the next time.
    pub(super) fn forget(&mut self, path: &Path) {
        self.read.remove(path);
    }

    /// Returns a file's content. Returns `None` if it cannot be read, with the reason among the
    /// problems.
    pub(super) fn content(&mut self, file: &TlsFile) -> Option<Arc<[u8]>> {
        if let Some(known) = self.read.get(&file.path) {
            return known.clone();
        }
        let content = match read(&file.path) {
            Ok(content) => Some(content.into()),
            Err((message, hint)) => {
                self.error(file.setting, format!("`{}`: {message}", file.setting), &hint);
                None
            }
        };
        self.read.insert(file.path.clone(), content.clone());
        content
    }

    /// Returns the PEM blocks of a file. Returns `None` if there are none or they are damaged, with
    /// the reason among the problems.
    pub(super) fn sections(&mut self, file: &TlsFile) -> Option<Vec<Section>> {
        let content = self.content(file)?;
        let (path, setting) = (file.path.display(), file.setting);
        match pem::sections(&content) {
            Ok(sections) if sections.is_empty() => {
                let (what, hint) = if content.first() == Some(&0x30) && setting.contains("key") {
                    ("is DER", "want PEM: openssl pkey -inform der -in FILE -out FILE.pem")
                } else if content.first() == Some(&0x30) {
                    ("is DER", "want PEM: openssl x509 -inform der -in FILE -out FILE.pem")
                } else {
                    ("has no PEM block in it", "want -----BEGIN ...----- and what follows")
                };
                self.error(setting, format!("`{setting}`: {path} {what}"), hint);
                None
            }
            Ok(sections) => Some(sections),
            Err(damage) => {
                let message = format!("`{setting}`: {path}:{}: {}", damage.line, damage.what);
                self.error(setting, message, "");
                None
            }
        }
    }
}

/// Reads a file. The error is a message and a hint, which may be empty.
fn read(path: &Path) -> Result<Vec<u8>, (String, String)> {
    let shown = path.display();
    let none = String::new;
    match regular_file::read(path, LARGEST) {
        Ok(content) if content.is_empty() => Err((format!("{shown} is empty"), none())),
        Ok(content) if content.len() as u64 > LARGEST => {
            Err((format!("{shown} is too large"), "want at most 16 MiB".to_owned()))
        }
        Ok(content) => Ok(content),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => (format!("{shown} does not exist"), none()),
            io::ErrorKind::NotADirectory => {
                (format!("{shown} does not exist: a part of its path is a file"), none())
            }
            io::ErrorKind::IsADirectory => {
                (format!("{shown} is a directory"), "want a file".to_owned())
            }
            io::ErrorKind::PermissionDenied => {
                let hint = "it must be readable by the user that this program runs as";
                (format!("{shown} cannot be read: permission denied"), hint.to_owned())
            }
            _ => (format!("{shown} cannot be read: {error}"), none()),
        }),
    }
}

/// Tells whether users who are neither the owner nor in the group may read a file.
pub(super) fn is_readable_by_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o004 != 0)
}

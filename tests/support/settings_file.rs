//! A settings file and the ways in which people and programs change one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The daemon's settings file, in a directory of its own.
pub struct SettingsFile {
    directory: PathBuf,
    edits: AtomicU32,
}

/// A way to change a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Open, truncate and write, as shells and simple editors do.
    InPlace,
    /// Write another file and rename it over the old one, as most editors and Ansible do.
    Rename,
    /// Swap the directory link that the file's own link goes through, as Kubernetes does.
    SymlinkSwap,
}

impl SettingsFile {
    /// Creates the file with its first content.
    pub fn create(directory: &Path, content: &str) -> Self {
        std::fs::create_dir_all(directory).expect("a directory for the settings");
        let file = Self { directory: directory.to_owned(), edits: AtomicU32::new(0) };
        std::fs::write(file.path(), content).expect("a settings file");
        file
    }

    /// Returns the path for `--config-file`.
    pub fn path(&self) -> PathBuf {
        self.directory.join("etcd-proxy.toml")
    }

    /// Changes the content.
    pub fn write(&self, way: Way, content: &str) {
        match way {
            Way::InPlace => std::fs::write(self.path(), content).expect("to write in place"),
            Way::Rename => self.rename(content),
            Way::SymlinkSwap => self.swap(content),
        }
    }

    /// Removes the file.
    pub fn delete(&self) {
        std::fs::remove_file(self.path()).expect("to delete the settings");
    }

    fn next(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}-{}", self.edits.fetch_add(1, Ordering::Relaxed)))
    }

    fn rename(&self, content: &str) {
        let other = self.next("written");
        std::fs::write(&other, content).expect("to write beside");
        std::fs::rename(&other, self.path()).expect("to rename over");
    }

    /// `etcd-proxy.toml -> ..data/etcd-proxy.toml`, `..data -> ..version-N`; only `..data` changes.
    fn swap(&self, content: &str) {
        let version = self.next("..version");
        std::fs::create_dir(&version).expect("a directory for the version");
        std::fs::write(version.join("etcd-proxy.toml"), content).expect("to write the version");
        let data = self.directory.join("..data");
        let before = std::fs::read_link(&data).ok();
        replace_link(&version, &data);
        if !self.path().is_symlink() {
            replace_link(Path::new("..data/etcd-proxy.toml"), &self.path());
        }
        if let Some(before) = before {
            let _ = std::fs::remove_dir_all(before);
        }
    }
}

fn replace_link(target: &Path, link: &Path) {
    let name = link.file_name().expect("a name").to_string_lossy();
    let new = link.with_file_name(format!("new-link-to-{name}"));
    std::os::unix::fs::symlink(target, &new).expect("to make a link");
    std::fs::rename(&new, link).expect("to swap the link");
}

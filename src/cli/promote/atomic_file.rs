//! Atomic replacement of files, which also survives a power cut.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// The owner, group and mode of a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ownership {
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl Ownership {
    /// Owned by this process's user, with this mode.
    pub(super) fn ours(mode: u32) -> Self {
        Self { mode, owner: None }
    }

    /// The same as another file's.
    pub(super) fn like(metadata: &Metadata) -> Self {
        let owner = Some((metadata.uid(), metadata.gid()));
        Self { mode: metadata.mode() & 0o7777, owner }
    }
}

/// Atomically replaces `path`, whatever is there, with a file of this text. The temporary file is
/// never written through a link that another user has placed at its path.
pub(super) fn replace(path: &Path, text: &[u8], ownership: Ownership) -> io::Result<()> {
    let new = beside(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    to.write_all(text)?;
    if let Some((uid, gid)) = ownership.owner {
        fchown(&to, Some(uid), Some(gid))?;
    }
    to.set_permissions(Permissions::from_mode(ownership.mode))?;
    to.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Returns the path with `suffix` appended to the file name.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, victim) = (directory.path().join("record"), directory.path().join("victim"));
        fs::write(&victim, "untouched").unwrap();
        for name in ["record", "record.new"] {
            std::os::unix::fs::symlink(&victim, directory.path().join(name)).unwrap();
        }
        replace(&path, b"new", Ownership::ours(0o600)).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_file());
        assert_eq!(metadata.mode() & 0o7777, 0o600);
    }

    #[test]
    fn owner_and_mode_are_those_of_another_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("new"), directory.path().join("other"));
        fs::write(&other, "").unwrap();
        fs::set_permissions(&other, Permissions::from_mode(0o640)).unwrap();
        // Only root can give files away.
        let _ = std::os::unix::fs::chown(&other, None, Some(12345));
        let before = fs::metadata(&other).unwrap();
        replace(&path, b"", Ownership::like(&before)).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.gid(), after.mode()), (before.gid(), before.mode()));
    }
}

//! Reads environment files with the grammar of this machine's systemd.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::config::environment_file::{self, EnvironmentFile, LARGEST, Refusal, Systemd};
use crate::config::regular_file;

/// A file's text and its assignments. Both are empty when there is no file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) text: Vec<u8>,
    pub(super) file: EnvironmentFile,
}

/// Reads a file. A missing file sets nothing. `systemctl` is asked for systemd's version if the
/// grammars of its versions differ for this file.
///
/// # Errors
/// Returns why the file cannot be read, or why systemd ignores it, as one line with its path.
pub(super) fn read(path: &Path, systemctl: &Path) -> Result<Content, String> {
    let text = match slurp(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    match parse(&text, systemctl) {
        Ok(file) => Ok(Content { text, file }),
        Err(refusal) => Err(format!("cannot use {}: {refusal}", path.display())),
    }
}

fn slurp(path: &Path) -> io::Result<Vec<u8>> {
    let text = regular_file::read(path, LARGEST)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}

/// Parses a file's text as this machine's systemd does; as the newest systemd if the version is
/// unknown.
///
/// # Errors
/// When systemd ignores the whole file.
pub(super) fn parse(text: &[u8], systemctl: &Path) -> Result<EnvironmentFile, Refusal> {
    let newest = environment_file::parse(text, Systemd::Since254);
    let earlier = environment_file::parse(text, Systemd::Before254);
    let is_earlier = newest != earlier && version(systemctl).is_some_and(|version| version < 254);
    if is_earlier { earlier } else { newest }
}

/// Returns systemd's version, from `systemd 257 (257.8-1~deb13u2)`.
fn version(systemctl: &Path) -> Option<u32> {
    let output = Command::new(systemctl).arg("--version").output().ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

fn version_in(said: &str) -> Option<u32> {
    let number = said.strip_prefix("systemd ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_version_is_found_in_what_systemctl_says() {
        assert_eq!(version_in("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT\n"), Some(252));
        assert_eq!(version_in("systemd 254~rc1-2 (254)\n"), Some(254));
        assert_eq!(version_in("sd 1\n"), None);
    }

    #[test]
    fn a_comment_that_ends_in_a_backslash_is_read_by_the_systemd_of_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let systemctl = dir.path().join("systemctl");
        let names = |said: &str| {
            std::fs::write(&systemctl, format!("#!/bin/sh\necho '{said}'\n")).unwrap();
            std::fs::set_permissions(&systemctl, Permissions::from_mode(0o755)).unwrap();
            let file = parse(b"# old: \\\nA=1\nB=2\n", &systemctl).unwrap();
            file.assignments.into_iter().map(|it| it.name).collect::<String>()
        };
        assert_eq!(names("systemd 252 (252)"), "B");
        assert_eq!(names("systemd 257 (257)"), "AB");
        let file = parse(b"#\\\nA=1\n", Path::new("/nonexistent")).unwrap();
        assert_eq!(file.value("A"), Some("1"));
    }

    #[test]
    fn a_file_that_systemd_ignores_or_nobody_can_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd");
        let read = || read(&path, Path::new("/nonexistent"));
        assert_eq!(read().unwrap().file, EnvironmentFile::default());
        std::fs::write(&path, b"A=1\nB=\xff").unwrap();
        let said = read().unwrap_err();
        let expected = format!(
            "cannot use {}: the variable in line 2 is not valid UTF-8, and systemd ignores the whole file",
            path.display()
        );
        assert_eq!(said, expected);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(read().unwrap_err().starts_with("cannot read "));
    }
}

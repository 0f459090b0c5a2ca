//! Edits etcd's environment file.
//!
//! Lines that do not set these variables stay as they are, comments included. The new file replaces
//! the old one atomically, with its owner and mode. The old one is kept as a backup in the same
//! directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic_file::{self, Ownership, beside};
use crate::cli::environment_files::Content;
use crate::config::environment_file::{Assignment, EnvironmentFile};

/// Variables that a joining member must not have.
pub(super) const UNSET: [&str; 6] = [
    "ETCD_DISCOVERY",
    "ETCD_DISCOVERY_SRV",
    "ETCD_DISCOVERY_TOKEN",
    "ETCD_DISCOVERY_ENDPOINTS",
    "ETCD_PROXY",
    "ETCD_FORCE_NEW_CLUSTER",
];

/// Variables, in file order.
pub(super) type Variables = Vec<(String, String)>;

/// Returns the variables that a file sets. If a variable is set twice, the last one wins, as with
/// systemd.
pub(super) fn variables(file: &EnvironmentFile) -> Variables {
    let assignments = file.assignments.iter();
    assignments.map(|it| (it.name.clone(), it.value.clone())).collect()
}

/// Returns the effective value of a variable; `None` if it is empty.
pub(super) fn lookup<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = variables.iter().rev().find(|(other, _)| other == name)?;
    Some(value.as_str()).filter(|value| !value.is_empty())
}

/// Returns the file's text with the variables in `set` assigned and those in `unset` commented out.
/// An assignment replaces the first one of its variable, or is appended; later ones of the same
/// variable are removed.
pub(super) fn edited(present: &Content, set: &[(String, String)], unset: &[&str]) -> Vec<u8> {
    let mut missing: Vec<_> = set.iter().collect();
    let Content { text, file } = present;
    let (mut edited, mut done) = (Vec::new(), 0);
    for Assignment { name, value, span, .. } in &file.assignments {
        let is_set = set.iter().any(|(other, _)| other == name);
        let is_unset = unset.contains(&name.as_str()) && !value.is_empty();
        if !is_set && !is_unset {
            continue;
        }
        edited.extend_from_slice(&text[done..span.start]);
        done = span.end;
        if !is_set {
            comment_out(&text[span.clone()], &mut edited);
        } else if let Some(at) = missing.iter().position(|(other, _)| other == name) {
            edited.extend(assignment(missing.remove(at)).into_bytes());
        }
    }
    // Text after an unclosed quote would become part of it, so insert before it.
    let end = file.unclosed.filter(|at| *at >= done).unwrap_or(text.len());
    edited.extend_from_slice(&text[done..end]);
    if !missing.is_empty() {
        end_line(&mut edited);
        edited.extend(missing.into_iter().flat_map(|it| assignment(it).into_bytes()));
    }
    edited.extend_from_slice(&text[end..]);
    edited
}

/// Writes lines as comments. systemd ends a line at a carriage return too.
fn comment_out(lines: &[u8], to: &mut Vec<u8>) {
    for line in lines.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
        to.push(b'#');
        to.extend_from_slice(line);
    }
    end_line(to);
}

/// Ends the last line, even if a backslash would continue it.
fn end_line(text: &mut Vec<u8>) {
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    if text.ends_with(b"\\\n") {
        text.push(b'\n');
    }
}

/// Formats an assignment for the file, with a newline.
pub(super) fn assignment((name, value): &(String, String)) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{name}=\"{value}\"\n")
}

/// Keeps a copy of the file, with its owner and mode.
pub(super) fn keep(file: &Path, backup: &Path) -> io::Result<()> {
    let ownership = Ownership::like(&fs::metadata(file)?);
    atomic_file::replace(backup, &fs::read(file)?, ownership)
}

/// Replaces the file's text; a link stays a link.
pub(super) fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let ownership = fs::metadata(file).map_or(Ownership::ours(0o644), |old| Ownership::like(&old));
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    atomic_file::replace(&real, text, ownership)
}

/// Returns an unused path for a copy of the file.
pub(super) fn free_backup(file: &Path) -> PathBuf {
    let name = |number: u32| match number {
        1 => beside(file, ".before-promotion"),
        more => beside(file, &format!(".before-promotion.{more}")),
    };
    let mut number = 1;
    while fs::symlink_metadata(name(number)).is_ok() {
        number += 1;
    }
    name(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment_file::{Systemd, parse};
    use std::os::unix::fs::PermissionsExt as _;

    fn set(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn content(text: &[u8], systemd: Systemd) -> Content {
        Content { text: text.to_vec(), file: parse(text, systemd).unwrap() }
    }

    fn edit(text: &str, variables: &[(&str, &str)], unset: &[&str]) -> String {
        let present = content(text.as_bytes(), Systemd::Since254);
        String::from_utf8(edited(&present, &set(variables), unset)).unwrap()
    }

    #[test]
    fn variables_are_put_where_they_stood_and_the_rest_stays() {
        let text = "# etcd\nETCD_NAME=default\n#ETCD_NAME=x\nETCD_DISCOVERY=https://d/1\nOTHER='a b'\nETCD_NAME=again\n";
        let variables = [("ETCD_NAME", "m2"), ("ETCD_INITIAL_CLUSTER_STATE", "existing")];
        let new = edit(text, &variables, &["ETCD_DISCOVERY"]);
        assert_eq!(
            new,
            "# etcd\nETCD_NAME=\"m2\"\n#ETCD_NAME=x\n#ETCD_DISCOVERY=https://d/1\nOTHER='a b'\n\
             ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"
        );
        let again = edit(&new, &[("ETCD_NAME", "m2")], &["ETCD_DISCOVERY"]);
        assert_eq!(again, new, "twice is once");
    }

    #[test]
    fn a_line_that_goes_on_is_replaced_or_commented_out_whole() {
        assert_eq!(edit("A=1 \\\n 2\nB=3", &[("A", "x")], &[]), "A=\"x\"\nB=3");
        assert_eq!(edit("A = 'b\nc'\nB=3", &[("A", "x")], &[]), "A=\"x\"\nB=3");
        assert_eq!(edit("A='1\nB=2'\nC=3\n", &[], &["A"]), "#A='1\n#B=2'\nC=3\n");
    }

    #[test]
    fn what_is_added_stands_on_a_line_of_its_own() {
        for (text, expected) in [
            ("A=1", "A=1\nN=\"x\"\n"),
            ("A=1\\\n", "A=1\\\n\nN=\"x\"\n"),
            ("# c \\", "# c \\\n\nN=\"x\"\n"),
            ("A='1\n", "N=\"x\"\nA='1\n"),
        ] {
            assert_eq!(edit(text, &[("N", "x")], &[]), expected, "{text:?}");
        }
    }

    #[test]
    fn any_file_says_afterwards_what_was_set_and_else_what_it_said() {
        const PIECES: [&str; 16] = [
            "A", "B", "C=", "\nA=", "\nB=", " ", "\n", "\r", "\\", "\"", "'", "#", "x", "=",
            "\\\n", "$",
        ];
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..4000 {
            let text: String =
                (0..random.usize(..24)).map(|_| PIECES[random.usize(..PIECES.len())]).collect();
            let systemd = if round % 2 == 0 { Systemd::Since254 } else { Systemd::Before254 };
            let before = content(text.as_bytes(), systemd);
            let new = edited(&before, &set(&[("A", "a\"\\ '\n$x"), ("N", "1")]), &["B"]);
            let after = parse(&new, systemd).unwrap();
            let shown = String::from_utf8_lossy(&new);
            assert_eq!(after.value("A"), Some("a\"\\ '\n$x"), "{text:?} {shown:?}");
            assert_eq!(after.value("N"), Some("1"), "{text:?} {shown:?}");
            assert_eq!(after.value("B").unwrap_or_default(), "", "{text:?} {shown:?}");
            assert_eq!(after.value("C"), before.file.value("C"), "{text:?} {shown:?}");
        }
    }

    #[test]
    fn bytes_in_comments_stay_as_they_are() {
        let present = content(b"# caf\xe9\nA=1\n", Systemd::Since254);
        assert_eq!(edited(&present, &set(&[("A", "2")]), &[]), b"# caf\xe9\nA=\"2\"\n");
    }

    #[test]
    fn the_file_of_each_promotion_is_kept_and_its_mode_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("etcd");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        for (number, old) in [(".before-promotion", "old"), (".before-promotion.2", "new")] {
            let backup = free_backup(&file);
            assert_eq!(backup, beside(&file, number));
            keep(&file, &backup).unwrap();
            replace(&file, b"new").unwrap();
            assert_eq!(fs::read_to_string(&backup).unwrap(), old);
            for path in [&file, &backup] {
                assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
            }
        }
    }

    #[test]
    fn a_link_to_the_file_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("etcd"), directory.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), file);
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }
}

//! etcd's environment file, as systemd's `EnvironmentFile=` reads it: what it says, and putting variables into it.
//!
//! Lines that say nothing of these variables stay as they are, comments included. The new file takes the old one's place at
//! once, with its owner and mode; the old one is kept beside it.

use super::durable::{self, Standing, beside};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Variables in the order in which they are written.
pub(super) type Variables = Vec<(String, String)>;

/// Returns what a file sets; of a variable that is set twice the last counts, as with systemd.
pub(super) fn read(text: &str) -> Variables {
    lines(text).into_iter().map(|(_, name, value)| (name, value)).collect()
}

/// Returns what a file sets, and in which lines, from 1.
pub(in crate::cli) fn lines(text: &str) -> Vec<(usize, String, String)> {
    let set = |(at, line): (usize, &str)| {
        Some((at + 1, name(line)?.to_owned(), value(line.split_once('=')?.1)))
    };
    text.lines().enumerate().filter_map(set).collect()
}

/// Returns the effective value of a variable.
pub(super) fn lookup<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = variables.iter().rev().find(|(other, _)| other == name)?;
    Some(value.as_str()).filter(|value| !value.is_empty())
}

/// Returns `text` with these variables set and those commented out. Each stands where it stood first, or at the end.
pub(super) fn edited(text: &str, set: &[(String, String)], unset: &[&str]) -> String {
    let mut missing: Vec<_> = set.iter().collect();
    let mut edited = String::new();
    let mut continues = false;
    for line in text.lines() {
        if continues {
            continues = line.ends_with('\\');
            continue;
        }
        let named = name(line);
        if let Some((name, _)) = set.iter().find(|(name, _)| Some(name.as_str()) == named) {
            continues = line.ends_with('\\');
            if let Some(at) = missing.iter().position(|(other, _)| other == name) {
                edited.push_str(&assignment(missing.remove(at)));
            }
        } else {
            let gone =
                named.is_some_and(|name| unset.contains(&name) && !value_of(line).is_empty());
            edited.push_str(if gone { "#" } else { "" });
            edited.push_str(line);
            edited.push('\n');
        }
    }
    for variable in missing {
        edited.push_str(&assignment(variable));
    }
    edited
}

/// A variable as it is written, with a newline.
pub(super) fn assignment((name, value): &(String, String)) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{name}=\"{value}\"\n")
}

/// Keeps a copy of the file, with its owner and mode.
pub(super) fn keep(file: &Path, backup: &Path) -> io::Result<()> {
    let standing = Standing::like(&fs::metadata(file)?);
    durable::replace(backup, &fs::read(file)?, standing)
}

/// Replaces the file's text; a link stays a link.
pub(super) fn replace(file: &Path, text: &str) -> io::Result<()> {
    let standing = fs::metadata(file).map_or(Standing::ours(0o644), |old| Standing::like(&old));
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    durable::replace(&real, text.as_bytes(), standing)
}

/// Where a copy of the file can be kept: a name that nobody has.
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

/// The variable that a line sets, if it sets one.
fn name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    let name = name.trim_start();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(fits)).then_some(name)
}

fn value_of(line: &str) -> String {
    line.split_once('=').map(|(_, text)| value(text)).unwrap_or_default()
}

/// Takes quotes off, and backslashes where systemd would.
fn value(text: &str) -> String {
    let text = text.trim();
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) if text.len() > 1 && text.ends_with(quote) => {
            let inner = &text[1..text.len() - 1];
            if quote == '"' {
                inner.replace("\\\"", "\"").replace("\\\\", "\\")
            } else {
                inner.to_owned()
            }
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn set(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn variables_are_put_where_they_stood_and_the_rest_stays() {
        let text = "# etcd\nETCD_NAME=default\n#ETCD_NAME=x\nETCD_DISCOVERY=https://d/1\nOTHER='a b'\nETCD_NAME=again\n";
        let new = edited(
            text,
            &set(&[("ETCD_NAME", "m2"), ("ETCD_INITIAL_CLUSTER_STATE", "existing")]),
            &["ETCD_DISCOVERY"],
        );
        assert_eq!(
            new,
            "# etcd\nETCD_NAME=\"m2\"\n#ETCD_NAME=x\n#ETCD_DISCOVERY=https://d/1\nOTHER='a b'\n\
             ETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"
        );
        assert_eq!(
            edited(&new, &set(&[("ETCD_NAME", "m2")]), &["ETCD_DISCOVERY"]),
            new,
            "twice is once"
        );
    }

    #[test]
    fn a_line_that_goes_on_is_replaced_whole() {
        let new = edited("A=1 \\\n 2\nB=3", &set(&[("A", "x")]), &[]);
        assert_eq!(new, "A=\"x\"\nB=3\n");
    }

    #[test]
    fn values_are_read_as_systemd_reads_them() {
        let read = read("A=1\nB=\"two words\"\n C='3'\n#D=4\nA=5\nexport X=1\nE=\n");
        assert_eq!(lookup(&read, "A"), Some("5"));
        assert_eq!(lookup(&read, "B"), Some("two words"));
        assert_eq!(lookup(&read, "C"), Some("3"));
        assert_eq!((lookup(&read, "D"), lookup(&read, "E")), (None, None));
        let quoted = set(&[("Q", "a\"b\\c")]);
        assert_eq!(super::read(&assignment(&quoted[0])), quoted);
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
            replace(&file, "new").unwrap();
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
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), file);
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }
}

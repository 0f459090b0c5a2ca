//! The structure of the source: which modules a module may use, and how long a file may be.

mod circles;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floors of ARCHITECTURE.md. A module may use only modules of lower floors.
const FLOORS: [(&str, u8); 13] = [
    ("main", 7),
    ("lib", 7),
    ("cli", 7),
    ("daemon", 6),
    ("server", 5),
    ("proxy", 4),
    ("cluster", 3),
    ("upstream", 3),
    ("tls", 2),
    ("net", 2),
    ("telemetry", 2),
    ("config", 1),
    ("message", 1),
];

fn floor(module: &str) -> u8 {
    let known = FLOORS.iter().find(|(name, _)| *name == module);
    known.unwrap_or_else(|| panic!("{module} has no floor: add it to ARCHITECTURE.md too")).1
}

fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(&root).unwrap().to_owned(), text);
            }
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

/// Returns the top-level module that a file belongs to.
fn module_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns the code before the unit tests at a file's end; nothing for a file of tests.
fn without_tests<'a>(path: &Path, text: &'a str) -> &'a str {
    if path.with_extension("").iter().any(|part| part == "tests") {
        return "";
    }
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.split("#[cfg(test)]\npub(super) mod tests").next().unwrap()
}

/// Returns the top-level modules that a text names through `crate::`.
fn named(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: Vec<&str> = code.collect();
    let code = code.join("\n");
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split_once(";").unwrap().0;
            named.extend(top_of_group(group));
        } else {
            named.push(
                rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned(),
            );
        }
    }
    named
}

/// Returns the first segments of `a::b, c::{d, e}}`.
fn top_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut at_start, mut names) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && c.is_alphabetic() => {
                let name = group[at..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
                names.push(name.unwrap().to_owned());
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn modules_know_only_the_floors_below_them() {
    let mut wrong = Vec::new();
    for (path, text) in &sources() {
        let module = module_of(path);
        for other in named(without_tests(path, text)) {
            if other != module && floor(&other) >= floor(&module) {
                wrong.push(format!("{}: {module} knows {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_way_of_a_request_never_meets_the_way_of_a_member() {
    let mut wrong = Vec::new();
    for (path, text) in &sources() {
        let module = module_of(path);
        for other in named(without_tests(path, text)) {
            let pair = (module.as_str(), other.as_str());
            if matches!(
                pair,
                ("proxy" | "upstream" | "server", "cluster") | ("cluster", "proxy" | "upstream")
            ) {
                wrong.push(format!("{}: {module} knows {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn config_knows_no_socket() {
    for (path, text) in &sources() {
        if module_of(path) == "config" {
            for socket in [
                "tokio::",
                "socket2",
                "TcpListener",
                "TcpStream",
                "UnixListener",
                "UnixStream",
                "hyper::",
            ] {
                assert!(!text.contains(socket), "{} knows {socket}", path.display());
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_500_lines_and_each_says_what_it_is() {
    for (path, text) in &sources() {
        let lines = text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
        let is_header = text.starts_with("//!") || path.ends_with("tests.rs");
        assert!(is_header, "{} has no header", path.display());
    }
}

#[test]
fn groups_of_imports_are_understood() {
    let text = "use crate::{a::b, c::{d, e::{f, g}}, h};\nfn x() { crate::i::j(); } // crate::k\n// crate::l\n";
    assert_eq!(named(text), ["a", "c", "h", "i", "k"]);
}

//! The order of import groups, which rustfmt does not check: std, then crates, then our own, with a
//! blank line between them.

use std::path::{Path, PathBuf};

/// Returns the group of an import and the group's name for messages.
fn group(import: &str, modules: &[&str]) -> (u8, &'static str) {
    let path = import.trim_start_matches("pub ").trim_start_matches("use ");
    let path = path.trim_start_matches("::");
    let first = path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    match first {
        "std" | "core" | "alloc" => (0, "std"),
        "crate" | "super" | "self" => (2, "our own"),
        module if modules.contains(&module) => (2, "our own"),
        _ => (1, "crates"),
    }
}

/// Returns the mistakes in the order of a file's private top-level imports.
fn complaints(path: &Path, text: &str) -> Vec<String> {
    let modules: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.trim_start_matches("pub ").strip_prefix("mod ")?.split([';', ' ']).next()
        })
        .collect();
    let (mut last, mut blank, mut inside, mut wrong) = (None, true, false, Vec::new());
    for (at, line) in text.lines().enumerate() {
        let begins = line.starts_with("use ");
        if begins {
            let (rank, name) = group(line, &modules);
            if let Some((before, its_name)) = last {
                let place = format!("{}:{}", path.display(), at + 1);
                if rank < before {
                    wrong.push(format!("{place}: {name} comes before {its_name}"));
                } else if rank > before && !blank {
                    wrong.push(format!("{place}: a blank line parts {its_name} and {name}"));
                }
            }
            last = Some((rank, name));
        }
        inside = (inside || begins) && !line.trim_end().ends_with(';');
        blank = line.is_empty();
        let attribute = line.starts_with("#[") || line.starts_with("//");
        if !begins && !inside && !blank && !attribute && line != "};" {
            last = None;
        }
    }
    wrong
}

#[test]
fn imports_stand_in_one_order_everywhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "examples"].iter().map(|folder| root.join(folder)).collect();
    let (mut files, mut wrong) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                wrong.extend(complaints(path.strip_prefix(root).unwrap(), &text));
            }
        }
    }
    assert!(files > 200, "the sources were not found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wrong_order_is_seen() {
    let complain = |text: &str| complaints(Path::new("x.rs"), text).len();
    assert_eq!(complain("use std::io;\n\nuse tokio::io;\n\nuse crate::a;\n"), 0);
    assert_eq!(complain("use crate::a;\n\nuse std::io;\n"), 1);
    assert_eq!(complain("use std::{\n    io,\n};\nuse tokio::io;\n"), 1);
    assert_eq!(complain("mod a;\n\nuse std::io;\n\nuse a::b;\n\nfn f() {}\n"), 0);
}

//! Checks that files import each other in one direction: no file imports, directly or through
//! others, a file that imports it.
//!
//! - A file imports another one if it names it, in a `use` or in a path, by `crate::`, `super::`,
//!   `self::` or the name of a child. Tests do not count.
//! - A parent (`a.rs` or `a/mod.rs`) and its children are ordinary files in this. `mod b;` does not
//!   count, and `pub use b::C;` counts only if the parent's own code names `C`. So a child may
//!   import its parent if the parent only declares the child. A parent that calls its children must
//!   not define the types that they use: these belong in a file of their own beside the children.
//! - A name counts for the file that its path leads to, not for one that re-exports from there.
//!
//! [`LEFT`] lists the circles that remain. A circle that grows, shrinks or disappears fails the
//! test until the list is corrected, and the list may only become shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{sources, without_tests};

/// The remaining circles, by their modules.
const LEFT: &[&[&str]] = &[];

/// A module's path without `crate`.
type Module = Vec<String>;

/// The modules that each module imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

fn imports_of_all() -> Imports {
    let sources = sources();
    let known: BTreeSet<Module> = sources.keys().map(|path| module(path)).collect();
    sources
        .iter()
        .map(|(path, text)| {
            let module = module(path);
            let imported = imported(&module, without_tests(path, text), &known);
            (module, imported)
        })
        .collect()
}

/// `a/b.rs` and `a/b/mod.rs` are `a::b`; `lib.rs` is the root.
fn module(path: &Path) -> Module {
    let path = path.with_extension("");
    let mut parts: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// Returns the modules other than the root that the code of `module` names.
fn imported(module: &Module, text: &str, known: &BTreeSet<Module>) -> BTreeSet<Module> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let (uses, public_uses, rest) = take_uses(&code);
    let children: Vec<&str> = known
        .iter()
        .filter(|other| other.len() == module.len() + 1 && other.starts_with(module))
        .map(|child| child[module.len()].as_str())
        .collect();
    let words: BTreeSet<&str> = rest.split(|c| !is_of_word(c)).collect();
    let names_it = |path: &String| words.contains(path.rsplit("::").next().unwrap());
    let expanded = |trees: &[String]| -> Vec<String> {
        trees.iter().flat_map(|tree| expand("", tree)).collect()
    };
    let uses = expanded(&uses).into_iter();
    let used_public_uses = expanded(&public_uses).into_iter().filter(names_it);
    uses.chain(used_public_uses)
        .chain(paths(&rest))
        .filter_map(|path| resolve(module, &path, &children, known))
        .filter(|other| other != module && !other.is_empty())
        .collect()
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Splits code into the trees of its private `use`s, those of its `pub use`s, and the rest.
fn take_uses(code: &str) -> (Vec<String>, Vec<String>, String) {
    let (mut private, mut public, mut rest) = (Vec::new(), Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let (visibility, tree) = match start.split_once("use ") {
            Some((before, tree)) if before.is_empty() || is_visibility(before) => (before, tree),
            _ => {
                // `pub(in crate::a)` imports nothing.
                rest.push_str(&line.replace("(in crate::", "("));
                rest.push('\n');
                continue;
            }
        };
        let mut tree = tree.to_owned();
        while !tree.ends_with(';') {
            tree.push_str(lines.next().expect("a `use` ends").trim());
        }
        tree.pop();
        if visibility.is_empty() { private.push(tree) } else { public.push(tree) }
    }
    (private, public, rest)
}

/// Returns whether the text is `pub ` or `pub(...) `.
fn is_visibility(text: &str) -> bool {
    text == "pub " || text.starts_with("pub(") && text.ends_with(") ")
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let Some((before, group)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap().trim();
        return vec![format!("{prefix}{name}")];
    };
    let prefix = format!("{prefix}{}", before.trim());
    let group = group.trim_end().strip_suffix('}').expect("a group ends its tree");
    let (mut depth, mut from, mut paths) = (0, 0, Vec::new());
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[from..at].trim().is_empty() {
                    paths.extend(expand(&prefix, &group[from..at]));
                }
                from = at + 1;
            }
            _ => {}
        }
    }
    paths
}

/// Returns the paths that code names, such as `super::limit` and `child::f`.
fn paths(code: &str) -> impl Iterator<Item = String> {
    let words = code.split(|c: char| !is_of_word(c) && c != ':');
    words.filter(|word| word.contains("::") && !word.starts_with(':')).map(str::to_owned)
}

/// The module that a path leads to from `module`; `None` when it leads to another crate or type.
fn resolve(
    module: &Module,
    path: &str,
    children: &[&str],
    known: &BTreeSet<Module>,
) -> Option<Module> {
    let mut parts = path.split("::").peekable();
    let mut at = match *parts.peek()? {
        "crate" => Module::new(),
        "self" | "super" => module.clone(),
        first if children.contains(&first) => module.clone(),
        _ => return None,
    };
    while let Some(part) = parts.next_if(|part| matches!(*part, "crate" | "self" | "super")) {
        if part == "super" {
            at.pop();
        }
    }
    for part in parts {
        at.push(part.to_owned());
        if !known.contains(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

/// Returns the modules that `from` imports, directly or through others.
fn reachable<'a>(from: &'a Module, imports: &'a Imports) -> BTreeSet<&'a Module> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        for other in imports.get(module).into_iter().flatten() {
            if reached.insert(other) {
                next.push(other);
            }
        }
    }
    reached
}

/// The circles: all modules of one import each other.
fn circles(imports: &Imports) -> BTreeSet<Vec<String>> {
    let reach: BTreeMap<_, _> =
        imports.keys().map(|module| (module, reachable(module, imports))).collect();
    let mut circles = BTreeSet::new();
    for (module, reached) in &reach {
        if reached.contains(module) {
            let back = |other: &&&Module| reach.get(*other).is_some_and(|r| r.contains(module));
            circles.insert(reached.iter().filter(back).map(|other| other.join("::")).collect());
        }
    }
    circles
}

#[test]
fn files_import_in_one_direction() {
    let imports = imports_of_all();
    let found = circles(&imports);
    let left: BTreeSet<Vec<String>> =
        LEFT.iter().map(|circle| circle.iter().map(ToString::to_string).collect()).collect();
    for circle in found.difference(&left) {
        for (module, imported) in &imports {
            for other in imported {
                let (module, other) = (module.join("::"), other.join("::"));
                if circle.contains(&module) && circle.contains(&other) {
                    eprintln!("{module} imports {other}");
                }
            }
        }
    }
    let grown: Vec<_> = found.difference(&left).collect();
    assert!(grown.is_empty(), "circles that are not in the list: {grown:#?}");
    let gone: Vec<_> = left.difference(&found).collect();
    assert!(gone.is_empty(), "no circles any more, take them out of the list: {gone:#?}");
}

#[test]
fn a_circle_is_found_and_a_tree_is_not() {
    let known: BTreeSet<Module> = ["a", "a/b", "a/b/c", "a/d", "e"]
        .map(|path| module(Path::new(&format!("{path}.rs"))))
        .into();
    let imports = |texts: &[(&str, &str)]| -> Imports {
        let of = |(path, text): &(&str, &str)| {
            let module = module(Path::new(path));
            (module.clone(), imported(&module, text, &known))
        };
        texts.iter().map(of).collect()
    };
    let tree = imports(&[
        (
            "a.rs",
            "mod b;\npub use b::B;\nuse d::{D,\n    F as G};\npub(in crate::a) fn f() { d::x() }",
        ),
        ("a/b.rs", "use super::{A, d::D};\n// crate::a::b::c\nuse std::fmt;"),
        ("a/b/c.rs", "fn f() { super::super::d::x(crate::a::b::B) }"),
        ("a/d.rs", "use crate::e;"),
    ]);
    let names = |path: &str| -> Vec<String> {
        tree[&module(Path::new(path))].iter().map(|other| other.join("::")).collect()
    };
    assert_eq!(names("a.rs"), ["a::d"]);
    assert_eq!(names("a/b.rs"), ["a", "a::d"]);
    assert_eq!(names("a/b/c.rs"), ["a::b", "a::d"]);
    assert_eq!(names("a/d.rs"), ["e"]);
    assert_eq!(circles(&tree), BTreeSet::new());
    let circle = imports(&[
        ("a.rs", "pub(crate) use b::B;\nfn f(_: B) {}"),
        ("a/b.rs", "use super::d::D;"),
        ("a/d.rs", "fn f(_: super::A) {}"),
        ("e.rs", "use crate::a;"),
    ]);
    assert_eq!(circles(&circle), [["a", "a::b", "a::d"].map(str::to_owned).to_vec()].into());
}

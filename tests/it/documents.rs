//! Paths, modules, tests and sections that the documents name exist.

use std::path::{Path, PathBuf};

/// A code span that begins with one of these is a path in the repository.
const FOLDERS: [&str; 7] =
    ["src/", "tests/", "docs/", "packaging/", "etc/", "systemd/", "examples/"];

struct Document {
    path: PathBuf,
    /// Without its blocks of code.
    text: String,
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn documents() -> Vec<Document> {
    let top = ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "README.md"];
    let docs = std::fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    top.map(repository).into_iter().chain(docs).map(Document::read).collect()
}

impl Document {
    fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = without_blocks(&text);
        Self { path, text }
    }

    /// Returns its paragraphs, each as its code spans and the prose around them.
    fn paragraphs(&self) -> impl Iterator<Item = (Vec<&str>, String)> {
        self.text.split("\n\n").map(code_spans)
    }
}

fn without_blocks(text: &str) -> String {
    let mut is_code = false;
    let prose = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    prose.collect::<Vec<_>>().join("\n")
}

/// Takes the code spans out of a paragraph. A span ends at as many backticks as it begins with.
fn code_spans(paragraph: &str) -> (Vec<&str>, String) {
    let ticks = |text: &str| text.len() - text.trim_start_matches('`').len();
    let (mut spans, mut prose, mut rest) = (Vec::new(), String::new(), paragraph);
    while let Some(at) = rest.find('`') {
        let (before, from) = rest.split_at(at);
        let (fence, inside) = from.split_at(ticks(from));
        prose.push_str(before);
        let ends = inside.match_indices(fence).map(|(end, _)| end);
        let mut ends = ends
            .filter(|end| !inside[..*end].ends_with('`') && ticks(&inside[*end..]) == fence.len());
        match ends.next() {
            Some(end) => {
                spans.push(&inside[..end]);
                rest = &inside[end + fence.len()..];
            }
            None => rest = inside,
        }
    }
    prose.push_str(rest);
    (spans, prose)
}

/// Returns the files or folders that a span may name: a path, perhaps with a line or arguments
/// behind it, or a module, perhaps with a type in it. `None` if it is neither.
fn named_path(span: &str) -> Option<Vec<PathBuf>> {
    let first = span.split_whitespace().next()?;
    if FOLDERS.iter().any(|folder| first.starts_with(folder)) {
        return Some(vec![repository(first.split(':').next()?)]);
    }
    let (top, _) = first.split_once("::")?;
    let is_module = !top.is_empty() && repository("src").join(top).is_dir();
    let lower = |segment: &&str| !segment.starts_with(char::is_uppercase);
    let module = first.split("::").take_while(lower).collect::<Vec<_>>().join("/");
    is_module.then(|| {
        vec![repository(&format!("src/{module}.rs")), repository(&format!("src/{module}"))]
    })
}

/// Returns the part of a document below the heading `title`, up to the next heading of its level.
fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let heading = format!("\n## {title}\n");
    let (_, below) = text.split_once(&heading).unwrap_or_else(|| panic!("no section {title}"));
    below.split("\n## ").next().unwrap()
}

/// Returns the anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// Returns the targets of links to a file or section of this repository.
fn links(prose: &str) -> Vec<&str> {
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

#[test]
fn paths_and_modules_that_documents_name_exist() {
    let (mut found, mut missing) = (0, Vec::new());
    for document in documents() {
        for span in document.paragraphs().flat_map(|(spans, _)| spans) {
            let Some(paths) = named_path(span) else { continue };
            found += 1;
            if !paths.iter().any(|path| path.exists()) {
                missing.push(format!("{}: {span}", document.path.display()));
            }
        }
    }
    assert!(found > 100, "only {found} paths were found");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let document = Document::read(repository("ARCHITECTURE.md"));
    let section = section(&document.text, "Invariants");
    let mut wrong = Vec::new();
    for (number, invariant) in (1..).zip(section.split("\n\n").skip(1).flat_map(items)) {
        let (mut file, mut tests) = (String::new(), 0);
        for span in code_spans(&invariant).0 {
            if span.ends_with(".rs") {
                file = std::fs::read_to_string(repository(span)).unwrap_or_default();
            } else if span.contains('_') && !span.contains('/') {
                tests += 1;
                if !file.contains(&format!("fn {span}(")) {
                    wrong.push(format!("{number}: {span} is not in the file before it"));
                }
            }
        }
        if tests == 0 {
            wrong.push(format!("{number}: no test"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns the items of a numbered list.
fn items(list: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in list.lines() {
        match items.last_mut() {
            Some(item) if line.starts_with(' ') => *item += &format!("\n{line}"),
            _ => items.push(line.to_owned()),
        }
    }
    items
}

#[test]
fn links_between_documents_lead_somewhere() {
    let (mut found, mut broken) = (0, Vec::new());
    for document in documents() {
        let texts: Vec<String> = document.paragraphs().map(|(_, prose)| prose).collect();
        for link in texts.iter().flat_map(|prose| links(prose)) {
            found += 1;
            let (path, section) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.path.clone(),
                path => document.path.parent().unwrap().join(path),
            };
            let is_there = if section.is_empty() {
                target.exists()
            } else {
                let text = std::fs::read_to_string(&target).unwrap_or_default();
                anchors(&without_blocks(&text)).iter().any(|anchor| anchor == section)
            };
            if !is_there {
                broken.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    assert!(found > 10, "only {found} links were found");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn markdown_is_understood() {
    let text = "A `src/lib.rs` and\n`` a ` b ``, [here](x.md#y) `[no](z)`.\n```\n`src/none`\n```\n";
    let text = without_blocks(text);
    let (spans, prose) = code_spans(&text);
    assert_eq!(spans, ["src/lib.rs", " a ` b ", "[no](z)"]);
    assert_eq!(links(&prose), ["x.md#y"]);
    assert_eq!(anchors("# Two `planes`, one pointer\ntext\n"), ["two-planes-one-pointer"]);
    assert_eq!(items("1. a\n   b\n2. c"), ["1. a\n   b", "2. c"]);
    let names = |span| named_path(span).is_some_and(|paths| paths.iter().any(|path| path.exists()));
    assert!(names("tests/it/main.rs:1") && names("src/ --all") && names("proxy::retry"));
    assert!(!names("src/none.rs") && !names("proxy::none") && named_path("a::b").is_none());
}

//! Parses the pages: code blocks, code spans, the words of commands, headings.

use std::path::{Path, PathBuf};

pub(super) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(super) fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns README and every page of docs/, by path.
pub(super) fn pages() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(repository("docs")).expect("docs/");
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut paths: Vec<String> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    paths.push("README.md".to_owned());
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// A fenced block and its place.
pub(super) struct Block {
    pub(super) place: String,
    pub(super) language: String,
    pub(super) text: String,
}

/// Splits a page into its blocks and its prose, line by line.
pub(super) fn split(path: &str, page: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose, mut open) = (Vec::new(), String::new(), None::<Block>);
    for (at, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => {
                let (place, language) = (format!("{path}:{}", at + 1), language.to_owned());
                open = Some(Block { place, language, text: String::new() });
            }
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => prose += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "{path} ends within a block");
    (blocks, prose)
}

pub(super) fn blocks() -> Vec<Block> {
    pages().iter().flat_map(|(path, page)| split(path, page).0).collect()
}

/// Returns the code spans in the prose of all pages, each with its page.
pub(super) fn spans() -> Vec<(String, String)> {
    let mut spans = Vec::new();
    for (path, page) in pages() {
        let (_, prose) = split(&path, &page);
        for paragraph in prose.replace("\n|", "\n\n|").split("\n\n") {
            let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
            let codes = paragraph.split('`').skip(1).step_by(2);
            spans.extend(codes.map(|code| (path.clone(), code.to_owned())));
        }
    }
    spans
}

/// Splits a line as a shell does, as far as the documents need it: quotes, comments and
/// redirections.
pub(super) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            (' ', None) => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words.retain(|word| !word.starts_with('>'));
    words
}

/// Returns every command in the blocks with its place, one for each part of a pipe.
pub(super) fn commands() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for block in blocks() {
        let text = block.text.replace("\\\n", " ");
        let lines = text.lines().filter_map(|line| match block.language.as_str() {
            "sh" => Some(line),
            "console" => line.strip_prefix("$ "),
            // Commands in Ansible's tasks.
            "yaml" => {
                let key = |name: &str| line.trim().strip_prefix(name);
                key("validate: ").or_else(|| key("ansible.builtin.command: "))
            }
            _ => None,
        });
        for line in lines {
            let words = words(line);
            let joined = words.iter().any(|word| word == "&&" || word.ends_with(';'));
            assert!(!joined, "{}: only one command on a line is checked", block.place);
            for command in words.split(|word| word == "|").filter(|words| !words.is_empty()) {
                found.push((format!("{} ({line})", block.place), command.to_vec()));
            }
        }
    }
    found
}

/// Returns a heading's anchor, as the sites that show Markdown make it.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

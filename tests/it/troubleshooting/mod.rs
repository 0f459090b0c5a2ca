//! docs/troubleshooting.md and the messages in src/: each message in bold there is one in the code,
//! and each message in the code is there, or in docs/client-texts.md, or stands below with the
//! reason why not.
//!
//! When this fails after a message was reworded, reword it in the document too; a new one wants an
//! entry that says what it means and what to do.

mod texts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use texts::{Text, plain};

const TROUBLESHOOTING: &str = include_str!("../../../docs/troubleshooting.md");
const CLIENT_TEXTS: &str = include_str!("../../../docs/client-texts.md");

/// Files whose texts are no messages of the daemon, `status` or `check`.
const NO_MESSAGES: [(&str, &str); 9] = [
    ("src/cli/promote/", "promote tells whoever runs it, step by step"),
    ("src/cli/manual", "text of the man pages and references"),
    ("src/cli/commands.rs", "text of the man page"),
    ("src/cli/help.rs", "text of the man page"),
    ("src/config/schema", "docs/settings.md has them"),
    ("src/telemetry/metrics/", "docs/metrics.md has them"),
    ("src/proxy/readonly/json.rs", "why a body is no read, which is told nobody"),
    ("src/server/authority/huffman.rs", "a table of bytes"),
    ("src/tls/system_roots.rs", "paths"),
];

/// Texts that need no entry.
const NO_ENTRY: [(&str, &str); 9] = [
    ("no answer to a ping", "logged at debug alone, as why a connection to a member ended"),
    ("client sent an http request to an https server", "compared with what Go's server says"),
    ("name or service not known", "compared with what glibc says"),
    ("no address associated with hostname", "compared with what glibc says"),
    ("post, get, options, put, delete", "a header's value"),
    ("httpproxy: unable to get response from … endpoint(s)", "docs/client-texts.md writes N"),
    ("a profile takes 1 to … samples a second", "no request can name the rate"),
    ("etcd-proxy: this port speaks tls; use https://", "a whole answer; its text has an entry"),
    ("this port speaks tls; use https:// for it", "a whole answer; its text has an entry"),
];

/// Texts that are shown in any case, however few words they have.
const TOLD: [&str; 3] = ["warn!", "error!", "error"];

/// Texts that are never shown, or only with a message, as its remedy or at a level below.
const NOT_TOLD: [&str; 7] =
    ["hint", "expect", "debug!", "info!", "debug_assert!", "expect_err", "cfg"];

/// Words from which on a text is taken for a sentence that somebody may see.
const SENTENCE: usize = 4;

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("src").flatten() {
        let path = entry.path();
        let name = entry.file_name().into_string().expect("a plain name");
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs")
            && !["tests.rs", "corpus.rs", "scripted.rs"].contains(&&*name)
        {
            found.push(path);
        }
    }
}

/// Every text in src/, with the path of its file.
fn all_texts() -> Vec<(String, Text)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    sources(&root.join("src"), &mut paths);
    let mut found = Vec::new();
    for path in paths {
        let name = path.strip_prefix(root).expect("below it").display().to_string();
        found.extend(texts::of(&path).into_iter().map(|text| (name.clone(), text)));
    }
    found
}

fn words(text: &str) -> usize {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_'".contains(c));
    words
        .filter(|word| word.len() > 1 && word.starts_with(|c: char| c.is_ascii_alphabetic()))
        .count()
}

/// Whether somebody may see it as a message, or as a part of one.
fn is_message(text: &Text) -> bool {
    let is_attribute = text.is_within(&["#"]);
    let is_told = text.is_within(&TOLD[..2]) || is_attribute && text.is_within(&TOLD[2..]);
    // What is wanted is the remedy of the message before it.
    let is_remedy = text.words.starts_with("want ") || text.words.starts_with("did you mean");
    if text.is_within(&NOT_TOLD) || is_remedy || is_attribute && !is_told {
        return false;
    }
    let least = if is_told { 2 } else { SENTENCE };
    words(&text.words) >= least && (is_told || text.words.matches(' ').count() >= 2)
}

#[test]
fn every_message_of_the_code_is_explained() {
    let documents = plain(&[TROUBLESHOOTING, CLIENT_TEXTS].concat().replace("**", ""));
    let mut used = BTreeSet::new();
    let mut missing = Vec::new();
    for (path, text) in all_texts() {
        if let Some((file, _)) = NO_MESSAGES.iter().find(|(file, _)| path.starts_with(file)) {
            used.insert(*file);
            continue;
        }
        if !is_message(&text) || documents.contains(&text.words) {
            continue;
        }
        match NO_ENTRY.iter().find(|(known, _)| text.words.contains(known)) {
            Some((known, _)) => drop(used.insert(*known)),
            None => missing.push(format!("{path}:{}: {}", text.line, text.words)),
        }
    }
    assert!(missing.is_empty(), "not in docs/troubleshooting.md:\n{}", missing.join("\n"));
    let exceptions = NO_MESSAGES.iter().chain(&NO_ENTRY).map(|(known, _)| *known);
    let idle: Vec<_> = exceptions.filter(|known| !used.contains(known)).collect();
    assert!(idle.is_empty(), "exceptions of nothing: {idle:?}");
}

#[test]
fn every_message_in_the_document_is_one_of_the_code() {
    let texts = all_texts();
    let mut dead = Vec::new();
    let mut seen = BTreeSet::new();
    for bold in TROUBLESHOOTING.split("**`").skip(1) {
        let message = plain(bold.split_once("`**").expect("the end of a bold message").0);
        if !texts.iter().any(|(_, text)| text.words.contains(&message)) {
            dead.push(message.clone());
        }
        seen.insert(message);
    }
    assert!(dead.is_empty(), "nothing in src/ says so:\n{}", dead.join("\n"));
    assert!(seen.len() > 300, "{} messages", seen.len());
}

/// A reader in the source that saw nothing would find nothing missing.
#[test]
fn the_texts_of_known_places_are_found() {
    let texts = all_texts();
    let find = |words: &str| {
        let found = texts.iter().find(|(_, text)| text.words == words);
        &found.unwrap_or_else(|| panic!("{words} was not found")).1
    };
    assert!(find("member does not answer").is_within(&["warn!"]));
    assert!(
        find("it closed the connection without an answer, as a port that speaks tls does")
            .is_within(&["#"])
    );
    assert!(is_message(find("certificate … is for …, and not for")));
    assert!(find("member is healthy again").is_within(&["info!"]));
    assert!(find("put it back, or restart").is_within(&["hint"]));
}

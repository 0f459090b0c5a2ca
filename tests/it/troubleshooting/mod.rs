//! docs/troubleshooting.md matches the messages in src/: each bold message there exists in the
//! code, and each message in the code is explained there or in docs/client-texts.md, or is listed
//! below with the reason why not.
//!
//! When this fails after a message was reworded, reword it in the document too. A new message needs
//! an entry that says what it means and what to do.

mod texts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use texts::{Text, plain};

const TROUBLESHOOTING: &str = include_str!("../../../docs/troubleshooting.md");
const CLIENT_TEXTS: &str = include_str!("../../../docs/client-texts.md");

/// Files whose texts are not messages of the daemon, `status` or `check`, and the reason.
const NO_MESSAGES: [(&str, &str); 9] = [
    ("src/cli/promote/", "promote explains itself step by step"),
    ("src/cli/manual", "text of the man pages and references"),
    ("src/cli/commands.rs", "text of the man page"),
    ("src/cli/help.rs", "text of the man page"),
    ("src/config/schema", "in docs/settings.md"),
    ("src/telemetry/metrics/", "in docs/metrics.md"),
    ("src/proxy/readonly/json.rs", "reasons that are not shown"),
    ("src/server/authority/huffman.rs", "a table of bytes"),
    ("src/tls/system_roots.rs", "paths"),
];

/// Texts that need no entry, and the reason.
const NO_ENTRY: [(&str, &str); 9] = [
    ("no answer to a ping", "logged at debug level as why a connection ended"),
    ("client sent an http request to an https server", "compared with the answer of Go's server"),
    ("name or service not known", "compared with glibc's message"),
    ("no address associated with hostname", "compared with glibc's message"),
    ("post, get, options, put, delete", "a header's value"),
    ("httpproxy: unable to get response from … endpoint(s)", "docs/client-texts.md writes N"),
    ("a profile takes 1 to … samples a second", "no request can name the rate"),
    ("etcd-proxy: this port speaks tls; use https://", "a whole answer; its text has an entry"),
    ("this port speaks tls; use https:// for it", "a whole answer; its text has an entry"),
];

/// A text in one of these is always shown, however few words it has.
const TOLD: [&str; 3] = ["warn!", "error!", "error"];

/// A text in one of these is never shown, or only together with a message (as its remedy) or at a
/// lower log level.
const NOT_TOLD: [&str; 7] =
    ["hint", "expect", "debug!", "info!", "debug_assert!", "expect_err", "cfg"];

/// A text of at least so many words is taken for a message.
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

/// Returns every text in src/ with the path of its file.
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

/// Returns whether a text may be shown as a message or as a part of one.
fn is_message(text: &Text) -> bool {
    let is_attribute = text.is_within(&["#"]);
    let is_told = text.is_within(&TOLD[..2]) || is_attribute && text.is_within(&TOLD[2..]);
    // Such a text is the remedy of the message before it.
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
    assert!(idle.is_empty(), "exceptions that are not needed: {idle:?}");
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

/// Guards the test itself: a parser that finds no texts would find none missing.
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

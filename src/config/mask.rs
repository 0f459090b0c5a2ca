//! Hides key material and logins in texts that leave the process.
//!
//! Messages are written to hold none: they name files, settings and known words. [`masked`] is the
//! second line of defence, where texts leave the process (problems, log records, the snapshot, the
//! output of commands): a message that repeats too much still shows no secret. It errs on the side
//! of hiding: a path with a random name of 16 characters or more may be hidden too.

use std::borrow::Cow;
use std::ops::Range;

/// The replacement for hidden text.
const HIDDEN: &str = "(hidden)";

/// Shortest random-looking word that is hidden, in characters. A shorter one cannot be told from an
/// ordinary word.
const SHORTEST: usize = 16;

/// Shortest word that is hidden beside a hidden one, in characters: it may be the last line of a
/// key.
const SHORTEST_BESIDE: usize = 4;

/// A long word is random only if it has fewer separators than one in so many characters; base64 has
/// one in 32, a path more than one in six.
const MOST_LETTERS_BETWEEN: usize = 6;

/// The marks at the beginning and end of a PEM block.
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Returns `text` without key material and without the users and passwords of URLs.
pub fn masked(text: &str) -> Cow<'_, str> {
    let mut hidden = key_material(text);
    hidden.extend(logins(text));
    if hidden.is_empty() {
        return Cow::Borrowed(text);
    }
    hidden.sort_by_key(|range| range.start);
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for Range { start, end } in hidden {
        // A range that overlaps or touches an earlier one is hidden already.
        if start >= at {
            out.push_str(&text[at..start]);
            if !out.ends_with(HIDDEN) {
                out.push_str(HIDDEN);
            }
        }
        at = at.max(end);
    }
    out.push_str(&text[at..]);
    Cow::Owned(out)
}

/// Whether a text holds PEM, or something that looks like a piece of it.
pub(super) fn holds_key_material(text: &str) -> bool {
    !key_material(text).is_empty() || pem_label(text).is_some()
}

/// Whether a line is all base64, like the lines of a key.
pub(super) fn is_base64_line(line: &str) -> bool {
    let line = line.trim();
    let has = |is: fn(u8) -> bool| line.bytes().any(is);
    line.len() >= 2 * SHORTEST
        && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        && has(|byte| byte.is_ascii_uppercase())
        && has(|byte| byte.is_ascii_lowercase())
}

/// Returns the first PEM label in a text: a known one, or `"block"` for any other.
pub(super) fn pem_label(text: &str) -> Option<&'static str> {
    let at = [BEGIN, END].iter().filter_map(|mark| Some(text.find(mark)? + mark.len())).min()?;
    let label = text[at..].split_once(DASHES).map_or("", |(label, _)| label);
    Some(known_label(label))
}

/// Returns a PEM label that may be shown: a known one, or `"block"` for any other.
pub fn known_label(label: &str) -> &'static str {
    const KNOWN: [&str; 16] = [
        "CERTIFICATE",
        "X509 CERTIFICATE",
        "TRUSTED CERTIFICATE",
        "CERTIFICATE REQUEST",
        "NEW CERTIFICATE REQUEST",
        "X509 CRL",
        "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "DSA PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "PUBLIC KEY",
        "EC PARAMETERS",
        "DH PARAMETERS",
        "PKCS7",
    ];
    KNOWN.iter().find(|known| **known == label).copied().unwrap_or("block")
}

/// Returns the ranges that look like key material, in reading order: bodies of PEM blocks, and long
/// random words with the words beside them.
fn key_material(text: &str) -> Vec<Range<usize>> {
    let words = words(text);
    let is_start: Vec<bool> =
        words.iter().map(|word| is_random(&text[word.clone()]) || opens(text, word)).collect();
    if !is_start.contains(&true) {
        return Vec::new();
    }
    let mut hidden = is_start.clone();
    let beside = |one: &Range<usize>, other: &Range<usize>| {
        let between = &text[one.end..other.start];
        let joins = |c: char| is_between(c) || "+/=-_".contains(c);
        between.len() < 16 && between.chars().all(joins)
    };
    for at in 1..words.len() {
        hidden[at] |= hidden[at - 1]
            && beside(&words[at - 1], &words[at])
            && !is_plain(&text[words[at].clone()]);
    }
    for at in (1..words.len()).rev() {
        hidden[at - 1] |= hidden[at]
            && beside(&words[at - 1], &words[at])
            && !is_plain(&text[words[at - 1].clone()]);
    }
    let chosen = words.into_iter().zip(hidden);
    chosen.filter(|(_, hidden)| *hidden).map(|(word, _)| word).collect()
}

/// Returns the longest runs of base64 characters, of both alphabets. The dashes around PEM labels
/// end a word.
fn words(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let is_dashes = |at: usize| bytes[at] == b'-' && bytes[at..].starts_with(DASHES.as_bytes());
    let (mut words, mut start) = (Vec::new(), None);
    let mut at = 0;
    while at < bytes.len() {
        let within =
            !is_dashes(at) && (bytes[at].is_ascii_alphanumeric() || b"+/=-_".contains(&bytes[at]));
        match (within, start) {
            (true, None) => start = Some(at),
            (false, Some(first)) => {
                words.push(first..at);
                start = None;
            }
            _ => {}
        }
        at += if is_dashes(at) {
            bytes[at..].iter().take_while(|byte| **byte == b'-').count()
        } else {
            1
        };
    }
    words.extend(start.map(|first| first..bytes.len()));
    // A run without letters and digits, as in ` = `, is no word: it stands between two.
    words.retain(|word| bytes[word.clone()].iter().any(u8::is_ascii_alphanumeric));
    words
}

/// Whether a word is the first of a PEM block's body.
fn opens(text: &str, word: &Range<usize>) -> bool {
    let before = text[..word.start].trim_end_matches(is_between);
    let Some(head) = before.strip_suffix(DASHES) else { return false };
    let is_label = |label: &str| label.len() < 64 && !label.contains(['\n', ':']);
    let follows = head.rfind(BEGIN).is_some_and(|at| is_label(&head[at + BEGIN.len()..]));
    follows && !is_plain(&text[word.clone()])
}

/// Whether a character may stand between the lines of a key that lost its newlines or was quoted.
fn is_between(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "\\\"',;|\u{fffd}".contains(c)
}

/// Whether a word may belong to a sentence, a label or a name.
fn is_plain(word: &str) -> bool {
    let letters = word.trim_end_matches('=');
    let rest = letters.get(1..).unwrap_or_default();
    letters.len() < SHORTEST_BESIDE
        || rest.bytes().all(|byte| byte.is_ascii_lowercase() || b"-_".contains(&byte))
        || letters.bytes().all(|byte| byte.is_ascii_uppercase())
        || letters.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a word looks random: in some long stretch of it capitals, small letters and digits
/// alternate often, as they do not in names of a path and words in CamelCase.
fn is_random(word: &str) -> bool {
    let is_separator = |byte: u8| !byte.is_ascii_alphanumeric();
    let mut stretches = word.as_bytes().split(|byte| is_separator(*byte));
    let word = word.trim_end_matches('=');
    let separators = word.bytes().filter(|byte| is_separator(*byte)).count();
    stretches.any(|stretch| stretch.len() >= SHORTEST && changes_often(stretch))
        || word.len() >= 2 * SHORTEST
            && separators * MOST_LETTERS_BETWEEN < word.len()
            && changes_often(word.as_bytes())
}

/// Whether somewhere within 16 characters two of five neighbours are of different kinds, and each
/// kind is there. The beginning of a key is less random than the rest.
fn changes_often(stretch: &[u8]) -> bool {
    let kind = |byte: &u8| match byte {
        b'A'..=b'Z' => Some(0),
        b'a'..=b'z' => Some(1),
        b'0'..=b'9' => Some(2),
        _ => None,
    };
    let kinds: Vec<Option<u8>> = stretch.iter().map(kind).collect();
    let differ =
        |pair: &&[Option<u8>]| pair[0].is_some() && pair[1].is_some() && pair[0] != pair[1];
    kinds.windows(SHORTEST).any(|window| {
        let changes = window.windows(2).filter(differ).count();
        (0..3).all(|kind| window.contains(&Some(kind))) && changes * 5 >= (SHORTEST - 1) * 2
    })
}

/// Returns the ranges of user and password, before the `@` of each URL.
fn logins(text: &str) -> Vec<Range<usize>> {
    const SCHEME: &str = "://";
    let mut found = Vec::new();
    let starts: Vec<usize> = text.match_indices(SCHEME).map(|(at, _)| at + SCHEME.len()).collect();
    for (at, start) in starts.iter().enumerate() {
        let next = starts.get(at + 1).map_or(text.len(), |next| next - SCHEME.len());
        let url = &text[*start..next];
        let url = url.split_once(char::is_whitespace).map_or(url, |(url, _)| url);
        found.extend(url.rfind('@').filter(|at| *at > 0).map(|at| *start..start + at));
    }
    found
}

#[cfg(test)]
mod tests;

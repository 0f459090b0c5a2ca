//! Finds the string literals in Rust source, with the calls and attributes around each.

use std::path::Path;

/// A string literal.
pub struct Text {
    /// Its content without the placeholders, in the form of [`plain`].
    pub words: String,
    /// The line where it begins.
    pub line: usize,
    /// The names of the calls, macros and attributes around it, outermost first.
    pub within: Vec<String>,
}

impl Text {
    /// Returns whether it is inside one of these calls, macros or attributes.
    pub fn is_within(&self, names: &[&str]) -> bool {
        self.within.iter().any(|name| names.contains(&name.as_str()))
    }
}

/// Returns the text in one line and in lower case, with `…` for each placeholder, and without
/// backticks and the punctuation that joins it to other texts.
pub fn plain(text: &str) -> String {
    let mut words = String::new();
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                words.push('…');
            }
            '`' => {}
            _ if depth > 0 => {}
            _ => words.extend(letter.to_lowercase()),
        }
    }
    let words: Vec<_> = words.split_whitespace().collect();
    words.join(" ").trim_matches(|c: char| " …:;,".contains(c)).to_owned()
}

/// Returns every literal of a source file except those of its unit tests.
pub fn of(path: &Path) -> Vec<Text> {
    let source = std::fs::read_to_string(path).expect("a source file");
    let source = source.split("mod tests {").next().unwrap_or_default();
    let mut rest = source;
    let (mut texts, mut within) = (Vec::new(), Vec::new());
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '\'' => character(rest),
            '"' => {
                let (text, length) = literal(rest);
                let line = source[..source.len() - rest.len()].matches('\n').count() + 1;
                texts.push(Text { words: plain(&text), line, within: within.clone() });
                length
            }
            'r' if rest.starts_with("r#\"") => 3 + rest[3..].find("\"#").expect("its end") + 2,
            '(' | '[' | '{' => {
                within.push(callee(&source[..source.len() - rest.len()]));
                1
            }
            ')' | ']' | '}' => {
                within.pop();
                1
            }
            other => other.len_utf8(),
        };
        rest = &rest[length..];
    }
    texts
}

/// Returns the name before an opening bracket; `#` if it is that of an attribute.
fn callee(before: &str) -> String {
    let is_name = |c: char| c.is_alphanumeric() || "_!#".contains(c);
    let start = before.rfind(|c: char| !is_name(c)).map_or(0, |at| at + 1);
    before.get(start..).unwrap_or_default().to_owned()
}

/// Returns the length of a character literal, or that of a lifetime's quote.
fn character(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    match letters.next() {
        Some((_, '\\')) => {
            2 + rest[2..].find('\'').map_or(0, |end| if end == 0 { 2 } else { end + 1 })
        }
        Some(_) => match letters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

/// Returns a literal's content and its length in the source.
fn literal(rest: &str) -> (String, usize) {
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (text, at + 1),
            '\\' => match letters.next() {
                // An escaped newline: the content continues after the next line's leading blanks.
                Some((_, '\n')) => while letters.next_if(|(_, it)| it.is_whitespace()).is_some() {},
                Some((_, '"')) => text.push('"'),
                _ => text.push(' '),
            },
            letter => text.push(letter),
        }
    }
    panic!("a literal without end: {text}")
}

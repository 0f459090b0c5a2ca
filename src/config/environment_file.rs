//! Reads environment files as systemd's `EnvironmentFile=` reads them.
//!
//! The grammar is in no manual page: it is systemd's `src/basic/env-file.c`, with the check of
//! names that `systemd.exec` does after it. In short:
//!
//! - a line is `NAME=value`; blanks around the name and the value do not count, lines without `=`
//!   and names that are no names (`export X`) are ignored, and a carriage return ends a line like a
//!   newline;
//! - `#` and `;` begin a comment, at the beginning of a line only;
//! - a value is any number of quoted pieces (`'…'`, `"…"`, also over several lines) and then a bare
//!   rest, in which quotes are characters like others;
//! - outside of quotes a backslash takes the next character as it is; in double quotes it does so
//!   for `"`, `\`, `` ` `` and `$` only, and stays elsewhere. A newline behind it is dropped.
//!
//! systemd ignores a whole file with a NUL, or with a name or value that is not UTF-8. Comments may
//! hold any bytes.

use std::ops::Range;

/// Largest file in bytes: the limit of systemd before 248. All variables of a process fit in half
/// of it.
pub const LARGEST: u64 = 4 << 20;

/// The version of systemd to imitate. They differ in comments only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Systemd {
    /// 254 and later: a comment is one line.
    Since254,
    /// Up to 253 (Debian 12, Ubuntu 22.04, RHEL 9): a comment that ends in a backslash goes on in
    /// the next line.
    Before254,
}

/// An environment file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvironmentFile {
    /// The assignments in the order of the file. Of two with the same name the last counts.
    pub assignments: Vec<Assignment>,
    /// Lines, from 1, with a `=` behind an invalid name.
    pub ignored: Vec<usize>,
    /// Byte offset of the assignment whose quotes the file does not close, if there is one.
    pub unclosed: Option<usize>,
}

/// One variable in an environment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// Its value, without quotes and escapes.
    pub value: String,
    /// The line in which it begins, from 1.
    pub line: usize,
    /// Its bytes in the file: whole lines, with the newline at the end.
    pub span: Range<usize>,
}

/// Why systemd ignores the whole file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has a NUL byte.
    #[error("line {0} has a NUL byte, and systemd ignores the whole file")]
    Nul(usize),
    /// A name or value is not UTF-8.
    #[error("the variable in line {0} is not valid UTF-8, and systemd ignores the whole file")]
    NotUtf8(usize),
}

impl EnvironmentFile {
    /// Returns the effective value of a variable.
    pub fn value(&self, name: &str) -> Option<&str> {
        let last = self.assignments.iter().rev().find(|assignment| assignment.name == name)?;
        Some(&last.value)
    }
}

/// Reads a file's content.
///
/// # Errors
/// When systemd ignores the whole file.
pub fn parse(text: &[u8], systemd: Systemd) -> Result<EnvironmentFile, Refusal> {
    if let Some(at) = text.iter().position(|byte| *byte == 0) {
        return Err(Refusal::Nul(line_of(text, at)));
    }
    let mut file = EnvironmentFile::default();
    let mut reader = Reader { text, at: 0 };
    // Counts lines on from the last assignment, so that the time stays linear in the file's size.
    let (mut line, mut counted) = (1, 0);
    loop {
        let line_start = reader.skip_blank();
        match reader.peek() {
            None => return Ok(file),
            Some(b'#' | b';') => reader.skip_comment(systemd),
            Some(_) => {
                let Some(name) = reader.name() else { continue };
                let (value, is_unclosed) = reader.value();
                file.unclosed = is_unclosed.then_some(line_start);
                line += newlines(&text[counted..line_start]);
                counted = line_start;
                let (Some(name), Some(value)) = (to_utf8(name.to_vec()), to_utf8(value)) else {
                    return Err(Refusal::NotUtf8(line));
                };
                if !is_name(&name) {
                    file.ignored.push(line);
                    continue;
                }
                let span = line_start..reader.at;
                file.assignments.push(Assignment { name, value, line, span });
            }
        }
    }
}

/// Whether systemd accepts this as a variable's name.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Converts to a string by systemd's rules: UTF-8 without Unicode's noncharacters.
fn to_utf8(bytes: Vec<u8>) -> Option<String> {
    let is_character = |c: char| {
        let code = u32::from(c);
        !(0xfdd0..=0xfdef).contains(&code) && code & 0xfffe != 0xfffe
    };
    String::from_utf8(bytes).ok().filter(|text| text.chars().all(is_character))
}

fn line_of(text: &[u8], at: usize) -> usize {
    1 + newlines(&text[..at])
}

fn newlines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t') || is_newline(byte)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Skips blanks and empty lines; returns where the next line begins.
    fn skip_blank(&mut self) -> usize {
        let mut line_start = self.at;
        while let Some(byte) = self.peek().filter(|byte| is_blank(*byte)) {
            self.at += 1;
            if is_newline(byte) {
                line_start = self.at;
            }
        }
        line_start
    }

    fn skip_comment(&mut self, systemd: Systemd) {
        while let Some(byte) = self.next() {
            match byte {
                b'\\' if systemd == Systemd::Before254 => self.at += 1,
                byte if is_newline(byte) => return,
                _ => {}
            }
        }
    }

    /// Reads a name and the `=` behind it; returns `None` when the line has no `=`. The first byte
    /// may be any, even `=`.
    fn name(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.next()? {
                b'=' => return Some(without_blanks(&self.text[start..self.at - 1])),
                byte if is_newline(byte) => return None,
                _ => {}
            }
        }
    }

    /// Reads a value and the end of its line; returns the value, and whether the file ends within
    /// quotes.
    fn value(&mut self) -> (Vec<u8>, bool) {
        let mut value = Vec::new();
        while let Some(byte) = self.next() {
            let is_closed = match byte {
                b'\'' => self.single_quoted(&mut value),
                b'"' => self.double_quoted(&mut value),
                byte if is_newline(byte) => break,
                byte if is_blank(byte) => continue,
                _ => {
                    self.at -= 1;
                    self.bare(&mut value);
                    break;
                }
            };
            if !is_closed {
                return (value, true);
            }
        }
        (value, false)
    }

    fn single_quoted(&mut self, value: &mut Vec<u8>) -> bool {
        while let Some(byte) = self.next() {
            match byte {
                b'\'' => return true,
                byte => value.push(byte),
            }
        }
        false
    }

    fn double_quoted(&mut self, value: &mut Vec<u8>) -> bool {
        while let Some(byte) = self.next() {
            match byte {
                b'"' => return true,
                b'\\' => match self.next() {
                    Some(escaped @ (b'"' | b'\\' | b'`' | b'$')) => value.push(escaped),
                    Some(b'\n') | None => {}
                    Some(other) => value.extend([b'\\', other]),
                },
                byte => value.push(byte),
            }
        }
        false
    }

    /// Reads the unquoted rest of a value and the newline. Blanks at its end are dropped, unless an
    /// escape follows them.
    fn bare(&mut self, value: &mut Vec<u8>) {
        let mut keep = value.len();
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => {
                    value.extend(self.next().filter(|byte| !is_newline(*byte)));
                    keep = value.len();
                }
                byte if is_newline(byte) => break,
                byte => value.push(byte),
            }
        }
        let blanks = value[keep..].iter().rev().take_while(|byte| is_blank(**byte)).count();
        value.truncate(value.len() - blanks);
    }
}

/// Drops blanks at the end; those at the beginning were skipped.
fn without_blanks(name: &[u8]) -> &[u8] {
    let blanks = name.iter().rev().take_while(|byte| is_blank(**byte)).count();
    &name[..name.len() - blanks]
}

#[cfg(test)]
mod tests;

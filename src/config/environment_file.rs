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

/// Bytes that are read at most: what systemd before 248 took. All variables of a process have room
/// in half of it.
pub const LARGEST: u64 = 4 << 20;

/// Which systemd is imitated; [`parse`] is the same in both but for comments.
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
    /// What it sets, in the order of the file. Of two with the same name the last counts.
    pub assignments: Vec<Assignment>,
    /// The lines (from 1) with a `=` behind something that is no variable's name.
    pub ignored: Vec<usize>,
    /// Where the line begins in whose quotes the file ends, if it ends within quotes.
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

/// Why systemd ignores a file, or would not read it.
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
    // Counts on from the last assignment, so that no byte is looked at once for each of them.
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

/// Whether systemd takes this for a variable's name.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Takes what systemd takes for UTF-8, which is everything but Unicode's noncharacters.
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

    /// Skips blanks and empty lines, and returns where the line begins that it comes to.
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

    /// Reads up to and with the `=`; `None` when there is none in this line. The first byte may be
    /// anything, a `=` too.
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

    /// Reads a value and the end of its line. Returns it, and whether the file ends within quotes.
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

    /// Reads what is not quoted, up to and with the newline. Blanks at the end are dropped unless
    /// an escape stands behind them.
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

/// Takes blanks off the end; those at the beginning have been skipped.
fn without_blanks(name: &[u8]) -> &[u8] {
    let blanks = name.iter().rev().take_while(|byte| is_blank(**byte)).count();
    &name[..name.len() - blanks]
}

#[cfg(test)]
mod tests;

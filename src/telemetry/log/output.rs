//! Opened log outputs: choosing the format of each, and writing to it.
//!
//! `json` means JSON on every output. `journald` and `auto` select the journal for the standard
//! streams only, `auto` only if systemd connected the stream to it. A file always gets lines: JSON
//! with `json`, text otherwise.
//!
//! Standard error and standard output are written through duplicated descriptors, not through the
//! standard library's locks, so that a blocked pipe holds up the log thread and nobody else.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};

use super::error::LogError;
use super::journal::{self, Journal};
use super::record::Record;
use super::text::Colour;
use super::{json, text};
use crate::config::{LogFormat, LogOutput, LogSettings};

/// An open output with its format.
#[derive(Debug)]
pub enum Output {
    /// Human-readable lines of text.
    Text(File, Colour),
    /// One JSON object per line.
    Json(File),
    /// Entries of the journal.
    Journal(Box<Journal>),
}

impl Output {
    /// Writes one record, with `line` as scratch space. Blocks as long as the output does.
    pub fn write(&mut self, record: &Record, line: &mut Vec<u8>) -> io::Result<()> {
        line.clear();
        match self {
            Self::Text(file, colour) => {
                text::write(record, *colour, line)?;
                file.write_all(line)
            }
            Self::Json(file) => {
                json::write(record, line)?;
                file.write_all(line)
            }
            Self::Journal(journal) => {
                journal.write(record);
                Ok(())
            }
        }
    }
}

/// Opens every output that the settings name. The journal is opened once, even if several outputs
/// lead to it.
///
/// # Errors
/// One error for each output that cannot be opened.
pub fn open_all(settings: &LogSettings) -> Result<Vec<Output>, Vec<LogError>> {
    let (mut outputs, mut errors) = (Vec::new(), Vec::new());
    for output in &settings.outputs {
        let output = match output {
            LogOutput::File(path) => open_file(path, true).map(|file| form(file, settings.format)),
            LogOutput::Stderr => open_stream(io::stderr(), settings.format),
            LogOutput::Stdout => open_stream(io::stdout(), settings.format),
        };
        let is_journal = |output: &Output| matches!(output, Output::Journal(_));
        match output {
            Ok(output) if is_journal(&output) && outputs.iter().any(is_journal) => {}
            Ok(output) => outputs.push(output),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(outputs) } else { Err(errors) }
}

/// Returns the errors that [`open_all`] would return, without creating a file. A missing journal is
/// not reported.
pub fn check_all(settings: &LogSettings) -> Vec<LogError> {
    let check = |output: &LogOutput| match output {
        LogOutput::File(path) => check_file(path).err(),
        LogOutput::Stderr => open_stream(io::stderr(), settings.format).err(),
        LogOutput::Stdout => open_stream(io::stdout(), settings.format).err(),
    };
    let errors = settings.outputs.iter().filter_map(check);
    // Whether a journal runs depends on where and when the daemon is started, not on the settings.
    errors.filter(|error| !matches!(error, LogError::Journal(_))).collect()
}

fn check_file(path: &Path) -> Result<(), LogError> {
    if path.metadata().is_ok() {
        return open_file(path, false).map(drop);
    }
    // Opening a dangling link would create its target, so the target's directory has to be
    // writable.
    let target = path.read_link().map(|target| path.parent().unwrap_or(path).join(target));
    let target = target.unwrap_or_else(|_| path.to_owned());
    let directory = target.parent().unwrap_or(&target);
    let makes_files = AccessFlags::W_OK | AccessFlags::X_OK;
    access(directory, makes_files)
        .map_err(|errno| LogError::File { path: path.to_owned(), source: errno.into() })
}

/// Opens a file for appending, so that several writers and `logrotate` can share it. A named pipe
/// without a reader is an error instead of a wait.
fn open_file(path: &Path, create: bool) -> Result<File, LogError> {
    OpenOptions::new()
        .append(true)
        .create(create)
        .mode(0o640)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|source| LogError::File { path: path.to_owned(), source })
}

fn open_stream(stream: impl AsFd, format: LogFormat) -> Result<Output, LogError> {
    let file = stream.as_fd().try_clone_to_owned().map(File::from).map_err(LogError::Stream)?;
    match format {
        LogFormat::Journald => open_journal().map_err(LogError::Journal),
        // Text on a journal stream is still logged, as plain messages, which is better than
        // refusing to start.
        LogFormat::Auto if leads_to_journal(&file) => {
            Ok(open_journal().unwrap_or_else(|_| form(file, format)))
        }
        _ => Ok(form(file, format)),
    }
}

fn open_journal() -> io::Result<Output> {
    Ok(Output::Journal(Box::new(Journal::open()?)))
}

fn form(file: File, format: LogFormat) -> Output {
    if format == LogFormat::Json {
        return Output::Json(file);
    }
    let colour = if wants_colour(&file) { Colour::Always } else { Colour::Never };
    Output::Text(file, colour)
}

fn leads_to_journal(file: &File) -> bool {
    let stream = std::env::var(journal::STREAM_VARIABLE).ok();
    file.metadata().is_ok_and(|metadata| journal::is_journal(stream.as_deref(), &metadata))
}

fn wants_colour(file: &File) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    file.is_terminal() && !is_set("NO_COLOR") && !dumb
}

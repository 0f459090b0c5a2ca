//! Reads lists, written as etcd's comma strings or TOML arrays: texts, browser origins and
//! `module=level` pairs.

use super::raw::{Raw, Reader, Shape};
use crate::config::location::Location;
use crate::config::settings::LogLevel;

/// One piece of a list, and where it is.
pub(super) type Piece = (String, Location);

impl Reader<'_> {
    /// Splits a comma string, an array, or an array of comma strings. Blanks around pieces and
    /// empty pieces are dropped.
    pub(super) fn pieces(&mut self, raw: &Raw) -> Option<Vec<Piece>> {
        match &raw.shape {
            Shape::List(list) => {
                // An item that is no text is reported on its own, and the others are still read.
                let pieces = list.iter().filter_map(|item| self.text_pieces(item));
                Some(pieces.collect::<Vec<_>>().concat())
            }
            _ => self.text_pieces(raw),
        }
    }

    fn text_pieces(&mut self, raw: &Raw) -> Option<Vec<Piece>> {
        let text = self.text(raw, "text in quotes, or an array of texts")?;
        let pieces = text.split(',').map(str::trim).filter(|piece| !piece.is_empty());
        Some(pieces.map(|piece| (piece.to_owned(), raw.location.clone())).collect())
    }

    /// Reads a list of texts.
    pub(super) fn list(&mut self, raw: &Raw) -> Option<Vec<String>> {
        let pieces = self.pieces(raw)?;
        Some(pieces.into_iter().map(|(text, _)| text).collect())
    }

    /// Reads origins: a scheme, a host and perhaps a port, or `*`.
    pub(super) fn origins(&mut self, raw: &Raw) -> Option<Vec<String>> {
        let pieces = self.pieces(raw)?;
        for (text, location) in &pieces {
            let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
            let good = host
                .is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']));
            if !good && text != "*" {
                self.wrong_piece(
                    text,
                    location,
                    "want an origin such as \"https://example.com\", or \"*\"",
                );
            }
        }
        Some(pieces.into_iter().map(|(text, _)| text).collect())
    }

    /// Reads `module=level` pairs.
    pub(super) fn levels(&mut self, raw: &Raw) -> Option<Vec<(String, LogLevel)>> {
        let pieces = self.pieces(raw)?;
        let mut levels = Vec::new();
        for (text, location) in &pieces {
            let pair = text.split_once('=').filter(|(module, _)| !module.is_empty());
            match pair.and_then(|(module, level)| Some((module, LogLevel::named(level)?))) {
                Some((module, level)) => levels.push((module.to_owned(), level)),
                None => self.wrong_piece(
                    text,
                    location,
                    "want MODULE=LEVEL, such as \"upstream=debug\"",
                ),
            }
        }
        Some(levels)
    }
}

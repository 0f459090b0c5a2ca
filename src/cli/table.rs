//! Tables as etcdctl prints them: boxed in `+---+` with centred heads and right-aligned cells, or
//! simple (comma-separated cells, no head) for scripts.

use std::io::{self, Write};

/// Rows of cells under a head.
#[derive(Debug, Clone, Default)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates an empty table.
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty and surplus ones are dropped. Characters that could move
    /// a terminal's cursor are replaced, because names and errors come from the network.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<_> = cells.into_iter().map(|cell| terminal_safe(&cell)).collect();
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the boxed table.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_boxed(&self, out: &mut dyn Write) -> io::Result<()> {
        let widths = self.widths();
        let rule: String =
            widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
        let head = self.head.iter().zip(&widths).map(|(cell, width)| format!("| {cell:^width$} "));
        writeln!(out, "{rule}+\n{}|\n{rule}+", head.collect::<String>())?;
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("| {cell:>width$} "));
            writeln!(out, "{}|", cells.collect::<String>())?;
        }
        writeln!(out, "{rule}+")
    }

    /// Writes one line per row, with the cells separated by `, `.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_simple(&self, out: &mut dyn Write) -> io::Result<()> {
        self.rows.iter().try_for_each(|row| writeln!(out, "{}", row.join(", ")))
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(self.head[column].len())
        };
        (0..self.head.len()).map(width).collect()
    }
}

/// Replaces control characters, and those that turn the direction of writing, by `?`. Unlike
/// `config::printable` it keeps a table in shape: `?` is one column wide in every locale, and a
/// name cannot reverse the cells beside it.
pub fn terminal_safe(text: &str) -> String {
    let is_harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_harmful(c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(table: &Table) -> String {
        let mut out = Vec::new();
        table.write_boxed(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_looks_like_etcdctls() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row(["8211f1d0f64f3269".to_owned(), "infra1".to_owned()]);
        table.row(["1".to_owned()]);
        let expected = "\
+------------------+--------+
|        ID        |  NAME  |
+------------------+--------+
| 8211f1d0f64f3269 | infra1 |
|                1 |        |
+------------------+--------+
";
        assert_eq!(boxed(&table), expected);
    }

    #[test]
    fn simple_rows_are_separated_by_commas() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row(["1".to_owned(), "a".to_owned()]);
        let mut out = Vec::new();
        table.write_simple(&mut out).unwrap();
        assert_eq!(out, b"1, a\n");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(["\u{1b}[2Jä\n\u{202e}".to_owned()]);
        assert!(boxed(&table).contains("| ?[2Jä?? |"), "{}", boxed(&table));
    }
}

//! A table that fits its place: columns as wide as what is in them, and one that gives way.
//!
//! Owned by the command line. On a terminal no line is wider than it; the column that gives way is
//! shortened in the middle, where long names differ least. Elsewhere nothing is shortened, so that a
//! script reads whole names. Control characters in other people's names are escaped.

use std::io::{IsTerminal, stdout};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns between two cells.
const GAP: usize = 2;
/// The narrowest that the column that gives way becomes.
const NARROWEST: usize = 8;

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Side)>,
    /// The column that gives way.
    elastic: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns, of which the one at `elastic` gives way.
    pub fn new(columns: &[(&'static str, Side)], elastic: usize) -> Table {
        Table { columns: columns.to_vec(), elastic, rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| escaped(&cell)).collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines, headings first; none is wider than `width` if it has room for the other columns.
    pub fn lines(&self, width: Option<usize>) -> Vec<String> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| name.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(width) = width {
            let all = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
            let over = all.saturating_sub(width);
            let elastic = &mut widths[self.elastic];
            *elastic = elastic.saturating_sub(over).max(NARROWEST.min(*elastic));
        }
        let headings: Vec<String> =
            self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        std::iter::once(&headings)
            .chain(&self.rows)
            .map(|cells| self.line(cells, &widths))
            .collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), (_, side)) in cells.iter().zip(widths).zip(&self.columns) {
            let cell = shortened(cell, *width);
            let space = " ".repeat(width.saturating_sub(cell.width()));
            match side {
                Side::Left => line.extend([cell.as_str(), &space]),
                Side::Right => line.extend([space.as_str(), &cell]),
            }
            line.push_str(&" ".repeat(GAP));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The terminal's width, if standard output is one.
pub fn terminal_width() -> Option<usize> {
    if !stdout().is_terminal() {
        return None;
    }
    ratatui::crossterm::terminal::size().ok().map(|(width, _)| usize::from(width))
}

/// The text with its middle left out, so that it is not wider than `width`.
pub fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let (left, right) = (room.div_ceil(2), room / 2);
    let head = taken(text.chars(), left);
    let tail: String = taken(text.chars().rev(), right).chars().rev().collect();
    let ellipsis = if width > 0 { "…" } else { "" };
    format!("{head}{ellipsis}{tail}")
}

/// The first of the characters, as many as `width` has room for.
fn taken(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|char| {
            used += char.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

/// The text without characters that steer a terminal.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() || ('\u{202a}'..='\u{202e}').contains(&char) {
            true => escaped.extend(char.escape_default()),
            false => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles_are_left_out_and_wide_characters_count_twice() {
        assert_eq!(shortened("abcdefghij", 10), "abcdefghij");
        assert_eq!(shortened("abcdefghij", 7), "abc…hij");
        assert_eq!(shortened("abcdefghij", 6), "abc…ij");
        assert_eq!(shortened("中文中文中文", 7), "中…文");
        assert_eq!(shortened("abc", 1), "…");
        assert_eq!(shortened("abc", 0), "");
        for width in 0..12 {
            assert!(shortened("中a文b中c文", width).width() <= width, "{width}");
        }
    }

    #[test]
    fn only_one_column_gives_way_and_nothing_where_there_is_no_terminal() {
        let mut table = Table::new(&[("NAME", Side::Left), ("RATE", Side::Right)], 0);
        table.row(["a-very-long-name-of-a-document".to_owned(), "12".to_owned()]);
        table.row(["b\u{1b}[2J".to_owned(), "1,234".to_owned()]);
        let whole = table.lines(None);
        assert_eq!(whole[0], "NAME                             RATE");
        assert_eq!(whole[1], "a-very-long-name-of-a-document     12");
        assert_eq!(whole[2], "b\\u{1b}[2J                      1,234");
        let narrow = table.lines(Some(20));
        assert_eq!(narrow[1], "a-very…cument     12");
        assert!(narrow.iter().all(|line| line.width() <= 20), "{narrow:?}");
        assert_eq!(table.lines(Some(3))[1], "a-ve…ent     12", "never narrower than eight");
    }
}

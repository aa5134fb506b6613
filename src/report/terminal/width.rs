//! Text and tables within the width of a terminal. Without a width, lines are as long as they need to be.

use comfy_table::{CellAlignment, Table, presets};

/// Columns of blanks around a column of a table.
const PADDING: usize = 2;
/// Indentation of the lines of a wrapped text after the first, in columns.
const INDENT: usize = 2;

/// What happens to a table that is wider than the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// Columns that do not fit follow below, in a table with the same first column.
    Split,
    /// Every row has a line with its first columns, and lines with the others.
    Stack,
}

/// A table: columns of text, then columns of numbers, then more columns of text.
pub(crate) struct Columns<'a> {
    /// Names of the columns.
    pub header: &'a [&'a str],
    /// A cell per column.
    pub rows: &'a [Vec<String>],
    /// Number of the first columns, which name the row.
    pub names: usize,
    /// Number of the columns of numbers after these.
    pub numbers: usize,
    /// What to do where the width is too small.
    pub(crate) overflow: Overflow,
}

impl Columns<'_> {
    /// Formats the table within a width, without a line break at its end.
    pub(crate) fn format(&self, width: Option<usize>) -> String {
        let all: Vec<usize> = (0..self.header.len()).collect();
        let whole = self.table(&all);
        let Some(width) = width else { return lines_of(&whole) };
        let widths: Vec<usize> = whole.column_max_content_widths().iter().map(|w| usize::from(*w) + PADDING).collect();
        if total(&widths, &all) <= width {
            return lines_of(&whole);
        }
        match (self.overflow, self.split(&widths, width)) {
            (Overflow::Split, Some(parts)) => {
                let parts: Vec<String> = parts.iter().map(|part| lines_of(&self.table(part))).collect();
                parts.join("\n\n")
            }
            _ => self.stack(width),
        }
    }

    /// The columns of each part of a table that is split; `None` if a column does not fit even alone.
    fn split(&self, widths: &[usize], width: usize) -> Option<Vec<Vec<usize>>> {
        let names: Vec<usize> = (0..self.names).collect();
        let mut parts = vec![names.clone()];
        for column in self.names..self.header.len() {
            let part = parts.last_mut()?;
            if part.len() > names.len() && total(widths, part) + widths.get(column)? > width {
                parts.push(names.clone());
            }
            let part = parts.last_mut()?;
            part.push(column);
            if total(widths, part) > width {
                return None;
            }
        }
        Some(parts)
    }

    fn table(&self, columns: &[usize]) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(columns.iter().map(|column| self.header[*column]));
        for row in self.rows {
            table.add_row(columns.iter().map(|column| row.get(*column).map_or("", String::as_str)));
        }
        let are_numbers = self.names..self.names + self.numbers;
        for (index, _) in columns.iter().enumerate().filter(|(_, column)| are_numbers.contains(column)) {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    fn stack(&self, width: usize) -> String {
        let of_row = |row: &Vec<String>| {
            let (names, values) = row.split_at(self.names.min(row.len()));
            let value = |(name, value): (&&str, &String)| format!("{name} {value}");
            let values: Vec<String> = self.header.iter().skip(self.names).zip(values).map(value).collect();
            let shift = " ".repeat(INDENT);
            let names = wrap(&names.join(" "), width, INDENT);
            format!("{names}\n{}", wrap(&format!("{shift}{}", values.join(", ")), width, INDENT))
        };
        self.rows.iter().map(of_row).collect::<Vec<_>>().join("\n")
    }
}

/// Width of some columns in a line; the blank after the last one is cut off.
fn total(widths: &[usize], columns: &[usize]) -> usize {
    let sum: usize = columns.iter().filter_map(|column| widths.get(*column)).sum();
    sum.saturating_sub(1)
}

fn lines_of(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Breaks a text at blanks into lines of at most `width` columns; a longer word has a line of its own. Lines after the
/// first begin with `indent` blanks.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let first = leading(text);
    let mut wrapped = " ".repeat(first);
    let mut columns = first;
    let mut is_begun = false;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if is_begun && columns + 1 + length > width {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            columns = indent;
        } else if is_begun {
            wrapped.push(' ');
            columns += 1;
        }
        wrapped.push_str(word);
        columns += length;
        is_begun = true;
    }
    wrapped
}

/// Lines of text with a common width.
pub(crate) struct Lines {
    text: String,
    width: Option<usize>,
}

impl Lines {
    pub(crate) fn new(width: Option<usize>) -> Self {
        Lines { text: String::new(), width }
    }

    /// Adds a text, wrapped where it is wider than a line.
    pub(crate) fn say(&mut self, text: &str) {
        let text = self.width.map_or_else(|| text.to_owned(), |width| wrap(text, width, INDENT + leading(text)));
        self.add(&text);
    }

    /// Adds a table.
    pub(crate) fn tabulate(&mut self, columns: &Columns) {
        let table = columns.format(self.width);
        self.add(&table);
    }

    /// The width of the lines, if there is one.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    pub(crate) fn skip(&mut self) {
        self.text.push('\n');
    }

    /// The text, in ASCII but for names of the report.
    pub(crate) fn into_text(self) -> String {
        self.text.replace(['\u{2212}', '\u{2013}'], "-").replace('\u{2026}', "..")
    }

    /// Adds lines as they are.
    pub(crate) fn add(&mut self, lines: &str) {
        self.text.push_str(lines);
        self.text.push('\n');
    }
}

/// Number of blanks at the beginning of a text.
fn leading(text: &str) -> usize {
    text.len() - text.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[&[&str]]) -> Vec<Vec<String>> {
        values.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn a_table_that_is_too_wide_is_split_or_stacked() {
        let rows = rows(&[&["table", "3.69", "2.40 .. 3.90"], &["retpoline", "20.88", "1.00 .. 2.00"]]);
        let header = ["mechanism", "median", "range"];
        let format =
            |overflow, width| Columns { header: &header, rows: &rows, names: 1, numbers: 2, overflow }.format(width);
        let whole =
            " mechanism  median         range\n table        3.69  2.40 .. 3.90\n retpoline   20.88  1.00 .. 2.00";
        assert_eq!(format(Overflow::Split, None), whole);
        assert_eq!(format(Overflow::Stack, Some(32)), whole);
        let split = " mechanism  median\n table        3.69\n retpoline   20.88\n\n \
                     mechanism         range\n table      2.40 .. 3.90\n retpoline  1.00 .. 2.00";
        assert_eq!(format(Overflow::Split, Some(31)), split);
        let stacked = "table\n  median 3.69, range\n  2.40 .. 3.90\nretpoline\n  median 20.88, range\n  1.00 .. 2.00";
        assert_eq!(format(Overflow::Stack, Some(22)), stacked);
        assert_eq!(format(Overflow::Split, Some(22)), stacked, "a column does not fit beside the name");
        assert!(!format(Overflow::Split, Some(1)).is_empty());
    }

    #[test]
    fn a_text_is_broken_at_blanks_and_never_inside_of_a_word() {
        assert_eq!(wrap("  one two three", 9, 2), "  one two\n  three");
        assert_eq!(wrap("a_very_long_word b", 4, 2), "a_very_long_word\n  b");
        assert_eq!(wrap("", 4, 2), "");
        let mut lines = Lines::new(Some(12));
        lines.say("one two three \u{2212}1\u{2026}");
        assert_eq!(lines.into_text(), "one two\n  three -1..\n");
    }
}

//! Tables, as the terminal, Markdown and the report show them.

use comfy_table::{CellAlignment, Table, presets};

/// A table with a title and what a reader must know about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Section {
    pub(crate) fn new(title: impl Into<String>, header: &[&str]) -> Self {
        let header = header.iter().map(|&name| name.to_owned()).collect();
        Self { title: title.into(), header, ..Self::default() }
    }

    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub(crate) fn with_row(mut self, row: impl IntoIterator<Item = String>) -> Self {
        self.push(row);
        self
    }

    /// A row; shorter ones leave the rest empty.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = row.into_iter().collect();
        row.resize(self.header.len(), String::new());
        self.rows.push(row);
    }

    /// The table in Markdown, without the title.
    pub(crate) fn markdown(&self) -> String {
        // A bar would end the cell.
        self.draw(presets::ASCII_MARKDOWN, |cell| cell.replace('|', "\\|"))
    }

    /// The table with rules, without the title.
    pub(crate) fn text(&self) -> String {
        self.draw(presets::UTF8_HORIZONTAL_ONLY, str::to_owned)
    }

    fn draw(&self, preset: &str, escape: impl Fn(&str) -> String) -> String {
        let mut table = Table::new();
        table.load_preset(preset);
        table.set_header(&self.header);
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| escape(cell)));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }

    /// Prints title, note and table.
    #[expect(clippy::print_stdout, reason = "the result of a command")]
    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        if !self.note.is_empty() {
            println!("{}", self.note);
        }
        println!("{}", self.markdown());
    }
}

/// A number with about three digits that count.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        return format!("{:.2} M", value / 1e6);
    }
    let decimals = if size >= 100.0 { 0 } else { 1 + usize::from(size < 10.0) };
    format!("{value:.decimals$}")
}

/// A time in the unit that fits it.
pub(crate) fn duration(nanos: f64) -> String {
    match nanos {
        nanos if nanos < 1e3 => format!("{nanos:.0} ns"),
        nanos if nanos < 1e6 => format!("{:.2} µs", nanos / 1e3),
        nanos if nanos < 1e9 => format!("{:.2} ms", nanos / 1e6),
        nanos => format!("{:.2} s", nanos / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!([1.234, 12.34, 123.4, 2e6].map(number), ["1.23", "12.3", "123", "2.00 M"]);
        assert_eq!([5.0, 1_500.0, 2e6, 3e9].map(duration), ["5 ns", "1.50 µs", "2.00 ms", "3.00 s"]);
    }

    #[test]
    fn rows_are_filled_up_and_bars_escaped() {
        let mut section = Section::new("t", &["a", "b"]);
        section.push(["x|y".to_owned()]);
        assert!(section.markdown().contains("x\\|y"), "{}", section.markdown());
        assert_eq!(section.rows[0].len(), 2);
    }
}

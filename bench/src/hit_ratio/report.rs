//! The table: a row for each trace and capacity, a column for each subject, the mean, and the verdict.

use std::fmt;
use std::io::Write;

use super::access::Tally;
use super::expected::{CELL, MEAN};
use super::subject::Subject;
use crate::table::Section;

/// What a subject reached, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// Of requests.
    pub hits: f64,
    /// Of bytes.
    pub bytes: f64,
    /// Standard deviation of the first over the seeds; 0 for one seed.
    pub deviation: f64,
}

impl Ratio {
    /// The mean of several runs.
    #[must_use]
    pub fn of(tallies: &[Tally]) -> Self {
        let hits: Vec<f64> = tallies.iter().map(Tally::hit_ratio).collect();
        let bytes: Vec<f64> = tallies.iter().map(Tally::byte_hit_ratio).collect();
        let centre = mean(&hits);
        let squares: f64 = hits.iter().map(|ratio| (ratio - centre).powi(2)).sum();
        let deviation = (squares / hits.len().saturating_sub(1).max(1) as f64).sqrt();
        Self { hits: centre, bytes: mean(&bytes), deviation }
    }
}

/// One trace at one capacity.
#[derive(Clone, Debug)]
pub struct Cell {
    trace: String,
    capacity: u64,
    requests: usize,
    /// What each subject reached; `None` if it can't play.
    pub ratios: Vec<Option<Ratio>>,
    /// What the first subject should reach.
    pub expected: Option<f64>,
}

impl Cell {
    /// A row without figures.
    #[must_use]
    pub fn new(trace: &str, capacity: u64, requests: usize) -> Self {
        Self { trace: trace.to_owned(), capacity, requests, ratios: Vec::new(), expected: None }
    }

    /// By how much the first subject is above what was expected.
    fn difference(&self) -> Option<f64> {
        Some((*self.ratios.first()?)?.hits - self.expected?)
    }

    /// By how much it may be below.
    fn bound(&self) -> f64 {
        CELL + self.ratios.first().copied().flatten().map_or(0.0, |ratio| 2.0 * ratio.deviation)
    }

    fn falls_short(&self) -> bool {
        self.difference().is_some_and(|difference| difference < -self.bound())
    }

    fn exceeds(&self) -> bool {
        self.difference().is_some_and(|difference| difference > self.bound())
    }
}

/// How the first subject compares with the figures that it should reach.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// Cells with such a figure.
    pub cells: usize,
    /// Cells above it by more than may be by chance.
    pub above: usize,
    /// Cells below it by more than that.
    pub short: usize,
    /// The least difference of a cell, in points.
    pub least: f64,
    /// The mean difference, in points.
    pub mean: f64,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cells, above, short, mean, .. } = self;
        let within = cells - above - short;
        write!(
            f,
            "{cells} cells: {within} within {CELL} points and seed noise, {above} above, {short} below; mean off by \
             {mean:+.3} (bound {MEAN})"
        )
    }
}

/// All rows.
#[derive(Clone, Debug)]
pub struct Report {
    subjects: Vec<Subject>,
    byte: bool,
    cells: Vec<Cell>,
}

impl Report {
    /// An empty table.
    #[must_use]
    pub fn new(subjects: Vec<Subject>, byte: bool) -> Self {
        Self { subjects, byte, cells: Vec::new() }
    }

    /// Appends a row.
    pub fn add(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    fn differences(&self) -> Vec<f64> {
        self.cells.iter().filter_map(Cell::difference).collect()
    }

    /// The subjects, in the order of the columns.
    #[must_use]
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// The mean hit ratio of a subject, in percent; `None` if it could not play everywhere.
    #[must_use]
    pub fn mean_of(&self, subject: Subject) -> Option<f64> {
        let column = self.subjects.iter().position(|other| *other == subject)?;
        Some(self.mean_of_column(column)?.hits)
    }

    fn mean_of_column(&self, column: usize) -> Option<Ratio> {
        let ratios: Option<Vec<Ratio>> =
            self.cells.iter().map(|cell| cell.ratios.get(column).copied().flatten()).collect();
        let ratios = ratios.filter(|ratios| !ratios.is_empty())?;
        Some(Ratio {
            hits: mean(&ratios.iter().map(|ratio| ratio.hits).collect::<Vec<f64>>()),
            bytes: mean(&ratios.iter().map(|ratio| ratio.bytes).collect::<Vec<f64>>()),
            deviation: 0.0,
        })
    }

    /// How the first subject compares with what was expected; `None` if nothing was.
    #[must_use]
    pub fn comparison(&self) -> Option<Comparison> {
        let differences = self.differences();
        let least = differences.iter().copied().min_by(f64::total_cmp)?;
        let count = |test: fn(&Cell) -> bool| self.cells.iter().filter(|cell| test(cell)).count();
        Some(Comparison {
            cells: differences.len(),
            above: count(Cell::exceeds),
            short: count(Cell::falls_short),
            least,
            mean: mean(&differences),
        })
    }

    /// The table, with the verdict as its note.
    #[must_use]
    pub fn section(&self) -> Section {
        let compared = self.comparison();
        let mut header = vec!["trace".to_owned(), "capacity".to_owned(), "requests".to_owned()];
        header.extend(self.subjects.iter().map(ToString::to_string));
        if compared.is_some() {
            header.extend(["expected", "difference"].map(str::to_owned));
        }
        let title = if self.byte { "Hit ratio / byte hit ratio in percent" } else { "Hit ratio in percent" };
        let note = compared.map_or_else(String::new, |compared| {
            format!("{compared}: {}", if self.verdict().is_ok() { "pass" } else { "FAIL" })
        });
        let mut section = Section { title: title.to_owned(), note, header, rows: Vec::new() };
        for cell in &self.cells {
            let mut row = vec![cell.trace.clone(), cell.capacity.to_string(), cell.requests.to_string()];
            row.extend(cell.ratios.iter().map(|ratio| self.format(*ratio)));
            if compared.is_some() {
                row.push(cell.expected.map_or_else(String::new, |expected| format!("{expected:.2}")));
                row.push(cell.difference().map_or_else(String::new, |difference| {
                    let mark = if cell.falls_short() { " !" } else { "" };
                    format!("{difference:+.2}{mark}")
                }));
            }
            section.push(row);
        }
        let mut row = vec!["mean".to_owned(), String::new(), String::new()];
        row.extend((0..self.subjects.len()).map(|column| self.format(self.mean_of_column(column))));
        if let Some(compared) = compared {
            let expected: Vec<f64> = self.cells.iter().filter_map(|cell| cell.expected).collect();
            row.push(format!("{:.2}", mean(&expected)));
            row.push(format!("{:+.3}", compared.mean));
        }
        section.push(row);
        section
    }

    /// Prints it.
    ///
    /// # Errors
    /// If `out` does.
    pub fn write(&self, out: &mut dyn Write, markdown: bool) -> std::io::Result<()> {
        let section = self.section();
        let table = if markdown { section.markdown() } else { section.text() };
        writeln!(out, "{}\n\n{table}", section.title)?;
        if !section.note.is_empty() {
            writeln!(out, "\n{}", section.note)?;
        }
        Ok(())
    }

    fn format(&self, ratio: Option<Ratio>) -> String {
        match ratio {
            None => "-".to_owned(),
            Some(Ratio { hits, bytes, .. }) if self.byte => format!("{hits:.2} / {bytes:.2}"),
            Some(Ratio { hits, .. }) => format!("{hits:.2}"),
        }
    }

    /// Whether what was expected was met.
    ///
    /// # Errors
    /// If a cell or the mean is off by more than may be.
    pub fn verdict(&self) -> anyhow::Result<()> {
        let short = self.cells.iter().filter(|cell| cell.falls_short()).count();
        anyhow::ensure!(short == 0, "{short} cells fall short by more than {CELL} points and seed noise");
        let off = mean(&self.differences());
        anyhow::ensure!(off >= -MEAN, "the mean falls short by {:.3} points", -off);
        Ok(())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ratios: &[(f64, f64)]) -> Report {
        let mut report = Report::new(vec![Subject::Policy], false);
        for &(ratio, expected) in ratios {
            let mut cell = Cell::new("a", 10, 100);
            cell.ratios.push(Some(Ratio { hits: ratio, bytes: ratio, deviation: 0.0 }));
            cell.expected = Some(expected);
            report.add(cell);
        }
        report
    }

    #[test]
    fn a_cell_or_the_mean_may_fall_short() {
        assert!(report(&[(50.4, 50.0), (49.6, 50.0)]).verdict().is_ok());
        assert!(report(&[(50.6, 50.0), (49.4, 50.0)]).verdict().is_err());
        assert!(report(&[(49.6, 50.0), (49.7, 50.0)]).verdict().is_err());
        assert!(report(&[(52.0, 50.0), (51.0, 50.0)]).verdict().is_ok(), "better is no failure");
    }

    #[test]
    fn seed_noise_is_allowed_for() {
        let tally = |hits| Tally { requests: 1000, hits, ..Tally::default() };
        let ratio = Ratio::of(&[tally(480), tally(500)]);
        assert!((ratio.hits - 49.0).abs() < 1e-9 && (ratio.deviation - 2f64.sqrt()).abs() < 1e-9);
        let mut report = report(&[(51.0, 49.0)]);
        report.cells[0].ratios = vec![Some(ratio)];
        report.cells[0].expected = Some(52.0);
        assert!(!report.cells[0].falls_short());
        report.cells[0].expected = Some(53.0);
        assert!(report.cells[0].falls_short());
    }

    #[test]
    fn prints_both_ways() {
        for markdown in [false, true] {
            let mut text = Vec::new();
            report(&[(49.1, 50.0)]).write(&mut text, markdown).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains("-0.90 !") && text.contains("FAIL"), "{text}");
        }
    }
}

//! Figures that the policy must meet: a CSV with the columns `trace`, `capacity` and `policy.md`.

use std::path::Path;

use anyhow::Context as _;

/// How far a cell may fall short, in points; to which comes twice the standard deviation over the seeds, because the
/// figure that it is held against is that of one seed.
pub const CELL: f64 = 0.5;
/// How far the mean over all cells may be off, in points.
pub const MEAN: f64 = 0.2;

/// The figures.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    cells: Vec<(String, u64, f64)>,
}

impl Expected {
    /// Reads the file.
    ///
    /// # Errors
    /// If it can't be read or lacks a column.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let parse = || {
            let mut reader = csv::Reader::from_path(path)?;
            let header = reader.headers()?.clone();
            let column = |name: &str| {
                let place = header.iter().position(|field| field == name);
                place.with_context(|| format!("no column is called {name:?}"))
            };
            let (trace, capacity, ratio) = (column("trace")?, column("capacity")?, column("policy.md")?);
            let mut cells = Vec::new();
            for record in reader.records() {
                let record = record?;
                cells.push((record[trace].to_owned(), record[capacity].parse()?, record[ratio].parse()?));
            }
            anyhow::Ok(Self { cells })
        };
        parse().with_context(|| format!("in {}", path.display()))
    }

    /// Capacities that there are figures for.
    #[must_use]
    pub fn capacities(&self, trace: &str) -> Vec<u64> {
        self.cells.iter().filter(|(name, ..)| name == trace).map(|&(_, capacity, _)| capacity).collect()
    }

    /// The figure of a cell.
    #[must_use]
    pub fn find(&self, trace: &str, capacity: u64) -> Option<f64> {
        let cell = self.cells.iter().find(|(name, at, _)| name == trace && *at == capacity);
        cell.map(|&(.., ratio)| ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_cells_by_trace_and_capacity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("expected.csv");
        std::fs::write(&path, "trace,capacity,lru,policy.md\na,10,1,2.5\na,20,2,3\nb,10,0,0\n").unwrap();
        let expected = Expected::read(&path).unwrap();
        assert_eq!(expected.capacities("a"), [10, 20]);
        assert_eq!(expected.find("a", 10), Some(2.5));
        assert_eq!(expected.find("c", 10), None);
        std::fs::write(&path, "trace,capacity\na,10\n").unwrap();
        assert!(format!("{:#}", Expected::read(&path).unwrap_err()).contains("policy.md"));
    }
}

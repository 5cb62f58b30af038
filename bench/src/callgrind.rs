//! Instructions of this program with other arguments, counted by valgrind's callgrind.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

/// Whether it is there.
///
/// # Errors
/// If it is not.
pub(crate) fn look_for() -> anyhow::Result<()> {
    let asked = Command::new("valgrind").arg("--version").output();
    let found = asked.is_ok_and(|output| output.status.success());
    anyhow::ensure!(found, "valgrind is not here, which counts the instructions: apt-get install valgrind");
    Ok(())
}

/// All instructions of this program with these arguments.
pub(crate) fn count(arguments: &[String]) -> anyhow::Result<u64> {
    let folder = tempfile::tempdir()?;
    let counts = folder.path().join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "-q"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(std::env::current_exe()?)
        .args(arguments)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    anyhow::ensure!(output.status.success(), "{}: {last}", output.status);
    total(&counts)
}

/// The total in callgrind's output, over all threads.
fn total(counts: &Path) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(counts)?;
    let totals = text.lines().filter_map(|line| line.strip_prefix("totals:"));
    let totals: Vec<u64> = totals
        .map(|total| total.trim().parse())
        .collect::<Result<_, _>>()
        .context("not callgrind's output")?;
    anyhow::ensure!(!totals.is_empty(), "callgrind's output has no totals");
    Ok(totals.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_threads_are_added() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("counts");
        std::fs::write(&file, "events: Ir\n\ntotals: 12\nfn=(1)\n1 2\ntotals: 30\n").unwrap();
        assert_eq!(total(&file).unwrap(), 42);
        std::fs::write(&file, "events: Ir\n").unwrap();
        assert!(total(&file).is_err());
    }
}

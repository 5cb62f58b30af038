//! The targets beside the figures.

use super::figure::Found;
use super::results::Results;
use super::targets::{TARGETS, Target};
use crate::table::Section;

/// All targets beside what was measured.
pub(super) fn against_targets(results: &Results) -> Section {
    let mut section = Section::new(
        "Figures against targets",
        &["figure", "measured", "target", "", "remark"],
    )
    .with_note(
        "Ratios of medians, of rounds in which the subjects took turns. Stretch: wished for, not promised.",
    );
    for Target { what, figure, bound, stretch } in TARGETS {
        let what = if *stretch { format!("{what} (stretch)") } else { (*what).to_owned() };
        let (measured, verdict, remark) = match figure.of(results) {
            None => ("-".to_owned(), "not measured", String::new()),
            Some(Found { value, remark }) => {
                (format!("{value:.2}"), if bound.is_met_by(value) { "met" } else { "missed" }, remark)
            }
        };
        section.push([what, measured, bound.to_string(), verdict.to_owned(), remark]);
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::Kind;
    use crate::bound::Overshoot;
    use crate::lanes::{Lane, Lanes};
    use crate::memory::{Footprint, Memory};
    use crate::throughput::{Block, Workload};

    fn block(workload: Workload, threads: usize, times: &[(&str, &[f64])]) -> Block {
        let lane =
            |(name, rounds): &(&str, &[f64])| Lane { name: (*name).to_owned(), rounds: Ok(rounds.to_vec()) };
        let lanes = Lanes(times.iter().map(lane).collect());
        Block { workload, threads, lanes, reference: "quick_cache".to_owned() }
    }

    #[test]
    fn figures_are_found_and_judged() {
        let mut results = Results::default();
        assert!(against_targets(&results).rows.iter().all(|row| row[3] == "not measured"));

        results.throughput = vec![
            block(
                Workload::HotReads,
                1,
                &[("millpond", &[9.0, 8.0]), ("quick_cache", &[10.0]), ("moka", &[85.0])],
            ),
            block(Workload::Churn, 2, &[("millpond", &[50.0]), ("quick_cache", &[50.0]), ("moka", &[400.0])]),
        ];
        let footprint = |bytes| Footprint { bytes, held: 10 };
        results.memory =
            vec![(Kind::Millpond, Memory { filled: footprint(640), churned: Some(footprint(641)) })];
        results.bound = vec![(Kind::Millpond, Ok(Overshoot { over: 1, samples: 5 }))];

        let section = against_targets(&results);
        let verdict = |what: &str| {
            let row = section.rows.iter().find(|row| row[0] == what).unwrap_or_else(|| panic!("no {what}"));
            (row[1].as_str(), row[3].as_str())
        };
        assert_eq!(verdict("hot reads, 1 thread"), ("0.85", "met"));
        assert_eq!(verdict("hot reads, 1 thread (stretch)"), ("-", "not measured"));
        assert_eq!(verdict("churn with eviction, 2 threads"), ("1.00", "missed"));
        assert_eq!(verdict("every workload, times faster, at least"), ("8.00", "missed"));
        assert_eq!(verdict("bytes per entry, filled"), ("64.00", "met"));
        assert_eq!(verdict("bytes per entry, after churn"), ("64.10", "missed"));
        assert_eq!(verdict("entries over capacity during churn"), ("1.00", "missed"));
    }
}

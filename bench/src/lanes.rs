//! What several subjects took, round by round, and how they compare.

use crate::stats::{Spread, ratio};

/// One subject.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) name: String,
    /// A figure for each round; or why there are none.
    pub(crate) rounds: Result<Vec<f64>, String>,
}

/// Subjects side by side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes(pub(crate) Vec<Lane>);

impl Lanes {
    /// The rounds of a subject.
    pub(crate) fn rounds(&self, name: &str) -> Option<&[f64]> {
        let lane = self.0.iter().find(|lane| lane.name == name)?;
        lane.rounds.as_deref().ok()
    }

    /// The median of a subject.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        Some(Spread::of(self.rounds(name)?)?.median)
    }

    /// One subject's figure over another's.
    pub(crate) fn ratio(&self, name: &str, reference: &str) -> Option<Spread> {
        ratio(self.rounds(name)?, self.rounds(reference)?)
    }

    /// Medians of those that took part.
    pub(crate) fn medians(&self) -> Vec<(String, f64)> {
        let median = |lane: &Lane| Some((lane.name.clone(), self.median(&lane.name)?));
        self.0.iter().filter_map(median).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sat_out_has_no_figures() {
        let lane = |name: &str, rounds: Result<&[f64], &str>| Lane {
            name: name.to_owned(),
            rounds: rounds.map(<[f64]>::to_vec).map_err(str::to_owned),
        };
        let lanes = Lanes(vec![lane("a", Ok(&[1.0, 3.0])), lane("b", Ok(&[4.0, 4.0])), lane("c", Err("no"))]);
        assert_eq!(lanes.medians(), [("a".to_owned(), 2.0), ("b".to_owned(), 4.0)]);
        let compared = lanes.ratio("a", "b").map(|spread| spread.median);
        assert_eq!(compared, Some(0.5));
        assert!(lanes.ratio("a", "c").is_none() && lanes.rounds("d").is_none());
    }
}

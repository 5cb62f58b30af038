//! What several rounds say: medians, spreads, ratios.

/// Median, least and greatest of several values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// `None` of no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&least, &greatest) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, least, greatest })
    }
}

/// How one subject's rounds compare with another's: the ratio of the medians, and how far apart single rounds were.
pub(crate) fn ratio(own: &[f64], other: &[f64]) -> Option<Spread> {
    let rounds: Vec<f64> = own.iter().zip(other).map(|(own, other)| own / other).collect();
    let Spread { least, greatest, .. } = Spread::of(&rounds)?;
    Some(Spread { median: Spread::of(own)?.median / Spread::of(other)?.median, least, greatest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, greatest: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]), Some(Spread { median: 2.5, least: 1.0, greatest: 4.0 }));
        // The medians are 4 and 2, of rounds that do not belong together.
        let compared = ratio(&[4.0, 3.0, 5.0], &[1.0, 2.0, 4.0]);
        assert_eq!(compared, Some(Spread { median: 2.0, least: 1.25, greatest: 4.0 }));
        assert_eq!(ratio(&[1.0], &[]), None);
    }
}

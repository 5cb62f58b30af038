//! What is to be reached, and whether it was.

use crate::table::Section;

/// How a figure is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    Above(f64),
}

/// A figure beside its target.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) what: String,
    /// `None` if it was not measured.
    pub(crate) measured: Option<f64>,
    pub(crate) bound: Bound,
    pub(crate) remark: String,
}

impl Bound {
    pub(crate) fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::Above(bound) => value > bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::Above(bound) => write!(f, "> {bound}"),
        }
    }
}

impl Check {
    pub(crate) fn new(what: impl Into<String>, measured: Option<f64>, bound: Bound) -> Self {
        Self { what: what.into(), measured, bound, remark: String::new() }
    }

    pub(crate) fn with_remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = remark.into();
        self
    }

    /// Met, missed, or not measured.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.measured {
            None => "not measured",
            Some(value) if self.bound.is_met_by(value) => "met",
            Some(_) => "missed",
        }
    }
}

/// The table of figures beside their targets.
pub(crate) fn section(note: &str, checks: &[Check]) -> Section {
    let header = ["figure", "measured", "target", "", "remark"];
    let mut section = Section::new("Figures against targets", &header).with_note(note);
    for check in checks {
        let measured = check.measured.map_or_else(
            || "-".to_owned(),
            |value| if value > 0.99 && value < 1.0 { format!("{value:.4}") } else { format!("{value:.2}") },
        );
        let verdict = check.verdict().to_owned();
        section.push([check.what.clone(), measured, check.bound.to_string(), verdict, check.remark.clone()]);
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use Bound::{Above, AtLeast, AtMost};

    #[test]
    fn bounds_are_kept_to_the_letter() {
        assert!(AtMost(1.0).is_met_by(1.0) && !AtMost(1.0).is_met_by(1.001));
        assert!(AtLeast(-0.2).is_met_by(-0.2) && !AtLeast(-0.2).is_met_by(-0.21));
        assert!(Above(0.0).is_met_by(0.1) && !Above(0.0).is_met_by(0.0));
        for bound in [AtMost(0.0), AtLeast(0.0), Above(0.0)] {
            assert!(!bound.is_met_by(f64::NAN), "no figure meets nothing");
        }
    }

    #[test]
    fn a_figure_is_met_missed_or_not_measured() {
        let of = |measured| Check::new("x", measured, AtMost(1.0)).verdict();
        assert_eq!([of(Some(1.0)), of(Some(1.1)), of(None)], ["met", "missed", "not measured"]);
        let text = section("", &[Check::new("x", Some(0.9991), AtLeast(0.999))]).markdown();
        assert!(text.contains("0.9991") && text.contains("met"), "{text}");
    }
}

//! Progress on stderr. Where that is no terminal, nothing is drawn.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many steps. It moves only when it is told to: a thread of its own would take part in the measurement.
pub(crate) fn bar(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {percent:>3} % {msg}");
    ProgressBar::new(steps).with_style(style.expect("the template is well-formed"))
}

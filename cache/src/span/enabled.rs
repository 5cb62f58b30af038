//! A span for each load.

use std::sync::OnceLock;

use tracing::Span;
use tracing::span::Entered;

/// The span of one load, or of one bulk load. Begins when the loader first runs, so never under a lock, and ends with the load.
#[derive(Debug, Default)]
pub(crate) struct LoadSpan(OnceLock<Box<Span>>);

impl LoadSpan {
    /// To be held while the loader runs or is polled.
    pub(crate) fn enter(&self, cache: Option<&str>) -> Entered<'_> {
        self.0
            .get_or_init(|| Box::new(tracing::debug_span!(target: "millpond_cache", "cache_load", cache)))
            .enter()
    }
}

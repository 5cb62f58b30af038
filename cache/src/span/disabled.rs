//! No spans.

// With braces: its default is asked for where its twin's is, and of a unit clippy wants the name instead.
#[derive(Debug, Default)]
pub(crate) struct LoadSpan {}

impl LoadSpan {
    #[expect(clippy::unused_self, reason = "the twin has a span")]
    pub(crate) fn enter(&self, _cache: Option<&str>) {}
}

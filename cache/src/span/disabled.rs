//! No spans.

#[derive(Debug, Default)]
pub(crate) struct LoadSpan;

impl LoadSpan {
    #[expect(clippy::unused_self, reason = "the twin has a span")]
    pub(crate) fn enter(&self, _cache: Option<&str>) {}
}

//! Spans of `tracing` around loads: two modules with one face, of which the feature picks one.

#[cfg(not(feature = "tracing"))]
mod disabled;
#[cfg(feature = "tracing")]
mod enabled;

#[cfg(not(feature = "tracing"))]
pub(crate) use disabled::LoadSpan;
#[cfg(feature = "tracing")]
pub(crate) use enabled::LoadSpan;

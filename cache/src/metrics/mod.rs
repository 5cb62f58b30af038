//! Statistics for the recorder of the `metrics` crate: two modules with one face, of which the feature picks one.

#[cfg(not(feature = "metrics"))]
mod disabled;
#[cfg(feature = "metrics")]
mod enabled;

#[cfg(not(feature = "metrics"))]
pub(crate) use disabled::Published;
#[cfg(feature = "metrics")]
pub(crate) use enabled::Published;

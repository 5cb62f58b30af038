//! Connect options that may change: fixed ones, or a function that is asked before each attempt.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// What a provider of options returns: `Box::pin(async move { … })`.
pub type ProviderFuture<O, E> = Pin<Box<dyn Future<Output = Result<O, E>> + Send>>;

type Ask<O, E> = dyn Fn() -> ProviderFuture<O, E> + Send + Sync;

pub(super) enum Provider<O, E> {
    Fixed(O),
    Ask(Arc<Ask<O, E>>),
}

impl<O: Clone, E> Provider<O, E> {
    pub(super) fn ask(ask: impl Fn() -> ProviderFuture<O, E> + Send + Sync + 'static) -> Self {
        Self::Ask(Arc::new(ask))
    }

    pub(super) async fn options(&self) -> Result<O, E> {
        match self {
            Self::Fixed(options) => Ok(options.clone()),
            Self::Ask(ask) => ask().await,
        }
    }
}

impl<O: Clone, E> Clone for Provider<O, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Fixed(options) => Self::Fixed(options.clone()),
            Self::Ask(ask) => Self::Ask(Arc::clone(ask)),
        }
    }
}

impl<O, E> fmt::Debug for Provider<O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Options hold passwords.
        f.write_str(match self {
            Self::Fixed(_) => "Fixed",
            Self::Ask(_) => "Ask",
        })
    }
}

//! What a user may add to a connection's way: after it was opened, before it is lent, after it came back.

use std::fmt;
use std::pin::Pin;

/// What a hook returns: `Box::pin(async move { … })`. An error discards the connection.
pub type HookFuture<'c, E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'c>>;

pub(crate) type Hook<C, E> = Box<dyn for<'c> Fn(&'c mut C) -> HookFuture<'c, E> + Send + Sync>;

pub(crate) struct Hooks<C, E> {
    pub(crate) after_connect: Option<Hook<C, E>>,
    pub(crate) before_acquire: Option<Hook<C, E>>,
    pub(crate) after_release: Option<Hook<C, E>>,
}

impl<C, E> Default for Hooks<C, E> {
    fn default() -> Self {
        Self { after_connect: None, before_acquire: None, after_release: None }
    }
}

impl<C, E> fmt::Debug for Hooks<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("after_connect", &self.after_connect.is_some())
            .field("before_acquire", &self.before_acquire.is_some())
            .field("after_release", &self.after_release.is_some())
            .finish()
    }
}

//! Nobody asked for it.

use crate::core::Core;

#[derive(Debug)]
pub(crate) struct Published;

impl Published {
    pub(crate) fn new() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the face of the other module")]
    pub(crate) fn renew<K, V, S>(&self, _core: &Core<K, V, S>) {}
}

//! Which rules there are for what is evicted.

/// How a policy chooses what goes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Kind {
    /// W-TinyLFU; a candidate meets one victim at a time.
    #[default]
    TinyLfu,
    /// W-TinyLFU; a candidate meets all victims that its weight would push out (see `av`).
    SizeAware,
    /// The least recently used entry goes; uses are told by [`Policy::refresh`](super::Policy::refresh).
    Lru,
}

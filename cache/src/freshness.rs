//! How old values may get, beside the end of their life: what the builder was told, in ticks.

/// What a cache does with values that are past their time, or about to be.
pub(crate) struct Freshness<V> {
    /// How long an expired entry stays for loads that fail; 0 = not at all.
    pub(crate) grace: u64,
    pub(crate) negative: Option<Negative<V>>,
}

/// Values that say "there is no such thing" live for a time of their own.
pub(crate) struct Negative<V> {
    pub(crate) life: u64,
    pub(crate) is_negative: Box<dyn Fn(&V) -> bool + Send + Sync>,
}

impl<V> Default for Freshness<V> {
    fn default() -> Self {
        Self { grace: 0, negative: None }
    }
}

impl<V> Freshness<V> {
    /// Whether nothing of it is used.
    pub(crate) fn is_off(&self) -> bool {
        self.grace == 0 && self.negative.is_none()
    }

    /// The life of this value, in ticks, if it is a negative one.
    pub(crate) fn negative_life(&self, value: &V) -> Option<u64> {
        self.negative.as_ref().filter(|negative| (negative.is_negative)(value)).map(|negative| negative.life)
    }
}

//! How the room is divided.
//!
//! The window's share moves by what the climber asks for; main has the rest, of which the protected queue may hold four
//! fifths at first. Protected gives and takes the whole of a change: probation, where the next victims are found, keeps
//! its size.

/// The window at first.
const FIRST_WINDOW: f64 = 0.02;
/// The part of main that is protected at first.
const PROTECTED: f64 = 0.8;
/// The stamps in entry headers have 16 bits; a capacity spans at most this many bits of them.
const STAMP_BITS: u32 = 14;

#[derive(Debug)]
pub(super) struct Quota {
    capacity: u64,
    window: u64,
    /// The window at the start, to which `first_protected` belongs.
    first_window: u64,
    first_protected: u64,
    /// Growth of the window that is asked for and not yet done.
    due: f64,
    /// Shift from the miss clock to stamps.
    unit: u32,
}

impl Quota {
    pub(super) fn new(capacity: u64) -> Self {
        let window = ((capacity as f64 * FIRST_WINDOW).ceil() as u64).max(1);
        let first_protected = ((capacity - window) as f64 * PROTECTED) as u64;
        let bits = u64::BITS - (capacity - 1).leading_zeros();
        let unit = bits.saturating_sub(STAMP_BITS);
        Self { capacity, window, first_window: window, first_protected, due: 0.0, unit }
    }

    pub(super) fn set_capacity(&mut self, capacity: u64) {
        let part = self.window as f64 / self.capacity as f64;
        *self = Self::new(capacity);
        self.window = ((capacity as f64 * part) as u64).clamp(1, capacity);
    }

    #[inline]
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    #[inline]
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    #[inline]
    pub(super) fn protected(&self) -> u64 {
        (self.first_protected + self.first_window).saturating_sub(self.window)
    }

    /// Gives the window this part of the capacity.
    #[cfg(feature = "snapshot")]
    pub(super) fn set_window_share(&mut self, part: f64) {
        let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { FIRST_WINDOW };
        self.window = ((self.capacity as f64 * part) as u64).clamp(1, self.capacity);
        self.due = 0.0;
    }

    pub(super) fn half_window(&self) -> u64 {
        (self.window / 2) >> self.unit
    }

    /// The miss clock as entries keep it.
    #[inline]
    pub(super) fn stamp(&self, misses: u64) -> u16 {
        (misses >> self.unit) as u16
    }

    /// Asks for a larger window (or a smaller one, if negative).
    pub(super) fn request(&mut self, growth: f64) {
        self.due += growth;
    }

    #[inline]
    pub(super) fn is_moving(&self) -> bool {
        self.due.abs() >= 1.0
    }

    /// Does up to `limit` of what is due; returns by how much the window grew.
    pub(super) fn advance(&mut self, limit: u64) -> u64 {
        let before = self.window;
        let amount = (self.due.abs() as u64).min(limit);
        if self.due > 0.0 {
            self.due -= amount as f64;
            self.window = (self.window + amount).min(self.capacity);
        } else {
            self.due += amount as f64;
            self.window = self.window.saturating_sub(amount).max(1);
        }
        self.window.saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_at_the_start() {
        let shares = |capacity| {
            let quota = Quota::new(capacity);
            (quota.window(), quota.protected())
        };
        assert_eq!(shares(1), (1, 0));
        assert_eq!(shares(2), (1, 0));
        assert_eq!(shares(10), (1, 7));
        assert_eq!(shares(1000), (20, 784));
        assert!(shares(u64::MAX).0 > 1 << 57);
    }

    #[test]
    fn protected_gives_and_takes_what_the_window_moves() {
        let mut quota = Quota::new(1000);
        quota.request(100.4);
        let mut grown = 0;
        while quota.is_moving() {
            grown += quota.advance(64);
        }
        assert_eq!((grown, quota.window(), quota.protected()), (100, 120, 684));
        quota.request(-110.4);
        while quota.is_moving() {
            assert_eq!(quota.advance(64), 0);
        }
        assert_eq!((quota.window(), quota.protected()), (10, 794));
    }

    #[test]
    fn a_window_beyond_the_first_protected_leaves_none() {
        let mut quota = Quota::new(1000);
        quota.request(850.0);
        quota.advance(u64::MAX);
        assert_eq!((quota.window(), quota.protected()), (870, 0));
        quota.request(-850.0);
        quota.advance(u64::MAX);
        assert_eq!((quota.window(), quota.protected()), (20, 784));
    }

    #[test]
    fn a_capacity_spans_no_more_than_a_quarter_of_the_stamps() {
        for capacity in [1, 20, 1 << 14, (1 << 14) + 1, 1_000_000, u64::MAX] {
            let quota = Quota::new(capacity);
            assert!(capacity >> quota.unit <= 1 << STAMP_BITS, "{capacity}");
            assert!(
                capacity <= 1 << STAMP_BITS || capacity >> quota.unit >= 1 << (STAMP_BITS - 1),
                "{capacity}"
            );
        }
    }

    #[test]
    fn a_new_capacity_keeps_the_window_in_proportion() {
        let mut quota = Quota::new(1000);
        quota.request(180.0);
        quota.advance(u64::MAX);
        quota.set_capacity(100);
        assert_eq!((quota.window(), quota.capacity()), (20, 100));
        quota.set_capacity(1);
        assert_eq!(quota.window(), 1);
    }
}

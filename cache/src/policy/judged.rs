//! What the last duel found out about its victim, which in a scan meets many candidates.

use super::header::Header;

/// Frequencies are compared up to here.
const MAX_FREQUENCY: u32 = 15;

/// A victim's estimate, kept for the next duel: until the next halving it can only have grown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judged {
    pub(super) hash: u32,
    pub(super) counted: u32,
    /// Of the sketch, at the time.
    pub(super) halvings: u32,
}

impl Judged {
    #[inline]
    pub(super) fn with(self, victim: &Header) -> u32 {
        with_last_use(self.counted, victim)
    }
}

/// How often an entry was used, with the use that the sketch does not know of yet.
#[inline]
pub(super) fn with_last_use(counted: u32, header: &Header) -> u32 {
    (counted + u32::from(header.referenced())).min(MAX_FREQUENCY)
}

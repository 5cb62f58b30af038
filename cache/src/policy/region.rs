//! Where an entry can be.

/// Which queue an entry is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Region {
    /// Not known to the policy: not yet inserted, or on its way out.
    Unlinked = 0,
    /// The admission window, where every entry starts.
    Window = 1,
    /// Main, on trial: the next victims.
    Probation = 2,
    /// Main, used again while on probation.
    Protected = 3,
    /// Weight 0: never evicted, in no hand's way.
    Pinned = 4,
}

impl Region {
    /// How many there are; the index of a region is its number.
    pub(super) const COUNT: usize = 5;

    /// Where a queue can be, coldest first.
    pub(super) const ALL: [Self; 4] = [Self::Probation, Self::Window, Self::Protected, Self::Pinned];

    #[inline]
    pub(super) fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Window,
            2 => Self::Probation,
            3 => Self::Protected,
            4 => Self::Pinned,
            _ => Self::Unlinked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_survive_the_byte() {
        for region in [Region::Unlinked, Region::Window, Region::Probation, Region::Protected, Region::Pinned]
        {
            assert_eq!(Region::from_byte(region as u8), region);
        }
    }
}

//! What can be seen of a policy from outside.

use super::kind::Kind;
use super::region::Region;
use super::state::Policy;

/// Entries in a part of the policy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// How many.
    pub entries: u64,
    /// What they weigh.
    pub weight: u64,
}

/// All parts of a policy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Parts {
    /// The admission window.
    pub window: Held,
    /// Main, on trial.
    pub probation: Held,
    /// Main, used again.
    pub protected: Held,
    /// Of weight 0.
    pub pinned: Held,
    /// The room of the window, in weight.
    pub window_max: u64,
}

impl Policy {
    /// Which rule evicts.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is where.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let held = |region| {
            let list = self.lists.list(region);
            Held { entries: list.len() as u64, weight: list.weight() }
        };
        Parts {
            window: held(Region::Window),
            probation: held(Region::Probation),
            protected: held(Region::Protected),
            pinned: held(Region::Pinned),
            window_max: if self.kind == Kind::Lru { self.quota.capacity() } else { self.quota.window() },
        }
    }
}

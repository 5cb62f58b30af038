//! From the kind of a policy to its rule. The plain cache calls the rule of `evict` directly; all others come here.

use super::activity::Activity;
use super::entries::Entries;
use super::kind::Kind;
use super::state::Policy;

impl Policy {
    /// As [`insert`](Self::insert), whatever the kind.
    #[inline]
    pub fn insert_by_kind<E: Entries + ?Sized>(
        &mut self,
        entries: &E,
        activity: &Activity,
        slot: u32,
        weight: u32,
    ) {
        match self.kind {
            Kind::TinyLfu | Kind::SizeAware => self.insert(entries, activity, slot, weight),
            Kind::Lru => self.insert_youngest(entries, slot, weight),
        }
    }

    /// As [`replace`](Self::replace), whatever the kind.
    #[inline]
    pub fn replace_by_kind<E: Entries + ?Sized>(
        &mut self,
        entries: &E,
        activity: &Activity,
        old: u32,
        new: u32,
        weight: u32,
    ) {
        self.replace(entries, activity, old, new, weight);
        if self.kind == Kind::Lru {
            self.refresh(entries, new);
        }
    }

    /// As [`settle`](Self::settle), whatever the kind.
    #[inline]
    pub fn settle_by_kind<E: Entries + ?Sized>(&mut self, entries: &E) {
        match self.kind {
            Kind::TinyLfu => self.settle(entries),
            Kind::SizeAware => self.pass_by_weight(entries),
            Kind::Lru => {}
        }
    }

    /// As [`evict`](Self::evict), whatever the kind.
    #[inline]
    pub fn evict_by_kind<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<u32> {
        match self.kind {
            Kind::TinyLfu => self.evict(entries),
            Kind::SizeAware => self.evict_by_weight(entries),
            Kind::Lru => self.evict_oldest(entries),
        }
    }
}

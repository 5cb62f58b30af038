//! The names of the subjects, and the way from a name to its type.

use clap::ValueEnum;

use super::Subject;
use super::dashmap::DashMap;
use super::foyer::Foyer;
use super::millpond::Millpond;
use super::mini_moka::MiniMoka;
use super::moka::Moka;
use super::mutex_lru::MutexLru;
use super::papaya::Papaya;
use super::quick_cache::QuickCache;
use super::rwlock_map::RwlockMap;
use super::scc::Scc;
use super::sharded_lru::ShardedLru;
use super::stretto::Stretto;
use super::tinyufo::TinyUfo;

/// A subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    Millpond,
    #[value(name = "quick_cache")]
    QuickCache,
    Moka,
    MiniMoka,
    Foyer,
    Stretto,
    #[value(name = "tinyufo")]
    TinyUfo,
    Scc,
    MutexLru,
    ShardedLru,
    RwlockMap,
    #[value(name = "dashmap")]
    DashMap,
    Papaya,
}

/// Does something with the type behind a name.
pub(crate) trait Visit {
    type Output;
    fn visit<S: Subject>(self) -> Self::Output;
}

impl Kind {
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Those given, or all if none are.
    pub(crate) fn or_all(given: &[Self]) -> Vec<Self> {
        if given.is_empty() { Self::all() } else { given.to_vec() }
    }

    pub(crate) fn accept<V: Visit>(self, visitor: V) -> V::Output {
        match self {
            Self::Millpond => visitor.visit::<Millpond>(),
            Self::QuickCache => visitor.visit::<QuickCache>(),
            Self::Moka => visitor.visit::<Moka>(),
            Self::MiniMoka => visitor.visit::<MiniMoka>(),
            Self::Foyer => visitor.visit::<Foyer>(),
            Self::Stretto => visitor.visit::<Stretto>(),
            Self::TinyUfo => visitor.visit::<TinyUfo>(),
            Self::Scc => visitor.visit::<Scc>(),
            Self::MutexLru => visitor.visit::<MutexLru>(),
            Self::ShardedLru => visitor.visit::<ShardedLru>(),
            Self::RwlockMap => visitor.visit::<RwlockMap>(),
            Self::DashMap => visitor.visit::<DashMap>(),
            Self::Papaya => visitor.visit::<Papaya>(),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("no value is skipped");
        f.pad(value.get_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Well above the capacity; more would take a minute without optimization.
    const KEYS: u64 = 20_000;

    struct Behaves(Kind);

    impl Visit for Behaves {
        type Output = ();

        fn visit<S: Subject>(self) {
            let name = self.0;
            for subject in [S::new(1024), S::growing(1024)] {
                assert_eq!(subject.get(1), None, "{name}");
                subject.insert(1, 10);
                subject.settle();
                assert_eq!(subject.get(1), Some(10), "{name}");
                subject.insert(1, 11);
                subject.settle();
                assert_eq!(subject.get(1), Some(11), "{name}: an insert replaces");
                assert_eq!(subject.sum_pinned(&[1, 1, u64::MAX]), 22, "{name}");
                assert!(subject.held().is_none_or(|held| held == 1), "{name}: {:?}", subject.held());
            }
            let subject = S::new(1024);
            for key in 0..KEYS {
                subject.insert(key, key);
            }
            subject.settle();
            let held = (0..KEYS).filter(|&key| subject.get(key).is_some()).count();
            if S::BOUNDED {
                assert!((300..4096).contains(&held), "{name} holds {held} of 1024");
            } else {
                assert_eq!(held as u64, KEYS, "{name}");
            }
            if let Some(count) = subject.held() {
                assert!(count.abs_diff(held) <= held / 50, "{name} says {count}, holds {held}");
            }
        }
    }

    #[test]
    fn every_subject_is_a_map() {
        for kind in Kind::all() {
            kind.accept(Behaves(kind));
        }
    }
}

//! The loops, generic over the subject, behind an object that is called once a round.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use super::workload::{Keys, Workload};
use crate::adapters::{Kind, PlainMap, Subject, Visit};
use crate::{keys, rounds};

/// Lookups under one guard in the workload `pin`.
const PINNED: usize = 64;

/// One round.
#[derive(Clone, Copy)]
pub(super) struct Round<'k> {
    pub(super) workload: Workload,
    pub(super) threads: usize,
    /// Of each thread.
    pub(super) operations: usize,
    pub(super) keys: &'k [u64],
    /// Where in the keys it begins, so that each round can go on where the last one ended.
    pub(super) begin: usize,
}

/// A subject, made and filled.
pub(super) trait Runner {
    /// Wall time for one operation, in ns.
    fn round(&self, round: Round<'_>) -> f64;
}

/// A subject that is ready, or why it can't do the workload.
pub(super) type Made = Result<Box<dyn Runner>, String>;

/// Makes and fills a subject.
pub(super) fn make(kind: Kind, workload: Workload, keys: &Keys) -> Made {
    kind.accept(Make { workload, keys })
}

/// The map without a lock that `pin` is held against.
pub(super) fn plain_map(keys: &Keys) -> Box<dyn Runner> {
    Box::new(PlainMap::of(&keys.present))
}

/// Whether a subject can do a workload; else why not.
pub(super) fn able(kind: Kind, workload: Workload) -> Result<(), String> {
    kind.accept(Able(workload))
}

struct Able(Workload);

impl Visit for Able {
    type Output = Result<(), String>;

    fn visit<S: Subject>(self) -> Self::Output {
        if self.0.evicts() && !S::BOUNDED {
            return Err("holds all: no eviction".to_owned());
        }
        if self.0 == Workload::Pin && !S::PINS {
            return Err("has no guard for many reads".to_owned());
        }
        Ok(())
    }
}

struct Make<'k> {
    workload: Workload,
    keys: &'k Keys,
}

impl Visit for Make<'_> {
    type Output = Made;

    fn visit<S: Subject>(self) -> Self::Output {
        let Self { workload, keys } = self;
        Able(workload).visit::<S>()?;
        let subject = S::new(keys.capacity);
        fill(&subject, &keys.present);
        if !workload.evicts() {
            let missing = |subject: &S| {
                keys.present.iter().copied().filter(|&key| subject.get(key).is_none()).collect::<Vec<_>>()
            };
            // One that may refuse an insert gets another chance.
            for _ in 0..8 {
                let missing = missing(&subject);
                if missing.is_empty() {
                    break;
                }
                fill(&subject, &missing);
            }
            let missing = missing(&subject).len();
            if missing * 100 > keys.present.len() {
                return Err(format!(
                    "keeps only {} of {} keys",
                    keys.present.len() - missing,
                    keys.present.len()
                ));
            }
        }
        Ok(Box::new(Filled(subject)))
    }
}

fn fill<S: Subject>(subject: &S, keys: &[u64]) {
    let piece = if S::EVENTUAL { 1024 } else { keys.len().max(1) };
    for keys in keys.chunks(piece) {
        for &key in keys {
            subject.insert(key, key);
        }
        subject.settle();
    }
}

struct Filled<S>(S);

impl<S: Subject> Runner for Filled<S> {
    fn round(&self, round: Round<'_>) -> f64 {
        let subject = &self.0;
        let Round { workload, operations, .. } = round;
        round.time(|keys| match workload {
            Workload::HotReads | Workload::Miss | Workload::OneKey | Workload::Large => read(subject, keys),
            Workload::Pin => keys.chunks(PINNED).for_each(|keys| {
                black_box(subject.sum_pinned(keys));
            }),
            Workload::Mixed => mix(subject, keys),
            Workload::Overwrite => keys.iter().for_each(|&key| subject.insert(key, key)),
            Workload::Churn => churn(subject, keys),
            Workload::Unique => unique(subject, operations),
        })
    }
}

impl Runner for PlainMap {
    fn round(&self, round: Round<'_>) -> f64 {
        round.time(|keys| {
            keys.chunks(PINNED).for_each(|keys| {
                black_box(self.sum(keys));
            });
        })
    }
}

impl Round<'_> {
    fn time(self, work: impl Fn(&[u64]) + Sync) -> f64 {
        let Self { workload, threads, operations, keys, begin } = self;
        rounds::time(threads, threads * operations, |thread| {
            if workload == Workload::Unique {
                return work(keys);
            }
            // Each thread begins at another place.
            let begin = thread * keys.len() / threads + begin;
            keys::pieces(keys, begin, operations).for_each(&work);
        })
    }
}

fn read<S: Subject>(subject: &S, keys: &[u64]) {
    let sum = keys.iter().fold(0u64, |sum, &key| sum.wrapping_add(subject.get(key).unwrap_or(0)));
    black_box(sum);
}

fn mix<S: Subject>(subject: &S, keys: &[u64]) {
    for (n, &key) in keys.iter().enumerate() {
        if n % 4 == 3 {
            subject.insert(key, n as u64);
        } else {
            black_box(subject.get(key));
        }
    }
}

pub(crate) fn churn<S: Subject>(subject: &S, keys: &[u64]) {
    for &key in keys {
        if black_box(subject.get(key)).is_none() {
            subject.insert(key, key);
        }
    }
}

fn unique<S: Subject>(subject: &S, operations: usize) {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
    let first = NEXT.fetch_add(operations as u64, Ordering::Relaxed);
    for key in first..first + operations as u64 {
        subject.insert(keys::spread(key), key);
    }
}

//! Per-key linearizability of recorded concurrent histories, after J. Wing and C. Gong, "Testing and Verifying Concurrent
//! Objects" (1993): is there an order of the calls that respects their real time and that one register explains?
//!
//! What a key may do: hold a value or none. A bounded cache may drop its value at any time. A load returns the value it
//! found, or stores its own; one that a write overtook, or that lost its entry at once, returns a value that is not stored.

use std::collections::{HashMap, HashSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use millpond_cache::Cache;
use millpond_cache::compute::{self, Op};

use crate::support::{Random, scaled, watchdog};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    Insert(u64),
    Remove,
    Invalidate,
    /// Own value, and whether the own loader ran.
    Load(u64, bool),
    /// A compute whose last closure saw what is `seen`, and did nothing, stored a value or removed the entry.
    Look,
    Put(u64),
    Take,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) call: Call,
    pub(crate) seen: Option<u64>,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

impl Event {
    fn overlaps(&self, other: &Self) -> bool {
        self.began < other.ended && other.began < self.ended
    }
}

/// States that the register may be in after `event`, if it was in `state` before.
fn after(event: &Event, state: Option<u64>, history: &[Event], bounded: bool) -> Vec<Option<u64>> {
    match event.call {
        Call::Get | Call::Look => {
            if event.seen == state {
                vec![state]
            } else {
                vec![]
            }
        }
        Call::Insert(value) => vec![Some(value)],
        Call::Remove | Call::Take => {
            if event.seen == state {
                vec![None]
            } else {
                vec![]
            }
        }
        Call::Put(value) => {
            if event.seen == state {
                vec![Some(value)]
            } else {
                vec![]
            }
        }
        Call::Invalidate => vec![None],
        Call::Load(own, called) => {
            let mut states = vec![];
            if state.is_some() && event.seen == state && !called {
                states.push(state);
            }
            if state.is_none() && called && event.seen == Some(own) {
                states.push(Some(own));
                // By plain writes only: computes wait for loads, and loads for computes.
                let overtakes = |call| matches!(call, Call::Insert(_) | Call::Remove | Call::Invalidate);
                let overtaken = history.iter().any(|other| overtakes(other.call) && event.overlaps(other));
                if overtaken || bounded {
                    states.push(None);
                }
            }
            if state.is_none() && !called {
                // Waited for the load of another, which stores on its own account.
                let by_another = history.iter().any(|other| {
                    matches!(other.call, Call::Load(value, true) if Some(value) == event.seen)
                        && event.overlaps(other)
                });
                if by_another {
                    states.push(None);
                }
            }
            states
        }
    }
}

fn linearizable(history: &[Event], bounded: bool) -> bool {
    fn search(
        history: &[Event],
        bounded: bool,
        done: u64,
        state: Option<u64>,
        seen: &mut HashSet<(u64, Option<u64>)>,
    ) -> bool {
        if done == (1 << history.len()) - 1 {
            return true;
        }
        if !seen.insert((done, state)) {
            return false;
        }
        if bounded && state.is_some() && search(history, bounded, done, None, seen) {
            return true;
        }
        // An event may go next if none that is left had ended before it began.
        let horizon = (0..history.len())
            .filter(|i| done >> i & 1 == 0)
            .map(|i| history[i].ended)
            .min()
            .unwrap_or(u64::MAX);
        (0..history.len()).filter(|i| done >> i & 1 == 0 && history[*i].began < horizon).any(|i| {
            after(&history[i], state, history, bounded)
                .into_iter()
                .any(|next| search(history, bounded, done | 1 << i, next, seen))
        })
    }
    assert!(history.len() < 64);
    search(history, bounded, 0, None, &mut HashSet::new())
}

#[test]
fn the_checker_can_tell() {
    let event = |call, seen, began, ended| Event { call, seen, began, ended };
    let stale = [
        event(Call::Insert(1), None, 0, 1),
        event(Call::Insert(2), None, 2, 3),
        event(Call::Get, Some(1), 4, 5),
    ];
    assert!(!linearizable(&stale, false) && !linearizable(&stale, true));
    let lost = [event(Call::Insert(1), None, 0, 1), event(Call::Get, None, 2, 3)];
    assert!(!linearizable(&lost, false) && linearizable(&lost, true));
    let twice = [
        event(Call::Insert(1), None, 0, 1),
        event(Call::Remove, Some(1), 2, 5),
        event(Call::Remove, Some(1), 3, 6),
    ];
    assert!(!linearizable(&twice, false) && !linearizable(&twice, true));
    let overwritten_by_a_stale_load = [
        event(Call::Load(1, true), Some(1), 0, 9),
        event(Call::Insert(2), None, 2, 3),
        event(Call::Get, Some(1), 10, 11),
    ];
    assert!(!linearizable(&overwritten_by_a_stale_load, false));
    let two_loads = [event(Call::Load(1, true), Some(1), 0, 1), event(Call::Load(2, true), Some(2), 2, 3)];
    assert!(!linearizable(&two_loads, false) && linearizable(&two_loads, true));
    let a_lost_update = [
        event(Call::Insert(1), None, 0, 1),
        event(Call::Put(2), Some(1), 2, 9),
        event(Call::Put(3), Some(1), 3, 8),
    ];
    assert!(!linearizable(&a_lost_update, false) && !linearizable(&a_lost_update, true));
    let a_write_that_a_compute_undoes = [
        event(Call::Insert(1), None, 0, 1),
        event(Call::Put(2), Some(1), 2, 5),
        event(Call::Remove, Some(1), 3, 4),
    ];
    assert!(!linearizable(&a_write_that_a_compute_undoes, false));
    let concurrent = [event(Call::Insert(1), None, 0, 3), event(Call::Get, Some(1), 1, 2)];
    assert!(linearizable(&concurrent, false));
}

/// Makes one of the calls, as `choice` below 14 says; from 10 on it computes. `pause` runs inside a loader.
pub(crate) fn call(
    cache: &Cache<u64, u64>,
    key: u64,
    own: u64,
    choice: u64,
    pause: impl Fn(),
) -> (Call, Option<u64>) {
    match choice {
        0..4 => (Call::Get, cache.get(&key)),
        4..6 => {
            cache.insert(key, own);
            (Call::Insert(own), None)
        }
        6 => (Call::Remove, cache.remove(&key)),
        7 => {
            cache.invalidate(&key);
            (Call::Invalidate, None)
        }
        10.. => {
            let (mut seen, kind) = (None, own % 8);
            cache.entry(key).and_compute_with(|entry| {
                seen = entry.map(compute::Entry::into_value);
                pause();
                match kind {
                    0 => Op::Nop,
                    1..3 => Op::Remove,
                    _ => Op::Put(own),
                }
            });
            let call = match kind {
                0 => Call::Look,
                1..3 => Call::Take,
                _ => Call::Put(own),
            };
            (call, seen)
        }
        _ => {
            let mut called = false;
            let value = cache.get_or_insert_with(key, || {
                called = true;
                pause();
                own
            });
            (Call::Load(own, called), Some(value))
        }
    }
}

/// Fails unless each key's events have an order that explains them.
pub(crate) fn check(events: impl IntoIterator<Item = (u64, Event)>, bounded: bool) {
    let mut by_key = HashMap::<u64, Vec<Event>>::new();
    for (key, event) in events {
        by_key.entry(key).or_default().push(event);
    }
    for (key, mut history) in by_key {
        history.sort_by_key(|event| event.began);
        assert!(linearizable(&history, bounded), "key {key} has no order that explains it: {history:#?}");
    }
}

/// Threads hammer two keys per round; each round's history is short enough to search.
fn record(make: impl Fn() -> Cache<u64, u64>, bounded: bool, rounds: u64, noise: bool) {
    const THREADS: u64 = 3;
    const CALLS: u64 = 7;
    const KEYS: u64 = 2;
    let cache = make();
    let time = AtomicU64::new(0);
    let values = AtomicU64::new(1);
    let barrier = Barrier::new(THREADS as usize);
    let per_thread: Vec<Vec<(u64, Event)>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|t| {
                let (cache, time, values, barrier) = (&cache, &time, &values, &barrier);
                scope.spawn(move || {
                    let mut random = Random::new(t + 1);
                    let mut events = Vec::new();
                    for round in 0..rounds {
                        barrier.wait();
                        for _ in 0..CALLS {
                            let key = round * KEYS + random.below(KEYS);
                            let own = values.fetch_add(1, Ordering::Relaxed);
                            let began = time.fetch_add(1, Ordering::SeqCst);
                            let (call, seen) = call(cache, key, own, random.below(14), thread::yield_now);
                            let ended = time.fetch_add(1, Ordering::SeqCst);
                            events.push((key, Event { call, seen, began, ended }));
                            if noise {
                                // Makes tables grow, drain and evict around the keys that are watched.
                                cache.insert(1 << 40 | own, own);
                            }
                        }
                    }
                    events
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    cache.check_invariants();
    check(per_thread.into_iter().flatten(), bounded);
}

#[test]
fn b07_an_unbounded_cache_is_a_map_of_registers() {
    watchdog(120, || record(|| Cache::builder().shards(1).build().unwrap(), false, scaled(1_500, 5), false));
}

#[test]
fn b07_also_while_its_tables_grow() {
    watchdog(120, || record(|| Cache::builder().shards(1).build().unwrap(), false, scaled(1_500, 5), true));
}

#[test]
fn b07_a_bounded_cache_may_forget_and_nothing_else() {
    watchdog(120, || {
        record(|| Cache::builder().max_capacity(2).shards(1).build().unwrap(), true, scaled(1_500, 5), false);
        record(|| Cache::builder().max_capacity(16).shards(2).build().unwrap(), true, scaled(1_000, 5), true);
    });
}

//! Hits with a feature on, as ratios to hits without any. All caches take turns in rounds so short that many of them are not
//! disturbed, and the fastest of each counts.

use std::hint::black_box;
use std::time::Duration;

use millpond_cache::{Cache, CacheBuilder, Expiry};

use super::{Args, judged};
use crate::stats::Spread;
use crate::table::{Section, number};
use crate::{keys, progress, rounds};

type Builder = CacheBuilder<u64, u64>;

/// A cache with something on, and how much slower its hits may be.
struct Feature {
    name: &'static str,
    target: Option<f64>,
    set: fn(Builder) -> Builder,
}

const LIFE: Duration = Duration::from_secs(3_600);

/// A rule that leaves all as it is, so that only asking it is measured.
struct Rule;

impl Expiry<u64, u64> for Rule {
    fn expire_after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
        Some(LIFE)
    }
}

const BARE: &str = "none";

const FEATURES: [Feature; 10] = [
    Feature { name: BARE, target: None, set: |builder| builder },
    Feature { name: "none, a second cache", target: None, set: |builder| builder },
    Feature { name: "time_to_live", target: None, set: |builder| builder.time_to_live(LIFE) },
    Feature { name: "time_to_idle", target: None, set: |builder| builder.time_to_idle(LIFE) },
    Feature {
        name: "time_to_live, clock_thread",
        target: Some(1.25),
        set: |builder| builder.time_to_live(LIFE).clock_thread(),
    },
    Feature {
        name: "time_to_idle, clock_thread",
        target: Some(1.35),
        set: |builder| builder.time_to_idle(LIFE).clock_thread(),
    },
    Feature { name: "expire_after", target: None, set: |builder| builder.expire_after(Rule) },
    Feature { name: "record_stats", target: Some(1.15), set: CacheBuilder::record_stats },
    Feature {
        name: "eviction_listener",
        target: Some(1.05),
        set: |builder| builder.eviction_listener(|_, _, _| ()),
    },
    Feature { name: "weigher", target: Some(1.05), set: |builder| builder.weigher(|_, _| 1) },
];

pub(super) fn section(args: &Args, threads: usize) -> anyhow::Result<Section> {
    let keys = keys::shuffled(args.keys as u64);
    let mut caches = Vec::new();
    for feature in &FEATURES {
        let room = 2 * args.keys as u64;
        let builder = (feature.set)(Cache::builder());
        let builder =
            if feature.name == "weigher" { builder.max_weight(room) } else { builder.max_capacity(room) };
        let cache = builder.build()?;
        keys.iter().for_each(|&key| cache.insert(key, key));
        // A table that stopped in the middle of its growth would be measured in place of the feature.
        cache.run_pending_tasks();
        caches.push((cache, Vec::with_capacity(args.rounds)));
    }
    let bar = progress::bar(args.rounds as u64);
    bar.set_message(format!("features: hits, threads: {threads}"));
    for round in 0..=args.rounds {
        for (cache, times) in &mut caches {
            let time = rounds::time(threads, threads * args.operations, |thread| {
                let begin = thread * keys.len() / threads + round * args.operations;
                keys::pieces(&keys, begin, args.operations).for_each(|keys| read(cache, keys));
            });
            // The first round warms up.
            if round > 0 {
                times.push(time);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let spreads: Vec<Option<Spread>> = caches.iter().map(|(_, times)| Spread::of(times)).collect();
    let title = format!("Hits with a feature on, threads: {threads}");
    let header = ["feature", "ns (least)", "× none", "× none (medians)", "target", ""];
    let mut section = Section::new(title, &header).with_note(format!(
        "{} keys, all present; {} rounds of {} hits on each thread, in turn; wall time over all hits. Ratios of the fastest \
         rounds, and of medians.",
        args.keys, args.rounds, args.operations
    ));
    let Some(Some(bare)) = spreads.first() else { return Ok(section) };
    for (feature, spread) in FEATURES.iter().zip(&spreads) {
        let Some(own) = spread else { continue };
        let ratio = own.least / bare.least;
        let figures = [number(own.least), format!("{ratio:.2}"), format!("{:.2}", own.median / bare.median)];
        section
            .push([feature.name.to_owned()].into_iter().chain(figures).chain(judged(ratio, feature.target)));
    }
    Ok(section)
}

fn read(cache: &Cache<u64, u64>, keys: &[u64]) {
    black_box(keys.iter().fold(0u64, |sum, key| sum.wrapping_add(cache.get(key).unwrap_or(0))));
}

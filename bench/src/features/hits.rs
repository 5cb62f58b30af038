//! Hits with a feature on, as ratios to hits without any: in short rounds, each beside one without, and with several caches of each
//! kind, because where in memory a cache happens to lie is a tenth of a hit.

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

const FEATURES: [Feature; 9] = [
    // How far off equal ones are.
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
    let mut measured: Vec<(Vec<f64>, Vec<f64>)> = FEATURES.iter().map(|_| Default::default()).collect();
    let bar = progress::bar((args.builds * args.rounds) as u64);
    bar.set_message(format!("features: hits, threads: {threads}"));
    for _ in 0..args.builds {
        let bare = filled(Cache::builder().max_capacity(2 * args.keys as u64), &keys)?;
        let mut caches = Vec::new();
        for feature in &FEATURES {
            let room = 2 * args.keys as u64;
            let builder = (feature.set)(Cache::builder());
            let builder =
                if feature.name == "weigher" { builder.max_weight(room) } else { builder.max_capacity(room) };
            caches.push(filled(builder, &keys)?);
        }
        for round in 0..=args.rounds {
            let time = |cache: &Cache<u64, u64>| {
                let hits = |operations: usize| {
                    rounds::time(threads, threads * operations, |thread| {
                        let begin = thread * keys.len() / threads + round * operations;
                        keys::pieces(&keys, begin, operations).for_each(|keys| read(cache, keys));
                    })
                };
                // What is read in turn with many others would come from farther away than what is read in each second turn.
                hits(keys.len());
                hits(args.operations)
            };
            for (cache, (times, ratios)) in caches.iter().zip(&mut measured) {
                let none = time(&bare);
                let own = time(cache);
                // The first round warms up.
                if round > 0 {
                    times.push(own);
                    ratios.push(own / none);
                }
            }
            if round > 0 {
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    let title = format!("Hits with a feature on, threads: {threads}");
    let header = ["feature", "ns (median)", "× none", "middle half", "target", ""];
    let mut section = Section::new(title, &header).with_note(format!(
        "{} keys, all present; {} caches of each kind, {} rounds of {} hits on each thread with each; wall time over all hits. Each \
         round follows one without any feature, and the median of these ratios counts.",
        args.keys, args.builds, args.rounds, args.operations
    ));
    for (feature, (times, ratios)) in FEATURES.iter().zip(&mut measured) {
        let (Some(own), Some(ratio)) = (Spread::of(times), Spread::of(ratios)) else { continue };
        ratios.sort_by(f64::total_cmp);
        let half = format!("{:.2} to {:.2}", ratios[ratios.len() / 4], ratios[ratios.len() * 3 / 4]);
        let figures = [number(own.median), format!("{:.2}", ratio.median), half];
        section.push(
            [feature.name.to_owned()].into_iter().chain(figures).chain(judged(ratio.median, feature.target)),
        );
    }
    Ok(section)
}

fn filled(builder: Builder, keys: &[u64]) -> anyhow::Result<Cache<u64, u64>> {
    let cache = builder.build()?;
    keys.iter().for_each(|&key| cache.insert(key, key));
    // A table that stopped in the middle of its growth would be measured in place of the feature.
    cache.run_pending_tasks();
    Ok(cache)
}

fn read(cache: &Cache<u64, u64>, keys: &[u64]) {
    black_box(keys.iter().fold(0u64, |sum, key| sum.wrapping_add(cache.get(key).unwrap_or(0))));
}

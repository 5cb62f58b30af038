//! Many callers that want a value at the same time: how often it is loaded.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use millpond_cache::Cache;

use super::{Args, judged};
use crate::rounds;
use crate::table::{Section, duration};

/// Values wanted, one after the other.
const VALUES: u64 = 20;
/// How long a load takes at least, once all are there.
const LOAD: Duration = Duration::from_millis(2);

pub(super) fn section(args: &Args) -> Section {
    let cache: Cache<u64, u64> = Cache::new(VALUES);
    let (mut loads, mut longest) = (0, Duration::ZERO);
    for key in 0..VALUES {
        let (coming, loaded) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let times = rounds::run(args.callers, |_| {
            coming.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            let value = cache.get_or_insert_with(key, || {
                loaded.fetch_add(1, Ordering::Relaxed);
                let began = Instant::now();
                while coming.load(Ordering::Relaxed) < args.callers || began.elapsed() < LOAD {
                    std::thread::yield_now();
                }
                key
            });
            assert_eq!(value, key, "each gets the value that was asked for");
            began.elapsed()
        });
        loads = loads.max(loaded.into_inner());
        longest = longest.max(times.into_iter().max().unwrap_or_default());
    }
    let header = ["callers", "values", "loads for one value, at most", "longest wait", "target", ""];
    Section::new("One load for all who ask", &header)
        .with_note(format!(
            "Each load lasts until all have called, and {} at least.",
            duration(LOAD.as_nanos() as f64)
        ))
        .with_row(
            [
                args.callers.to_string(),
                VALUES.to_string(),
                loads.to_string(),
                duration(longest.as_nanos() as f64),
            ]
            .into_iter()
            .chain(judged(loads as f64, Some(1.0))),
        )
}

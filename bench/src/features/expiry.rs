//! How long an insert takes while very many entries have expired at the same moment, beside the same inserts while none has.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use millpond_cache::Cache;

use super::{Args, judged};
use crate::stats::Spread;
use crate::table::{Section, duration};
use crate::{keys, progress};

/// Far enough not to come.
const NEVER: Duration = Duration::from_secs(86_400);
/// For one insert before the end, that all are in by then on a slow machine too.
const FILL: Duration = Duration::from_micros(8);
/// Inserts that are timed, in parts of the entries that expire.
const TIMED: usize = 4;

trait Subject {
    const NAME: &'static str;

    fn new(capacity: u64) -> Self;

    /// Inserts an entry that ends at a moment.
    fn insert_until(&self, key: u64, end: Instant);
}

struct Own(Cache<u64, u64>);

impl Subject for Own {
    const NAME: &'static str = "millpond";

    fn new(capacity: u64) -> Self {
        Self(Cache::new(capacity))
    }

    fn insert_until(&self, key: u64, end: Instant) {
        self.0.insert_with_ttl(key, key, end.saturating_duration_since(Instant::now()));
    }
}

/// Its value says when it ends.
struct Moka(moka::sync::Cache<u64, Instant, ahash::RandomState>);

struct ByValue;

impl moka::Expiry<u64, Instant> for ByValue {
    fn expire_after_create(&self, _: &u64, end: &Instant, now: Instant) -> Option<Duration> {
        Some(end.saturating_duration_since(now))
    }
}

impl Subject for Moka {
    const NAME: &'static str = "moka";

    fn new(capacity: u64) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(capacity).expire_after(ByValue);
        Self(builder.build_with_hasher(ahash::RandomState::new()))
    }

    fn insert_until(&self, key: u64, end: Instant) {
        self.0.insert(key, end);
    }
}

/// p99.9 and the longest of the inserts after the fill, in ns.
fn inserts<S: Subject>(entries: usize, expire: bool) -> anyhow::Result<(f64, f64)> {
    let subject = S::new(4 * entries as u64);
    let began = Instant::now();
    let moment = began + Duration::from_millis(50) + FILL * u32::try_from(entries)?;
    let later = began + NEVER;
    for key in 0..entries as u64 {
        subject.insert_until(keys::spread(key), if expire { moment } else { later });
    }
    if expire {
        anyhow::ensure!(Instant::now() < moment, "too slow: entries expire before all are in");
        while Instant::now() < moment + Duration::from_millis(20) {
            std::thread::yield_now();
        }
    }
    let mut histogram = Histogram::<u64>::new_with_max(60_000_000_000, 3)?;
    for key in entries as u64..(entries + (entries / TIMED).max(1)) as u64 {
        let began = Instant::now();
        subject.insert_until(keys::spread(key), later);
        histogram.saturating_record(began.elapsed().as_nanos() as u64);
    }
    Ok((histogram.value_at_quantile(0.999) as f64, histogram.max() as f64))
}

/// A row: the figures without and with, and their ratio.
fn row<S: Subject>(args: &Args, step: impl Fn()) -> anyhow::Result<Vec<String>> {
    let (mut without, mut with, mut longest) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.expiring_rounds {
        without.push(inserts::<S>(args.expiring, false)?.0);
        step();
        let (p999, most) = inserts::<S>(args.expiring, true)?;
        with.push(p999);
        longest.push(most);
        step();
    }
    let median = |values: &[f64]| Spread::of(values).map(|spread| spread.median).context("no rounds");
    let (without, with, longest) = (median(&without)?, median(&with)?, median(&longest)?);
    let ratio = with / without;
    let figures = [duration(without), duration(with), format!("{ratio:.2}"), duration(longest)];
    Ok([S::NAME.to_owned()].into_iter().chain(figures).chain(judged(ratio, Some(3.0))).collect())
}

pub(super) fn section(args: &Args) -> anyhow::Result<Section> {
    let bar = progress::bar(4 * args.expiring_rounds as u64);
    bar.set_message("features: inserts while entries expire");
    let rows = [row::<Own>(args, || bar.inc(1))?, row::<Moka>(args, || bar.inc(1))?];
    bar.finish_and_clear();
    let title = format!("Inserts while {} entries expire at once", args.expiring);
    let header = [
        "subject",
        "p99.9, none expires",
        "p99.9",
        "× none expires",
        "longest, while they expire",
        "target",
        "",
    ];
    let mut section = Section::new(title, &header).with_note(format!(
        "{} inserts after they have expired, each timed, the clock for their lives included; medians of {} rounds; one thread.",
        args.expiring / TIMED,
        args.expiring_rounds
    ));
    rows.into_iter().for_each(|row| section.push(row));
    Ok(section)
}

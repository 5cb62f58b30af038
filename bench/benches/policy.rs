//! The eviction policy without a cache around it: `cargo bench -p millpond-bench --bench policy`.
#![allow(missing_docs, reason = "criterion's macros make a public function")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use millpond_cache::policy::{Activity, Config, Entries, Header, Kind, Policy};

const CAPACITY: u32 = 65_536;

struct Headers(Vec<Header>);

impl Entries for Headers {
    fn header(&self, slot: u32) -> &Header {
        &self.0[slot as usize]
    }
}

/// A full policy over one slot more than it may hold.
struct Full {
    policy: Policy,
    activity: Activity,
    headers: Headers,
    free: u32,
    next: u32,
}

impl Full {
    fn new() -> Self {
        let config = Config { capacity: CAPACITY.into(), weighted: false, seed: 1, kind: Kind::TinyLfu };
        let headers = Headers((0..=CAPACITY).map(|_| Header::new(0)).collect());
        let mut full =
            Self { policy: Policy::new(config), activity: Activity::new(), headers, free: 0, next: 0 };
        for slot in 0..CAPACITY {
            full.free = slot;
            full.insert();
        }
        full.free = CAPACITY;
        full
    }

    /// An insert of a new key; the sketch and the ghosts take part once it is half full.
    fn insert(&mut self) {
        self.next = self.next.wrapping_add(0x9e37_79b9);
        self.headers.0[self.free as usize] = Header::new(self.next);
        self.policy.insert(&self.headers, &self.activity, self.free, 1);
        if self.policy.weight() > CAPACITY.into()
            && let Some(victim) = self.policy.evict(&self.headers)
        {
            self.free = victim;
        } else {
            self.policy.settle(&self.headers);
        }
    }
}

fn policy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    let mut full = Full::new();
    group.bench_function("touch, first and again", |bencher| {
        let mut slot = 0;
        bencher.iter(|| {
            slot = (slot + 1) % 1024;
            full.headers.header(black_box(slot)).touch(&full.activity);
        });
    });
    group.bench_function("insert and evict", |bencher| bencher.iter(|| full.insert()));
    // Half of the entries were asked for since the hands last came by.
    group.bench_function("insert and evict between hits", |bencher| {
        let mut slot = 0;
        bencher.iter(|| {
            slot = (slot + 2) % CAPACITY;
            if slot != full.free {
                full.headers.header(slot).touch(&full.activity);
            }
            full.insert();
        });
    });
    group.bench_function("replace", |bencher| {
        let mut slot = 0;
        bencher.iter(|| {
            slot = (slot + 1) % CAPACITY;
            if slot != full.free {
                let slot = black_box(slot);
                full.policy.replace(&full.headers, &full.activity, slot, slot, 1);
            }
        });
    });
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

criterion_group! { name = benches; config = settings(); targets = policy }
criterion_main!(benches);

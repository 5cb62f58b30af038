//! Borrow and return of millpond-pool while nobody waits: `cargo bench -p millpond-bench --bench pool`.
#![allow(missing_docs, reason = "criterion's macros make a public function")]

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use millpond_pool::{Manager, Pool};

/// Connections that cost nothing, so that what is left is the pool.
struct Numbers;

impl Manager for Numbers {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }
}

fn pool(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without input and output needs nothing that can be missing");
    let pool = Pool::builder(Numbers)
        .max_size(8)
        .runtime(runtime.handle().clone())
        .build()
        .expect("the settings are valid");
    // Opens the first.
    drop(runtime.block_on(pool.get()));
    let mut group = criterion.benchmark_group("pool");
    group
        .bench_function("try_get and return", |bencher| bencher.iter(|| black_box(pool.try_get()).is_some()));
    // Inside one task, as a service does it; entering the runtime is not part of it.
    group.bench_function("get and return", |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let began = std::time::Instant::now();
                for _ in 0..times {
                    black_box(pool.get().await.is_ok());
                }
                began.elapsed()
            })
        });
    });
    group.bench_function("two at once", |bencher| {
        // The second opens another connection, once.
        drop(runtime.block_on(async { (pool.get().await, pool.get().await) }));
        bencher.iter(|| (black_box(pool.try_get()).is_some(), black_box(pool.try_get()).is_some()));
    });
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

criterion_group! { name = benches; config = settings(); targets = pool }
criterion_main!(benches);

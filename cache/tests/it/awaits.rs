//! Every async call, dropped at each of its awaits, with somebody else who waits for the same key: he gets through, and nothing is left.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::compute::Op;
use millpond_cache::{BatchLoader, Cache, ManualClock};
use tokio::task::yield_now;

use crate::support::{Alarm, Census, Counted, poll};

type Values = Cache<u64, Counted>;
type Call<'w> = Pin<Box<dyn Future<Output = ()> + 'w>>;
type Way = (&'static str, for<'w> fn(&'w World) -> Call<'w>);

struct World {
    cache: Values,
    loader: BatchLoader<u64, Counted, ()>,
    n: Census,
}

impl World {
    async fn load(&self) -> Counted {
        let value = self.n.one();
        yield_now().await;
        let other = self.n.one();
        yield_now().await;
        drop(other);
        value
    }

    /// The same, owned.
    fn apart(&self) -> impl Future<Output = Counted> + Send + 'static {
        let n = self.n.clone();
        async move {
            let value = n.one();
            yield_now().await;
            yield_now().await;
            value
        }
    }
}

const WAYS: [Way; 19] = [
    ("get_or_insert_with", |w| Box::pin(async { drop(w.cache.get_or_insert_with_async(1, w.load()).await) })),
    ("try, error", |w| {
        Box::pin(async {
            let load = async {
                drop(w.load().await);
                Err::<Counted, ()>(())
            };
            drop(w.cache.try_get_or_insert_with_async(1, load).await);
        })
    }),
    ("ttl", |w| {
        Box::pin(async {
            let load = async { Ok::<_, ()>((w.load().await, Some(Duration::ZERO))) };
            drop(w.cache.try_get_or_insert_with_ttl_async(1, load).await);
        })
    }),
    ("tags", |w| Box::pin(async { drop(w.cache.get_or_insert_with_tags_async(1, &["a"], w.load()).await) })),
    ("optionally", |w| {
        Box::pin(async { drop(w.cache.optionally_get_with_async(1, async { Some(w.load().await) }).await) })
    }),
    ("optionally, nothing", |w| {
        Box::pin(async {
            let load = async {
                drop(w.load().await);
                None
            };
            drop(w.cache.optionally_get_with_async(1, load).await);
        })
    }),
    ("many", |w| {
        Box::pin(async {
            let load = async |keys: Vec<u64>| {
                let value = w.load().await;
                keys.into_iter().map(move |key| (key, value.clone()))
            };
            drop(w.cache.get_many_with_async([1, 2, 3], load).await);
        })
    }),
    ("many, error", |w| {
        Box::pin(async {
            let load = async |_: Vec<u64>| {
                drop(w.load().await);
                Err::<Vec<(u64, Counted)>, ()>(())
            };
            drop(w.cache.try_get_many_with_async([3, 2, 1], load).await);
        })
    }),
    ("compute", |w| {
        Box::pin(async {
            drop(w.cache.entry(1).and_compute_with_async(async |_| Op::Put(w.load().await)).await)
        })
    }),
    ("removing compute", |w| {
        Box::pin(async {
            let remove = async |_| {
                drop(w.load().await);
                Op::Remove
            };
            drop(w.cache.entry(1).and_compute_with_async(remove).await);
        })
    }),
    ("upsert", |w| {
        Box::pin(async { drop(w.cache.entry(1).and_upsert_with_async(async |_| w.load().await).await) })
    }),
    ("or_insert", |w| Box::pin(async { drop(w.cache.entry(1).or_insert_with_async(w.load()).await) })),
    ("or_insert_if", |w| {
        Box::pin(async { drop(w.cache.entry(1).or_insert_with_if_async(w.load(), |_| true).await) })
    }),
    ("refresh or load", |w| {
        Box::pin(async {
            let load = w.apart();
            let load = async { Ok::<_, ()>(load.await) };
            drop(w.cache.try_get_or_refresh_with_async(1, load).await);
        })
    }),
    ("refresh", |w| {
        Box::pin(async {
            if let Some(refresh) = w.cache.claim_refresh(&1) {
                refresh.run_async(async { Ok::<_, ()>(w.load().await) }).await;
            }
        })
    }),
    ("failing refresh", |w| {
        Box::pin(async {
            if let Some(refresh) = w.cache.claim_refresh(&1) {
                let load = async {
                    drop(w.load().await);
                    Err::<Counted, ()>(())
                };
                refresh.run_async(load).await;
            }
        })
    }),
    ("detached", |w| Box::pin(async { drop(w.cache.get_or_insert_with_detached(1, w.apart()).await) })),
    ("batch", |w| Box::pin(async { drop(w.loader.get(1).await) })),
    ("batch of many", |w| Box::pin(async { drop(w.loader.get_many([1, 2, 3, 4]).await) })),
];

#[test]
fn b03_every_call_is_dropped_at_each_of_its_awaits() {
    for (first, victim) in WAYS {
        for (second, other) in WAYS {
            for held in [false, true] {
                for polls in 0..6 {
                    let told = format!("{first}, dropped after {polls} polls, before {second}; held: {held}");
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .start_paused(true)
                        .build()
                        .unwrap();
                    let n = Census::default();
                    let clock = Arc::new(ManualClock::new());
                    let cache: Values = Cache::builder()
                        .max_capacity(3)
                        .refresh_after(Duration::from_secs(1))
                        .stale_if_error(Duration::from_secs(1))
                        .clock(Arc::clone(&clock))
                        .build()
                        .unwrap();
                    let counted = n.clone();
                    let load = move |keys: Vec<u64>| {
                        let n = counted.clone();
                        async move {
                            yield_now().await;
                            Ok::<_, ()>(keys.into_iter().map(move |key| (key, n.one())))
                        }
                    };
                    let loader = cache.batch_loader(load, Duration::ZERO, 2);
                    let world = World { cache, loader, n: n.clone() };
                    if held {
                        world.cache.insert(1, n.one());
                        clock.advance(Duration::from_secs(1));
                    }
                    runtime.block_on(async {
                        let alarm = Arc::new(Alarm::default());
                        let mut victim = Some(victim(&world));
                        let mut other = other(&world);
                        let mut is_done = false;
                        for _ in 0..polls {
                            if victim.as_mut().is_some_and(|call| poll(call, &alarm).is_ready()) {
                                victim = None;
                            }
                            is_done = is_done || poll(&mut other, &alarm).is_ready();
                            yield_now().await;
                        }
                        drop(victim);
                        if !is_done {
                            let ended = tokio::time::timeout(Duration::from_secs(60), other).await;
                            assert!(ended.is_ok(), "hangs: {told}");
                        }
                        // What runs detached ends.
                        for _ in 0..20 {
                            yield_now().await;
                        }
                        assert_eq!(
                            (world.cache.loads_in_flight(), world.cache.refreshes_in_flight()),
                            (0, 0),
                            "{told}"
                        );
                        world.cache.check_invariants();
                    });
                    drop((world, runtime));
                    assert_eq!(n.alive(), 0, "{told}");
                }
            }
        }
    }
}

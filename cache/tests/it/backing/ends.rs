//! A runtime ends under write-behind.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use millpond_cache::Cache;
use millpond_cache::backing::{Store, StoreError, WhenFull, Write, WriteBehind, Written};
use tokio::runtime::Builder;

/// It knows nothing, and answers writes as it is told to.
struct Answers<F>(F);

impl<F, A> Store<u64, u64> for Answers<F>
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = Written<String>> + Send,
{
    type Error = String;

    async fn load(&self, _: &u64) -> Result<Option<u64>, StoreError<String>> {
        Ok(None)
    }

    async fn write(&self, _: &[Write<u64, u64>]) -> Result<Written<String>, StoreError<String>> {
        Ok((self.0)().await)
    }
}

/// Whoever flushes starts another driver when one ends. While the runtime shuts down each ends at once.
#[test]
fn a_runtime_ends_while_many_flush() {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..50 {
            let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
            let cache = runtime.block_on(async {
                let settings = WriteBehind::new(|_| {});
                let builder = Cache::builder().max_capacity(10).read_through(Answers(pending));
                let cache = builder.write_behind(settings).build().unwrap();
                cache.put(1, 1).await.unwrap();
                for _ in 0..16 {
                    let cache = cache.clone();
                    tokio::spawn(async move { cache.flush().await });
                }
                cache
            });
            drop(runtime);
            drop(cache);
        }
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("each of them ends");
}

#[test]
fn a_place_beyond_the_longest_batch_costs_nothing() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // It writes, and says of a place that no batch has that it failed.
        let confused =
            || async { Written::except([(usize::MAX, StoreError::Permanent(String::from("beyond")))]) };
        let settings = WriteBehind::new(|_| panic!("none fails")).max_batch(usize::MAX);
        let builder = Cache::builder().max_capacity(10).read_through(Answers(confused));
        let cache = builder.write_behind(settings).build().unwrap();
        cache.put(1, 1).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), cache.flush()).await.expect("it is written");
        assert_eq!(cache.stats().written(), 1);
    });
}

/// Nobody else flushes or closes: who waits for room starts the driver that makes it.
#[test]
fn a_runtime_ends_and_leaves_a_full_queue_to_those_who_write_in_another() {
    for when_full in [WhenFull::Wait, WhenFull::Error] {
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let has_come = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&has_come);
        let first_hangs = move || {
            let hangs = !seen.swap(true, Ordering::SeqCst);
            async move { if hangs { pending().await } else { Written::all() } }
        };
        let first = runtime();
        let cache = first.block_on(async {
            let settings =
                WriteBehind::new(|_| {}).max_queue(1).max_delay(Duration::ZERO).when_full(when_full);
            let builder = Cache::builder().max_capacity(10).read_through(Answers(first_hangs));
            let cache = builder.write_behind(settings).build().unwrap();
            cache.put(1, 1).await.unwrap();
            while !has_come.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            cache
        });
        drop(first);
        runtime().block_on(async {
            let putting = async {
                while cache.put(2, 2).await.is_err() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), putting).await.expect("there comes to be room");
            cache.close(Duration::from_secs(20)).await.unwrap();
        });
    }
}

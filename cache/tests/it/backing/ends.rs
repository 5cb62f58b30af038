//! A runtime ends under write-behind.

use std::sync::mpsc;
use std::time::Duration;

use millpond_cache::Cache;
use millpond_cache::backing::{Store, StoreError, Write, WriteBehind, Written};
use tokio::runtime::Builder;

/// It never answers a write.
struct Stuck;

impl Store<u64, u64> for Stuck {
    type Error = String;

    async fn load(&self, _: &u64) -> Result<Option<u64>, StoreError<String>> {
        Ok(None)
    }

    async fn write(&self, _: &[Write<u64, u64>]) -> Result<Written<String>, StoreError<String>> {
        std::future::pending().await
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
                let builder = Cache::builder().max_capacity(10).read_through(Stuck);
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

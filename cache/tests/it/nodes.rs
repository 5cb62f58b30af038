//! Several nodes: a shared tier in Redis, and caches that tell each other what they write. With real servers.

mod coherence;
mod history;
mod tier;
mod untold;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use millpond_cache::backing::{Store, StoreError, Write, Written};
use parking_lot::Mutex;
use servers::Redis;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};

/// A database that all nodes share. It can be made to wait after it has read, and after it has written.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) map: Mutex<BTreeMap<u64, u64>>,
    pub(crate) loads: AtomicUsize,
    holds: AtomicBool,
    gate: Gate,
    arrived: Notify,
}

struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Table {
    pub(crate) fn new(values: impl IntoIterator<Item = (u64, u64)>) -> Arc<Self> {
        Arc::new(Self { map: Mutex::new(values.into_iter().collect()), ..Self::default() })
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// The next call waits at its end, the ones after it do not.
    pub(crate) fn hold_next(&self) {
        self.holds.store(true, Ordering::SeqCst);
    }

    /// Until the call that is held has read or written.
    pub(crate) async fn held(&self) {
        self.arrived.notified().await;
    }

    pub(crate) fn let_go(&self) {
        self.gate.0.add_permits(1);
    }

    async fn pass(&self) {
        if self.holds.swap(false, Ordering::SeqCst) {
            self.arrived.notify_one();
            self.gate.0.acquire().await.unwrap().forget();
        }
    }
}

impl Store<u64, u64> for Table {
    type Error = String;

    async fn load(&self, key: &u64) -> Result<Option<u64>, StoreError<String>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let value = self.map.lock().get(key).copied();
        tokio::task::yield_now().await;
        self.pass().await;
        Ok(value)
    }

    async fn write(&self, batch: &[Write<u64, u64>]) -> Result<Written<String>, StoreError<String>> {
        tokio::task::yield_now().await;
        {
            let mut map = self.map.lock();
            for write in batch {
                match write.value() {
                    Some(&value) => map.insert(*write.key(), value),
                    None => map.remove(write.key()),
                };
            }
        }
        self.pass().await;
        Ok(Written::all())
    }
}

/// Writes all of it.
pub(crate) async fn write<St: Store<u64, u64>>(store: &St, batch: &[Write<u64, u64>]) {
    assert!(store.write(batch).await.unwrap().failures().is_empty());
}

pub(crate) fn client(url: &str) -> redis::Client {
    redis::Client::open(url).unwrap()
}

/// A connection of one's own, past everything.
pub(crate) async fn raw(redis: &Redis) -> redis::aio::MultiplexedConnection {
    client(&redis.url()).get_multiplexed_async_connection().await.unwrap()
}

/// Makes a server the replica of one that is not there.
pub(crate) async fn demote(redis: &Redis) {
    let () =
        redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).query_async(&mut raw(redis).await).await.unwrap();
}

/// Makes it a primary again, with all it has.
pub(crate) async fn promote(redis: &Redis) {
    let () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut raw(redis).await).await.unwrap();
}

/// Asks until it is so; fails after twenty seconds.
pub(crate) async fn poll_until(what: &str, so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < Duration::from_secs(20), "it did not become so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A way to a server that can be cut.
pub(crate) struct Cable {
    port: u16,
    is_cut: watch::Sender<bool>,
}

impl Cable {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_cut, cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cut = cut.clone();
                tokio::spawn(async move {
                    if *cut.borrow_and_update() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { port, is_cut }
    }

    pub(crate) fn url(&self, redis: &Redis) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", redis.password(), self.port)
    }

    /// Ends all connections, and takes no new ones.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

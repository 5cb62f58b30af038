//! tokio's semaphore and a `Mutex<Vec>`: what many write themselves.

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Connection, Tasks};

pub(super) struct SemaphoreVec {
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

pub(super) struct Held {
    pool: &'static SemaphoreVec,
    connection: Connection,
    /// Dropped after the connection was pushed.
    _permit: SemaphorePermit<'static>,
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        self.pool.idle.lock().push(self.connection);
    }
}

impl Tasks for SemaphoreVec {
    type Held = Held;

    fn make(size: usize) -> Self {
        Self { permits: Semaphore::new(size), idle: Mutex::new((0..size as u64).collect()) }
    }

    #[inline]
    async fn get(&'static self) -> Held {
        let permit = self.permits.acquire().await.expect("never closed");
        let connection = self.idle.lock().pop().expect("as many as permits");
        Held { pool: self, connection, _permit: permit }
    }
}

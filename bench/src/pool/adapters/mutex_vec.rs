//! `Mutex<Vec>`: nobody can wait, nothing can fail. The least that a pool can cost.

use parking_lot::Mutex;

use super::{Connection, Tasks, Threads};

pub(super) struct MutexVec(Mutex<Vec<Connection>>);

pub(super) struct Held {
    pool: &'static MutexVec,
    connection: Connection,
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        self.pool.0.lock().push(self.connection);
    }
}

impl MutexVec {
    fn new(size: usize) -> Self {
        Self(Mutex::new((0..size as u64).collect()))
    }

    #[inline]
    fn take(&'static self) -> Held {
        let connection = self.0.lock().pop().expect("no more callers than connections");
        Held { pool: self, connection }
    }
}

impl Tasks for MutexVec {
    const WAITS: bool = false;
    type Held = Held;

    fn make(size: usize) -> Self {
        Self::new(size)
    }

    #[inline]
    async fn get(&'static self) -> Held {
        self.take()
    }
}

impl Threads for MutexVec {
    const WAITS: bool = false;
    type Held = Held;

    fn make(size: usize) -> Self {
        Self::new(size)
    }

    #[inline]
    fn get(&'static self) -> Held {
        self.take()
    }
}

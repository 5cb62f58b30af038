//! `Mutex<Vec>` and a condition variable: what many write themselves for threads.

use parking_lot::{Condvar, Mutex};

use super::{Connection, Threads};

pub(super) struct CondvarVec {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
}

pub(super) struct Held {
    pool: &'static CondvarVec,
    connection: Connection,
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        self.pool.idle.lock().push(self.connection);
        self.pool.returned.notify_one();
    }
}

impl Threads for CondvarVec {
    type Held = Held;

    fn make(size: usize) -> Self {
        Self { idle: Mutex::new((0..size as u64).collect()), returned: Condvar::new() }
    }

    #[inline]
    fn get(&'static self) -> Held {
        let mut idle = self.idle.lock();
        loop {
            if let Some(connection) = idle.pop() {
                return Held { pool: self, connection };
            }
            self.returned.wait(&mut idle);
        }
    }
}

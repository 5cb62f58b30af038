//! Turns: writers of one key, one after the other, in the order in which they came.
//!
//! Keys are hashed before the lock and dropped after it; under it runs only `K: Eq`.

use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

pub(crate) struct Turns<K> {
    table: Mutex<HashTable<Arc<Line<K>>>>,
}

/// Those who want to write one key. Counted under the table's lock.
struct Line<K> {
    hash: u64,
    key: Arc<K>,
    /// Fair: first come, first served.
    turn: Arc<AsyncMutex<()>>,
}

/// A place in the line of a key; with `holds`, the first one.
pub(crate) struct Turn<K> {
    turns: Arc<Turns<K>>,
    line: Option<Arc<Line<K>>>,
    holds: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq> Turns<K> {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::new(HashTable::new()) }
    }

    /// Waits for the turn of this caller.
    pub(crate) async fn take(self: &Arc<Self>, hash: u64, key: Arc<K>) -> Turn<K> {
        let fresh = Arc::new(Line { hash, key, turn: Arc::default() });
        let line = {
            let mut table = self.table.lock();
            let entry =
                table.entry(hash, |line| line.hash == hash && *line.key == *fresh.key, |line| line.hash);
            Arc::clone(entry.or_insert_with(|| Arc::clone(&fresh)).get())
        };
        drop(fresh);
        let turn = Arc::clone(&line.turn);
        let mut place = Turn { turns: Arc::clone(self), line: Some(line), holds: None };
        place.holds = Some(turn.lock_owned().await);
        place
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }
}

impl<K> Drop for Turn<K> {
    fn drop(&mut self) {
        // The next one's turn begins before the line may go: it is in the line, so the line stays for it.
        self.holds = None;
        let Some(line) = self.line.take() else { return };
        let mut table = self.turns.table.lock();
        // Handles are made and given back under this lock: if there are two, they are the table's and ours.
        if Arc::strong_count(&line) > 2 {
            drop(line);
            return;
        }
        let entry = table.find_entry(line.hash, |candidate| Arc::ptr_eq(candidate, &line));
        let gone = entry.ok().map(|entry| entry.remove().0);
        drop(table);
        drop((line, gone));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn turns_come_in_order_and_lines_go_with_the_last() {
        let turns: Arc<Turns<u32>> = Arc::new(Turns::new());
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = |future: std::pin::Pin<&mut dyn Future<Output = Turn<u32>>>| future.poll(&mut context);
        let mut first = pin!(turns.take(0, Arc::new(1)));
        let Poll::Ready(first) = poll(first.as_mut()) else { panic!("nobody is there") };
        let mut other = pin!(turns.take(0, Arc::new(2)));
        let Poll::Ready(other) = poll(other.as_mut()) else { panic!("it is another key") };
        assert_eq!(turns.len(), 2);
        drop(other);
        {
            let mut left = Box::pin(turns.take(0, Arc::new(1)));
            assert!(poll(left.as_mut()).is_pending());
            let mut second = Box::pin(turns.take(0, Arc::new(1)));
            assert!(poll(second.as_mut()).is_pending());
            drop(left);
            assert!(poll(second.as_mut()).is_pending());
            drop(first);
            assert!(poll(second.as_mut()).is_ready());
        }
        assert_eq!(turns.len(), 0);
    }
}

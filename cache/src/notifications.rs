//! Removals as a stream: a bounded queue between the calls that remove entries and one receiver.
//!
//! An event takes its place in the queue under the lock of the shard, when the entry is removed, so that the events of a key
//! come in the order of its removals. Key and value are cloned after the unlock and put into the place; the receiver waits for
//! the oldest place to be filled. That is why this is no channel of a library: those have no places to keep.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{ThreadId, current as this_thread};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::contain::contain;
use crate::removal::RemovalCause;
use crate::sync::thread;
use crate::waiter::Waiter;

/// What happens to the event of a removal when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is lost, and counted: see [`Notifications::dropped`]. No call ever waits.
    Drop,
    /// The call that removed the entry waits, before it returns and without a lock, until the queue is no longer than its
    /// capacity.
    ///
    /// It blocks its thread, also of an async runtime, so the receiver needs a thread of its own. Calls by the thread that received last
    /// never wait, they would wait for themselves: they lose what finds the queue full.
    Block,
}

/// An entry that left the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal<K, V> {
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// Why it left.
    pub cause: RemovalCause,
}

/// The receiving end of [`CacheBuilder::notifications`](crate::CacheBuilder::notifications), for a thread or a task.
///
/// Each removal comes once, those of a key in the order in which they happened. Entries that
/// [`invalidate_all`](crate::Cache::invalidate_all) hid count as removed when they are taken out, which may be after a newer
/// value of the key was. When the cache and all its clones are gone, what is left in the queue comes, and then `None`.
/// Dropping this ends the events; the cache goes on without them.
///
/// ```
/// use millpond_cache::{Cache, RemovalCause, WhenFull};
/// let (builder, mut removals) = Cache::builder().max_capacity(100).notifications(1_000, WhenFull::Drop);
/// let cache: Cache<u32, String> = builder.build()?;
/// let receiver = std::thread::spawn(move || {
///     let mut seen = Vec::new();
///     while let Some(removal) = removals.recv() {
///         seen.push((removal.key, removal.value, removal.cause));
///     }
///     (seen, removals.dropped())
/// });
/// cache.insert(1, String::from("one"));
/// cache.invalidate(&1);
/// drop(cache);
/// let one = (1, String::from("one"), RemovalCause::Explicit);
/// assert_eq!(receiver.join().unwrap(), (vec![one], 0));
/// # Ok::<(), millpond_cache::BuildError>(())
/// ```
pub struct Notifications<K, V> {
    queue: Arc<Queue<K, V>>,
}

impl<K, V> Notifications<K, V> {
    /// The next removal; waits for it. `None` when the cache is gone.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millpond_cache::{Cache, WhenFull};
    /// let (builder, mut removals) = Cache::builder().notifications(10, WhenFull::Drop);
    /// let cache: Cache<u32, u32> = builder.build().unwrap();
    /// cache.insert(1, 10);
    /// cache.insert(1, 11);
    /// assert_eq!(removals.next().await.unwrap().value, 10);
    /// # });
    /// ```
    ///
    /// # Cancellation
    /// Nothing is lost: the removal stays in the queue.
    pub async fn next(&mut self) -> Option<Removal<K, V>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`next`](Self::next), for who polls by hand, or makes a `Stream` of it.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Removal<K, V>>> {
        self.queue.poll(|| Waiter::Task(context.waker().clone()))
    }

    /// As [`next`](Self::next), blocking the thread.
    pub fn recv(&mut self) -> Option<Removal<K, V>> {
        loop {
            if let Poll::Ready(removal) = self.queue.poll(|| Waiter::Thread(thread::current())) {
                return removal;
            }
            thread::park();
        }
    }

    /// The next removal, if there is one now.
    pub fn try_recv(&mut self) -> Option<Removal<K, V>> {
        self.queue.try_pop()
    }

    /// Events in the queue, those that are not readable yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.state.lock().places.len()
    }

    /// Whether no event is in the queue.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removals that were lost so far: the queue was full, or a clone panicked.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue.state.lock().dropped
    }
}

impl<K, V> Drop for Notifications<K, V> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.abandoned = true;
        let places = std::mem::take(&mut state.places);
        state.first += places.len() as u64;
        let waiter = state.receiver.take();
        drop(state);
        self.queue.room.notify_all();
        // Drops are user code: after the unlock.
        drop((places, waiter));
    }
}

impl<K, V> fmt::Debug for Notifications<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A place in the order of events.
enum Place<K, V> {
    /// The thread that removed the entry is about to fill it.
    Kept,
    Filled(Removal<K, V>),
    /// Nothing came.
    Void,
}

struct Queue<K, V> {
    capacity: usize,
    when_full: WhenFull,
    state: Mutex<State<K, V>>,
    /// Told when the queue is no longer than its capacity.
    room: Condvar,
}

struct State<K, V> {
    places: VecDeque<Place<K, V>>,
    /// The number of the first place.
    first: u64,
    dropped: u64,
    /// The cache is about to go: nobody waits for room.
    hurried: bool,
    /// The cache is gone.
    ended: bool,
    /// The receiver is gone.
    abandoned: bool,
    receiver: Option<Waiter>,
    /// The thread that received last.
    reading: Option<ThreadId>,
}

impl<K, V> State<K, V> {
    /// The oldest event, if its place is filled.
    fn pop(&mut self) -> Option<Removal<K, V>> {
        loop {
            match self.places.front()? {
                Place::Kept => return None,
                Place::Filled(_) | Place::Void => {}
            }
            self.first += 1;
            if let Some(Place::Filled(removal)) = self.places.pop_front() {
                return Some(removal);
            }
        }
    }
}

impl<K, V> Queue<K, V> {
    fn try_pop(&self) -> Option<Removal<K, V>> {
        let (removal, _) = self.take(self.state.lock());
        removal
    }

    /// The oldest event if it is there, and whether no more will come.
    fn take(&self, mut state: MutexGuard<'_, State<K, V>>) -> (Option<Removal<K, V>>, bool) {
        self.note_reader(&mut state);
        let removal = state.pop();
        let roomy = state.places.len() <= self.capacity;
        let over = state.ended && state.places.is_empty();
        drop(state);
        if roomy {
            self.room.notify_all();
        }
        (removal, over)
    }

    fn poll(&self, waiter: impl FnOnce() -> Waiter) -> Poll<Option<Removal<K, V>>> {
        // Cloning a waker is foreign code: before the lock.
        let waiter = waiter();
        let mut state = self.state.lock();
        // Told of what comes after our look; of what comes before, in vain.
        let before = state.receiver.replace(waiter);
        let (removal, over) = self.take(state);
        drop(before);
        match removal {
            None if !over => Poll::Pending,
            removal => Poll::Ready(removal),
        }
    }

    fn note_reader(&self, state: &mut State<K, V>) {
        if self.when_full == WhenFull::Block {
            state.reading = Some(this_thread().id());
        }
    }

    /// Puts something into a place, and wakes the receiver if that is what it waits for.
    fn settle(&self, place: u64, with: Place<K, V>) {
        let mut state = self.state.lock();
        let index = place.checked_sub(state.first).and_then(|index| usize::try_from(index).ok());
        let Some(kept) = index.and_then(|index| state.places.get_mut(index)) else { return };
        if !matches!(kept, Place::Kept) {
            return;
        }
        *kept = with;
        let waiter = if index == Some(0) { state.receiver.take() } else { None };
        drop(state);
        if let Some(waiter) = waiter {
            // Foreign code: who removes entries must not fail for the receiver's executor.
            contain(|| waiter.wake());
        }
    }
}

/// Keeps places in the order of removals.
pub(crate) trait Order: Send + Sync {
    /// A place for an event; none if it is to be lost. Called under a shard's lock.
    fn keep(&self) -> Option<u64>;

    /// A place that nothing comes to.
    fn cancel(&self, place: u64);
}

/// The sending end, as the cache holds it. Its drop ends the events.
pub(crate) trait Outbox<K, V>: Order {
    fn order(&self) -> &dyn Order;

    /// Fills a place. Clones key and value: not under a lock. False if that panicked.
    fn fill(&self, place: u64, key: &K, value: &V, cause: RemovalCause) -> bool;

    /// Waits for the receiver if the queue is too long. Not under a lock or a pin.
    fn wait(&self);

    /// From now on, nobody waits.
    fn hurry(&self);
}

struct Sender<K, V>(Arc<Queue<K, V>>);

impl<K: Send, V: Send> Order for Sender<K, V> {
    fn keep(&self) -> Option<u64> {
        let mut state = self.0.state.lock();
        if state.abandoned {
            return None;
        }
        if state.places.len() >= self.0.capacity {
            let for_itself = || state.reading == Some(this_thread().id());
            if self.0.when_full == WhenFull::Drop || for_itself() {
                state.dropped += 1;
                return None;
            }
        }
        let place = state.first + state.places.len() as u64;
        state.places.push_back(Place::Kept);
        Some(place)
    }

    fn cancel(&self, place: u64) {
        self.0.settle(place, Place::Void);
    }
}

impl<K, V> Outbox<K, V> for Sender<K, V>
where
    K: Clone + Send,
    V: Clone + Send,
{
    fn order(&self) -> &dyn Order {
        self
    }

    fn fill(&self, place: u64, key: &K, value: &V, cause: RemovalCause) -> bool {
        let clone = || Removal { key: key.clone(), value: value.clone(), cause };
        // With what is dropped there because nobody receives any more.
        let filled = contain(|| self.0.settle(place, Place::Filled(clone()))).is_some();
        if !filled {
            self.0.state.lock().dropped += 1;
            self.cancel(place);
        }
        filled
    }

    fn wait(&self) {
        let queue = &*self.0;
        if queue.when_full == WhenFull::Drop {
            return;
        }
        let mut state = queue.state.lock();
        let too_long = |state: &mut State<K, V>| {
            state.places.len() > queue.capacity
                && !state.abandoned
                && !state.hurried
                && state.reading != Some(this_thread().id())
        };
        queue.room.wait_while(&mut state, too_long);
    }

    fn hurry(&self) {
        self.0.state.lock().hurried = true;
    }
}

impl<K, V> Drop for Sender<K, V> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.ended = true;
        let waiter = state.receiver.take();
        drop(state);
        if let Some(waiter) = waiter {
            contain(|| waiter.wake());
        }
    }
}

/// Both ends of a queue for `capacity` events.
pub(crate) fn queue<K, V>(
    capacity: usize,
    when_full: WhenFull,
) -> (Box<dyn Outbox<K, V>>, Notifications<K, V>)
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    let queue = Arc::new(Queue {
        capacity: capacity.max(1),
        when_full,
        state: Mutex::new(State {
            places: VecDeque::new(),
            first: 0,
            dropped: 0,
            hurried: false,
            ended: false,
            abandoned: false,
            receiver: None,
            reading: None,
        }),
        room: Condvar::new(),
    });
    (Box::new(Sender(Arc::clone(&queue))), Notifications { queue })
}

/// Entries that a call has removed, with the places of their events. A place that no event came to, because of a panic, is
/// given up on drop.
pub(crate) struct Removed<'c> {
    notes: Vec<Note>,
    order: Option<&'c dyn Order>,
    reported: Cell<bool>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) id: u32,
    pub(crate) cause: RemovalCause,
    pub(crate) place: Option<u64>,
}

impl<'c> Removed<'c> {
    #[inline]
    pub(crate) fn new(order: Option<&'c dyn Order>) -> Self {
        Self { notes: Vec::new(), order, reported: Cell::new(false) }
    }

    /// The notes alone, to be [`attach`](Self::attach)ed later: until then, nobody gives their places up.
    pub(crate) fn detach(mut self) -> Vec<Note> {
        self.set_reported();
        std::mem::take(&mut self.notes)
    }

    /// Takes care of notes that were [`detach`](Self::detach)ed.
    pub(crate) fn attach(order: Option<&'c dyn Order>, notes: Vec<Note>) -> Self {
        Self { notes, order, reported: Cell::new(false) }
    }

    /// Notes an entry under the lock under which it was unlinked.
    pub(crate) fn push(&mut self, id: u32, cause: RemovalCause) {
        let place = self.order.and_then(Order::keep);
        self.notes.push(Note { id, cause, place });
    }

    pub(crate) fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// All events are where they belong.
    pub(crate) fn set_reported(&self) {
        self.reported.set(true);
    }
}

impl Drop for Removed<'_> {
    #[inline]
    fn drop(&mut self) {
        if let (Some(order), false) = (self.order, self.reported.get()) {
            self.notes.iter().filter_map(|note| note.place).for_each(|place| order.cancel(place));
        }
    }
}

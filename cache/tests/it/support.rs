//! What several tests need: a watchdog, a random source, and keys and values that are counted, hooked and fused.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Fails instead of hanging: runs `test` on a thread of its own and gives it `seconds`.
pub(crate) fn watchdog(seconds: u64, test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let runner = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match finished.recv_timeout(Duration::from_secs(scaled(seconds, 100 * seconds))) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs: not done after {seconds} s"),
        _ => {
            if let Err(panic) = runner.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// How many steps to take: `full`; `small` where Miri interprets each of them; nearer to `small` where a sanitizer watches each.
pub(crate) const fn scaled(full: u64, small: u64) -> u64 {
    if cfg!(miri) {
        small
    } else if cfg!(millpond_sanitize) {
        (full + 7 * small) / 8
    } else {
        full
    }
}

/// Waits until `holds`, and fails after ten seconds.
pub(crate) fn eventually(holds: impl Fn() -> bool) {
    eventually_within(10, holds);
}

pub(crate) fn eventually_within(seconds: u64, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(scaled(seconds, 100 * seconds)), "never came true");
        thread::yield_now();
    }
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Alarm(AtomicU64);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Alarm {
    pub(crate) fn rings(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>, alarm: &Arc<Alarm>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(alarm))))
}

/// xorshift64*: small, repeatable, good enough to choose operations.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 33) % bound
    }
}

/// A hasher that is the same in each run.
pub(crate) type Fixed = BuildHasherDefault<DefaultHasher>;

/// A hasher of only `BITS` bits: with 0 all keys collide.
#[derive(Clone, Default)]
pub(crate) struct FewBits<const BITS: u32>(Fixed);

pub(crate) struct Few<const BITS: u32>(DefaultHasher);

impl<const BITS: u32> BuildHasher for FewBits<BITS> {
    type Hasher = Few<BITS>;

    fn build_hasher(&self) -> Few<BITS> {
        Few(self.0.build_hasher())
    }
}

impl<const BITS: u32> Hasher for Few<BITS> {
    fn finish(&self) -> u64 {
        self.0.finish() & ((1 << BITS) - 1)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}

/// How many of something are alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census(Arc<AtomicIsize>);

impl Census {
    pub(crate) fn alive(&self) -> isize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::SeqCst);
        Counted(self.clone())
    }
}

/// Counted while it lives.
#[derive(Debug)]
pub(crate) struct Counted(Census);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.one()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let before = self.0.0.fetch_sub(1, Ordering::SeqCst);
        assert!(before > 0, "dropped twice");
    }
}

/// A call from the cache into user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Hash,
    Eq,
    CloneKey,
    CloneValue,
    DropKey,
    DropValue,
    Weigher,
    Expiry,
    Predicate,
    Listener,
    Loader,
}

type Hook = (Place, Rc<dyn Fn()>);

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    static FUSE: Cell<Option<(Place, u32)>> = const { Cell::new(None) };
}

/// Runs `hook` whenever the cache calls user code of one kind on this thread, but not for calls from within the hook.
pub(crate) fn set_hook(place: Place, hook: impl Fn() + 'static) {
    HOOK.with_borrow_mut(|slot| *slot = Some((place, Rc::new(hook))));
}

pub(crate) fn clear_hook() {
    let hook = HOOK.with_borrow_mut(Option::take);
    drop(hook);
}

/// Lets the `nth` call of one kind on this thread panic, once.
pub(crate) fn set_fuse(place: Place, nth: u32) {
    FUSE.set(Some((place, nth)));
}

/// Removes the fuse; true if it was still there, so that nothing panicked.
pub(crate) fn defuse() -> bool {
    FUSE.take().is_some()
}

/// Runs `hook` without the fuse: its calls do not count.
pub(crate) fn unfused(hook: impl FnOnce()) {
    let fuse = FUSE.take();
    hook();
    FUSE.set(fuse);
}

/// To be called by user code of all kinds.
pub(crate) fn called(place: Place) {
    if let Some((fused, left)) = FUSE.get()
        && fused == place
        && !thread::panicking()
    {
        FUSE.set((left > 1).then_some((place, left - 1)));
        assert!(left > 1, "injected into {place:?}");
    }
    let hook = HOOK.try_with(|slot| slot.try_borrow().ok().and_then(|slot| slot.clone())).ok().flatten();
    if let Some((hooked, hook)) = hook
        && hooked == place
    {
        /// Puts the hook back, also after a panic.
        struct PutBack(Option<Hook>);
        impl Drop for PutBack {
            fn drop(&mut self) {
                HOOK.with_borrow_mut(|slot| *slot = self.0.take());
            }
        }
        let _put_back = PutBack(HOOK.with_borrow_mut(Option::take));
        hook();
    }
}

/// Ends every life 100 seconds after the last write; each call can be hooked and fused.
pub(crate) struct Rule;

impl millpond_cache::Expiry<Key, Value> for Rule {
    fn expire_after_create(&self, _: &Key, _: &Value) -> Option<Duration> {
        called(Place::Expiry);
        Some(Duration::from_secs(100))
    }

    fn expire_after_read(&self, _: &Key, _: &Value, _: Option<Duration>) -> Option<Duration> {
        called(Place::Expiry);
        None
    }

    fn expire_after_update(&self, _: &Key, _: &Value, _: Option<Duration>) -> Option<Duration> {
        called(Place::Expiry);
        Some(Duration::from_secs(100))
    }
}

/// A key whose every operation can be hooked and fused.
#[derive(Debug)]
pub(crate) struct Key(pub(crate) u64, Counted);

impl Key {
    pub(crate) fn new(id: u64, census: &Census) -> Self {
        Self(id, census.one())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        called(Place::Hash);
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        called(Place::Eq);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        called(Place::CloneKey);
        Self(self.0, self.1.clone())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        called(Place::DropKey);
    }
}

/// A value whose every operation can be hooked and fused.
#[derive(Debug)]
pub(crate) struct Value(pub(crate) u64, Counted);

impl Value {
    pub(crate) fn new(id: u64, census: &Census) -> Self {
        Self(id, census.one())
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        called(Place::CloneValue);
        Self(self.0, self.1.clone())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        called(Place::DropValue);
    }
}

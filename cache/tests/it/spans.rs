//! A span around each load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::executor::block_on;
use millpond_cache::Cache;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

#[derive(Default)]
struct Seen {
    begun: AtomicUsize,
    entered: AtomicUsize,
    exited: AtomicUsize,
    ended: AtomicUsize,
}

/// Counts what becomes of spans that are called as ours.
struct Counting(Arc<Seen>);

impl Subscriber for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.name() == "cache_load"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        assert_eq!(span.metadata().target(), "millpond_cache");
        Id::from_u64(self.0.begun.fetch_add(1, Ordering::Relaxed) as u64 + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {
        self.0.entered.fetch_add(1, Ordering::Relaxed);
    }

    fn exit(&self, _: &Id) {
        self.0.exited.fetch_add(1, Ordering::Relaxed);
    }

    fn try_close(&self, _: Id) -> bool {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[test]
fn each_load_has_a_span_and_a_hit_has_none() {
    let seen = Arc::new(Seen::default());
    tracing::subscriber::with_default(Counting(Arc::clone(&seen)), || {
        let cache: Cache<u64, u64> = Cache::builder().name("numbers").build().unwrap();
        let counts =
            || [&seen.begun, &seen.entered, &seen.exited, &seen.ended].map(|n| n.load(Ordering::Relaxed));
        assert_eq!(cache.get_or_insert_with(1, || 1), 1);
        assert_eq!(counts(), [1, 1, 1, 1]);
        assert_eq!(cache.get_or_insert_with(1, || 2), 1);
        assert_eq!(counts(), [1, 1, 1, 1], "a hit");
        // A future is entered whenever it is polled.
        let mut polls = 0;
        let slow = std::future::poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls < 3 { std::task::Poll::Pending } else { std::task::Poll::Ready(2) }
        });
        assert_eq!(block_on(cache.get_or_insert_with_async(2, slow)), 2);
        assert_eq!(counts(), [2, 4, 4, 2]);
        // Many keys, one load.
        let loaded =
            cache.get_many_with([3, 4, 5], |keys| keys.into_iter().map(|key| (key, key)).collect::<Vec<_>>());
        assert_eq!(loaded.len(), 3);
        assert_eq!(counts(), [3, 5, 5, 3]);
        assert!(cache.try_get_or_insert_with(6, || Err("no")).is_err());
        assert_eq!(counts(), [4, 6, 6, 4]);
    });
}

//! B20: a panic at the n-th call of any function of the user's leaves the cache consistent and usable.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use millpond_cache::Cache;

thread_local! {
    /// Calls until the next panic.
    static FUSE: Cell<u32> = const { Cell::new(u32::MAX) };
}

fn burn() {
    let left = FUSE.get().saturating_sub(1);
    FUSE.set(if left == 0 { u32::MAX } else { left });
    assert!(left != 0, "the fuse");
}

#[derive(Debug)]
struct Touchy(u32);

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        burn();
        self.0.hash(state);
    }
}
impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        burn();
        self.0 == other.0
    }
}
impl Eq for Touchy {}
impl Clone for Touchy {
    fn clone(&self) -> Self {
        burn();
        Self(self.0)
    }
}
impl Drop for Touchy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            burn();
        }
    }
}

#[test]
fn b20_panics_anywhere_leave_the_cache_consistent() {
    for fuse in 1..400 {
        let cache: Cache<Touchy, Touchy> = Cache::builder()
            .max_weight(20)
            .weigher(|_, value: &Touchy| {
                burn();
                value.0 % 3
            })
            .eviction_listener(|_, _, _| burn())
            .build()
            .unwrap();
        FUSE.set(fuse);
        for n in 0..30 {
            let step = || match n % 6 {
                0 | 1 => cache.insert(Touchy(n), Touchy(n)),
                2 => cache.insert(Touchy(n - 1), Touchy(n)),
                3 => drop(cache.get(&Touchy(n - 2))),
                4 => drop(cache.get_or_insert_with(Touchy(n), || {
                    burn();
                    Touchy(n)
                })),
                _ => drop(cache.remove(&Touchy(n - 1))),
            };
            let _ = catch_unwind(AssertUnwindSafe(step));
        }
        FUSE.set(u32::MAX);
        cache.check_invariants();
        assert_eq!(cache.loads_in_flight(), 0);
        cache.insert(Touchy(7), Touchy(7));
        cache.run_pending_tasks();
        cache.check_invariants();
    }
}

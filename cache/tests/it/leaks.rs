//! Pins that are forgotten, on threads that end: memory may leak, nothing that somebody may still see is freed.

use std::sync::mpsc;
use std::thread;

use millpond_cache::Cache;

use crate::support::{Census, scaled, watchdog};

#[test]
fn b12_a_pin_that_is_leaked_protects_what_it_has_lent_beyond_its_thread() {
    watchdog(60, || {
        // The watermark of the process stands still from now on, so this test has a process of its own.
        if std::env::var_os("MILLPOND_LEAKS").is_none() {
            let test = "leaks::b12_a_pin_that_is_leaked_protects_what_it_has_lent_beyond_its_thread";
            if cfg!(miri) {
                return;
            }
            let ended = std::process::Command::new(std::env::current_exe().unwrap())
                .args([test, "--exact"])
                .env("MILLPOND_LEAKS", "1")
                .output()
                .unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
            return;
        }
        let n = Census::default();
        let cache: &'static Cache<u64, (Vec<u64>, crate::support::Counted)> =
            Box::leak(Box::new(Cache::builder().max_capacity(100).shards(1).build().unwrap()));
        cache.insert(1, (vec![1; 64], n.one()));
        let (lend, lent) = mpsc::channel();
        thread::spawn(move || {
            let pin = Box::leak(Box::new(cache.pin()));
            let value: &'static Vec<u64> = &pin.get(&1).unwrap().0;
            lend.send(value).unwrap();
        })
        .join()
        .unwrap();
        let value = lent.recv().unwrap();
        cache.invalidate(&1);
        for round in 0..scaled(2_000, 100) {
            // Threads that take over what the first has left.
            thread::spawn(move || {
                cache.get(&round);
            })
            .join()
            .unwrap();
            cache.insert(round % 200 + 2, (vec![round; 64], n.one()));
            if round % 100 == 0 {
                cache.run_pending_tasks();
            }
            assert_eq!(value[..], [1; 64], "round {round}");
        }
        cache.check_invariants();
    });
}

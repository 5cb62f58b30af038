//! Loom models of the shelf and of the hand-off: every interleaving, up to the bound on preemptions.
//!
//! `RUSTFLAGS="--cfg millpond_loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p millpond-pool --release --lib models`

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use tokio::time::Instant;

use crate::core::{After, Attempt, Borrow, Checkout, Core, Delivery, Held, Limits, Want};
use crate::shelf::{Miss, Placed, Shelf};
use crate::waiters::{Ticket, Waiter};

fn shelf(items: u32, stacks: usize) -> Arc<Shelf<u32>> {
    let shelf = Shelf::new(2, stacks);
    for item in 0..items {
        let slot = shelf.mint();
        assert!(shelf.put(Placed::new(slot, item)).is_ok());
    }
    Arc::new(shelf)
}

fn rest(shelf: &Shelf<u32>) -> Vec<u32> {
    let mut rest: Vec<u32> =
        std::iter::from_fn(|| shelf.take_locked().map(|(_, placed)| placed.item)).collect();
    rest.sort_unstable();
    rest
}

#[test]
fn models_takers_never_share_an_item() {
    loom::model(|| {
        let shelf = shelf(2, 1);
        let other = {
            let shelf = Arc::clone(&shelf);
            thread::spawn(move || {
                if let Ok(placed) = shelf.take() {
                    assert!(shelf.put(placed).is_ok());
                }
            })
        };
        // Both off, and back the other way round: the word's top is the same again, its tag is not.
        let first = shelf.take();
        let second = shelf.take();
        for placed in [first, second].into_iter().flatten() {
            assert!(shelf.put(placed).is_ok());
        }
        other.join().unwrap();
        assert_eq!(rest(&shelf), [0, 1]);
    });
}

#[test]
fn models_a_blocked_shelf_loses_nothing() {
    loom::model(|| {
        let shelf = shelf(1, 2);
        let Ok(placed) = shelf.take() else { panic!("it is there") };
        let returner = {
            let shelf = Arc::clone(&shelf);
            thread::spawn(move || shelf.put(placed).err().map(|placed| placed.item))
        };
        shelf.block();
        let found = shelf.take_locked().map(|(_, placed)| placed.item);
        assert!(matches!(shelf.take(), Err(Miss::Blocked)));
        let refused = returner.join().unwrap();
        assert!(
            found.is_some() != refused.is_some(),
            "seen by the one who blocked, or refused: never neither"
        );
    });
}

type Pool = Core<u32, std::fmt::Error>;

const NOW: u64 = 1;

/// A core of one connection, which is lent; strict fairness.
fn lent() -> (Arc<Pool>, Held<u32>) {
    lent_with(0)
}

/// As [`lent`], where newcomers may pass for so long.
fn lent_with(barging: u64) -> (Arc<Pool>, Held<u32>) {
    let limits = Limits {
        min_idle: 0,
        max_opening: 1,
        max_waiters: usize::MAX,
        bypass: u64::MAX / 2,
        idle_timeout: u64::MAX,
        lifetime: u64::MAX,
        keepalive: u64::MAX,
        barging,
        shedding: None,
    };
    let core = Pool::new(1, 1, (Duration::from_millis(1), Duration::from_millis(1)), limits);
    let (checkout, after) = join(&core);
    let mut after = after.expect("an opener is wanted");
    let Checkout::Wait(ticket, _) = checkout else { panic!("there is none yet") };
    let slot = after.rest().open.pop().expect("an opener is wanted");
    let attempt = Attempt { connection: 7, generation: 0, took: Duration::ZERO };
    let after = core.opened(slot, attempt, NOW);
    assert!(after.into_parts().1.is_none_or(|rest| rest.dead.is_empty()));
    let held = delivered(&core, ticket).expect("delivered");
    (Arc::new(core), held)
}

fn delivered(core: &Pool, ticket: Ticket) -> Option<Held<u32>> {
    match core.poll(ticket, Waiter::Thread(std::thread::current()), Duration::ZERO, NOW).0 {
        Some(Delivery::Connection(held)) => Some(held),
        _ => None,
    }
}

fn join(core: &Pool) -> (Checkout<u32, std::fmt::Error>, Option<After<u32, std::fmt::Error>>) {
    let now = Instant::now();
    let want = Want { class: 0, front: false, instant: now, deadline: now, runtime: None };
    let mut waiter = Some(Waiter::Thread(std::thread::current()));
    if let Some((ticket, cover)) = core.join(&want, &mut waiter) {
        return (Checkout::Wait(ticket, cover), None);
    }
    let (checkout, after) = core.checkout(None, &want, waiter, NOW);
    (checkout, Some(after))
}

/// Returns a connection, as a guard does. The connection, if it was to be ended.
fn give_back(core: &Pool, held: Held<u32>) -> usize {
    match core.put_back(held).or_else(|held| core.hand_off(held).map(drop)) {
        Ok(()) => 0,
        Err(held) => core.give_back(held, NOW).into_parts().1.map_or(0, |rest| rest.dead.len()),
    }
}

/// Asks, as a caller does.
fn ask(core: &Pool) -> Result<Held<u32>, Checkout<u32, std::fmt::Error>> {
    if let Borrow::Fit(held) = core.borrow(|| NOW) {
        return Ok(held);
    }
    match join(core).0 {
        Checkout::Ready(held) => Ok(held),
        other => Err(other),
    }
}

/// T8: between the look at the shelf and the place in the queue no return is missed.
#[test]
fn models_a_return_finds_the_waiter() {
    loom::model(|| {
        let (core, held) = lent();
        let returner = {
            let core = Arc::clone(&core);
            thread::spawn(move || give_back(&core, held))
        };
        let asked = ask(&core);
        assert_eq!(returner.join().unwrap(), 0);
        match asked {
            Ok(held) => assert_eq!(held.item.connection, 7),
            Err(Checkout::Wait(ticket, _)) => assert!(delivered(&core, ticket).is_some(), "forgotten"),
            Err(_) => panic!("neither served nor waiting"),
        }
    });
}

/// T11: of two callers one leaves; the other is served whatever the order.
#[test]
fn models_a_waiter_that_leaves_passes_it_on() {
    loom::model(|| {
        let (core, held) = lent();
        let leaver = {
            let core = Arc::clone(&core);
            thread::spawn(move || match ask(&core) {
                Ok(held) => drop(give_back(&core, held)),
                Err(Checkout::Wait(ticket, _)) => drop(core.leave(ticket, NOW)),
                Err(_) => panic!("neither served nor waiting"),
            })
        };
        let returner = {
            let core = Arc::clone(&core);
            thread::spawn(move || give_back(&core, held))
        };
        let asked = ask(&core);
        leaver.join().unwrap();
        returner.join().unwrap();
        match asked {
            Ok(held) => assert_eq!(held.item.connection, 7),
            Err(Checkout::Wait(ticket, _)) => assert!(delivered(&core, ticket).is_some(), "forgotten"),
            Err(_) => panic!("neither served nor waiting"),
        }
    });
}

/// T8 and T11 under eventual fairness: who was told to look finds it, or somebody else had it; of two callers one leaves, told
/// or not, and the other is told in its place.
#[test]
fn models_the_nudged_find_it_or_pass_it_on() {
    loom::model(|| {
        let (core, held) = lent_with(u64::MAX);
        let leaver = {
            let core = Arc::clone(&core);
            thread::spawn(move || match ask(&core) {
                Ok(held) => drop(give_back(&core, held)),
                Err(Checkout::Wait(ticket, _)) => drop(core.leave(ticket, NOW)),
                Err(_) => panic!("neither served nor waiting"),
            })
        };
        let returner = {
            let core = Arc::clone(&core);
            thread::spawn(move || give_back(&core, held))
        };
        let asked = ask(&core);
        leaver.join().unwrap();
        returner.join().unwrap();
        match asked {
            Ok(held) => assert_eq!(held.item.connection, 7),
            Err(Checkout::Wait(ticket, _)) => assert!(delivered(&core, ticket).is_some(), "forgotten"),
            Err(_) => panic!("neither served nor waiting"),
        }
    });
}

/// T14: what comes back while the pool closes is ended, by one of the two.
#[test]
fn models_nothing_stays_in_a_closed_pool() {
    loom::model(|| {
        let (core, held) = lent();
        let returner = {
            let core = Arc::clone(&core);
            thread::spawn(move || give_back(&core, held))
        };
        let closed = core.close(NOW).into_parts().1.map_or(0, |rest| rest.dead.len());
        let returned = returner.join().unwrap();
        assert_eq!(closed + returned, 1);
        assert_eq!(core.stats().status.idle, 0);
    });
}

/// T33: what comes back while the pool is reset is not lent again.
#[test]
fn models_nothing_from_before_a_reset_is_lent() {
    loom::model(|| {
        let (core, held) = lent();
        let returner = {
            let core = Arc::clone(&core);
            thread::spawn(move || give_back(&core, held))
        };
        drop(core.reset(NOW));
        returner.join().unwrap();
        assert!(!matches!(core.borrow(|| NOW), Borrow::Fit(_)), "lent after the reset");
    });
}

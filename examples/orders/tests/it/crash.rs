//! The process is killed under load, again and again: what was acknowledged is there, and the books agree.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;

use crate::support::{Client, Place, books, left, order, place, stock, user};

const TASKS: usize = 8;
const INITIAL: i64 = 1_000_000;
const ARTICLES: [&str; 2] = ["tea", "coffee"];

/// What clients know.
#[derive(Default)]
struct Known {
    acknowledged: BTreeSet<String>,
    /// Asked for, and no answer came: id, user, article, quantity.
    in_doubt: Vec<(String, String, &'static str, i64)>,
}

/// Places orders until the service is gone.
async fn load(client: Client, round: usize, task: usize, known: Arc<Mutex<Known>>) {
    for n in 0_usize.. {
        let (id, user) = (format!("{round}-{task}-{n}"), format!("user{task}"));
        let (sku, quantity) = (ARTICLES[n % 2], (n % 5 + 1) as i64);
        match place(&client, order(&id, &user, sku, quantity)).await {
            Ok(order) => {
                assert_eq!(order.order_id, id);
                known.lock().acknowledged.insert(id);
            }
            Err(_) => {
                known.lock().in_doubt.push((id, user, sku, quantity));
                return;
            }
        }
    }
}

async fn kill_again_and_again(there: &Place, rounds: usize) {
    let users: Vec<String> = (0..TASKS).map(|task| format!("user{task}")).collect();
    let known = Arc::new(Mutex::new(Known::default()));
    for round in 0..=rounds {
        // Orders wait longer than a round, so that most of them are in the journal alone when the process dies.
        let delay = if round % 2 == 0 { "1h" } else { "3ms" };
        let process = there.spawn("a", &["--max-delay", delay]).await;
        let client = &process.client;
        if round == 0 {
            for name in &users {
                user(client, name).await;
            }
            for sku in ARTICLES {
                stock(client, sku, INITIAL).await;
            }
        }
        let (found, sold) = books(client, &users).await;
        {
            let known = known.lock();
            let lost: Vec<_> = known.acknowledged.difference(&found).collect();
            assert!(lost.is_empty(), "round {round}: lost {lost:?}");
            let in_doubt: BTreeSet<String> = known.in_doubt.iter().map(|(id, ..)| id.clone()).collect();
            let asked_for = &known.acknowledged | &in_doubt;
            let strange: Vec<_> = found.difference(&asked_for).collect();
            assert!(strange.is_empty(), "round {round}: nobody asked for {strange:?}");
        }
        for sku in ARTICLES {
            let sold = sold.get(sku).copied().unwrap_or(0);
            assert_eq!(sold + left(client, sku).await, INITIAL, "round {round}: {sku}");
        }
        // Whoever got no answer asks again, and has one order then.
        let in_doubt = std::mem::take(&mut known.lock().in_doubt);
        for (id, user, sku, quantity) in in_doubt {
            place(client, order(&id, &user, sku, quantity)).await.unwrap();
            known.lock().acknowledged.insert(id);
        }
        if round == rounds {
            let (found, sold) = books(client, &users).await;
            assert_eq!(found, known.lock().acknowledged);
            for sku in ARTICLES {
                assert_eq!(sold[sku] + left(client, sku).await, INITIAL, "{sku}");
            }
            process.terminate().await;
            break;
        }
        let load: Vec<_> = (0..TASKS)
            .map(|task| tokio::spawn(load(process.client.clone(), round, task, Arc::clone(&known))))
            .collect();
        let wait = rand::rng().random_range(20..400);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        process.kill().await;
        for task in load {
            task.await.unwrap();
        }
    }
    assert!(known.lock().acknowledged.len() > TASKS * rounds, "it was under load");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_acknowledged_order_on_sqlite() {
    kill_again_and_again(&Place::sqlite(), 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_acknowledged_order_on_postgresql() {
    let Some(there) = Place::postgres() else { return };
    kill_again_and_again(&there, 8).await;
}

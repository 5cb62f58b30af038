//! Orders: never more than there is, each once, and seen by who placed them.

use std::collections::BTreeMap;
use std::sync::Arc;

use orders::database::Database;
use orders::proto::{GetFiguresRequest, GetOrderRequest, GetUserRequest};
use orders::stock::{Reservation, Reserved, Stock};
use tonic::Code::{Aborted, AlreadyExists, FailedPrecondition};

use crate::support::{Client, Place, Running, books, left, list, order, place, stock, user};

const ARTICLES: [&str; 3] = ["tea", "coffee", "cocoa"];

/// Places many orders at once for more than there is; units sold of each article, and how many orders were refused.
async fn rush(client: &Client, instance: &str) -> (BTreeMap<String, i64>, usize) {
    let tasks: Vec<_> = (0..16_usize)
        .map(|task| {
            let (client, instance) = (client.clone(), instance.to_owned());
            tokio::spawn(async move {
                let (mut sold, mut refused) = (BTreeMap::<String, i64>::new(), 0);
                for n in 0..12_usize {
                    let (sku, quantity) = (ARTICLES[(task + n) % 3], (n % 3 + 1) as i64);
                    let id = format!("{instance}-{task}-{n}");
                    match place(&client, order(&id, "ann", sku, quantity)).await {
                        Ok(_) => *sold.entry(sku.to_owned()).or_default() += quantity,
                        Err(status) => {
                            assert_eq!(status.code(), FailedPrecondition, "{status}");
                            refused += 1;
                        }
                    }
                }
                (sold, refused)
            })
        })
        .collect();
    let (mut sold, mut refused) = (BTreeMap::<String, i64>::new(), 0);
    for task in tasks {
        let (of_task, refused_here) = task.await.unwrap();
        for (sku, units) in of_task {
            *sold.entry(sku).or_default() += units;
        }
        refused += refused_here;
    }
    (sold, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_together_never_sell_more_than_there_is() {
    for there in Place::all() {
        let (one, two) = (there.start("one", &[]).await, there.start("two", &[]).await);
        user(&one.client, "ann").await;
        for sku in ARTICLES {
            stock(&one.client, sku, 100).await;
        }
        let rushes = tokio::join!(rush(&one.client, "one"), rush(&two.client, "two"));
        let ((mut sold, refused_by_one), (sold_by_two, refused_by_two)) = rushes;
        for (sku, units) in sold_by_two {
            *sold.entry(sku).or_default() += units;
        }
        assert!(refused_by_one + refused_by_two > 0, "there was a rush");
        one.stop().await;
        two.stop().await;
        let third = there.start("third", &[]).await;
        let (_, written) = books(&third.client, &["ann".to_owned()]).await;
        assert_eq!(written, sold);
        for sku in ARTICLES {
            let left = left(&third.client, sku).await;
            assert!((0..3).contains(&left), "{left} {sku} left, and each order was for 1, 2 or 3");
            assert_eq!(sold[sku] + left, 100, "{sku}");
        }
        third.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_placed_an_order_sees_it_although_it_waits_to_be_written() {
    for there in Place::all() {
        let service = there.start("a", &["--max-delay", "1h"]).await;
        let client = &service.client;
        user(client, "ann").await;
        stock(client, "tea", 1000).await;
        for n in 0..100_i64 {
            let id = format!("o{n}");
            let placed = place(client, order(&id, "ann", "tea", 1)).await.unwrap();
            let request = GetOrderRequest { order_id: id };
            assert_eq!(client.clone().get_order(request).await.unwrap().into_inner(), placed);
            assert_eq!(left(client, "tea").await, 999 - n, "the stock is written through");
            if n % 10 == 9 {
                let orders = list(client, "ann").await;
                assert_eq!((orders.len() as i64, orders.last()), (n + 1, Some(&placed)));
            }
        }
        let orders = list(client, "ann").await;
        assert!(orders.is_sorted_by_key(|order| order.placed_at_ms));
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_written_in_few_transactions() {
    let there = Place::sqlite();
    let service = there.start("a", &["--max-delay", "200ms"]).await;
    let client = &service.client;
    user(client, "ann").await;
    stock(client, "tea", 1000).await;
    client.clone().get_user(GetUserRequest { user_id: "ann".into() }).await.unwrap();
    let placed = (0..200).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { place(&client, order(&format!("o{n}"), "ann", "tea", 1)).await.unwrap() })
    });
    for placed in placed.collect::<Vec<_>>() {
        placed.await.unwrap();
    }
    assert_eq!(list(client, "ann").await.len(), 200);
    let figures = client.clone().get_figures(GetFiguresRequest {}).await.unwrap().into_inner();
    assert_eq!((figures.orders_written, figures.orders_waiting), (200, 0));
    assert!(figures.order_batches < 100, "{figures:?}");
    assert!(figures.users.unwrap().hits >= 200, "{figures:?}");
    service.stop().await;
}

/// A service whose queue waits for an hour, with two users and some tea.
async fn patient(there: &Place) -> Running {
    let service = there.start("a", &["--max-delay", "1h"]).await;
    for name in ["ann", "bob"] {
        user(&service.client, name).await;
    }
    stock(&service.client, "tea", 10).await;
    service
}

/// A list writes the queue only for those who have orders in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_right_and_writes_only_what_it_needs() {
    for there in Place::all() {
        let service = patient(&there).await;
        let client = &service.client;
        let queue = async || {
            let figures = client.clone().get_figures(GetFiguresRequest {}).await.unwrap().into_inner();
            (figures.orders_waiting, figures.order_batches)
        };
        for round in 1..=2 {
            let placed = place(client, order(&format!("o{round}"), "ann", "tea", 1)).await.unwrap();
            assert_eq!(list(client, "bob").await, []);
            assert_eq!(queue().await, (1, round - 1), "nobody needed it written");
            assert_eq!(list(client, "ann").await.last(), Some(&placed));
            assert_eq!((list(client, "ann").await.len() as u64, queue().await), (round, (0, round)));
        }
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_order_again_is_one_order() {
    for there in Place::all() {
        let service = patient(&there).await;
        let client = &service.client;
        let first = place(client, order("o1", "ann", "tea", 2)).await.unwrap();
        // It waits in the queue, then it is in the table; then another process has it in neither queue nor cache.
        for round in 0..2 {
            assert_eq!(place(client, order("o1", "ann", "tea", 2)).await.unwrap(), first, "{round}");
            for other in
                [order("o1", "bob", "tea", 2), order("o1", "ann", "coffee", 2), order("o1", "ann", "tea", 3)]
            {
                assert_eq!(place(client, other).await.unwrap_err().code(), AlreadyExists, "{round}");
            }
            assert_eq!(list(client, "ann").await, std::slice::from_ref(&first));
        }
        let other = there.start("b", &[]).await;
        assert_eq!(place(&other.client, order("o1", "ann", "tea", 2)).await.unwrap(), first);
        assert_eq!(left(&other.client, "tea").await, 8);
        service.stop().await;
        other.stop().await;
    }
}

/// Many at once with one id: one takes units; the others get its answer, or are told to ask again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_order_asked_for_many_times_at_once_takes_units_once() {
    for there in Place::all() {
        let service = there.start("a", &["--max-delay", "1ms"]).await;
        let other = there.start("b", &["--max-delay", "1ms"]).await;
        user(&service.client, "ann").await;
        stock(&service.client, "tea", 1000).await;
        for round in 0..20 {
            let id: Arc<str> = format!("o{round}").into();
            let calls = (0..8).map(|n| {
                let client = if n % 2 == 0 { &service } else { &other }.client.clone();
                let id = Arc::clone(&id);
                tokio::spawn(async move { place(&client, order(&id, "ann", "tea", 1)).await })
            });
            let mut answers = Vec::new();
            for call in calls.collect::<Vec<_>>() {
                match call.await.unwrap() {
                    Ok(order) => answers.push(order),
                    Err(status) => assert_eq!(status.code(), Aborted, "{status}"),
                }
            }
            assert!(!answers.is_empty());
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        }
        service.stop().await;
        other.stop().await;
        let third = there.start("c", &[]).await;
        assert_eq!((list(&third.client, "ann").await.len(), left(&third.client, "tea").await), (20, 980));
        third.stop().await;
    }
}

/// An answer of the database that was lost after the commit: the units are reserved, and there is no order. Whoever asks again with
/// the same order gets it; nobody else gets its units.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_without_an_order_is_taken_up_by_the_same_order() {
    for there in Place::all() {
        let service = there.start("a", &[]).await;
        let client = &service.client;
        for name in ["ann", "bob"] {
            user(client, name).await;
        }
        stock(client, "tea", 10).await;
        let config = there.config("a");
        let database = Arc::new(Database::new(&config).unwrap());
        let behind_its_back = Stock::new(&database, &config).unwrap();
        let own = std::fs::read_to_string(config.data.join("instance")).unwrap();
        for (id, owner) in [("o1", &own[..]), ("o2", "another instance")] {
            let reservation = Reservation {
                order_id: id.to_owned(),
                user_id: "ann".to_owned(),
                sku: "tea".to_owned(),
                quantity: 2,
                owner: owner.to_owned(),
            };
            assert_eq!(behind_its_back.reserve(reservation).await.unwrap(), Reserved::Done);
        }
        for other in [order("o1", "bob", "tea", 2), order("o1", "ann", "tea", 3)] {
            assert_eq!(place(client, other).await.unwrap_err().code(), AlreadyExists);
        }
        let placed = place(client, order("o1", "ann", "tea", 2)).await.unwrap();
        assert_eq!(place(client, order("o2", "ann", "tea", 2)).await.unwrap_err().code(), Aborted);
        assert_eq!((list(client, "ann").await, left(client, "tea").await), (vec![placed], 6));
        service.stop().await;
        let again = there.start("a", &[]).await;
        assert_eq!(left(&again.client, "tea").await, 6, "what is another's is left alone");
        again.stop().await;
    }
}

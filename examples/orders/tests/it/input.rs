//! Wrong input is told apart, and changes nothing.

use orders::proto::{
    CreateUserRequest, GetOrderRequest, GetStockRequest, GetUserRequest, ListOrdersRequest, SetStockRequest,
};
use tonic::Code::{self, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound};

use crate::support::{Place, left, list, order, place, stock, user};

#[tokio::test]
async fn a_wrong_order_is_refused_with_its_reason_and_takes_nothing() {
    for there in Place::all() {
        let service = there.start("a", &[]).await;
        let client = &service.client;
        user(client, "ann").await;
        stock(client, "tea", 5).await;
        let long = "x".repeat(65);
        let cases: &[(&str, &str, &str, i64, Code)] = &[
            ("", "ann", "tea", 1, InvalidArgument),
            ("o 1", "ann", "tea", 1, InvalidArgument),
            (&long, "ann", "tea", 1, InvalidArgument),
            ("o1", "", "tea", 1, InvalidArgument),
            ("o1", "ann", "", 1, InvalidArgument),
            ("o1", "änn", "tea", 1, InvalidArgument),
            ("o1", "ann", "tea'; DROP TABLE stock; --", 1, InvalidArgument),
            ("o1", "ann", "tea", 0, InvalidArgument),
            ("o1", "ann", "tea", -1, InvalidArgument),
            ("o1", "ann", "tea", i64::MIN, InvalidArgument),
            ("o1", "ann", "tea", i64::MAX, InvalidArgument),
            ("o1", "ann", "tea", 1_000_001, InvalidArgument),
            ("o1", "bob", "tea", 1, NotFound),
            ("o1", "ann", "coffee", 1, NotFound),
            ("o1", "ann", "tea", 6, FailedPrecondition),
            ("o1", "ann", "tea", 1_000_000, FailedPrecondition),
        ];
        for &(id, user, sku, quantity, code) in cases {
            let status = place(client, order(id, user, sku, quantity)).await.unwrap_err();
            assert_eq!(status.code(), code, "{id:?} {user:?} {sku:?} {quantity}: {status}");
            assert!(!status.message().is_empty());
        }
        assert_eq!((left(client, "tea").await, list(client, "ann").await), (5, vec![]));
        place(client, order("o1", "ann", "tea", 5)).await.unwrap();
        let status = place(client, order("o2", "ann", "tea", 1)).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (FailedPrecondition, "tea: 0 left, 1 wanted"));
        service.stop().await;
    }
}

#[tokio::test]
async fn other_calls_refuse_wrong_input_too() {
    for there in Place::all() {
        let service = there.start("a", &[]).await;
        let mut client = service.client.clone();
        let create = |id: &str, name: &str| CreateUserRequest { user_id: id.into(), name: name.into() };
        let code = |error: tonic::Status| error.code();
        let long = "é".repeat(201);
        for (id, name) in [("", "Ann"), ("ann", ""), ("ann", "  "), ("ann", "A\nB"), ("ann", &*long)] {
            let answer = client.create_user(create(id, name)).await.map_err(code);
            assert_eq!(answer.unwrap_err(), InvalidArgument, "{id:?} {name:?}");
        }
        client.create_user(create("ann", "Ann")).await.unwrap();
        client.create_user(create("ann", " Ann ")).await.unwrap();
        let answer = client.create_user(create("ann", "Anna")).await.map_err(code);
        assert_eq!(answer.unwrap_err(), AlreadyExists);
        for units in [-1, i64::MIN, i64::MAX, 1_000_000_000_001] {
            let answer = client.set_stock(SetStockRequest { sku: "tea".into(), units }).await.map_err(code);
            assert_eq!(answer.unwrap_err(), InvalidArgument, "{units}");
        }
        for (id, expected) in [("", InvalidArgument), ("nobody", NotFound)] {
            let (one, two, three) = (
                client.get_user(GetUserRequest { user_id: id.into() }).await.map_err(code).unwrap_err(),
                client.get_stock(GetStockRequest { sku: id.into() }).await.map_err(code).unwrap_err(),
                client.get_order(GetOrderRequest { order_id: id.into() }).await.map_err(code).unwrap_err(),
            );
            assert_eq!((one, two, three), (expected, expected, expected), "{id:?}");
        }
        for (user, size, token, expected) in [
            ("", 0, "", InvalidArgument),
            ("nobody", 0, "", NotFound),
            ("ann", -1, "", InvalidArgument),
            ("ann", 1001, "", InvalidArgument),
            ("ann", 0, "x", InvalidArgument),
            ("ann", 0, "x~y", InvalidArgument),
        ] {
            let request =
                ListOrdersRequest { user_id: user.into(), page_size: size, page_token: token.into() };
            assert_eq!(client.list_orders(request).await.map_err(code).unwrap_err(), expected);
        }
        // That somebody is not there is cached, and forgotten when somebody is made.
        client.create_user(create("nobody", "Somebody")).await.unwrap();
        let found = client.get_user(GetUserRequest { user_id: "nobody".into() }).await.unwrap().into_inner();
        assert_eq!(found.name, "Somebody");
        service.stop().await;
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let there = Place::sqlite();
    let service = there.start("a", &[]).await;
    let name = "x".repeat(100_000);
    let request = CreateUserRequest { user_id: "ann".into(), name };
    let status = service.client.clone().create_user(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    service.stop().await;
}

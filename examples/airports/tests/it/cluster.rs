//! Three instances on one PostgreSQL and one Redis.

use servers::{Postgres, Redis, require};

use serde_json::{Value, json};

use crate::support::{Running, poll_until, start};

fn strip(elevation: u64) -> Value {
    json!({ "name": "Strip", "country": "IS", "lat": 64.0, "lon": -21.0, "elevation": elevation })
}

async fn three(postgres: &Postgres, redis: &Redis) -> Vec<Running> {
    let (database, cluster) = (postgres.url(), redis.url());
    let arguments = ["--database", &database, "--cluster", &cluster, "--max-staleness", "1s"];
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(start(&arguments).await);
    }
    for instance in &instances {
        connected(instance, true).await;
    }
    instances
}

async fn connected(instance: &Running, is: bool) {
    poll_until(async || instance.json("/stats").await["cluster"]["changes"]["is_connected"] == is).await;
}

/// Until an instance shows it, alone and in a list.
async fn shows(instance: &Running, elevation: Option<u64>) {
    let wanted = elevation.map(|elevation| elevation as f64);
    poll_until(async || {
        let one = instance.get("/airports/BI01").await;
        let one = if one.status() == 404 { Value::Null } else { one.json().await.unwrap() };
        let list = instance.json("/airports?country=IS&limit=1&after=BI00").await;
        let listed = list["airports"].as_array().unwrap().iter().find(|airport| airport["icao"] == "BI01");
        one["elevation"].as_f64() == wanted
            && listed.and_then(|airport| airport["elevation"].as_f64()) == wanted
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_instance_writes_all_show() {
    let (Some(postgres), Some(redis)) = (require(Postgres::start()), require(Redis::start())) else { return };
    let instances = three(&postgres, &redis).await;
    for n in 0..6 {
        let writer = &instances[n % 3];
        let status = writer.put("/airports/BI01", &strip(n as u64)).await.status();
        assert_eq!(status, if n == 0 { 201 } else { 200 });
        for instance in &instances {
            shows(instance, Some(n as u64)).await;
        }
    }
    assert_eq!(instances[1].delete("/airports/BI01").await.status(), 204);
    for instance in &instances {
        shows(instance, None).await;
    }
    let loads = async |instance: &Running| instance.json("/stats").await["cluster"]["tier"]["loads"].clone();
    let before = [loads(&instances[0]).await, loads(&instances[1]).await, loads(&instances[2]).await];
    for instance in &instances {
        instance.json("/airports?icao=KJFK,LFPG").await;
    }
    // Loaded once, by the first who asked; the others have it from Redis.
    let after = [loads(&instances[0]).await, loads(&instances[1]).await, loads(&instances[2]).await];
    let grown = |n: usize| after[n].as_u64().unwrap() - before[n].as_u64().unwrap();
    assert_eq!([grown(0), grown(1), grown(2)], [2, 0, 0]);
    for instance in instances {
        instance.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_reads_go_on_and_writes_are_refused_until_it_is_back() {
    let (Some(postgres), Some(redis)) = (require(Postgres::start()), require(Redis::start())) else { return };
    let instances = three(&postgres, &redis).await;
    assert_eq!(instances[0].put("/airports/BI01", &strip(1)).await.status(), 201);
    for instance in &instances {
        shows(instance, Some(1)).await;
    }
    redis.kill().unwrap();
    for instance in &instances {
        connected(instance, false).await;
        let refused = instance.put("/airports/BI01", &strip(2)).await;
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        shows(instance, Some(1)).await;
        assert_eq!(instance.get("/airports/KJFK").await.status(), 200);
    }
    redis.restart().unwrap();
    for instance in &instances {
        connected(instance, true).await;
    }
    for (n, instance) in instances.iter().enumerate() {
        assert_eq!(instance.put("/airports/BI01", &strip(10 + n as u64)).await.status(), 200);
        for other in &instances {
            shows(other, Some(10 + n as u64)).await;
        }
    }
    for instance in instances {
        instance.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_told_to_writes_without_redis() {
    let Some(redis) = require(Redis::start()) else { return };
    let cluster = redis.url();
    let one = start(&["--cluster", &cluster, "--when-cut", "write"]).await;
    connected(&one, true).await;
    redis.kill().unwrap();
    connected(&one, false).await;
    assert_eq!(one.put("/airports/BI01", &strip(1)).await.status(), 201);
    shows(&one, Some(1)).await;
    one.stop().await;
}

//! `millpond_pool::Pool` with its manager for tokio-postgres.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use millpond_pool::managers::TokioPostgres;
use millpond_pool::{Guard, Manager, Pool, PoolBuilder};

use super::{Database, LOOK_UP, Session, Settings, client, told};

pub(super) struct Millpond(Pool<TokioPostgres>);

/// What both managers are used with. A check that takes longer than half a second tells of a server that is not well.
pub(super) fn builder<M: Manager>(manager: M, settings: &Settings) -> PoolBuilder<M> {
    Pool::builder(manager)
        .max_size(settings.size)
        .acquire_timeout(settings.acquire_timeout)
        .connect_timeout(settings.acquire_timeout)
        .validation_timeout(Duration::from_millis(500))
}

impl Millpond {
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self(builder(TokioPostgres::new(settings.url.parse()?), settings).build()?))
    }
}

impl Database for Millpond {
    fn get(&self) -> BoxFuture<'_, Result<Box<dyn Session>, String>> {
        let get = self.0.get();
        async { get.await.map(|guard| Box::new(Held(guard)) as Box<dyn Session>).map_err(told) }.boxed()
    }

    fn resize(&self, size: usize) -> bool {
        self.0.resize(size);
        true
    }
}

struct Held(Guard<TokioPostgres>);

impl Session for Held {
    fn run(&mut self, sql: &'static str) -> BoxFuture<'_, Result<Option<String>, String>> {
        client::run(&self.0, sql).boxed()
    }

    fn look_up(&mut self, id: i32) -> BoxFuture<'_, Result<i64, String>> {
        async move {
            let statement = self.0.prepare_cached(LOOK_UP).await.map_err(told)?;
            self.0.query_one(&statement, &[&id]).await.map(|row| row.get(0)).map_err(told)
        }
        .boxed()
    }
}

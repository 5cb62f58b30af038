//! `deadpool_postgres::Pool`, with a limit on each step, which by itself has none.

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures::future::{BoxFuture, FutureExt as _};
use tokio_postgres::NoTls;

use super::{Database, LOOK_UP, Session, Settings, client, told};

pub(super) struct Deadpool(Pool);

impl Deadpool {
    pub(super) fn open(settings: &Settings, recycling_method: RecyclingMethod) -> anyhow::Result<Self> {
        let manager = Manager::from_config(settings.url.parse()?, NoTls, ManagerConfig { recycling_method });
        let limit = Some(settings.acquire_timeout);
        let builder = Pool::builder(manager).max_size(settings.size).runtime(Runtime::Tokio1);
        Ok(Self(builder.wait_timeout(limit).create_timeout(limit).recycle_timeout(limit).build()?))
    }
}

impl Database for Deadpool {
    fn get(&self) -> BoxFuture<'_, Result<Box<dyn Session>, String>> {
        async { self.0.get().await.map(|client| Box::new(Held(client)) as Box<dyn Session>).map_err(told) }
            .boxed()
    }

    fn resize(&self, size: usize) -> bool {
        self.0.resize(size);
        true
    }
}

struct Held(Client);

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

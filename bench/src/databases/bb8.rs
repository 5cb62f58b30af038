//! `bb8::Pool` with the manager of bb8-postgres, which has no cache of statements.

use bb8_postgres::PostgresConnectionManager;
use bb8_postgres::bb8::{Pool, PooledConnection};
use futures::future::{BoxFuture, FutureExt as _};
use tokio_postgres::NoTls;

use super::{Database, Session, Settings, client, told};

type Manager = PostgresConnectionManager<NoTls>;

pub(super) struct Bb8(Pool<Manager>);

impl Bb8 {
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let manager = Manager::new(settings.url.parse()?, NoTls);
        let builder = Pool::builder()
            .max_size(u32::try_from(settings.size)?)
            .connection_timeout(settings.acquire_timeout)
            .test_on_check_out(settings.check);
        Ok(Self(builder.build_unchecked(manager)))
    }
}

impl Database for Bb8 {
    fn get(&self) -> BoxFuture<'_, Result<Box<dyn Session>, String>> {
        async { self.0.get_owned().await.map(|held| Box::new(Held(held)) as Box<dyn Session>).map_err(told) }
            .boxed()
    }
}

struct Held(PooledConnection<'static, Manager>);

impl Session for Held {
    fn run(&mut self, sql: &'static str) -> BoxFuture<'_, Result<Option<String>, String>> {
        client::run(&self.0, sql).boxed()
    }

    fn look_up(&mut self, id: i32) -> BoxFuture<'_, Result<i64, String>> {
        client::look_up(&self.0, id).boxed()
    }
}

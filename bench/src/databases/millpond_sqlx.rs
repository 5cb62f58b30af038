//! `millpond_pool::Pool` with its manager for sqlx.

use futures::future::{BoxFuture, FutureExt as _};
use millpond_pool::managers::SqlxPostgres;
use millpond_pool::{Guard, Pool};

use super::millpond::builder;
use super::{Database, Session, Settings, sqlx, told};

pub(super) struct MillpondSqlx(Pool<SqlxPostgres>);

impl MillpondSqlx {
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self(builder(SqlxPostgres::new(settings.url.parse()?), settings).build()?))
    }
}

impl Database for MillpondSqlx {
    fn get(&self) -> BoxFuture<'_, Result<Box<dyn Session>, String>> {
        let get = self.0.get();
        async { get.await.map(|guard| Box::new(Held(guard)) as Box<dyn Session>).map_err(told) }.boxed()
    }

    fn resize(&self, size: usize) -> bool {
        self.0.resize(size);
        true
    }
}

struct Held(Guard<SqlxPostgres>);

impl Session for Held {
    fn run(&mut self, sql: &'static str) -> BoxFuture<'_, Result<Option<String>, String>> {
        sqlx::run(&mut self.0, sql).boxed()
    }

    fn look_up(&mut self, id: i32) -> BoxFuture<'_, Result<i64, String>> {
        sqlx::look_up(&mut self.0, id).boxed()
    }
}

//! `sqlx::PgPool`. It pings each connection that comes back; that can't be turned off.

use futures::future::{BoxFuture, FutureExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{Postgres, Row as _};

use super::{Database, LOOK_UP, Session, Settings, told};

pub(super) struct Sqlx(PgPool);

impl Sqlx {
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let options = PgPoolOptions::new()
            .max_connections(u32::try_from(settings.size)?)
            .acquire_timeout(settings.acquire_timeout)
            .test_before_acquire(settings.check);
        Ok(Self(options.connect_lazy(&settings.url)?))
    }
}

impl Database for Sqlx {
    fn get(&self) -> BoxFuture<'_, Result<Box<dyn Session>, String>> {
        async { self.0.acquire().await.map(|held| Box::new(Held(held)) as Box<dyn Session>).map_err(told) }
            .boxed()
    }
}

struct Held(PoolConnection<Postgres>);

impl Session for Held {
    fn run(&mut self, sql: &'static str) -> BoxFuture<'_, Result<Option<String>, String>> {
        run(&mut self.0, sql).boxed()
    }

    fn look_up(&mut self, id: i32) -> BoxFuture<'_, Result<i64, String>> {
        look_up(&mut self.0, id).boxed()
    }
}

pub(super) async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<Option<String>, String> {
    let rows = sqlx::raw_sql(sql).fetch_all(connection).await.map_err(told)?;
    Ok(rows.first().and_then(|row| row.try_get(0).ok()))
}

/// sqlx keeps statements prepared by itself.
pub(super) async fn look_up(connection: &mut PgConnection, id: i32) -> Result<i64, String> {
    sqlx::query_scalar(LOOK_UP).bind(id).fetch_one(connection).await.map_err(told)
}

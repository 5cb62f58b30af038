//! `r2d2::Pool` over tokio-postgres: borrowed on threads that may block, used in tasks.

use futures::future::{BoxFuture, FutureExt as _};
use r2d2::{ManageConnection, Pool, PooledConnection};
use tokio::runtime::Handle;
use tokio_postgres::{Client, Config, Error};

use super::{Database, Session, Settings, client, told};

struct Clients {
    config: Config,
    runtime: Handle,
}

impl ManageConnection for Clients {
    type Connection = Client;
    type Error = Error;

    fn connect(&self) -> Result<Client, Error> {
        self.runtime.block_on(client::connect(&self.config))
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), Error> {
        self.runtime.block_on(client.simple_query("")).map(drop)
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}

pub(super) struct R2d2(Pool<Clients>);

impl R2d2 {
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let manager = Clients { config: settings.url.parse()?, runtime: Handle::current() };
        // As the others: opened when they are needed.
        let builder = Pool::builder()
            .max_size(u32::try_from(settings.size)?)
            .min_idle(Some(0))
            .connection_timeout(settings.acquire_timeout)
            .test_on_check_out(settings.check);
        Ok(Self(builder.build_unchecked(manager)))
    }
}

impl Database for R2d2 {
    fn get(&self) -> BoxFuture<'_, Result<Box<dyn Session>, String>> {
        let pool = self.0.clone();
        let got = tokio::task::spawn_blocking(move || pool.get());
        async {
            let held = got.await.map_err(told)?.map_err(told)?;
            Ok(Box::new(Held(held)) as Box<dyn Session>)
        }
        .boxed()
    }
}

struct Held(PooledConnection<Clients>);

impl Session for Held {
    fn run(&mut self, sql: &'static str) -> BoxFuture<'_, Result<Option<String>, String>> {
        client::run(&self.0, sql).boxed()
    }

    fn look_up(&mut self, id: i32) -> BoxFuture<'_, Result<i64, String>> {
        client::look_up(&self.0, id).boxed()
    }
}

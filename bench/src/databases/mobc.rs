//! `mobc::Pool` with a manager as mobc-postgres has it.

use futures::future::{BoxFuture, FutureExt as _};
use mobc::{Connection, Manager, Pool, async_trait};
use tokio_postgres::{Client, Config, Error};

use super::{Database, Session, Settings, client, told};

struct Clients(Config);

#[async_trait]
impl Manager for Clients {
    type Connection = Client;
    type Error = Error;

    async fn connect(&self) -> Result<Client, Error> {
        client::connect(&self.0).await
    }

    async fn check(&self, client: Client) -> Result<Client, Error> {
        client.simple_query("").await?;
        Ok(client)
    }

    fn validate(&self, client: &mut Client) -> bool {
        !client.is_closed()
    }
}

pub(super) struct Mobc(Pool<Clients>);

impl Mobc {
    pub(super) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let builder = Pool::builder()
            .max_open(settings.size as u64)
            .max_idle(settings.size as u64)
            .get_timeout(Some(settings.acquire_timeout))
            .test_on_check_out(settings.check);
        Ok(Self(builder.build(Clients(settings.url.parse()?))))
    }
}

impl Database for Mobc {
    fn get(&self) -> BoxFuture<'_, Result<Box<dyn Session>, String>> {
        async { self.0.get().await.map(|held| Box::new(Held(held)) as Box<dyn Session>).map_err(told) }
            .boxed()
    }
}

struct Held(Connection<Clients>);

impl Session for Held {
    fn run(&mut self, sql: &'static str) -> BoxFuture<'_, Result<Option<String>, String>> {
        client::run(&self.0, sql).boxed()
    }

    fn look_up(&mut self, id: i32) -> BoxFuture<'_, Result<i64, String>> {
        client::look_up(&self.0, id).boxed()
    }
}

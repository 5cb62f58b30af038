//! Users: read through a cache. They are made past it, and forgotten by it then.

use std::sync::Arc;

use millpond_cache::Cache;
use millpond_cache::backing::{Store, StoreCache, StoreError, Write, Written};

use crate::config::Config;
use crate::database::{Database, Error, reading, writing};
use crate::refusal::Refusal;

/// The table, as the cache sees it: id and name.
#[derive(Debug)]
pub struct UserTable(Arc<Database>);

impl Store<String, Arc<str>> for UserTable {
    type Error = Error;

    async fn load(&self, id: &String) -> Result<Option<Arc<str>>, StoreError<Error>> {
        name_of(&self.0, id).await.map_err(Error::for_cache)
    }

    async fn write(&self, _: &[Write<String, Arc<str>>]) -> Result<Written<Error>, StoreError<Error>> {
        Err(StoreError::Permanent(Error::ReadOnly))
    }
}

async fn name_of(database: &Database, id: &str) -> Result<Option<Arc<str>>, Error> {
    let name: Result<Option<String>, Error> = reading!(database, |connection| {
        let statement = database.sql("SELECT name FROM users WHERE id = $1");
        sqlx::query_scalar(statement).bind(id).fetch_optional(connection).await?
    });
    Ok(name?.map(Arc::from))
}

/// All users.
#[derive(Debug)]
pub struct Users {
    cache: StoreCache<String, Arc<str>, UserTable>,
}

impl Users {
    /// Behind a cache as configured.
    ///
    /// # Errors
    /// If the settings are wrong.
    pub fn new(database: &Arc<Database>, config: &Config) -> anyhow::Result<Self> {
        let cache = Cache::builder()
            .max_capacity(config.cache_capacity)
            .time_to_live(config.user_ttl)
            .time_to_live_jitter(0.1)
            .negative_time_to_live(config.negative_ttl, Option::is_none)
            // A user who was there a moment ago may order while the database is away; the stock decides anyway.
            .stale_if_error(config.user_ttl)
            .record_stats()
            .name("users")
            .read_through(UserTable(Arc::clone(database)))
            .circuit_breaker(5, std::time::Duration::from_millis(200))
            .load_timeout(config.request_timeout)
            .build()?;
        Ok(Self { cache })
    }

    /// The name of a user.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or what the database failed with.
    pub async fn name(&self, id: &str) -> Result<Arc<str>, Refusal> {
        self.cache.get(id).await?.ok_or_else(|| Refusal::not_found("user", id))
    }

    /// Makes a user, unless there is one of that id.
    ///
    /// # Errors
    /// [`Refusal::Exists`] if that one has another name, or what the database failed with.
    pub async fn create(&self, id: &str, name: &str) -> Result<(), Refusal> {
        let database = &self.cache.store().0;
        let made: Result<u64, Error> = writing!(database, |transaction| {
            let insert =
                database.sql("INSERT INTO users (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING");
            let made = sqlx::query(insert).bind(id).bind(name).execute(&mut *transaction).await?;
            transaction.commit().await?;
            made.rows_affected()
        });
        // That there is none may be cached. Also after an error: nobody knows what was done then.
        self.cache.invalidate(id);
        if made? == 0 && *self.name(id).await? != *name {
            return Err(Refusal::Exists { what: "user", id: id.to_owned() });
        }
        Ok(())
    }

    /// How the cache was used.
    #[must_use]
    pub fn stats(&self) -> millpond_cache::Stats {
        self.cache.cache_stats()
    }
}

//! Orders: written behind a cache, from a journal on the local disk.
//!
//! An order counts when it is in the journal. Batches of them go to the table in one transaction each, together with the end of their
//! reservations, so that there is no moment at which an order is in neither place or in both.

use std::sync::Arc;
use std::time::Duration;

use millpond_cache::Cache;
use millpond_cache::backing::{
    DeadLetter, Journal, Store, StoreCache, StoreCacheError, StoreError, StoreStats, Write, WriteBehind,
    Written,
};
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;

use crate::config::Config;
use crate::data::Data;
use crate::database::{Database, Error, reading, writing};
use crate::refusal::Refusal;
use crate::waiting::Waiting;

/// An order, but for its id. Its form is in journals: whoever changes it changes `SCHEMA`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who ordered.
    pub user_id: String,
    /// What.
    pub sku: String,
    /// How many.
    pub quantity: i64,
    /// When it was taken in, in milliseconds since 1970.
    pub placed_at_ms: i64,
}

const SCHEMA: u32 = 1;

/// An order and its id, by which pages are cut: time, then id.
pub type Row = (String, Order);

type Columns = (String, String, String, i64, i64);

fn row((id, user_id, sku, quantity, placed_at_ms): Columns) -> Row {
    (id, Order { user_id, sku, quantity, placed_at_ms })
}

/// The table, as the cache sees it.
#[derive(Debug)]
pub struct OrderTable {
    database: Arc<Database>,
    waiting: Arc<Waiting>,
}

impl Store<String, Order> for OrderTable {
    type Error = Error;

    async fn load(&self, id: &String) -> Result<Option<Order>, StoreError<Error>> {
        let database = &self.database;
        let found: Result<Option<Columns>, Error> = reading!(database, |connection| {
            let statement =
                database.sql("SELECT id, user_id, sku, quantity, placed_at_ms FROM orders WHERE id = $1");
            sqlx::query_as(statement).bind(id).fetch_optional(connection).await?
        });
        Ok(found.map_err(Error::for_cache)?.map(|columns| row(columns).1))
    }

    async fn write(&self, batch: &[Write<String, Order>]) -> Result<Written<Error>, StoreError<Error>> {
        let database = &self.database;
        // Orders are placed once and never deleted, so there are only upserts, and of a repeated one the first counts.
        let orders: Vec<(&String, &Order)> =
            batch.iter().filter_map(|write| Some((write.key(), write.value()?))).collect();
        if orders.is_empty() {
            return Ok(Written::all());
        }
        let done = writing!(database, |transaction| {
            let insert = database.sql("INSERT INTO orders (id, user_id, sku, quantity, placed_at_ms) ");
            let mut query = QueryBuilder::new(insert);
            query.push_values(&orders, |mut row, (id, order)| {
                row.push_bind(*id).push_bind(&order.user_id).push_bind(&order.sku);
                row.push_bind(order.quantity).push_bind(order.placed_at_ms);
            });
            query.push(" ON CONFLICT (id) DO NOTHING").build().execute(&mut *transaction).await?;
            let mut query = QueryBuilder::new(database.sql("DELETE FROM reservations WHERE order_id IN ("));
            let mut list = query.separated(", ");
            for (id, _) in &orders {
                list.push_bind(*id);
            }
            query.push(")").build().execute(&mut *transaction).await?;
            transaction.commit().await?;
        });
        done.map_err(Error::for_cache)?;
        for (id, order) in orders {
            self.waiting.remove(&order.user_id, id);
        }
        Ok(Written::all())
    }
}

/// All orders.
#[derive(Debug)]
pub struct Orders {
    cache: StoreCache<String, Order, OrderTable>,
    waiting: Arc<Waiting>,
}

impl Orders {
    /// Behind a cache and a journal as configured. What the journal holds is being written from now on. Blocks; needs a runtime.
    ///
    /// # Errors
    /// If the journal is in use or damaged, or the settings are wrong.
    pub fn open(database: &Arc<Database>, data: &Data, config: &Config) -> anyhow::Result<Self> {
        let journal = Journal::options(data.journal()).schema(SCHEMA).open()?;
        let left = journal.report().replayed();
        if left > 0 {
            tracing::info!(orders = left, "orders were left in the journal");
        }
        let waiting = Arc::new(Waiting::default());
        let (letters, dead) = (data.clone(), Arc::clone(&waiting));
        let settings = WriteBehind::new(move |letter: DeadLetter<String, Order, Error>| {
            tracing::error!(order = letter.key(), cause = %letter.cause(), "an order can't be written");
            if let Some(order) = letter.value() {
                dead.remove(&order.user_id, letter.key());
            }
            if let Err(error) = letters.keep_letter(letter.key(), letter.value(), &letter.cause().to_string())
            {
                tracing::error!(%error, ?letter, "nor can it be kept elsewhere");
            }
        });
        let settings = settings
            .max_delay(config.max_delay)
            .max_batch(500)
            .max_queue(config.max_queue as usize)
            .max_in_flight(2)
            .backoff(Duration::from_millis(50), Duration::from_secs(2))
            .journal(journal);
        let cache = Cache::builder()
            .max_capacity(config.cache_capacity)
            .negative_time_to_live(config.negative_ttl, Option::is_none)
            .record_stats()
            .name("orders")
            .read_through(OrderTable { database: Arc::clone(database), waiting: Arc::clone(&waiting) })
            .write_behind(settings)
            .load_timeout(config.request_timeout)
            .build()?;
        Ok(Self { cache, waiting })
    }

    /// An order, wherever it is: in the queue, the cache or the table.
    ///
    /// # Errors
    /// What the database failed with.
    pub async fn find(&self, id: &str) -> Result<Option<Order>, Refusal> {
        Ok(self.cache.get(id).await?)
    }

    /// As [`find`](Self::find), and what the cache believes does not count: another instance may have written it.
    ///
    /// # Errors
    /// What the database failed with.
    pub async fn find_now(&self, id: &str) -> Result<Option<Order>, Refusal> {
        Ok(self.cache.refresh(id).await?)
    }

    /// Takes an order in: it will be in the table, whatever happens to this process.
    ///
    /// # Errors
    /// [`NotRecorded`] says whether it may be written all the same.
    pub async fn record(&self, id: String, order: Order) -> Result<(), NotRecorded> {
        let user = order.user_id.clone();
        let is_first = self.waiting.add(&user, &id);
        let failed = match self.cache.put(id.clone(), order).await {
            Ok(()) => return Ok(()),
            Err(StoreCacheError::Journal(error)) => {
                use millpond_cache::backing::JournalError::{Encode, Full};
                let is_queued = !matches!(*error, Full(_) | Encode(_));
                NotRecorded { is_queued, refusal: Refusal::from(&error) }
            }
            Err(error) => NotRecorded { is_queued: false, refusal: error.into() },
        };
        if is_first && !failed.is_queued {
            self.waiting.remove(&user, &id);
        }
        Err(failed)
    }

    /// At most `limit` orders of a user after the place of one, oldest first: all that this instance had taken in before the call, and
    /// what others have written.
    ///
    /// If orders of this user wait, the queue is written first. A user who has none waiting costs one statement, however many others do.
    ///
    /// # Errors
    /// What the database failed with.
    pub async fn list(
        &self,
        user: &str,
        after: Option<(i64, &str)>,
        limit: i64,
    ) -> Result<Vec<Row>, Refusal> {
        if self.waiting.has(user) {
            self.cache.flush().await;
        }
        let database = &self.cache.store().database;
        let (time, id) = after.unwrap_or((i64::MIN, ""));
        let rows: Result<Vec<Columns>, Error> = reading!(database, |connection| {
            let statement = database.sql(
                "SELECT id, user_id, sku, quantity, placed_at_ms FROM orders
                 WHERE user_id = $1 AND (placed_at_ms, id) > ($2, $3) ORDER BY placed_at_ms, id LIMIT $4",
            );
            sqlx::query_as(statement).bind(user).bind(time).bind(id).bind(limit).fetch_all(connection).await?
        });
        Ok(rows?.into_iter().map(row).collect())
    }

    /// Waits until all that was taken in is written.
    pub async fn flush(&self) {
        self.cache.flush().await;
    }

    /// Takes no more in and writes what waits. What is not written in time stays in the journal.
    pub async fn close(&self, deadline: Duration) {
        if let Err(error) = self.cache.close(deadline).await {
            tracing::warn!(orders = error.unwritten(), "orders stay in the journal for the next start");
        }
    }

    /// How the cache was used.
    #[must_use]
    pub fn stats(&self) -> millpond_cache::Stats {
        self.cache.cache_stats()
    }

    /// How the queue was used.
    #[must_use]
    pub fn queue(&self) -> StoreStats {
        self.cache.stats()
    }
}

/// An order was not taken in as promised.
#[derive(Debug)]
pub struct NotRecorded {
    /// Whether it is in the queue and will be written, unless this process dies first.
    pub is_queued: bool,
    /// What the client is told.
    pub refusal: Refusal,
}

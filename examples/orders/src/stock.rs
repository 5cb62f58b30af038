//! Stock: written through a cache, and never sold twice.
//!
//! Units are taken by one conditional statement, so the database alone decides, also between instances. The cache learns the
//! outcome from it ([`StoreCache::update`]); what it holds is for readers, and no order relies on it.

use std::sync::Arc;

use millpond_cache::Cache;
use millpond_cache::backing::{Store, StoreCache, StoreError, Write, Written};

use crate::config::Config;
use crate::database::{Database, Error, reading, writing};
use crate::refusal::Refusal;

/// The table, as the cache sees it: article and units.
#[derive(Debug)]
pub struct StockTable(Arc<Database>);

impl Store<String, i64> for StockTable {
    type Error = Error;

    async fn load(&self, sku: &String) -> Result<Option<i64>, StoreError<Error>> {
        let database = &self.0;
        let units = reading!(database, |connection| {
            let statement = database.sql("SELECT units FROM stock WHERE sku = $1");
            sqlx::query_scalar(statement).bind(sku).fetch_optional(connection).await?
        });
        units.map_err(Error::for_cache)
    }

    async fn write(&self, batch: &[Write<String, i64>]) -> Result<Written<Error>, StoreError<Error>> {
        let database = &self.0;
        let done = writing!(database, |transaction| {
            for write in batch {
                if let Some(units) = write.value() {
                    let upsert = database.sql(
                        "INSERT INTO stock (sku, units) VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET units = $2",
                    );
                    sqlx::query(upsert).bind(write.key()).bind(units).execute(&mut *transaction).await?;
                } else {
                    let delete = database.sql("DELETE FROM stock WHERE sku = $1");
                    sqlx::query(delete).bind(write.key()).execute(&mut *transaction).await?;
                }
            }
            transaction.commit().await?;
        });
        done.map_err(Error::for_cache)?;
        Ok(Written::all())
    }
}

/// Who takes what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The order.
    pub order_id: String,
    /// Who orders.
    pub user_id: String,
    /// What.
    pub sku: String,
    /// How many units.
    pub quantity: i64,
    /// In whose journal the order will be.
    pub owner: String,
}

/// What became of an attempt to take units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// They are taken.
    Done,
    /// Not enough are left, but so many.
    SoldOut(i64),
    /// The article is not known.
    Unknown,
    /// They were taken before, and the order is not in its table yet.
    Before(Reservation),
    /// The order is in its table.
    Ordered,
}

/// All articles.
#[derive(Debug)]
pub struct Stock {
    cache: StoreCache<String, i64, StockTable>,
}

impl Stock {
    /// Behind a cache as configured.
    ///
    /// # Errors
    /// If the settings are wrong.
    pub fn new(database: &Arc<Database>, config: &Config) -> anyhow::Result<Self> {
        let cache = Cache::builder()
            .max_capacity(config.cache_capacity)
            .time_to_live(config.stock_ttl)
            .negative_time_to_live(config.negative_ttl.min(config.stock_ttl), Option::is_none)
            .record_stats()
            .name("stock")
            .read_through(StockTable(Arc::clone(database)))
            .write_through()
            .load_timeout(config.request_timeout)
            .build()?;
        Ok(Self { cache })
    }

    /// How many units are left.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or what the database failed with.
    pub async fn units(&self, sku: &str) -> Result<i64, Refusal> {
        self.cache.get(sku).await?.ok_or_else(|| Refusal::not_found("article", sku))
    }

    /// Says how many there are.
    ///
    /// # Errors
    /// What the database failed with; then it has the old number or the new one.
    pub async fn set(&self, sku: &str, units: i64) -> Result<(), Refusal> {
        Ok(self.cache.put(sku.to_owned(), units).await?)
    }

    /// Takes units for an order, all or none, once for each order.
    ///
    /// # Errors
    /// What the database failed with; then they are taken or not, and asking again tells.
    pub async fn reserve(&self, wanted: Reservation) -> Result<Reserved, Refusal> {
        let database = Arc::clone(&self.cache.store().0);
        let sku = wanted.sku.clone();
        Ok(self
            .cache
            .update(sku, async move { reserve(&database, &wanted).await.map_err(Error::for_cache) })
            .await?)
    }

    /// Gives units back that an order did not need, if they are still reserved.
    ///
    /// # Errors
    /// What the database failed with.
    pub async fn release(&self, reserved: &Reservation) -> Result<(), Refusal> {
        let database = Arc::clone(&self.cache.store().0);
        let (sku, order_id) = (reserved.sku.clone(), reserved.order_id.clone());
        let key = sku.clone();
        let change = async move {
            let units = release(&database, &order_id, &sku).await.map_err(Error::for_cache)?;
            Ok((units, ()))
        };
        Ok(self.cache.update(key, change).await?)
    }

    /// Waits for the writes under way; takes none any more.
    pub async fn close(&self, deadline: std::time::Duration) {
        if let Err(error) = self.cache.close(deadline).await {
            tracing::warn!(%error, "stock");
        }
    }

    /// How the cache was used.
    #[must_use]
    pub fn stats(&self) -> millpond_cache::Stats {
        self.cache.cache_stats()
    }
}

async fn reserve(database: &Database, wanted: &Reservation) -> Result<(Option<i64>, Reserved), Error> {
    let Reservation { order_id, user_id, sku, quantity, owner } = wanted;
    writing!(database, |transaction| {
        let insert = database.sql(
            "INSERT INTO reservations (order_id, user_id, sku, quantity, owner) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (order_id) DO NOTHING",
        );
        let insert = sqlx::query(insert).bind(order_id).bind(user_id).bind(sku).bind(quantity).bind(owner);
        let is_first = insert.execute(&mut *transaction).await?.rows_affected() == 1;
        if is_first {
            // The order may have left the reservations for its table just before: a statement after the insert sees it there.
            let take = database.sql(
                "UPDATE stock SET units = units - $2 WHERE sku = $1 AND units >= $2
                 AND NOT EXISTS (SELECT 1 FROM orders WHERE id = $3) RETURNING units",
            );
            let left: Option<i64> = sqlx::query_scalar(take)
                .bind(sku)
                .bind(quantity)
                .bind(order_id)
                .fetch_optional(&mut *transaction)
                .await?;
            if left.is_some() {
                transaction.commit().await?;
                return Ok((left, Reserved::Done));
            }
        }
        // Nothing was taken. Why not?
        let units = database.sql("SELECT units FROM stock WHERE sku = $1");
        let units: Option<i64> =
            sqlx::query_scalar(units).bind(sku).fetch_optional(&mut *transaction).await?;
        let ordered = database.sql("SELECT COUNT(*) FROM orders WHERE id = $1");
        let ordered: i64 = sqlx::query_scalar(ordered).bind(order_id).fetch_one(&mut *transaction).await?;
        let mut before = None;
        if !is_first {
            let row =
                database.sql("SELECT user_id, sku, quantity, owner FROM reservations WHERE order_id = $1");
            before = sqlx::query_as::<_, (String, String, i64, String)>(row)
                .bind(order_id)
                .fetch_optional(&mut *transaction)
                .await?;
        }
        transaction.rollback().await?;
        let outcome = match (before, units) {
            (Some((user_id, sku, quantity, owner)), _) => {
                Reserved::Before(Reservation { order_id: order_id.clone(), user_id, sku, quantity, owner })
            }
            // What was in the way of the insert went to the table meanwhile.
            _ if ordered > 0 || !is_first => Reserved::Ordered,
            (None, Some(left)) => Reserved::SoldOut(left),
            (None, None) => Reserved::Unknown,
        };
        (units, outcome)
    })
}

async fn release(database: &Database, order_id: &str, sku: &str) -> Result<Option<i64>, Error> {
    writing!(database, |transaction| {
        let delete = database.sql("DELETE FROM reservations WHERE order_id = $1 RETURNING quantity");
        let quantity: Option<i64> =
            sqlx::query_scalar(delete).bind(order_id).fetch_optional(&mut *transaction).await?;
        let give = database.sql("UPDATE stock SET units = units + $2 WHERE sku = $1 RETURNING units");
        let units: Option<i64> = sqlx::query_scalar(give)
            .bind(sku)
            .bind(quantity.unwrap_or(0))
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        units
    })
}

/// Gives all units back that an instance took for orders which came to nothing; for a start, when its journal is written. How many
/// reservations it were.
///
/// # Errors
/// What the database failed with.
pub async fn release_all(database: &Database, owner: &str) -> Result<u64, Error> {
    writing!(database, |transaction| {
        let give = database.sql(
            "UPDATE stock SET units = units + (SELECT CAST(SUM(quantity) AS BIGINT) FROM reservations
                 WHERE reservations.sku = stock.sku AND owner = $1)
             WHERE sku IN (SELECT sku FROM reservations WHERE owner = $1)",
        );
        sqlx::query(give).bind(owner).execute(&mut *transaction).await?;
        let delete = database.sql("DELETE FROM reservations WHERE owner = $1");
        let deleted = sqlx::query(delete).bind(owner).execute(&mut *transaction).await?;
        transaction.commit().await?;
        deleted.rows_affected()
    })
}

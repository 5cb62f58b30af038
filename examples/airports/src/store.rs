//! Every statement the service runs, through a pool, with bound parameters. The SQL is the same on SQLite and PostgreSQL.

use std::time::Duration;

use millpond_pool::managers::{SqlxPostgres, SqlxSqlite};
use millpond_pool::{Guard, Pool, Stats};
use sqlx::postgres::PgConnectOptions;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, QueryBuilder};

use crate::airport::Airport;
use crate::config::Config;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Pool(#[from] millpond_pool::Error<sqlx::Error>),
    /// The database refused, or the connection broke.
    #[error(transparent)]
    Statement(#[from] sqlx::Error),
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this country.
    pub country: Option<String>,
    /// Only those with this text, lower case, in code, name or city.
    pub text: Option<String>,
    /// Only codes above this one.
    pub after: String,
    /// At most this many.
    pub limit: i64,
}

/// What became of a write.
#[derive(Clone, Debug)]
pub enum Written {
    /// It was done; what was there before.
    Done(Option<Airport>),
    /// Its condition did not hold for what is there; nothing was changed.
    Refused(Option<Airport>),
}

impl Written {
    /// What was there.
    #[must_use]
    pub fn before(&self) -> Option<&Airport> {
        let (Self::Done(before) | Self::Refused(before)) = self;
        before.as_ref()
    }
}

/// The database.
#[derive(Clone, Debug)]
pub enum Store {
    /// Embedded.
    Sqlite(Pool<SqlxSqlite>),
    /// A server.
    Postgres(Pool<SqlxPostgres>),
}

/// Runs the same code on whichever database it is.
macro_rules! on {
    ($store:expr, |$connection:ident| $body:expr) => {
        match $store {
            Store::Sqlite(pool) => on!(pool => |$connection| $body),
            Store::Postgres(pool) => on!(pool => |$connection| $body),
        }
    };
    ($pool:expr => |$connection:ident| $body:expr) => {{
        let mut guard = $pool.get().await?;
        let result = async {
            let $connection = &mut *guard;
            Ok::<_, sqlx::Error>($body)
        };
        let result = result.await;
        if result.as_ref().is_err_and(is_outage) {
            // Nobody else should get it, and the pool should look at the others.
            Guard::discard(guard);
        }
        Ok(result?)
    }};
}

/// Whether a statement failed because of the server or the connection, and not because of itself.
#[must_use]
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            true
        }
        sqlx::Error::Database(error) => {
            if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                // Class 57: shutting down, starting up, terminated by the administrator. 53: out of resources.
                // 08: connection. 40: rolled back because of others. 25006: a standby, which takes no writes.
                let code = error.code();
                return code == "25006"
                    || ["57", "53", "08", "40"].iter().any(|class| code.starts_with(class));
            }
            // The low byte of an extended code is what kind it is.
            let code = error.code().and_then(|code| code.parse::<u32>().ok());
            code.is_some_and(|code| SQLITE_OUTAGES.contains(&(code & 0xff)))
        }
        _ => false,
    }
}

/// Busy, locked, read-only, I/O error, full, cannot open.
const SQLITE_OUTAGES: [u32; 6] = [5, 6, 8, 10, 13, 14];

// One write at a time, with what it reads first: no other can come between the row it finds and the row it leaves, also
// where there is no row to lock. SQLite's ordinary BEGIN would take the lock only at the first write, and then refuse
// those who have read before others wrote.
const SQLITE_BEGIN: &str = "BEGIN IMMEDIATE";
const POSTGRES_BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(28298)";

const CREATE: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS airports (
        icao TEXT PRIMARY KEY, iata TEXT, name TEXT NOT NULL, city TEXT, subd TEXT, country TEXT NOT NULL,
        elevation DOUBLE PRECISION, lat DOUBLE PRECISION NOT NULL, lon DOUBLE PRECISION NOT NULL, tz TEXT, lid TEXT,
        search TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS airports_by_country ON airports (country, icao)",
];

const CREATE_PLACES: &str = "CREATE INDEX IF NOT EXISTS airports_by_place ON airports (lat, lon)";

const CREATE_VIEWS: &str = "CREATE TABLE IF NOT EXISTS views (
    icao TEXT NOT NULL, process TEXT NOT NULL, views BIGINT NOT NULL, PRIMARY KEY (icao, process))";

const ONE: &str = "SELECT * FROM airports WHERE icao = $1";

const INSERT: &str =
    "INSERT INTO airports (icao, iata, name, city, subd, country, elevation, lat, lon, tz, lid, search) ";

/// Rows of an import that go in one statement: twelve parameters each, and SQLite takes 32,766.
const BATCH: usize = 1000;

/// Whether a SQLite address is that of a file, and not of a database that ends with its connection.
fn names_a_file(address: &str) -> bool {
    let address = address.trim_start_matches("sqlite:").trim_start_matches("//");
    let (path, parameters) = address.split_once('?').unwrap_or((address, ""));
    !path.is_empty()
        && path != ":memory:"
        && !parameters.split('&').any(|parameter| parameter == "mode=memory")
}

impl Store {
    /// A pool for the configured database. Opens nothing yet.
    ///
    /// # Errors
    /// If the address is not one of a known database.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let (size, timeout) = (usize::from(config.max_connections), config.acquire_timeout);
        if config.database.starts_with("sqlite:") {
            anyhow::ensure!(
                names_a_file(&config.database),
                "--database: SQLite needs the name of a file; a database in memory is one for each connection"
            );
            let options: SqliteConnectOptions = config.database.parse()?;
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .busy_timeout(Duration::from_secs(5));
            let pool = Pool::builder(SqlxSqlite::new(options))
                .max_size(size)
                .acquire_timeout(timeout)
                .name("sqlite");
            return Ok(Self::Sqlite(pool.build()?));
        }
        anyhow::ensure!(
            config.database.starts_with("postgres:") || config.database.starts_with("postgresql:"),
            // Not the address itself: it may have a password in it.
            "--database: it is neither sqlite:… nor postgres://…"
        );
        let mut options: PgConnectOptions = config.database.parse()?;
        if config.cluster.is_some() {
            // By then the other instances take a write of one that has died for done.
            let limit = config.write_limit.as_millis().max(1).to_string();
            options = options.options([("statement_timeout", limit)]);
        }
        let pool = Pool::builder(SqlxPostgres::new(options))
            .max_size(size)
            .acquire_timeout(timeout)
            .connect_timeout(Duration::from_secs(2))
            .validation_timeout(Duration::from_secs(1))
            .name("postgres");
        Ok(Self::Postgres(pool.build()?))
    }

    /// Makes the table if it is missing.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn create(&self) -> Result<(), Error> {
        on!(self, |connection| {
            // Looks first: a database that can't be written is served all the same.
            if sqlx::query("SELECT 1 FROM airports LIMIT 1").execute(&mut *connection).await.is_err() {
                let mut transaction = connection.begin_with(self.begin()).await?;
                for statement in CREATE {
                    sqlx::query(statement).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            }
        })
    }

    /// Makes the index of places if it is missing, as it is in the databases of older versions.
    ///
    /// # Errors
    /// If the database refuses. Then a box of places is found all the same, but slowly.
    pub async fn create_places(&self) -> Result<(), Error> {
        let look = match self {
            Self::Sqlite(_) => "SELECT 1 FROM sqlite_schema WHERE name = 'airports_by_place'",
            Self::Postgres(_) => "SELECT 1 WHERE to_regclass('airports_by_place') IS NOT NULL",
        };
        on!(self, |connection| {
            // Looks first: to make an index waits for those who write, also if it is there.
            if sqlx::query(look).fetch_optional(&mut *connection).await?.is_none() {
                let mut transaction = connection.begin_with(self.begin()).await?;
                sqlx::query(CREATE_PLACES).execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
        })
    }

    /// The statement that begins a transaction which writes.
    fn begin(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => SQLITE_BEGIN,
            Self::Postgres(_) => POSTGRES_BEGIN,
        }
    }

    /// How many airports there are.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn count(&self) -> Result<i64, Error> {
        on!(self, |connection| sqlx::query_scalar("SELECT COUNT(*) FROM airports")
            .fetch_one(connection)
            .await?)
    }

    /// Inserts all of `airports` or none; those that exist stay as they are. Calls `progress` with each batch's size. False if another
    /// instance has done so meanwhile, and nothing was left to do.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn fill(&self, airports: &[Airport], progress: impl Fn(u64)) -> Result<bool, Error> {
        on!(self, |connection| {
            let mut transaction = connection.begin_with(self.begin()).await?;
            let held: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM airports").fetch_one(&mut *transaction).await?;
            if usize::try_from(held).is_ok_and(|held| held >= airports.len()) {
                return Ok(false);
            }
            for batch in airports.chunks(BATCH) {
                let mut query = QueryBuilder::new(INSERT);
                query.push_values(batch, |mut row, airport| {
                    row.push_bind(&airport.icao).push_bind(&airport.iata).push_bind(&airport.name);
                    row.push_bind(&airport.city).push_bind(&airport.subd).push_bind(&airport.country);
                    row.push_bind(airport.elevation).push_bind(airport.lat).push_bind(airport.lon);
                    row.push_bind(&airport.tz).push_bind(&airport.lid).push_bind(airport.search_text());
                });
                query.push(" ON CONFLICT (icao) DO NOTHING");
                query.build().execute(&mut *transaction).await?;
                progress(batch.len() as u64);
            }
            transaction.commit().await?;
            true
        })
    }

    /// One airport.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn airport(&self, icao: &str) -> Result<Option<Airport>, Error> {
        on!(self, |connection| sqlx::query_as(ONE).bind(icao).fetch_optional(connection).await?)
    }

    /// Those of several airports that there are, in no order, by one statement.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn several(&self, codes: &[String]) -> Result<Vec<Airport>, Error> {
        on!(self, |connection| {
            let mut query = QueryBuilder::new("SELECT * FROM airports WHERE icao IN (");
            let mut list = query.separated(", ");
            for code in codes {
                list.push_bind(code);
            }
            query.push(")");
            query.build_query_as().fetch_all(connection).await?
        })
    }

    /// Airports in the order of their codes.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Airport>, Error> {
        let pattern = filter.text.as_ref().map(|text| {
            let literal = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
            format!("%{literal}%")
        });
        // A statement for each combination, so that the database can use its index.
        let statement = match (&filter.country, &pattern) {
            (None, None) => "SELECT * FROM airports WHERE icao > $1 ORDER BY icao LIMIT $2",
            (Some(_), None) => {
                "SELECT * FROM airports WHERE icao > $1 AND country = $3 ORDER BY icao LIMIT $2"
            }
            (None, Some(_)) => {
                "SELECT * FROM airports WHERE icao > $1 AND search LIKE $3 ESCAPE '!' ORDER BY icao LIMIT $2"
            }
            (Some(_), Some(_)) => {
                "SELECT * FROM airports WHERE icao > $1 AND country = $3 AND search LIKE $4 ESCAPE '!'
                 ORDER BY icao LIMIT $2"
            }
        };
        on!(self, |connection| {
            let mut query = sqlx::query_as(statement).bind(&filter.after).bind(filter.limit);
            if let Some(country) = &filter.country {
                query = query.bind(country);
            }
            if let Some(pattern) = &pattern {
                query = query.bind(pattern);
            }
            query.fetch_all(connection).await?
        })
    }

    /// The airports in a box around one of them, that one too, in no order; none at all if there is no such airport.
    ///
    /// It reaches so many degrees to the north and the south, and so many to the east and the west, also across the 180th meridian.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn around(&self, icao: &str, lat: f64, lon: f64) -> Result<Vec<Airport>, Error> {
        const STATEMENT: &str = "SELECT near.* FROM airports AS centre JOIN airports AS near
            ON near.lat BETWEEN centre.lat - $2 AND centre.lat + $2
            AND (ABS(near.lon - centre.lon) <= $3 OR ABS(near.lon - centre.lon) >= 360 - $3)
            WHERE centre.icao = $1";
        on!(self, |connection| {
            sqlx::query_as(STATEMENT).bind(icao).bind(lat).bind(lon).fetch_all(connection).await?
        })
    }

    /// Inserts or replaces an airport, if `may` says so of the one that is there.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn put(
        &self,
        airport: &Airport,
        may: impl FnOnce(Option<&Airport>) -> bool,
    ) -> Result<Written, Error> {
        on!(self, |connection| {
            let mut transaction = connection.begin_with(self.begin()).await?;
            let before: Option<Airport> =
                sqlx::query_as(ONE).bind(&airport.icao).fetch_optional(&mut *transaction).await?;
            if !may(before.as_ref()) {
                transaction.rollback().await?;
                return Ok(Written::Refused(before));
            }
            let statement = "INSERT INTO airports
                (icao, iata, name, city, subd, country, elevation, lat, lon, tz, lid, search)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                ON CONFLICT (icao) DO UPDATE SET iata = $2, name = $3, city = $4, subd = $5, country = $6,
                    elevation = $7, lat = $8, lon = $9, tz = $10, lid = $11, search = $12";
            sqlx::query(statement)
                .bind(&airport.icao)
                .bind(&airport.iata)
                .bind(&airport.name)
                .bind(&airport.city)
                .bind(&airport.subd)
                .bind(&airport.country)
                .bind(airport.elevation)
                .bind(airport.lat)
                .bind(airport.lon)
                .bind(&airport.tz)
                .bind(&airport.lid)
                .bind(airport.search_text())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Written::Done(before)
        })
    }

    /// Removes an airport, if `may` says so of what is there.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn delete(
        &self,
        icao: &str,
        may: impl FnOnce(Option<&Airport>) -> bool,
    ) -> Result<Written, Error> {
        on!(self, |connection| {
            let mut transaction = connection.begin_with(self.begin()).await?;
            let before: Option<Airport> =
                sqlx::query_as(ONE).bind(icao).fetch_optional(&mut *transaction).await?;
            if !may(before.as_ref()) {
                transaction.rollback().await?;
                return Ok(Written::Refused(before));
            }
            sqlx::query("DELETE FROM airports WHERE icao = $1").bind(icao).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Written::Done(before)
        })
    }

    /// Makes the table of views if it is missing.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn create_views(&self) -> Result<(), Error> {
        on!(self, |connection| {
            if sqlx::query("SELECT 1 FROM views LIMIT 1").execute(&mut *connection).await.is_err() {
                let mut transaction = connection.begin_with(self.begin()).await?;
                sqlx::query(CREATE_VIEWS).execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
        })
    }

    /// What one process has counted of an airport.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn views_of(&self, icao: &str, process: &str) -> Result<Option<u64>, Error> {
        const STATEMENT: &str = "SELECT views FROM views WHERE icao = $1 AND process = $2";
        let views: Result<Option<i64>, Error> = on!(self, |connection| {
            sqlx::query_scalar(STATEMENT).bind(icao).bind(process).fetch_optional(connection).await?
        });
        Ok(views?.map(|views| u64::try_from(views).unwrap_or(0)))
    }

    /// What all other processes have counted of an airport.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn views_of_others(&self, icao: &str, process: &str) -> Result<u64, Error> {
        const STATEMENT: &str =
            "SELECT CAST(COALESCE(SUM(views), 0) AS BIGINT) FROM views WHERE icao = $1 AND process <> $2";
        let views: Result<i64, Error> = on!(self, |connection| {
            sqlx::query_scalar(STATEMENT).bind(icao).bind(process).fetch_one(connection).await?
        });
        Ok(u64::try_from(views?).unwrap_or(0))
    }

    /// Writes what a process has counted, by one statement.
    ///
    /// # Errors
    /// If the database does not take it.
    pub async fn put_views(&self, process: &str, rows: &[(&str, u64)]) -> Result<(), Error> {
        on!(self, |connection| {
            let mut query = QueryBuilder::new("INSERT INTO views (icao, process, views) ");
            query.push_values(rows, |mut row, (icao, views)| {
                row.push_bind(*icao).push_bind(process).push_bind(i64::try_from(*views).unwrap_or(i64::MAX));
            });
            query.push(" ON CONFLICT (icao, process) DO UPDATE SET views = excluded.views");
            query.build().execute(connection).await?;
        })
    }

    /// Adds what a process has counted, and will not count any more, to what all have that have ended.
    ///
    /// # Errors
    /// If the database does not take it; then nothing was changed.
    pub async fn retire_views(&self, process: &str) -> Result<(), Error> {
        const ADD: &str = "INSERT INTO views (icao, process, views)
            SELECT icao, '', views FROM views WHERE process = $1
            ON CONFLICT (icao, process) DO UPDATE SET views = views.views + excluded.views";
        on!(self, |connection| {
            let mut transaction = connection.begin_with(self.begin()).await?;
            sqlx::query(ADD).bind(process).execute(&mut *transaction).await?;
            sqlx::query("DELETE FROM views WHERE process = $1")
                .bind(process)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        })
    }

    /// The pool's counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self {
            Self::Sqlite(pool) => pool.stats(),
            Self::Postgres(pool) => pool.stats(),
        }
    }

    /// Ends the pool; returns how many connections are still out after `deadline`.
    pub async fn close(&self, deadline: Duration) -> usize {
        match self {
            Self::Sqlite(pool) => pool.close(deadline).await,
            Self::Postgres(pool) => pool.close(deadline).await,
        }
    }
}

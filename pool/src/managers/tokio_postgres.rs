//! PostgreSQL connections of tokio-postgres, with a cache of prepared statements.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, Socket, Statement};

use super::provider::{Provider, ProviderFuture};
use crate::manager::{Manager, Verdict};

/// Statements a connection keeps prepared, unless set otherwise.
const STATEMENTS: usize = 256;

/// Opens [`PostgresClient`]s: clients of tokio-postgres whose task the pool looks after.
///
/// The cheap look before each borrow is [`Client::is_closed`], so that a connection whose end the task has seen is never
/// lent. tokio-postgres rolls back a `Transaction` that is dropped; a `BEGIN` of the user's own is ended only by
/// [`clean`](Self::clean). A wrong password or role (SQLSTATE class 28) and an unknown database (3D000) count as permanent
/// errors.
///
/// ```
/// use millpond_pool::managers::TokioPostgres;
/// let manager = TokioPostgres::new("host=db user=app".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TokioPostgres<T = NoTls> {
    config: Provider<Config, Error>,
    tls: T,
    statements: usize,
    clean: bool,
}

impl TokioPostgres {
    /// A manager that connects so, without TLS.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config: Provider::Fixed(config), tls: NoTls, statements: STATEMENTS, clean: false }
    }

    /// A manager that asks for its configuration before each attempt to connect: for passwords that rotate.
    #[must_use]
    pub fn with_provider(
        provider: impl Fn() -> ProviderFuture<Config, Error> + Send + Sync + 'static,
    ) -> Self {
        Self { config: Provider::ask(provider), tls: NoTls, statements: STATEMENTS, clean: false }
    }
}

impl<T> TokioPostgres<T> {
    /// With this TLS connector.
    #[must_use]
    pub fn tls<U>(self, tls: U) -> TokioPostgres<U> {
        TokioPostgres { config: self.config, tls, statements: self.statements, clean: self.clean }
    }

    /// How many statements each connection keeps prepared; the one used least recently makes room. Default: 256. 0: none,
    /// as a proxy in transaction mode may need.
    #[must_use]
    pub fn statements(mut self, statements: usize) -> Self {
        self.statements = statements;
        self
    }

    /// Whether each connection that comes back is cleaned in the background before anybody gets it: open transactions are
    /// rolled back, settings, temporary tables, cursors, `LISTEN`s and advisory locks go; prepared statements stay. One round
    /// trip a borrow, during which the connection is not lent. Default: off.
    #[must_use]
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }
}

impl<T> fmt::Debug for TokioPostgres<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioPostgres")
            .field("config", &self.config)
            .field("statements", &self.statements)
            .field("clean", &self.clean)
            .finish_non_exhaustive()
    }
}

impl<T> Manager for TokioPostgres<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + Sync + 'static,
    T::TlsConnect: Send + Sync,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    type Connection = PostgresClient;
    type Error = Error;

    async fn connect(&self) -> Result<PostgresClient, Error> {
        let config = self.config.options().await?;
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let task = tokio::spawn(async move {
            // Its error is what the client's next call says.
            let _ended = connection.await;
        });
        Ok(PostgresClient {
            client,
            cache: Mutex::new(Cache { limit: self.statements, clock: 0, statements: HashMap::new() }),
            task,
        })
    }

    async fn validate(&self, connection: &mut PostgresClient) -> Result<(), Error> {
        connection.client.check_connection().await
    }

    fn probe(&self, connection: &mut PostgresClient) -> bool {
        !connection.client.is_closed()
    }

    fn on_return(&self, connection: &mut PostgresClient) -> Verdict {
        if connection.client.is_closed() {
            Verdict::Broken
        } else if self.clean {
            Verdict::Reset
        } else {
            Verdict::Keep
        }
    }

    async fn reset(&self, connection: &mut PostgresClient) -> Result<(), Error> {
        connection.client.batch_execute(super::POSTGRES_CLEAN).await
    }

    async fn close(&self, connection: PostgresClient) {
        let PostgresClient { client, task, .. } = connection;
        // Ends the task, once it has said goodbye to the server.
        drop(client);
        let _ended = tokio::time::timeout(Duration::from_secs(1), task).await;
    }

    fn is_permanent(&self, error: &Error) -> bool {
        error.code().is_some_and(|code| super::is_permanent_in_postgres(code.code()))
    }
}

/// A client of tokio-postgres with its prepared statements.
pub struct PostgresClient {
    client: Client,
    cache: Mutex<Cache>,
    task: JoinHandle<()>,
}

struct Cache {
    limit: usize,
    clock: u64,
    statements: HashMap<Key, (Statement, u64)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    query: Box<str>,
    types: Box<[Type]>,
}

impl PostgresClient {
    /// The prepared statement of this text; prepares it the first time on this connection.
    ///
    /// # Errors
    /// As [`Client::prepare`].
    pub async fn prepare_cached(&self, query: &str) -> Result<Statement, Error> {
        self.prepare_typed_cached(query, &[]).await
    }

    /// As [`prepare_cached`](Self::prepare_cached), with the types of parameters.
    ///
    /// # Errors
    /// As [`Client::prepare_typed`].
    pub async fn prepare_typed_cached(&self, query: &str, types: &[Type]) -> Result<Statement, Error> {
        let key = Key { query: query.into(), types: types.into() };
        if let Some(statement) = self.cache.lock().get(&key) {
            return Ok(statement);
        }
        let statement = self.client.prepare_typed(query, types).await?;
        let replaced = self.cache.lock().put(key, statement.clone());
        // Tells the server to forget it; not under the lock.
        drop(replaced);
        Ok(statement)
    }

    /// How many statements are kept prepared.
    #[must_use]
    pub fn cached_statements(&self) -> usize {
        self.cache.lock().statements.len()
    }

    /// Forgets them all, as after a change of the schema that made their plans invalid.
    pub fn clear_statements(&self) {
        let forgotten = std::mem::take(&mut self.cache.lock().statements);
        drop(forgotten);
    }
}

impl Cache {
    fn get(&mut self, key: &Key) -> Option<Statement> {
        self.clock += 1;
        let (statement, used) = self.statements.get_mut(key)?;
        *used = self.clock;
        Some(statement.clone())
    }

    fn put(&mut self, key: Key, statement: Statement) -> Option<Statement> {
        if self.limit == 0 {
            return None;
        }
        self.clock += 1;
        let mut replaced = None;
        if self.statements.len() >= self.limit && !self.statements.contains_key(&key) {
            let oldest = self.statements.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                replaced = self.statements.remove(&oldest);
            }
        }
        let same = self.statements.insert(key, (statement, self.clock));
        replaced.or(same).map(|(statement, _)| statement)
    }
}

impl Deref for PostgresClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for PostgresClient {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl fmt::Debug for PostgresClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresClient").field("client", &self.client).finish_non_exhaustive()
    }
}

//! The connection to Redis: one, multiplexed, made when it is needed, and left alone for a while when it fails.
//!
//! A name in Redis has the server's run in it. A server that was started anew, or another that took its place, may know an older
//! state than the one before told: what it has of other runs is never read. A replica is refused: what is written elsewhere, it
//! forgets late or never.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, Script};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::replication::{self, Replication};
use crate::backing::breaker::Breaker;
use crate::clock::nanos;

/// So many failures in a row, and Redis is not asked for a while.
const FAILURES_TO_OPEN: u32 = 3;

#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    prefix: String,
    /// For a question, connecting included.
    patience: Duration,
    breaker: Breaker,
    began: Instant,
    live: Mutex<Option<Live>>,
    /// What Redis failed with last.
    failure: parking_lot::Mutex<Option<Arc<str>>>,
}

#[derive(Clone, Debug)]
struct Live {
    connection: MultiplexedConnection,
    /// Before all names: the prefix and the server's run.
    head: Arc<str>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Silence {
    /// Redis was not asked.
    Skipped,
    /// It was asked, and did not answer, or with an error. It may do yet what it was asked for.
    Failed,
}

impl Link {
    pub(crate) fn new(client: Client, prefix: String, patience: Duration, cool_down: Duration) -> Self {
        Self {
            client,
            prefix,
            patience,
            breaker: Breaker::new(FAILURES_TO_OPEN, nanos(cool_down)),
            began: Instant::now(),
            live: Mutex::new(None),
            failure: parking_lot::Mutex::default(),
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.breaker.is_open()
    }

    pub(crate) fn last_error(&self) -> Option<Arc<str>> {
        self.failure.lock().clone()
    }

    /// Keeps what Redis failed with; nothing: that it took too long.
    fn failed(&self, error: Option<&RedisError>, limit: Duration) {
        let text = error.map_or_else(|| format!("no answer within {limit:?}"), ToString::to_string);
        *self.failure.lock() = Some(text.into());
    }

    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }

    /// Runs a script on these names. Its last argument is a name under the prefix that is never there.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        names: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<T, Silence> {
        let running = async |live: &mut Live| {
            let mut call = script.prepare_invoke();
            for name in names {
                call.key([live.head.as_bytes(), name].concat());
            }
            for argument in arguments {
                call.arg(*argument);
            }
            call.arg(live.head.trim_end_matches(':'));
            call.invoke_async::<T>(&mut live.connection).await
        };
        let permit = self.breaker.permit(self.now()).ok_or(Silence::Skipped)?;
        let mut used = None;
        let asked = timeout(self.patience, async {
            let mut live = self.live().await?;
            used = Some(Arc::clone(&live.head));
            running(&mut live).await
        });
        match asked.await {
            Ok(Ok(answer)) => {
                permit.answered();
                Ok(answer)
            }
            failed => {
                permit.failed(self.now());
                // A server that refuses, a connection that is broken, one that says nothing: the next one finds out which.
                let error = failed.ok().and_then(Result::err);
                self.failed(error.as_ref(), self.patience);
                if let (Some(used), true) = (used, error.is_none_or(|error| !is_answer(&error))) {
                    self.hang_up(&used).await;
                }
                Err(Silence::Failed)
            }
        }
    }

    /// Removes all names of the server's run.
    pub(crate) async fn clear(&self) -> Result<(), Silence> {
        let permit = self.breaker.permit(self.now()).ok_or(Silence::Skipped)?;
        let mut used = None;
        let limit = self.patience.max(Duration::from_secs(60));
        let cleared = timeout(limit, async {
            let mut live = self.live().await?;
            used = Some(Arc::clone(&live.head));
            let pattern = [&escaped(&live.head)[..], "*"].concat();
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
                let (next, names): (u64, Vec<Vec<u8>>) = scan.query_async(&mut live.connection).await?;
                if !names.is_empty() {
                    let mut unlink = redis::cmd("UNLINK");
                    let _: u64 = unlink.arg(names).query_async(&mut live.connection).await?;
                }
                cursor = next;
                if cursor == 0 {
                    return Ok::<_, RedisError>(());
                }
            }
        });
        let cleared = cleared.await;
        if let Ok(Ok(())) = cleared {
            permit.answered();
            return Ok(());
        }
        permit.failed(self.now());
        self.failed(cleared.ok().and_then(Result::err).as_ref(), limit);
        if let Some(used) = used {
            self.hang_up(&used).await;
        }
        Err(Silence::Failed)
    }

    async fn live(&self) -> Result<Live, RedisError> {
        let mut slot = self.live.lock().await;
        if let Some(live) = &*slot {
            return Ok(live.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            // All that is asked has a limit of its own.
            .set_response_timeout(None);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut questions = redis::pipe();
        questions.cmd("INFO").arg("server").add_command(replication::question());
        let (server, info): (String, String) = questions.query_async(&mut connection).await?;
        Replication::read(&info).is_primary()?;
        let run = server.lines().find_map(|line| line.strip_prefix("run_id:"));
        // Without it, what stood there before a restart could be read.
        let unnamed = || RedisError::from((redis::ErrorKind::Io, "this Redis does not tell its run_id"));
        let run = run.ok_or_else(unnamed)?;
        let run: String = run.trim().chars().take(12).collect();
        let live = Live { connection, head: format!("{}:{run}:", self.prefix).into() };
        *slot = Some(live.clone());
        Ok(live)
    }

    /// The next one connects anew, unless somebody has. Of those who still use this connection, none is cut off.
    async fn hang_up(&self, used: &Arc<str>) {
        self.live.lock().await.take_if(|live| Arc::ptr_eq(&live.head, used));
    }
}

/// Whether the server has understood and refused, so that another connection would change nothing.
fn is_answer(error: &RedisError) -> bool {
    !error.is_io_error() && !error.is_unrecoverable_error() && !error.is_timeout() && !is_of_a_replica(error)
}

/// Whether the server has become a replica. Before Redis 7 an error in a script has the code in its text only.
fn is_of_a_replica(error: &RedisError) -> bool {
    let text = error.to_string().to_ascii_uppercase();
    ["READONLY", "READ ONLY REPLICA", "MASTERDOWN"].iter().any(|code| text.contains(code))
}

/// As a pattern that matches this text alone.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

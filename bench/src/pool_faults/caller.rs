//! Callers: they borrow, ask, give back, and note what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::databases::Database;

/// How long a caller waits for the answer to a query.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long a caller waits after an error.
const PAUSE: Duration = Duration::from_millis(10);

/// What a caller saw.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// When it asked for a connection, and when it was answered.
    pub(super) asked: Instant,
    pub(super) answered: Instant,
    /// Why it got none.
    pub(super) refused: Option<String>,
    /// Of its query: when it ended, and why it failed.
    pub(super) ended: Instant,
    pub(super) failed: Option<String>,
}

/// Callers at work.
pub(super) struct Callers {
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Seen>>>,
}

impl Callers {
    /// So many, each with this statement over and over.
    pub(super) fn start(database: &Arc<dyn Database>, callers: usize, sql: &'static str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let task = |_| {
            let (database, over) = (Arc::clone(database), Arc::clone(&over));
            tokio::spawn(async move {
                let mut all = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let seen = once(&*database, sql).await;
                    if seen.refused.is_some() || seen.failed.is_some() {
                        tokio::time::sleep(PAUSE).await;
                    }
                    all.push(seen);
                }
                all
            })
        };
        Self { tasks: (0..callers).map(task).collect(), over }
    }

    /// Lets them finish what they do; all they saw.
    pub(super) async fn stop(self) -> Vec<Seen> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.unwrap_or_default());
        }
        all
    }
}

/// One borrow and its query.
pub(super) async fn once(database: &dyn Database, sql: &'static str) -> Seen {
    let asked = Instant::now();
    let session = database.get().await;
    let answered = Instant::now();
    let mut session = match session {
        Ok(session) => session,
        Err(error) => {
            return Seen { asked, answered, refused: Some(error), ended: answered, failed: None };
        }
    };
    let failed = match timeout(PATIENCE, session.run(sql)).await {
        Ok(answer) => answer.err(),
        Err(_) => Some(format!("no answer in {PATIENCE:?}")),
    };
    let ended = Instant::now();
    drop(session);
    Seen { asked, answered, refused: None, ended, failed }
}

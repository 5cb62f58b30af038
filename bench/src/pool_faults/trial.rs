//! One fault with one pool, from the first connection to the count of what is left.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::{FutureExt as _, join_all};
use servers::Postgres;
use tokio::time::{sleep, timeout};

use super::caller::{Callers, once};
use super::fault::Fault;
use super::outcome::{Outcome, Times};
use super::proxy::{Proxy, Weather};
use crate::databases::{Database, Kind, Session, Settings};

/// How long a borrow may take.
pub(super) const ACQUIRE: Duration = Duration::from_secs(2);
/// What callers ask: 2 ms of a connection's time.
const QUERY: &str = "select pg_sleep(0.002)::text";
/// Callers where nothing else is said.
const CALLERS: usize = 32;
/// How long callers are at it before a fault, and after it: longer than a borrow may take.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_millis(2500);
/// Connections that ought to be there in the end, and how long they may take to be.
pub(super) const SLOTS: usize = 10;
const LAST_CHANCE: Duration = Duration::from_secs(6);

/// The database whose sessions may not be idle, and for how long they may.
pub(super) const IDLE: &str = "idle";
pub(super) const IDLE_TIMEOUT: &str = "700ms";

struct Trial {
    server: Arc<Postgres>,
    proxy: Proxy,
    database: Arc<dyn Database>,
    outcome: Outcome,
}

/// Plays it.
///
/// # Errors
/// If the server or the proxy does not do what it should.
pub(super) fn play(server: &Arc<Postgres>, kind: Kind, fault: Fault) -> anyhow::Result<Outcome> {
    let proxy = Proxy::start(server.port())?;
    let url = server.url_of(if fault == Fault::IdleKill { IDLE } else { "postgres" });
    let url = url.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port));
    let settings = Settings { url, size: fault.size(), acquire_timeout: ACQUIRE, check: true };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let database = Arc::from(kind.open(&settings)?);
        let outcome = Outcome::default();
        let mut trial = Trial { server: Arc::clone(server), proxy, database, outcome };
        trial.run(fault).await?;
        if fault != Fault::Spike {
            trial.outcome.usable = trial.usable().await;
        }
        trial.outcome.dials = trial.proxy.dials();
        trial.outcome.most = trial.proxy.most();
        let Trial { outcome, proxy, .. } = trial;
        anyhow::Ok((outcome, proxy))
    });
    // Tasks of a pool may outlive it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let (outcome, proxy) = outcome?;
    drop(proxy);
    Ok(outcome)
}

impl Trial {
    async fn run(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Terminate2 => self.terminate(2).await,
            Fault::Terminate32 => self.terminate(CALLERS).await,
            Fault::Outage => self.outage().await,
            Fault::Freeze => self.freeze().await,
            Fault::BlackHole => self.black_hole().await,
            Fault::IdleKill => self.idle_kill().await,
            Fault::Cancel => self.cancel().await,
            Fault::Panic => self.panic().await,
            Fault::Resize => self.resize().await,
            Fault::Spike => self.spike().await,
            Fault::HangBeyond5 => self.hang_beyond_5().await,
        }
    }

    fn callers(&self, callers: usize) -> Callers {
        Callers::start(&self.database, callers, QUERY)
    }

    /// Counts what callers saw, and the connections opened between these times.
    async fn finish(&mut self, callers: Callers, times: Times, dials: usize) {
        sleep(AFTER).await;
        self.outcome.count(&callers.stop().await, times);
        let seconds = (times.over - times.began).as_secs_f64();
        if seconds > 0.5 {
            self.outcome.dials_per_second = dials as f64 / seconds;
        }
    }

    async fn terminate(&mut self, callers: usize) -> anyhow::Result<()> {
        let callers = self.callers(callers);
        sleep(BEFORE).await;
        // Not through the proxy: it must not be cut itself.
        let config: tokio_postgres::Config = self.server.url().parse()?;
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let ended = self.proxy.ended();
        let began = Instant::now();
        let killed = client.query_typed(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity \
             where backend_type = 'client backend' and pid <> pg_backend_pid()",
            &[],
        );
        let killed: i64 = killed.await?.first().context("no count")?.get(0);
        let killed = usize::try_from(killed)?;
        let deadline = began + Duration::from_secs(5);
        while self.proxy.ended() < ended + killed && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        let complete = Instant::now();
        self.finish(callers, Times { began, complete, over: complete }, 0).await;
        self.outcome.remark = format!("{killed} backends, gone in {:.0?}", complete - began);
        Ok(())
    }

    async fn outage(&mut self) -> anyhow::Result<()> {
        let callers = self.callers(CALLERS);
        sleep(BEFORE).await;
        let (began, dials) = (Instant::now(), self.proxy.dials());
        self.proxy.set(Weather { down: true, ..Weather::FAIR });
        while self.proxy.open() > 0 {
            tokio::task::yield_now().await;
        }
        let complete = Instant::now();
        sleep(Duration::from_secs(5)).await;
        let dials = self.proxy.dials() - dials;
        self.proxy.set(Weather::FAIR);
        self.finish(callers, Times { began, complete, over: Instant::now() }, dials).await;
        let Outcome { told_after, told_why, refused, .. } = &self.outcome;
        let after =
            told_after.map_or_else(|| "nobody told".to_owned(), |after| format!("told in {after:.1?}"));
        self.outcome.remark = format!("{after}, {told_why} of {refused} with the cause");
        Ok(())
    }

    async fn freeze(&mut self) -> anyhow::Result<()> {
        let callers = self.callers(CALLERS);
        sleep(BEFORE).await;
        let (began, dials) = (Instant::now(), self.proxy.dials());
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || server.pause()).await??;
        let complete = Instant::now();
        sleep(Duration::from_secs(3)).await;
        let dials = self.proxy.dials() - dials;
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || server.resume()).await??;
        self.finish(callers, Times { began, complete, over: Instant::now() }, dials).await;
        Ok(())
    }

    async fn black_hole(&mut self) -> anyhow::Result<()> {
        self.proxy.set(Weather { pass: 0, ..Weather::FAIR });
        let began = Instant::now();
        let callers = self.callers(CALLERS);
        sleep(Duration::from_secs(3)).await;
        let dials = self.proxy.dials();
        self.proxy.set(Weather::FAIR);
        self.finish(callers, Times { began, complete: began, over: Instant::now() }, dials).await;
        Ok(())
    }

    async fn idle_kill(&mut self) -> anyhow::Result<()> {
        drop(self.hold(SLOTS).await?);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.proxy.ended() < SLOTS && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        let began = Instant::now();
        let all = join_all((0..SLOTS).map(|_| once(&*self.database, QUERY))).await;
        self.outcome.count(&all, Times { began, complete: began, over: began });
        self.outcome.remark = format!("{} ended", self.proxy.ended().min(SLOTS));
        Ok(())
    }

    async fn cancel(&mut self) -> anyhow::Result<()> {
        let callers = self.callers(CALLERS);
        sleep(BEFORE).await;
        let began = Instant::now();
        let tasks = (0..10).map(|_| {
            let database = Arc::clone(&self.database);
            tokio::spawn(async move {
                let mut served = 0;
                for n in 0..1000 {
                    // At its first wait, or at whichever it has come to.
                    let got = if n % 2 == 0 {
                        database.get().now_or_never()
                    } else {
                        timeout(Duration::from_millis(1), database.get()).await.ok()
                    };
                    served += usize::from(matches!(got, Some(Ok(_))));
                    tokio::task::yield_now().await;
                }
                served
            })
        });
        let served: usize =
            join_all(tasks.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap_or_default).sum();
        self.finish(callers, Times { began, complete: began, over: Instant::now() }, 0).await;
        self.outcome.remark = format!("{served} of them were quicker");
        Ok(())
    }

    async fn panic(&mut self) -> anyhow::Result<()> {
        let sessions = self.hold(SLOTS).await?;
        let tasks = sessions.into_iter().map(|mut session| {
            tokio::spawn(async move {
                let began = session.run("begin; select txid_current()::text").await;
                // Without the message of a panic.
                resume_unwind(Box::new(began));
            })
        });
        let panicked = join_all(tasks.collect::<Vec<_>>()).await;
        anyhow::ensure!(panicked.iter().all(Result::is_err), "no panic");
        let mut inside = 0;
        for mut session in self.hold(SLOTS).await? {
            let transaction = session.run("select coalesce(txid_current_if_assigned()::text, '')").await;
            inside += usize::from(transaction != Ok(Some(String::new())));
        }
        self.outcome.inside = inside;
        self.outcome.remark = format!("{inside} of {SLOTS} lent inside the transaction");
        Ok(())
    }

    async fn resize(&mut self) -> anyhow::Result<()> {
        if !self.database.resize(5) {
            self.outcome.remark = "can't".to_owned();
            return Ok(());
        }
        self.database.resize(10);
        let callers = self.callers(CALLERS);
        sleep(BEFORE).await;
        let began = Instant::now();
        self.database.resize(5);
        sleep(Duration::from_millis(700)).await;
        self.database.resize(10);
        self.finish(callers, Times { began, complete: began, over: Instant::now() }, 0).await;
        Ok(())
    }

    async fn spike(&mut self) -> anyhow::Result<()> {
        self.proxy.set(Weather { delay: Duration::from_millis(150), ..Weather::FAIR });
        let began = Instant::now();
        let all = join_all((0..50).map(|_| {
            let database = Arc::clone(&self.database);
            async move { tokio::spawn(async move { once(&*database, QUERY).await }).await }
        }));
        let all: Vec<_> = all.await.into_iter().filter_map(Result::ok).collect();
        self.outcome.count(&all, Times { began, complete: began, over: began });
        self.outcome.usable = SLOTS;
        // Those that are still on their way.
        sleep(Duration::from_millis(500)).await;
        self.outcome.remark = format!("{} opened, {} served", self.proxy.dials(), self.outcome.served);
        Ok(())
    }

    async fn hang_beyond_5(&mut self) -> anyhow::Result<()> {
        drop(self.hold(5).await?);
        self.proxy.set(Weather { pass: 0, ..Weather::FAIR });
        let (began, dials) = (Instant::now(), self.proxy.dials());
        let callers = self.callers(20);
        sleep(Duration::from_millis(2500)).await;
        let dials = self.proxy.dials() - dials;
        self.proxy.set(Weather::FAIR);
        self.finish(callers, Times { began, complete: began, over: Instant::now() }, dials).await;
        Ok(())
    }

    /// So many sessions at once.
    async fn hold(&self, sessions: usize) -> anyhow::Result<Vec<Box<dyn Session>>> {
        let got = join_all((0..sessions).map(|_| self.database.get())).await;
        got.into_iter().collect::<Result<_, _>>().map_err(anyhow::Error::msg)
    }

    /// How many connections can be borrowed at once and work.
    async fn usable(&self) -> usize {
        let deadline = Instant::now() + LAST_CHANCE;
        loop {
            let working = join_all((0..SLOTS).map(|_| async {
                let mut session = timeout(2 * ACQUIRE, self.database.get()).await.ok()?.ok()?;
                let works = timeout(ACQUIRE, session.run("select 'x'")).await;
                matches!(works, Ok(Ok(_))).then_some(session)
            }));
            // All are held until the last one is there.
            let working = working.await.into_iter().flatten().count();
            if working == SLOTS || Instant::now() > deadline {
                return working;
            }
        }
    }
}

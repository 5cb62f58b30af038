//! A tier without types: names, bytes, leases, writers, and what is owed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::FromRedisValue;

use super::frame::{Kind, Token, WRITERS};
use super::link::{Link, Silence};
use super::owed::Owed;
use super::scripts::Scripts;
use super::tier_settings::Tier;
use super::tier_stats::{Counts, count};

#[derive(Debug)]
pub(crate) struct Shared {
    link: Link,
    scripts: Scripts,
    /// What this node wrote.
    owed: Owed,
    /// What other nodes wrote, who could not tell.
    doubted: Owed,
    /// Held by who tells Redis what is owed.
    settling: tokio::sync::Mutex<()>,
    pub(crate) counts: Counts,
    pub(crate) kind: Kind,
    pub(crate) settings: Tier,
}

/// What a name stands for, or the right to say so.
#[derive(Debug)]
pub(crate) enum Taken {
    Leased,
    /// Bytes, and what is left of their life.
    Held(Vec<u8>, Option<Duration>),
}

/// A name leased, and what is put there: bytes and their life, or nothing.
pub(crate) type Fill<'n> = (&'n [u8], Option<(Vec<u8>, Duration)>);

fn millis(duration: Duration) -> String {
    duration.as_millis().clamp(1, i64::MAX as u128 / 1_000_000).to_string()
}

impl Shared {
    pub(crate) fn new(settings: Tier, codec: u8) -> Arc<Self> {
        let (client, prefix) = (settings.client.clone(), settings.prefix.clone());
        Arc::new(Self {
            link: Link::new(client, prefix, settings.timeout, settings.cool_down),
            scripts: Scripts::new(),
            owed: Owed::default(),
            doubted: Owed::default(),
            settling: tokio::sync::Mutex::default(),
            counts: Counts::default(),
            kind: Kind { codec, version: settings.version },
            settings,
        })
    }

    pub(crate) fn is_down(&self) -> bool {
        self.link.is_down()
    }

    pub(crate) fn last_error(&self) -> Option<Arc<str>> {
        self.link.last_error()
    }

    pub(crate) fn owed(&self) -> usize {
        self.owed.length().saturating_add(self.doubted.length())
    }

    /// Whether nothing is owed of what this node wrote.
    pub(crate) fn is_settled(&self) -> bool {
        !self.owed.any()
    }

    fn heard<T>(&self, answer: Result<T, Silence>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(Silence::Skipped) => {
                count(&self.counts.skipped, 1);
                None
            }
            Err(Silence::Failed) => {
                count(&self.counts.failures, 1);
                None
            }
        }
    }

    async fn run<T: FromRedisValue>(
        &self,
        script: &redis::Script,
        names: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Option<T> {
        self.heard(self.link.run(script, names, arguments).await)
    }

    /// Reads names, or leases those that are missing or hold nothing but what is given with them. `None`: do without.
    pub(crate) async fn take(&self, names: &[(&[u8], &[u8])], lease: &Token) -> Option<Vec<Taken>> {
        // What Redis has not been told about must not be read from it.
        if (self.owed.any() || self.doubted.any()) && !self.settle().await {
            return None;
        }
        let (lease, life) = (lease.lease(), millis(self.settings.lease));
        let mut arguments: Vec<&[u8]> = vec![&lease, life.as_bytes()];
        arguments.extend(names.iter().map(|(_, replaced)| *replaced));
        let only_names: Vec<&[u8]> = names.iter().map(|(name, _)| *name).collect();
        let answer: Vec<(Vec<u8>, i64)> = self.run(&self.scripts.take, &only_names, &arguments).await?;
        if answer.len() != names.len() {
            return None;
        }
        let taken = answer.into_iter().map(|(bytes, life)| {
            if bytes.is_empty() && life <= 0 {
                count(&self.counts.foreign, usize::from(life == -9));
                Taken::Leased
            } else {
                Taken::Held(bytes, u64::try_from(life).ok().map(Duration::from_millis))
            }
        });
        Some(taken.collect())
    }

    /// Puts values, or gives leases back.
    pub(crate) async fn fill(&self, lease: &Token, values: &[Fill<'_>]) {
        let lease = lease.lease();
        let lives: Vec<String> = values
            .iter()
            .map(|(_, value)| value.as_ref().map_or(String::new(), |(_, life)| millis(*life)))
            .collect();
        let mut arguments: Vec<&[u8]> = vec![&lease];
        for ((_, value), life) in values.iter().zip(&lives) {
            arguments.push(value.as_ref().map_or(&[], |(bytes, _)| bytes));
            arguments.push(life.as_bytes());
        }
        let names: Vec<&[u8]> = values.iter().map(|(name, _)| *name).collect();
        let offered = values.iter().filter(|(_, value)| value.is_some()).count();
        if let Some(filled) = self.run::<usize>(&self.scripts.fill, &names, &arguments).await {
            count(&self.counts.fills, filled);
            count(&self.counts.refused_fills, offered.saturating_sub(filled));
        }
    }

    /// A life in Redis, less its part of the jitter.
    pub(crate) fn life(&self, is_there: bool) -> Duration {
        let life = if is_there { self.settings.time_to_live } else { self.settings.negative_time_to_live };
        life.mul_f64(1.0 - self.settings.jitter * fastrand::f64())
    }

    /// Runs a write: nobody puts an older state of these names into Redis from here until it has ended, and nothing older is there
    /// afterwards.
    pub(crate) async fn around<T>(
        self: &Arc<Self>,
        names: Vec<Vec<u8>>,
        write: impl Future<Output = T>,
    ) -> T {
        let mut writing = Writing { shared: self, names, owes: true };
        let token = Token::new();
        let (time, names) = (millis(self.settings.write_lease), borrowed(&writing.names));
        let arguments = [&WRITERS[..], token.bytes(), time.as_bytes()];
        let is_marked = self.run::<i64>(&self.scripts.mark, &names, &arguments).await.is_some();
        // If the write is dropped in the middle, nobody knows when it ends: the mark stays for its time.
        writing.owes = !is_marked;
        let written = write.await;
        let arguments = [&WRITERS[..], token.bytes()];
        let names = borrowed(&writing.names);
        let is_finished = self.run::<i64>(&self.scripts.finish, &names, &arguments).await.is_some();
        writing.owes = !is_finished;
        drop(writing);
        written
    }

    /// Tells Redis what it has not been told. True if nothing is owed; false also while somebody else is at it.
    async fn settle(&self) -> bool {
        let Ok(_alone) = self.settling.try_lock() else { return false };
        self.pay(&self.owed).await && self.pay(&self.doubted).await
    }

    async fn pay(&self, owed: &Owed) -> bool {
        let debt = owed.debt();
        if debt.all && self.heard(self.link.clear().await).is_none() {
            return false;
        }
        let nobody = Token::new();
        for names in debt.names.chunks(500) {
            let arguments = [&WRITERS[..], nobody.bytes()];
            if self.run::<i64>(&self.scripts.finish, &borrowed(names), &arguments).await.is_none() {
                return false;
            }
        }
        owed.paid(&debt);
        !owed.any()
    }

    /// Has Redis told as soon as it answers.
    fn owe(self: &Arc<Self>, names: Vec<Vec<u8>>) {
        if self.owed.add(names) {
            self.attend(|shared| &shared.owed);
        }
    }

    /// Has Redis told of writes of others, as soon as it answers. `None`: of everything.
    pub(crate) fn doubt(self: &Arc<Self>, names: Option<Vec<Vec<u8>>>) {
        let first = match names {
            Some(names) => self.doubted.add(names),
            None => self.doubted.add_all(),
        };
        if first {
            self.attend(|shared| &shared.doubted);
        }
    }

    fn attend(self: &Arc<Self>, list: fn(&Self) -> &Owed) {
        let attends = Attends { shared: Arc::downgrade(self), list };
        let pause = self.settings.cool_down.max(Duration::from_millis(10));
        let attending = async move {
            loop {
                tokio::time::sleep(pause).await;
                // Ends with the tier.
                let Some(shared) = attends.shared.upgrade() else { return };
                shared.settle().await;
                if (attends.list)(&shared).is_settled() {
                    return;
                }
            }
        };
        // Without a runtime nobody reads either, and who reads next settles.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(attending);
        }
    }

    /// Gives leases back without waiting for it.
    pub(crate) fn release(self: &Arc<Self>, lease: Token, names: Vec<Vec<u8>>) {
        if let (Ok(runtime), false) = (tokio::runtime::Handle::try_current(), names.is_empty()) {
            let shared = Arc::clone(self);
            runtime.spawn(async move {
                let values: Vec<_> = names.iter().map(|name| (&name[..], None)).collect();
                shared.fill(&lease, &values).await;
            });
        }
    }
}

/// Who tells Redis what is on a list, until nothing is. Its runtime may end before.
struct Attends {
    shared: Weak<Shared>,
    list: fn(&Shared) -> &Owed,
}

impl Drop for Attends {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            (self.list)(&shared).leave();
        }
    }
}

fn borrowed(names: &[Vec<u8>]) -> Vec<&[u8]> {
    names.iter().map(Vec::as_slice).collect()
}

/// A write on its way; dropped too early, it is owed.
struct Writing<'s> {
    shared: &'s Arc<Shared>,
    names: Vec<Vec<u8>>,
    owes: bool,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if self.owes {
            self.shared.owe(std::mem::take(&mut self.names));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_attended_to_again_when_a_runtime_has_ended() {
        let client = redis::Client::open("redis://127.0.0.1:1/").unwrap();
        let shared = Shared::new(Tier::new(client, "owed"), 0);
        let attended = |n: u8| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                shared.owe(vec![vec![n]]);
                shared.doubt(Some(vec![vec![n]]));
            });
            runtime.metrics().num_alive_tasks()
        };
        shared.owe(vec![vec![0]]);
        shared.doubt(None);
        assert_eq!((attended(1), attended(2)), (2, 2));
    }
}

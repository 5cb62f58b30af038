//! The task that hears the bus.
//!
//! A node sends itself pings. When one comes back that the bus has taken, all that was sent before it has been heard, so what the cache
//! holds was right when the ping was sent. `max_staleness` after the last such time everything is forgotten, and so on until the next one comes back. After a
//! connect everything is forgotten, because what was sent before has not been heard; and once more when the writes that had begun by
//! then must have ended.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout};

use super::bus::{Bus, Subscription};
use super::coherence::count;
use super::forget::Forget;
use super::message::{Keys, Message, What};
use super::speaker::Speaker;

/// Nodes whose losses are remembered.
const MOST_NODES: usize = 10_000;
/// So many in the time that a value may be used after the last one.
const PINGS: u32 = 3;
/// Between two attempts to connect, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Listener<B, K, F> {
    speaker: Arc<Speaker<B>>,
    target: Arc<F>,
    /// When the last ping was sent that came back, or the connection was made.
    confirmed: Instant,
    /// When everything was forgotten last.
    forgot_all: Instant,
    /// Pings on their way, by number.
    pings: BTreeMap<u64, Ping>,
    /// Writes that have begun: node and write, and what is to be forgotten when.
    open: HashMap<(u64, u64), Open>,
    /// How many messages each node has lost.
    losses: HashMap<u64, u64>,
    /// Nodes of which it is known, since the connection was made, whether they owed a shared cache something before.
    known: HashSet<u64>,
    keys: PhantomData<fn() -> K>,
}

#[derive(Clone, Copy)]
struct Ping {
    sent: Instant,
    /// The bus says that it has it. One that is heard all the same proves nothing: Redis may be a replica by now.
    is_taken: bool,
    is_heard: bool,
}

struct Open {
    keys: Keys,
    until: Instant,
}

impl<B, K, F> Listener<B, K, F>
where
    B: Bus,
    K: DeserializeOwned,
    F: Forget<K>,
{
    pub(crate) fn new(speaker: Arc<Speaker<B>>, target: Arc<F>) -> Self {
        let now = Instant::now();
        Self {
            speaker,
            target,
            confirmed: now,
            forgot_all: now,
            pings: BTreeMap::new(),
            open: HashMap::new(),
            losses: HashMap::new(),
            known: HashSet::new(),
            keys: PhantomData,
        }
    }

    /// Until the target is gone, or the task is aborted.
    pub(crate) async fn run(mut self) {
        let speaker = Arc::clone(&self.speaker);
        let mut failures = 0_u32;
        while !self.target.is_gone() {
            let limit = speaker.settings.timeout.max(Duration::from_millis(100));
            let subscribing = timeout(limit, speaker.bus.subscribe());
            let Some(subscribed) = self.meanwhile(subscribing).await else { return };
            let began = Instant::now();
            if let Ok(Ok(subscription)) = subscribed {
                speaker.counts.is_connected.store(true, Ordering::Relaxed);
                count(&speaker.counts.connects);
                self.hear(subscription).await;
                speaker.counts.is_connected.store(false, Ordering::Relaxed);
                count(&speaker.counts.cuts);
            } else {
                speaker.failed(subscribed.ok().and_then(Result::err).as_ref(), limit);
            }
            failures = if began.elapsed() > LONGEST_PAUSE { 0 } else { failures.saturating_add(1) };
            let pause =
                (Duration::from_millis(10) * 2_u32.saturating_pow(failures.min(10))).min(LONGEST_PAUSE);
            let pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            if self.meanwhile(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Waits for something, and meanwhile forgets what must be. `None`: the target is gone.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        loop {
            let wake = self.next_time();
            tokio::select! {
                value = &mut future => return (!self.target.is_gone()).then_some(value),
                () = sleep_until(wake) => self.on_time(),
            }
            if self.target.is_gone() {
                return None;
            }
        }
    }

    /// Hears a connection to its end.
    async fn hear(&mut self, mut subscription: B::Subscription) {
        let speaker = Arc::clone(&self.speaker);
        // Read before it was connected: nobody told us of writes since.
        self.forget_all();
        self.pings.clear();
        let now = Instant::now();
        self.confirmed = now;
        // Writes whose beginning was not heard, and whose end never comes: by then they are over.
        self.open.clear();
        self.known.clear();
        let until = now + speaker.settings.write_lease;
        self.open.insert((speaker.node, u64::MAX), Open { keys: Keys::ALL, until });
        let interval = speaker.settings.max_staleness / PINGS;
        let mut pinging: Option<Saying> = None;
        let mut next_ping = now;
        loop {
            let now = Instant::now();
            if now >= next_ping && pinging.is_none() {
                // Two that were not heard: the connection is no good, whatever it says.
                if now.duration_since(self.confirmed) >= interval * 2 + speaker.settings.timeout {
                    return;
                }
                let number = speaker.numbers.fetch_add(1, Ordering::Relaxed);
                self.pings.insert(number, Ping { sent: now, is_taken: false, is_heard: false });
                let speaker = Arc::clone(&speaker);
                pinging = Some(Box::pin(async move {
                    let ping = What::Ping { number, owed: !speaker.is_settled() };
                    speaker.say(ping).await.then_some(number)
                }));
                next_ping = now + interval;
            }
            let mut wake = self.next_time();
            if now >= wake + interval.min(LONGEST_PAUSE) {
                // What is said never ends, so what is due can't wait for that.
                self.on_time();
                wake = self.next_time();
            }
            if pinging.is_none() {
                wake = wake.min(next_ping);
            }
            tokio::select! {
                // What was said comes before what is due.
                biased;
                heard = subscription.next() => match heard {
                    Ok(text) => self.heard(&text),
                    Err(_) => return,
                },
                taken = said(&mut pinging) => {
                    pinging = None;
                    if let Some(number) = taken {
                        self.came(number, |ping| ping.is_taken = true);
                    }
                }
                () = sleep_until(wake) => self.on_time(),
            }
            if self.target.is_gone() {
                return;
            }
        }
    }

    fn heard(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Message>(text) else {
            count(&self.speaker.counts.foreign);
            return self.forget_all();
        };
        if message.node == self.speaker.node {
            if let What::Ping { number, .. } = message.what {
                self.came(number, |ping| ping.is_heard = true);
            }
            return;
        }
        count(&self.speaker.counts.received);
        if self.losses.len() >= MOST_NODES {
            self.losses.clear();
        }
        let known = self.losses.entry(message.node).or_insert(0);
        if message.losses > *known {
            *known = message.losses;
            self.forget_all();
        }
        let node = message.node;
        if let What::End { owed, .. } | What::Ping { owed, .. } = message.what {
            self.meet(node, owed);
        }
        match message.what {
            What::Begin { write, keys, millis } => {
                let until = Instant::now() + Duration::from_millis(millis);
                self.open.insert((node, write), Open { keys, until });
            }
            What::End { write, keys, owed } => {
                self.open.remove(&(node, write));
                if owed {
                    self.doubt(&keys);
                }
                self.forget(&keys);
            }
            What::Ping { .. } => {}
        }
    }

    /// Of a node that is heard for the first time since the connection was made: it may have said before what it owes.
    fn meet(&mut self, node: u64, owed: bool) {
        if self.known.len() >= MOST_NODES {
            self.known.clear();
        }
        if self.known.insert(node) && owed {
            self.doubt(&Keys::ALL);
            self.forget_all();
        }
    }

    /// One half of a ping's way is behind it.
    fn came(&mut self, number: u64, half: impl FnOnce(&mut Ping)) {
        let Some(ping) = self.pings.get_mut(&number) else { return };
        half(ping);
        if let Ping { sent, is_taken: true, is_heard: true } = *ping {
            // It and those before it.
            self.pings = self.pings.split_off(&(number + 1));
            self.confirmed = self.confirmed.max(sent);
        }
    }

    /// When there is something to do.
    fn next_time(&self) -> Instant {
        let open = self.open.values().map(|open| open.until).min();
        let staleness = self.stale_at();
        open.map_or(staleness, |open| open.min(staleness))
    }

    /// When everything must be forgotten, unless a ping comes back.
    fn stale_at(&self) -> Instant {
        self.confirmed.max(self.forgot_all) + self.speaker.settings.max_staleness
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if now >= self.stale_at() {
            self.forget_all();
        }
        let overdue: Vec<_> =
            self.open.iter().filter(|(_, open)| open.until <= now).map(|(&id, _)| id).collect();
        for id in overdue {
            if let Some(open) = self.open.remove(&id) {
                if id.0 != self.speaker.node {
                    count(&self.speaker.counts.overdue);
                    // Nobody knows whether a shared cache was told.
                    self.doubt(&open.keys);
                }
                self.forget(&open.keys);
            }
        }
    }

    /// A shared cache may have older values of these keys. What is no key is said by `forget`.
    fn doubt(&self, keys: &Keys) {
        let _panicked = catch_unwind(AssertUnwindSafe(|| match keys.read::<K>() {
            Ok(Some(keys)) => self.target.doubt(&keys),
            Ok(None) | Err(_) => self.target.doubt_all(),
        }));
    }

    fn forget(&mut self, keys: &Keys) {
        match keys.read::<K>() {
            Ok(Some(keys)) => {
                for key in keys {
                    count(&self.speaker.counts.forgotten);
                    // A drop of the user's that panics must not make this node deaf.
                    let _panicked = catch_unwind(AssertUnwindSafe(|| self.target.forget(&key)));
                }
            }
            Ok(None) => self.forget_all(),
            Err(_) => {
                count(&self.speaker.counts.foreign);
                self.forget_all();
            }
        }
    }

    fn forget_all(&mut self) {
        count(&self.speaker.counts.forgot_all);
        self.forgot_all = Instant::now();
        let _panicked = catch_unwind(AssertUnwindSafe(|| self.target.forget_all()));
    }
}

/// A ping on its way to the bus.
type Saying = Pin<Box<dyn Future<Output = Option<u64>> + Send>>;

/// Its number when the bus has it, `None` if that failed; never comes back if there is none.
async fn said(saying: &mut Option<Saying>) -> Option<u64> {
    match saying {
        Some(saying) => saying.await,
        None => std::future::pending().await,
    }
}

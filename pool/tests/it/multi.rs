//! Several targets: the choice, ejection and return, the resolver.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond_pool::multi::{Balance, MultiTarget, MultiTargetBuilder, Role, Route, RouteError, Target};
use millpond_pool::{BuildError, Config, Request, TokioClock};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::support::{Act, Control, Fake, settle};

const SECOND: Duration = Duration::from_secs(1);

struct Group {
    db: MultiTarget<Fake>,
    controls: BTreeMap<&'static str, Arc<Control>>,
}

impl Group {
    /// A primary `p` and two replicas, `a` of weight 1 and `b` of weight 2.
    fn new(configure: impl FnOnce(MultiTargetBuilder<Fake>) -> MultiTargetBuilder<Fake>) -> Self {
        let mut controls = BTreeMap::new();
        let mut config = Config::default();
        config.max_size = 4;
        config.acquire_timeout = SECOND * 4;
        config.connect_timeout = SECOND;
        let mut builder = MultiTarget::builder().config(config).each_pool(|b| b.clock(TokioClock::new()));
        for (name, weight, role) in
            [("p", 1, Role::Primary), ("a", 1, Role::Replica), ("b", 2, Role::Replica)]
        {
            let fake = Fake::default();
            controls.insert(name, Arc::clone(&fake.0));
            builder = builder.target(Target::new(name, fake).weight(weight).role(role));
        }
        Self { db: configure(builder).build().unwrap(), controls }
    }

    async fn counts(&self, route: Route, times: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..times {
            let routed = self.db.get(route).await.unwrap();
            *counts.entry(routed.target().to_owned()).or_default() += 1;
        }
        counts
    }

    fn ejected(&self) -> Vec<String> {
        let targets = self.db.targets().into_iter();
        targets.filter(|target| target.ejected).map(|target| target.name).collect()
    }
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test(start_paused = true)]
async fn work_is_spread_by_role_and_weight() {
    let group = Group::new(|b| b);
    assert_eq!(group.counts(Route::read(), 9).await, counts(&[("a", 3), ("b", 6)]));
    assert_eq!(group.counts(Route::write(), 3).await, counts(&[("p", 3)]));
    assert_eq!(group.counts(Route::any(), 8).await, counts(&[("a", 2), ("b", 4), ("p", 2)]));
}

#[tokio::test(start_paused = true)]
async fn the_least_loaded_is_next() {
    let group = Group::new(|b| b.balance(Balance::LeastInUse));
    let mut held = Vec::new();
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..6 {
        let routed = group.db.get(Route::read()).await.unwrap();
        *counts.entry(routed.target().to_owned()).or_default() += 1;
        held.push(routed);
    }
    assert_eq!(counts, self::counts(&[("a", 2), ("b", 4)]));
}

#[tokio::test(start_paused = true)]
async fn keys_have_a_home_and_a_second_one() {
    let group = Group::new(|b| b);
    let mut homes = BTreeMap::new();
    for key in 0..40 {
        let home = group.counts(Route::read().key(&key), 3).await;
        assert_eq!(home.len(), 1, "always the same");
        homes.insert(key, home.into_keys().next().unwrap());
    }
    assert!(homes.values().any(|home| home == "a") && homes.values().any(|home| home == "b"));
    group.controls["a"].connect.set(Act::Refuse);
    group.db.pool("a").unwrap().reset();
    for (key, home) in homes {
        let now = group.counts(Route::read().key(&key), 1).await;
        assert!(now.contains_key("b"), "{key} lived at {home}");
    }
}

/// A target that fails is ejected, nobody notices, and once it works it gets its share again, little by little.
#[tokio::test(start_paused = true)]
async fn a_failing_target_is_ejected_and_let_in_again() {
    let group = Group::new(|b| b.check_every(SECOND).slow_start(SECOND * 10));
    drop(group.db.get(Route::read()).await.unwrap());
    let down = &group.controls["b"];
    down.connect.set(Act::Fail);
    group.db.pool("b").unwrap().reset();
    let began = Instant::now();
    assert_eq!(group.counts(Route::read(), 20).await, counts(&[("a", 20)]));
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(group.ejected(), ["b"]);
    let dials = down.connects();
    tokio::time::sleep(SECOND * 20).await;
    assert!(down.connects() - dials <= 110, "{} dials in 20 s", down.connects() - dials);
    down.connect.set(Act::Work);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(group.ejected(), [""; 0]);
    let soon = group.counts(Route::read(), 120).await;
    let share = soon["b"];
    assert!((10..=60).contains(&share), "less than its 80 of 120: {share}");
    tokio::time::sleep(SECOND * 10).await;
    let later = group.counts(Route::read(), 120).await;
    assert!((78..=82).contains(&later["b"]), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn reads_fall_back_to_the_primary_and_writes_to_nobody() {
    let group = Group::new(|b| b);
    for name in ["a", "b"] {
        group.controls[name].connect.set(Act::Refuse);
    }
    assert_eq!(group.counts(Route::read(), 4).await, counts(&[("p", 4)]));
    let error = group.db.get(Route::read().fallback(false)).await.unwrap_err();
    assert!(matches!(&error, RouteError::Target { name, .. } if name != "p"), "{error}");
    group.controls["p"].connect.set(Act::Refuse);
    group.db.pool("p").unwrap().reset();
    let error = group.db.get(Route::write()).await.unwrap_err();
    assert!(error.to_string().starts_with("p: can't connect: refused"), "{error}");
}

/// Whatever hangs, the answer comes within the timeout.
#[tokio::test(start_paused = true)]
async fn black_holes_do_not_hold_callers_beyond_the_timeout() {
    let group = Group::new(|b| b);
    group.controls["a"].connect.set(Act::Hang);
    group.controls["b"].connect.set(Act::Hang);
    let limit = SECOND * 2;
    let began = Instant::now();
    let request = Request::new().timeout(limit);
    let routed = group.db.get(Route::read().request(request)).await.unwrap();
    assert_eq!(routed.target(), "p", "the primary stands in with the time that is left");
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    assert_eq!(group.ejected(), ["a", "b"]);
    group.controls["p"].connect.set(Act::Hang);
    group.db.pool("p").unwrap().reset();
    drop(routed);
    let began = Instant::now();
    group.db.get(Route::any().request(request)).await.unwrap_err();
    assert!(began.elapsed() <= limit + Duration::from_millis(20), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn roles_follow_the_targets() {
    // The first target opened says that it is the primary, until told otherwise.
    let primary = Arc::new(AtomicUsize::new(0));
    let fakes = [Fake::default(), Fake::default()];
    let mut builder = MultiTarget::builder().check_every(SECOND);
    let homes: Vec<_> = fakes.iter().map(|fake| Arc::as_ptr(&fake.0) as usize).collect();
    for (name, fake) in ["x", "y"].into_iter().zip(fakes) {
        builder = builder.target(Target::new(name, fake).role(Role::Replica));
    }
    let asked = Arc::clone(&primary);
    let db = builder
        .role_of(move |connection| {
            let is_primary = homes[asked.load(Ordering::SeqCst)] == connection.home();
            Box::pin(async move { Ok(if is_primary { Role::Primary } else { Role::Replica }) })
        })
        .build()
        .unwrap();
    db.check().await;
    assert_eq!(db.get(Route::write()).await.unwrap().target(), "x");
    assert_eq!(db.get(Route::read()).await.unwrap().target(), "y");
    primary.store(1, Ordering::SeqCst);
    tokio::time::sleep(SECOND * 2).await;
    let routed = db.get(Route::write()).await.unwrap();
    assert_eq!((routed.target(), routed.role()), ("y", Role::Primary));
    assert_eq!(db.close(SECOND).await, 1);
    drop(routed);
    assert_eq!(db.close(SECOND).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_adds_and_removes_targets() {
    let list: Arc<Mutex<Vec<(&str, Fake)>>> = Arc::default();
    let shared = Arc::clone(&list);
    let db: MultiTarget<Fake> = MultiTarget::builder()
        .resolve_every(SECOND * 5)
        .resolver(move || {
            let list = shared.lock().clone();
            Box::pin(
                async move { Ok(list.into_iter().map(|(name, fake)| Target::new(name, fake)).collect()) },
            )
        })
        .build()
        .unwrap();
    assert!(matches!(db.get(Route::any()).await, Err(RouteError::NoTarget)));
    let (first, second) = (Fake::default(), Fake::default());
    list.lock().push(("first", first.clone()));
    assert_eq!(db.get(Route::any()).await.unwrap().target(), "first");
    list.lock().push(("second", second.clone()));
    tokio::time::sleep(SECOND * 7).await;
    let seen = [db.get(Route::any()).await.unwrap(), db.get(Route::any()).await.unwrap()];
    assert_ne!(seen[0].target(), seen[1].target());
    assert_eq!(first.0.connects(), 1, "who stays keeps its connections");
    list.lock().remove(0);
    db.resolve().await.unwrap();
    assert_eq!(db.targets().len(), 1);
    drop(seen);
    settle().await;
    assert_eq!((first.0.live(), second.0.live()), (0, 1), "who is gone is closed");
    drop(db);
    settle().await;
    assert_eq!(second.0.live(), 0);
}

#[test]
fn wrong_lists_are_named() {
    let empty = MultiTarget::<Fake>::builder().build().unwrap_err();
    assert!(matches!(empty, BuildError::Targets(_)), "{empty}");
    let twice = MultiTarget::builder().target(Target::new("x", Fake::default()));
    let error = twice.target(Target::new("x", Fake::default())).build().unwrap_err();
    assert_eq!(error.to_string(), "targets: two have one name");
}

//! The queue against a simple reference: random operations, a clock moved by hand, and a store that fails in every way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fastrand::Rng;

use super::queue::{Accept, Batch, Landing, Letter, Limits, Queue, Verdict};

type Value = Option<u64>;

fn limits() -> Limits {
    Limits {
        length: 12,
        bytes: 100,
        batch_length: 4,
        batch_bytes: 40,
        delay: 50,
        in_flight: 3,
        attempts: 0,
        first_backoff: 10,
        most_backoff: 200,
    }
}

/// Writes that were folded into one.
#[derive(Clone, Copy, Debug)]
struct Group {
    oldest: u64,
    newest: u64,
    value: Value,
}

/// What each key is to become, as plainly as can be.
#[derive(Default)]
struct Reference {
    flying: HashMap<u64, Group>,
    next: HashMap<u64, Group>,
    /// Numbers of letters that were not reported yet.
    unreported: BTreeSet<u64>,
    /// All letters, by the newest write in them.
    letters: BTreeMap<u64, (u64, Value)>,
    /// Key to value, and the number of the write.
    store: HashMap<u64, (u64, Value)>,
    last: HashMap<u64, (u64, Value)>,
    accepted: u64,
    /// The highest number that a flush was asked for.
    flushes: Vec<u64>,
}

impl Reference {
    /// The store takes a write. What is older than what it has must not come.
    fn write(&mut self, key: u64, group: Group) {
        let before = self.store.insert(key, (group.newest, group.value));
        assert!(before.is_none_or(|(number, _)| number <= group.newest), "key {key} went back");
    }

    fn oldest(&self) -> Option<u64> {
        let groups = self.flying.values().chain(self.next.values()).map(|group| group.oldest);
        groups.chain(self.unreported.iter().copied()).min()
    }

    fn fold_back(&mut self, key: u64) {
        let flying = self.flying.remove(&key).unwrap();
        self.next.entry(key).and_modify(|next| next.oldest = flying.oldest).or_insert(flying);
    }

    fn dies(&mut self, key: u64, group: Group) {
        assert!(self.letters.insert(group.newest, (key, group.value)).is_none(), "reported twice");
        self.unreported.insert(group.oldest);
    }
}

struct Model {
    queue: Queue<u64, u64>,
    reference: Reference,
    limits: Limits,
    flights: Vec<Batch<u64, u64>>,
    now: u64,
    random: Rng,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let limits = Limits { attempts: if random.bool() { 0 } else { 3 }, ..limits() };
        Self {
            queue: Queue::new(limits.clone(), seed),
            reference: Reference::default(),
            limits,
            flights: Vec::new(),
            now: 1,
            random,
        }
    }

    fn accept(&mut self) {
        let key = self.random.u64(..8);
        let value = (!self.random.bool() || self.random.bool()).then(|| self.random.u64(..));
        let bytes = self.random.u64(1..30);
        // Keys 0 to 7 share two hashes: the index has collisions to sort out.
        let accept = self.queue.accept(key % 2, Arc::new(key), value.map(Arc::new), bytes, self.now, true);
        match accept {
            Accept::Accepted { .. } => {
                let reference = &mut self.reference;
                reference.accepted += 1;
                let number = reference.accepted;
                let group = reference.next.entry(key).or_insert(Group { oldest: number, newest: 0, value });
                (group.newest, group.value) = (number, value);
                reference.last.insert(key, (number, value));
            }
            Accept::Full(..) => {
                let is_full = self.queue.length() == self.limits.length;
                assert!(is_full || self.queue.bytes() + bytes > self.limits.bytes, "there was room");
            }
            Accept::Closed(..) => unreachable!("it was not closed"),
        }
    }

    fn take(&mut self) -> bool {
        let Some(batch) = self.queue.take_batch(self.now) else {
            let wakes_at = self.queue.wakes_at(self.now);
            assert!(wakes_at.is_none_or(|at| at > self.now), "a driver would spin");
            return false;
        };
        assert!((1..=self.limits.batch_length).contains(&batch.changes.len()));
        for (key, value) in &batch.changes {
            let group = self.reference.next.remove(key).expect("nothing waited for this key");
            assert_eq!(value.as_deref().copied(), group.value, "the newest value leaves");
            assert!(self.reference.flying.insert(**key, group).is_none(), "a key in two batches");
        }
        self.flights.push(batch);
        assert!(self.flights.len() <= self.limits.in_flight);
        true
    }

    fn random_landing(&mut self, length: usize) -> Landing {
        match self.random.u8(..8) {
            0 => Landing::Whole(Verdict::Transient),
            1 => Landing::Whole(Verdict::Permanent),
            2 => Landing::Whole(Verdict::Panicked),
            3 => Landing::Cancelled,
            4 => Landing::Each(Vec::new()),
            _ => Landing::Each(
                (0..length)
                    .map(|_| match self.random.u8(..6) {
                        0 => Verdict::Transient,
                        1 => Verdict::Permanent,
                        _ => Verdict::Written,
                    })
                    .collect(),
            ),
        }
    }

    fn land(&mut self, landing: impl FnOnce(&mut Self, usize) -> Landing) {
        if self.flights.is_empty() {
            return;
        }
        let batch = self.flights.swap_remove(self.random.usize(..self.flights.len()));
        let landing = landing(self, batch.changes.len());
        let letters = self.queue.land(batch.id, &landing, self.now).letters;
        let mut dead: HashMap<u64, Letter<u64, u64>> = HashMap::new();
        for letter in letters {
            assert_eq!(*batch.changes[letter.place].0, *letter.key, "the place is that in the batch");
            assert!(dead.insert(*letter.key, letter).is_none());
        }
        for (place, (key, _)) in batch.changes.iter().enumerate() {
            let key = **key;
            let group = self.reference.flying[&key];
            let verdict = match &landing {
                Landing::Each(verdicts) => verdicts.get(place).copied().unwrap_or(Verdict::Written),
                Landing::Whole(verdict) => *verdict,
                Landing::Cancelled => Verdict::Transient,
            };
            // Of a batch that failed as a whole, anything may have been written.
            if verdict == Verdict::Written || (!matches!(landing, Landing::Each(_)) && self.random.bool()) {
                self.reference.write(key, group);
            }
            if verdict == Verdict::Written {
                self.reference.flying.remove(&key);
                assert!(!dead.contains_key(&key));
            } else if let Some(letter) = dead.remove(&key) {
                self.reference.flying.remove(&key);
                assert_eq!(letter.value.as_deref().copied(), group.value);
                assert_eq!(letter.number, group.oldest);
                self.reference.dies(key, group);
            } else {
                let is_alone = batch.changes.len() == 1 || matches!(landing, Landing::Each(_));
                assert!(verdict != Verdict::Permanent || !is_alone, "it was refused and is still there");
                self.reference.fold_back(key);
            }
        }
        assert!(dead.is_empty());
    }

    fn report(&mut self) {
        let unreported = std::mem::take(&mut self.reference.unreported);
        self.queue.reported(unreported);
    }

    fn check(&self) {
        self.queue.check_invariants();
        let reference = &self.reference;
        let mut live = BTreeMap::new();
        for key in 0..8 {
            let newest = reference.next.get(&key).or(reference.flying.get(&key));
            let pending = self.queue.pending(key % 2, &key).map(|value| value.as_deref().copied());
            assert_eq!(pending, newest.map(|group| group.value), "reads see what is not written yet");
            live.extend(newest.map(|group| (key, group.value)));
        }
        let kept = self.queue.live().map(|live| {
            live.iter()
                .map(|(key, value)| (**key, value.as_deref().copied()))
                .collect::<BTreeMap<u64, Value>>()
        });
        let expected = reference.unreported.is_empty().then_some(live);
        assert_eq!(kept, expected, "the newest of each, unless there are letters on their way");
        for &number in &reference.flushes {
            let expected = reference.oldest().is_none_or(|oldest| oldest > number);
            assert_eq!(self.queue.is_resolved(number), expected, "flush {number}");
        }
        let groups = reference.flying.len() + reference.next.len() + reference.unreported.len();
        assert_eq!(self.queue.length(), groups);
        assert_eq!(self.queue.counts.dead as usize, reference.letters.len());
    }

    fn step(&mut self) {
        match self.random.u8(..20) {
            0..8 => self.accept(),
            8..11 => _ = self.take(),
            11..14 => self.land(Self::random_landing),
            14..17 => self.now += self.random.u64(..40),
            17 => self.report(),
            18 => {
                let number = self.queue.flush();
                self.reference.flushes.push(number);
            }
            // A runtime has shut down, perhaps.
            _ if self.random.u8(..10) == 0 => {
                self.queue.cancel_all();
                for (key, _) in self.flights.drain(..).flat_map(|batch| batch.changes) {
                    if self.random.bool() {
                        let group = self.reference.flying[&*key];
                        self.reference.write(*key, group);
                    }
                    self.reference.fold_back(*key);
                }
            }
            _ => {}
        }
        self.check();
    }

    /// The store is well again: everything must come to an end, without further ado.
    fn drain(&mut self) {
        self.report();
        let mut steps = 0;
        while !self.queue.is_at_rest() {
            steps += 1;
            assert!(steps < 1_000, "never ends");
            while self.take() {}
            if self.flights.is_empty() {
                self.now = self.queue.wakes_at(self.now).expect("something waits, so there is a time");
            }
            self.land(|_, length| Landing::Each(vec![Verdict::Written; length]));
            self.check();
        }
        assert!(self.queue.is_resolved(u64::MAX - 1) && self.queue.length() == 0 && self.queue.bytes() == 0);
        for (key, &(number, value)) in &self.reference.last {
            let lost = self.reference.letters.get(&number) == Some(&(*key, value));
            let stored = self.reference.store.get(key) == Some(&(number, value));
            assert!(lost || stored, "key {key}: the last value is neither stored nor reported");
        }
    }
}

const SEEDS: u64 = if cfg!(miri) { 2 } else { 100 };

#[test]
fn random_operations_agree_with_the_reference() {
    for seed in 0..SEEDS {
        let run = std::panic::catch_unwind(|| {
            let mut model = Model::new(seed);
            for _ in 0..300 {
                model.step();
            }
            model.drain();
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}

#[test]
fn what_is_surrendered_is_reported_once_and_late_landings_are_ignored() {
    for seed in 0..SEEDS {
        let mut model = Model::new(seed);
        for _ in 0..100 {
            model.step();
        }
        model.report();
        let mut expected: Vec<(u64, Value)> = Vec::new();
        for key in 0..8 {
            let newest = model.reference.next.get(&key).or(model.reference.flying.get(&key));
            expected.extend(newest.map(|group| (key, group.value)));
        }
        let letters = model.queue.surrender().letters;
        let mut found: Vec<(u64, Value)> =
            letters.iter().map(|letter| (*letter.key, letter.value.as_deref().copied())).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        for batch in model.flights.drain(..) {
            let late = model.queue.land(batch.id, &Landing::Whole(Verdict::Permanent), model.now);
            assert!(late.letters.is_empty());
        }
        assert!(model.queue.surrender().letters.is_empty());
        assert_eq!(model.queue.is_resolved(u64::MAX - 1), letters.is_empty(), "only reports resolve them");
        model.queue.reported(letters.iter().map(|letter| letter.number));
        assert!(model.queue.is_resolved(u64::MAX - 1));
        model.queue.check_invariants();
        let refused = model.queue.accept(0, Arc::new(0), None, 1, 0, true);
        assert!(matches!(refused, Accept::Closed(..)));
    }
}

fn put(queue: &mut Queue<u64, u64>, key: u64, now: u64) -> bool {
    put_heavy(queue, key, 1, now)
}

fn put_heavy(queue: &mut Queue<u64, u64>, key: u64, bytes: u64, now: u64) -> bool {
    match queue.accept(key, Arc::new(key), Some(Arc::new(now)), bytes, now, true) {
        Accept::Accepted { wakes, .. } => wakes,
        refused => panic!("{refused:?}"),
    }
}

fn keys(batch: Option<Batch<u64, u64>>) -> Vec<u64> {
    batch.map(|batch| batch.changes.iter().map(|(key, _)| **key).collect()).unwrap_or_default()
}

#[test]
fn a_batch_waits_for_company_until_it_is_full_heavy_old_or_wanted() {
    let mut queue = Queue::new(limits(), 0);
    assert!(put(&mut queue, 1, 0) && !put(&mut queue, 1, 1) && !put(&mut queue, 2, 10));
    assert_eq!((queue.wakes_at(10), keys(queue.take_batch(49))), (Some(50), vec![]));
    assert_eq!(keys(queue.take_batch(50)), [1, 2], "old");
    for key in 3..6 {
        put(&mut queue, key, 60);
    }
    assert_eq!(keys(queue.take_batch(60)), [0_u64; 0]);
    assert!(put(&mut queue, 6, 60));
    assert_eq!(keys(queue.take_batch(60)), [3, 4, 5, 6], "full");
    assert!(put_heavy(&mut queue, 7, 39, 70) && keys(queue.take_batch(70)).is_empty());
    assert!(put_heavy(&mut queue, 8, 2, 70));
    assert_eq!(keys(queue.take_batch(70)), [7], "heavy, and not heavier than it may be");
    // Three are in flight.
    queue.flush();
    assert_eq!((keys(queue.take_batch(1000)), queue.wakes_at(1000)), (vec![], None));
    queue.land(0, &Landing::Each(vec![]), 1000);
    assert_eq!(keys(queue.take_batch(70)), [8], "wanted");
    queue.check_invariants();
}

#[test]
fn a_refused_batch_is_divided_until_the_culprit_is_alone() {
    let mut queue = Queue::new(limits(), 0);
    for key in 0..4 {
        put(&mut queue, key, 0);
    }
    let (mut dead, mut batches) = (Vec::new(), 0);
    while let Some(batch) = queue.take_batch(0) {
        batches += 1;
        let is_bad = batch.changes.iter().any(|(key, _)| **key == 2);
        let landing = if is_bad { Landing::Whole(Verdict::Permanent) } else { Landing::Each(vec![]) };
        dead.extend(queue.land(batch.id, &landing, 0).letters.into_iter().map(|letter| *letter.key));
        queue.check_invariants();
    }
    assert_eq!((dead, batches, queue.counts.written), (vec![2], 5, 3));
}

#[test]
fn a_store_that_is_down_is_tried_with_one_batch_and_ever_more_rarely() {
    let mut queue = Queue::new(limits(), 0);
    for key in 0..12 {
        put(&mut queue, key, 0);
    }
    let first: Vec<_> = std::iter::from_fn(|| queue.take_batch(0)).collect();
    assert_eq!(first.len(), 3);
    for batch in first {
        queue.land(batch.id, &Landing::Whole(Verdict::Transient), 0);
    }
    assert!(queue.is_store_down());
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..6 {
        let at = queue.wakes_at(now).unwrap();
        waits.push(at - now);
        now = at;
        assert!(queue.take_batch(now - 1).is_none());
        let probe = queue.take_batch(now).unwrap();
        assert!(queue.take_batch(now).is_none(), "one probe");
        queue.land(probe.id, &Landing::Whole(Verdict::Transient), now);
        queue.check_invariants();
    }
    // Three failures so far: 40, 80, 160, then never more than 200, each less up to half.
    for (wait, full) in waits.iter().zip([40, 80, 160, 200, 200, 200]) {
        assert!((full / 2..=full).contains(wait), "{waits:?}");
    }
    now = queue.wakes_at(now).unwrap();
    let probe = queue.take_batch(now).unwrap();
    queue.land(probe.id, &Landing::Each(vec![]), now);
    assert_eq!(std::iter::from_fn(|| queue.take_batch(now)).count(), 2, "all of it, at once");
    assert!(!queue.is_store_down());
}

#[test]
fn what_panics_alone_three_times_is_given_up() {
    let mut queue = Queue::new(limits(), 0);
    put(&mut queue, 1, 0);
    let mut now = 100;
    for round in 1..=3 {
        let batch = queue.take_batch(now).unwrap();
        let letters = queue.land(batch.id, &Landing::Whole(Verdict::Panicked), now).letters;
        assert_eq!(letters.len(), usize::from(round == 3));
        now += 1000;
    }
    assert!(queue.is_at_rest() && queue.length() == 1);
}

#[test]
fn a_write_heavier_than_the_queue_is_let_in_alone() {
    let mut queue = Queue::new(limits(), 0);
    put_heavy(&mut queue, 1, 1_000, 0);
    let more = queue.accept(2, Arc::new(2), None, 1, 0, true);
    assert!(matches!(more, Accept::Full(..)));
    assert_eq!(keys(queue.take_batch(0)), [1]);
    queue.check_invariants();
}

/// What is left is given up although the memory of a flood goes with the last of it.
#[test]
fn what_outlives_a_flood_is_handed_back() {
    let mut queue = Queue::new(Limits { length: 4_000, bytes: u64::MAX, ..limits() }, 0);
    for key in 0..3_000 {
        put(&mut queue, key, 0);
    }
    while let Some(batch) = queue.take_batch(1_000) {
        let verdict = |key: u64| if key == 7 { Verdict::Transient } else { Verdict::Written };
        let verdicts = batch.changes.iter().map(|(key, _)| verdict(**key)).collect();
        queue.land(batch.id, &Landing::Each(verdicts), 1_000);
    }
    assert_eq!(queue.length(), 1);
    let letters = queue.surrender().letters;
    assert_eq!(letters.iter().map(|letter| *letter.key).collect::<Vec<_>>(), [7]);
    queue.reported(letters.iter().map(|letter| letter.number));
    queue.check_invariants();
    assert!(queue.is_at_rest() && queue.length() == 0);
}

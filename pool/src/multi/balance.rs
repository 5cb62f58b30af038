//! Which of several targets is next. Numbers in, an index out: no pool, no clock, no lock.

/// How work is spread over the targets that are fit for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balance {
    /// In turn, in proportion to the weights: the smooth weighted round robin of nginx, which does not send a heavy target
    /// its share in one burst.
    #[default]
    RoundRobin,
    /// Where the fewest connections are in use and the fewest callers wait, in proportion to the weights.
    LeastInUse,
}

/// One target, as far as the choice goes.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Its place in the list of targets.
    pub(super) index: usize,
    /// Of its name; decides nothing but where keys go.
    pub(super) hash: u64,
    /// Not zero.
    pub(super) weight: f64,
    /// In use and waiting.
    pub(super) load: usize,
}

/// The state of the smooth round robin: a credit for each place in the list.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    credits: Vec<f64>,
}

impl Rounds {
    /// Gives everybody its weight, and takes the sum from who is chosen.
    pub(super) fn next(&mut self, candidates: &[Candidate]) -> Option<usize> {
        let length = candidates.iter().map(|candidate| candidate.index + 1).max()?;
        if self.credits.len() < length {
            self.credits.resize(length, 0.0);
        }
        let mut total = 0.0;
        for candidate in candidates {
            self.credits[candidate.index] += candidate.weight;
            total += candidate.weight;
        }
        let best = candidates.iter().max_by(|one, other| {
            // The first of equals.
            self.credits[one.index]
                .total_cmp(&self.credits[other.index])
                .then_with(|| other.index.cmp(&one.index))
        })?;
        // A target that was away for long must not come back with a hoard, or a debt.
        let credit = &mut self.credits[best.index];
        *credit = (*credit - total).clamp(-total, total);
        Some(best.index)
    }

    /// The list changed: what was saved means nothing any more.
    pub(super) fn clear(&mut self) {
        self.credits.clear();
    }
}

/// The one with the least load for its weight; the first of equals after `turn`, so that equals take turns.
pub(super) fn least_in_use(candidates: &[Candidate], turn: usize) -> Option<usize> {
    #[expect(clippy::cast_precision_loss, reason = "loads are small")]
    let load = |candidate: &Candidate| (candidate.load as f64 + 1.0) / candidate.weight;
    let length = candidates.len().max(1);
    let place = |index: usize| (index + length - turn % length) % length;
    let best = candidates.iter().enumerate().min_by(|(at, one), (other_at, other)| {
        load(one).total_cmp(&load(other)).then_with(|| place(*at).cmp(&place(*other_at)))
    })?;
    Some(best.1.index)
}

/// The one where this key lives: weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase
/// hit rates", IEEE/ACM Transactions on Networking 6(1), 1998). When a target goes, its keys spread over the others and no
/// other key moves.
pub(super) fn rendezvous(candidates: &[Candidate], key: u64) -> Option<usize> {
    let score = |candidate: &Candidate| {
        let mixed = mix(candidate.hash ^ mix(key));
        // 53 bits in (0, 1).
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let share = ((mixed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -candidate.weight / share.ln()
    };
    candidates.iter().max_by(|one, other| score(one).total_cmp(&score(other))).map(|best| best.index)
}

/// FNV-1a, finished by [`mix`]: the same in every process and version.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The finalizer of splitmix64.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(weights: &[f64]) -> Vec<Candidate> {
        let one = |(index, weight): (usize, &f64)| Candidate {
            index,
            hash: hash(format!("target {index}").as_bytes()),
            weight: *weight,
            load: 0,
        };
        weights.iter().enumerate().map(one).collect()
    }

    #[test]
    fn rounds_are_smooth_and_in_proportion() {
        let (mut rounds, all) = (Rounds::default(), candidates(&[5.0, 1.0, 1.0]));
        let picks: Vec<_> = (0..7).map(|_| rounds.next(&all).unwrap()).collect();
        assert_eq!(picks, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(rounds.next(&[]), None);
        let back: Vec<_> = (0..6).map(|_| rounds.next(&all[1..]).unwrap()).collect();
        assert_eq!(back.iter().filter(|index| **index == 1).count(), 3);
    }

    #[test]
    fn the_least_load_for_its_weight() {
        let mut all = candidates(&[1.0, 2.0, 1.0]);
        (all[0].load, all[1].load, all[2].load) = (3, 5, 9);
        assert_eq!(least_in_use(&all, 0), Some(1));
        all[1].load = 9;
        assert_eq!(least_in_use(&all, 0), Some(0));
        let equal = candidates(&[1.0; 3]);
        let turns: std::collections::BTreeSet<_> =
            (0..3).filter_map(|turn| least_in_use(&equal, turn)).collect();
        assert_eq!(turns.len(), 3, "equals take turns");
        assert_eq!(least_in_use(&[], 1), None);
    }

    #[test]
    fn keys_stay_when_another_target_goes() {
        let all = candidates(&[1.0, 1.0, 2.0, 1.0]);
        let mut counts = [0_i32; 4];
        for key in 0..10_000 {
            let home = rendezvous(&all, key).unwrap();
            counts[home] += 1;
            let fewer: Vec<_> = all.iter().filter(|one| one.index != 3).cloned().collect();
            let without = rendezvous(&fewer, key).unwrap();
            assert!(home == 3 || home == without, "only the keys of the one that went move");
        }
        for (count, share) in counts.into_iter().zip([2000, 2000, 4000, 2000]) {
            assert!((count - share).abs() < 250, "{counts:?}");
        }
        assert_eq!(rendezvous(&[], 1), None);
    }
}

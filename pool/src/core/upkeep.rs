//! Steps that go through all idle connections.

use crate::clock::Ticks;
use crate::core::entry::{Dates, Fitness, Held, Standing};
use crate::core::turn::Turn;

impl<C, E> Turn<'_, C, E> {
    /// All that lies on the shelf, the tops first.
    pub(crate) fn take_all(&mut self) -> Vec<(usize, Held<C>)> {
        let mut all = Vec::new();
        while let Some(taken) = self.shelf.take_locked() {
            all.push(taken);
        }
        all
    }

    /// Puts back what `take_all` took, in the old order.
    pub(crate) fn put_all(&mut self, all: Vec<(usize, Held<C>)>) {
        for (stack, held) in all.into_iter().rev() {
            self.shelf.put_locked(stack, held);
        }
    }

    /// Ends idle connections until the limit is kept.
    pub(crate) fn trim(&mut self) {
        while self.state.is_over() {
            let Some((_, held)) = self.shelf.take_locked() else { break };
            self.retire(held);
        }
    }

    /// Retires what is too old or idle for too long, checks some of what was not used for a while, and replaces in time.
    pub(crate) fn sweep(&mut self) {
        let (now, limits) = (self.now, *self.limits);
        let mut rest = Vec::new();
        for (stack, held) in self.take_all() {
            if self.fitness(&held.item.dates) == Fitness::Retire {
                self.retire(held);
            } else {
                rest.push((stack, Some(held)));
            }
        }
        // Oldest use first: the hot end stays.
        let mut order: Vec<(Ticks, usize)> = rest
            .iter()
            .enumerate()
            .filter_map(|(index, (_, held))| held.as_ref().map(|held| (held.item.dates.used, index)))
            .collect();
        order.sort_unstable();
        let mut surplus = rest.len().saturating_sub(limits.min_idle.min(self.state.max_size));
        let mut checks = (rest.len() / 4).max(1);
        let mut expiring = 0;
        for (used, index) in order {
            let place = &mut rest[index].1;
            let dates = place.as_ref().map(|held| held.item.dates).expect("nothing was taken yet");
            let expires_soon = dates.expires.saturating_sub(now) <= limits.lead();
            if surplus > 0 && now.saturating_sub(used) >= limits.idle_timeout {
                surplus -= 1;
                self.retire(place.take().expect("looked at above"));
            } else if checks > 0 && is_due(&dates, limits.keepalive, self.standing, now) {
                checks -= 1;
                self.check(place.take().expect("looked at above"));
            } else if expires_soon {
                expiring += 1;
            }
        }
        let kept = rest.into_iter().filter_map(|(stack, held)| held.map(|held| (stack, held))).collect();
        self.put_all(kept);
        self.serve();
        self.plan(true);
        if limits.min_idle > 0 && expiring > 0 && !self.state.closed && !self.state.suspended {
            // Replaced before it goes, so that the minimum is there all the time.
            let lasting = (self.shelf.count() + self.state.checking).saturating_sub(expiring);
            self.open(limits.min_idle.min(self.state.max_size).saturating_sub(lasting));
        }
    }

    /// Takes all idle connections that are not believed to be alive: to be checked side by side.
    pub(crate) fn check_suspects(&mut self) {
        let all = self.take_all();
        let (suspects, fit): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, held)| held.item.dates.standing != self.standing);
        self.put_all(fit);
        for (_, held) in suspects {
            self.check(held);
        }
    }
}

/// Whether an idle connection should be checked now.
fn is_due(dates: &Dates, keepalive: Ticks, standing: Standing, now: Ticks) -> bool {
    if dates.standing != standing {
        return true;
    }
    if keepalive == Ticks::MAX {
        return false;
    }
    // Up to 20 % earlier, by a factor drawn at birth.
    let fifth = keepalive / 5;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a random share of a span"
    )]
    let early = (fifth as f64 * f64::from(dates.jitter)) as Ticks;
    now.saturating_sub(dates.good()) >= keepalive - early
}

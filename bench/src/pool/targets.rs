//! What is to be reached.

use super::adapters::Kind;
use super::counted::{self, Counted};
use super::load::Load;
use super::measure::Block;
use crate::stats::Spread;
use crate::target::Bound::{AtLeast, AtMost};
use crate::target::{Bound, Check};

/// What HikariCP takes for an operation on the machine where the targets were set, in ns.
const HIKARI: f64 = 39.0;

/// All of them.
pub(super) fn checks(blocks: &[Block], counts: &[counted::Block]) -> Vec<Check> {
    let time = |what: &str, load, own: Kind, over: Kind, bound: f64| {
        let block = blocks.iter().find(|block| block.load == load);
        let ratio = block.and_then(|block| block.lanes.ratio(&own.to_string(), &over.to_string()));
        let check = Check::new(format!("{what}, × {over}"), ratio.map(|ratio| ratio.median), AtMost(bound));
        check.with_remark(ratio.map_or_else(String::new, by_rounds))
    };
    let count = |what: &str, counted, own: Kind, over: Kind, bound: f64| {
        let block = counts.iter().find(|block| block.counted == counted);
        let ratio = block.and_then(|block| block.lanes.ratio(&own.to_string(), &over.to_string()));
        Check::new(format!("{what}, instructions, × {over}"), ratio.map(|ratio| ratio.median), AtMost(bound))
    };
    let share = |what: &str, load, of: fn(&super::measure::Share) -> &[f64], bound: Bound| {
        let block = blocks.iter().find(|block| block.load == load);
        let spread = block.and_then(|block| Spread::of(of(block.share(Kind::Millpond)?)));
        let check = Check::new(what, spread.map(|spread| spread.median), bound);
        check.with_remark(spread.map_or_else(String::new, by_rounds))
    };

    let mut checks = Vec::new();
    for (own, guard) in [(Kind::Millpond, "owned guard"), (Kind::MillpondRef, "borrowed guard")] {
        let what = format!("one task alone, {guard}");
        for (over, bound) in [(Kind::MutexVec, 1.5), (Kind::Deadpool, 0.2)] {
            checks.push(time(&what, Load::Alone, own, over, bound));
            checks.push(count(&what, Counted::Alone, own, over, bound));
        }
    }
    let own = Kind::Millpond;
    checks.push(time("2 tasks on 2 workers", Load::Tasks2, own, Kind::Deadpool, 0.5));
    checks.push(time("2 tasks on 2 workers", Load::Tasks2, own, Kind::SemaphoreVec, 1.0));
    checks.push(time("64 tasks over 10", Load::Tasks64, own, Kind::SemaphoreVec, 1.0));
    checks.push(share("64 tasks over 10, Jain's index", Load::Tasks64, |share| &share.jain, AtLeast(0.999)));
    // 0.98 of the throughput.
    checks.push(time("1000 tasks over 10, 50 µs", Load::Tasks1000, own, Kind::SemaphoreVec, 1.02));
    let what = "1000 tasks over 10, longest wait, × median";
    checks.push(share(what, Load::Tasks1000, |share| &share.longest, AtMost(1.5)));
    for (load, threads) in [(Load::Threads2, 2), (Load::Threads8, 8), (Load::Threads32, 32)] {
        let what = format!("{threads} threads over 10");
        checks.push(time(&what, load, own, Kind::R2d2, 0.2));
        let block = blocks.iter().find(|block| block.load == load);
        let nanos = block.and_then(|block| block.lanes.median(&own.to_string()));
        let check = Check::new(format!("{what}, ns"), nanos, AtMost(HIKARI));
        checks.push(check.with_remark("HikariCP took 34 to 39 ns where the targets were set"));
    }
    checks
}

fn by_rounds(spread: Spread) -> String {
    format!("{:.2} … {:.2}", spread.least, spread.greatest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::{Lane, Lanes};

    #[test]
    fn figures_are_found() {
        let lane = |name: &str, nanos: f64| Lane { name: name.to_owned(), rounds: Ok(vec![nanos]) };
        let lanes = Lanes(vec![lane("millpond", 20.0), lane("deadpool", 200.0), lane("mutex-vec", 10.0)]);
        let blocks = [Block { load: Load::Alone, lanes, shares: Vec::new() }];
        let checks = checks(&blocks, &[]);
        let verdict = |what: &str| {
            checks.iter().find(|check| check.what == what).unwrap_or_else(|| panic!("no {what}")).verdict()
        };
        assert_eq!(verdict("one task alone, owned guard, × deadpool"), "met");
        assert_eq!(verdict("one task alone, owned guard, × mutex-vec"), "missed");
        assert_eq!(verdict("one task alone, owned guard, instructions, × deadpool"), "not measured");
        assert_eq!(verdict("2 threads over 10, × r2d2"), "not measured");
    }
}

//! What is to be reached.

use std::time::Duration;

use super::fault::Fault;
use super::outcome::{Cell, Outcome};
use super::trial;
use crate::databases::Kind;
use crate::target::Bound::{AtLeast, AtMost};
use crate::target::Check;

/// All of them, for Millpond with each driver that took part.
pub(super) fn checks(cells: &[Cell]) -> Vec<Check> {
    let mut checks = Vec::new();
    for kind in [Kind::Millpond, Kind::MillpondSqlx] {
        if cells.iter().any(|cell| cell.kind == kind) {
            of(kind, cells, &mut checks);
        }
    }
    checks
}

fn of(kind: Kind, cells: &[Cell], checks: &mut Vec<Check>) {
    let own: Vec<(Fault, &Outcome)> = cells
        .iter()
        .filter(|cell| cell.kind == kind)
        .filter_map(|cell| Some((cell.fault, cell.outcome.as_ref().ok()?)))
        .collect();
    let find = |fault: Fault| own.iter().find(|(of, _)| *of == fault).map(|(_, outcome)| *outcome);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let what = |text: &str| format!("{kind}: {text}");
    let one = |text: &str, fault, figure: &dyn Fn(&Outcome) -> Option<f64>, bound| {
        Check::new(what(text), find(fault).and_then(figure), bound)
    };
    let errors = |outcome: &Outcome| Some((outcome.refused + outcome.dead) as f64);
    let stall = |outcome: &Outcome| Some(millis(outcome.stall));
    // The worst of all faults, and which it was.
    let worst = |text: &str, figure: &dyn Fn(Fault, &Outcome) -> f64, bound| {
        let figures = own.iter().map(|(fault, outcome)| (figure(*fault, outcome), *fault));
        let worst = figures.max_by(|one, other| one.0.total_cmp(&other.0));
        let check = Check::new(what(text), worst.map(|(figure, _)| figure), bound);
        check.with_remark(worst.map_or_else(String::new, |(_, fault)| fault.to_string()))
    };

    let timeout = millis(trial::ACQUIRE);
    let text = "longest get in any fault, ms beyond the timeout";
    checks.push(worst(text, &|_, outcome| millis(outcome.stall) - timeout, AtMost(50.0)));
    let fault = Fault::Outage;
    checks.push(one(
        "outage: told after, ms",
        fault,
        &|outcome| outcome.told_after.map(millis),
        AtMost(100.0),
    ));
    let without = |outcome: &Outcome| Some((outcome.refused - outcome.told_why) as f64);
    checks.push(one("outage: errors without the cause", fault, &without, AtMost(0.0)));
    checks.push(one("outage: dials/s", fault, &|outcome| Some(outcome.dials_per_second), AtMost(5.0)));
    checks.push(one(
        "outage: clean after, ms",
        fault,
        &|outcome| outcome.recovery.map(millis),
        AtMost(200.0),
    ));
    let text = "backends terminated, 2 callers: errors but for queries on their way";
    checks.push(one(text, Fault::Terminate2, &errors, AtMost(0.0)));
    let text = "backends terminated, 32 callers: errors but for queries on their way";
    checks.push(one(text, Fault::Terminate32, &errors, AtMost(0.0)));
    let text = "idle connections ended: errors";
    checks.push(one(text, Fault::IdleKill, &errors, AtMost(0.0)));
    let text = "panic: lent inside a transaction";
    checks.push(one(text, Fault::Panic, &|outcome| Some(outcome.inside as f64), AtMost(0.0)));
    let fault = Fault::HangBeyond5;
    checks.push(one("connects hang: errors", fault, &errors, AtMost(0.0)));
    checks.push(one("connects hang: longest get, ms", fault, &stall, AtMost(20.0)));
    checks.push(one(
        "connects hang: usable after",
        fault,
        &|outcome| Some(outcome.usable as f64),
        AtLeast(10.0),
    ));
    let fault = Fault::Freeze;
    checks.push(one("server stopped: longest get, ms", fault, &stall, AtMost(timeout + 50.0)));
    checks.push(one(
        "server stopped: most connections",
        fault,
        &|outcome| Some(outcome.most as f64),
        AtMost(10.0),
    ));
    let lost = |_, outcome: &Outcome| (trial::SLOTS - outcome.usable) as f64;
    checks.push(worst("slots lost in any fault", &lost, AtMost(0.0)));
    let over = |fault: Fault, outcome: &Outcome| outcome.most.saturating_sub(fault.size()) as f64;
    checks.push(worst("connections beyond the most in any fault", &over, AtMost(0.0)));
    let fault = Fault::Spike;
    checks.push(one("spike: connections opened", fault, &|outcome| Some(outcome.dials as f64), AtMost(8.0)));
    checks.push(one("spike: served", fault, &|outcome| Some(outcome.served as f64), AtLeast(50.0)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_fault_is_named() {
        let cell = |fault, outcome| Cell { kind: Kind::Millpond, fault, outcome: Ok(outcome) };
        let good = Outcome { usable: 10, most: 10, ..Outcome::default() };
        let bad = Outcome { usable: 9, stall: Duration::from_millis(2060), ..good.clone() };
        let checks = checks(&[cell(Fault::Freeze, bad), cell(Fault::Panic, good)]);
        let find = |text: &str| checks.iter().find(|check| check.what.contains(text)).unwrap();
        assert_eq!((find("slots lost").verdict(), find("slots lost").remark.as_str()), ("missed", "freeze"));
        assert_eq!(find("beyond the timeout").verdict(), "missed");
        assert_eq!(find("beyond the most").verdict(), "met");
        assert_eq!(find("spike: served").verdict(), "not measured");
        assert!(checks.iter().all(|check| check.what.starts_with("millpond:")));
    }
}

//! The `metrics` facade, where that feature is on: handles are registered once, at build, with the pool's name as a label.
//!
//! Nothing here runs on the way of a borrow that needs no wait: counts and gauges are published by maintenance, once a period.

#[cfg(feature = "metrics")]
mod imp {
    use std::time::Duration;

    use metrics::{Counter, Gauge, Histogram, Label, Unit};

    use crate::stats::Stats;

    pub(crate) struct Meters {
        queue: Histogram,
        connect: Histogram,
        validate: Histogram,
        hold: Histogram,
        counters: [Counter; 12],
        gauges: [Gauge; 7],
    }

    const COUNTERS: [(&str, &str); 12] = [
        ("millpond_pool_acquired_total", "connections lent"),
        ("millpond_pool_waited_total", "connections lent after a wait"),
        ("millpond_pool_timeouts_total", "callers whose timeout passed"),
        ("millpond_pool_rejected_total", "callers turned away because too many waited"),
        ("millpond_pool_shed_total", "waiters turned away because the queue stood"),
        ("millpond_pool_opened_total", "connections opened"),
        ("millpond_pool_connect_failures_total", "attempts to open a connection that failed"),
        ("millpond_pool_validations_total", "checks and resets passed"),
        ("millpond_pool_validation_failures_total", "checks and resets failed"),
        ("millpond_pool_retired_total", "connections ended by the pool"),
        ("millpond_pool_discarded_total", "connections ended because they were broken or unclean"),
        ("millpond_pool_leaks_total", "borrows longer than the threshold"),
    ];

    const STATES: [&str; 5] = ["idle", "in_use", "opening", "checking", "closing"];

    const SPANS: [(&str, &str); 4] = [
        ("millpond_pool_wait_seconds", "waits for a connection"),
        ("millpond_pool_connect_seconds", "opening a connection"),
        ("millpond_pool_validate_seconds", "checking or resetting a connection"),
        ("millpond_pool_hold_seconds", "from borrow to return"),
    ];

    impl Meters {
        pub(crate) fn new(pool: Option<&str>) -> Self {
            let pool = vec![Label::new("pool", pool.unwrap_or("").to_owned())];
            let span = |number: usize| {
                let (name, text) = SPANS[number];
                metrics::describe_histogram!(name, Unit::Seconds, text);
                metrics::histogram!(name, pool.clone())
            };
            let gauge = |state: &'static str| {
                let mut labels = pool.clone();
                labels.push(Label::from_static_parts("state", state));
                metrics::gauge!("millpond_pool_connections", labels)
            };
            metrics::describe_gauge!("millpond_pool_connections", "connections, by state");
            metrics::describe_gauge!("millpond_pool_waiting", "callers that wait");
            metrics::describe_gauge!("millpond_pool_max_size", "the most connections");
            let [idle, in_use, opening, checking, closing] = STATES.map(gauge);
            let waiting = metrics::gauge!("millpond_pool_waiting", pool.clone());
            let max_size = metrics::gauge!("millpond_pool_max_size", pool.clone());
            Self {
                queue: span(0),
                connect: span(1),
                validate: span(2),
                hold: span(3),
                counters: COUNTERS.map(|(name, text)| {
                    metrics::describe_counter!(name, text);
                    metrics::counter!(name, pool.clone())
                }),
                gauges: [idle, in_use, opening, checking, closing, waiting, max_size],
            }
        }

        pub(crate) fn queue(&self, span: Duration) {
            self.queue.record(span);
        }

        pub(crate) fn connect(&self, span: Duration) {
            self.connect.record(span);
        }

        pub(crate) fn validate(&self, span: Duration) {
            self.validate.record(span);
        }

        pub(crate) fn hold(&self, span: Duration) {
            self.hold.record(span);
        }

        pub(crate) fn publish(&self, stats: &Stats) {
            let counts = [
                stats.acquired,
                stats.waited,
                stats.timeouts,
                stats.rejected,
                stats.shed,
                stats.opened,
                stats.connect_failures,
                stats.validations,
                stats.validation_failures,
                stats.retired,
                stats.discarded,
                stats.leaks,
            ];
            for (counter, count) in self.counters.iter().zip(counts) {
                counter.absolute(count);
            }
            let status = &stats.status;
            let levels = [
                status.idle,
                status.in_use,
                status.opening,
                status.checking,
                status.closing,
                status.waiting,
                status.max_size,
            ];
            for (gauge, level) in self.gauges.iter().zip(levels) {
                gauge.set(u32::try_from(level).map_or(f64::MAX, f64::from));
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod imp {
    #![expect(clippy::unused_self, reason = "a twin of what the feature turns on")]

    use std::time::Duration;

    use crate::stats::Stats;

    pub(crate) struct Meters;

    impl Meters {
        pub(crate) fn new(_: Option<&str>) -> Self {
            Self
        }

        pub(crate) fn queue(&self, _: Duration) {}
        pub(crate) fn connect(&self, _: Duration) {}
        pub(crate) fn validate(&self, _: Duration) {}
        pub(crate) fn hold(&self, _: Duration) {}
        pub(crate) fn publish(&self, _: &Stats) {}
    }
}

pub(crate) use imp::Meters;

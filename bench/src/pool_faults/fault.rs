//! What happens to the pools.

use clap::ValueEnum;

/// A fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Fault {
    /// All backends are terminated while 2 callers are at it
    Terminate2,
    /// All backends are terminated while 32 callers are at it
    Terminate32,
    /// All connections are reset, and new ones too, for 5 s
    Outage,
    /// The server stops (SIGSTOP) for 3 s
    Freeze,
    /// Nothing is heard of new connections for 3 s
    BlackHole,
    /// The server ends idle connections
    IdleKill,
    /// 10,000 borrows are given up before they end
    Cancel,
    /// 10 borrowers panic inside a transaction
    Panic,
    /// 10 → 5 → 10 connections, empty and under load
    Resize,
    /// 50 requests at once on an empty pool of at most 50; a connect takes 150 ms, a query 2 ms
    Spike,
    /// Connections beyond the fifth hang
    HangBeyond5,
}

impl Fault {
    /// What it is called above its table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Terminate2 => "all backends terminated, 2 callers",
            Self::Terminate32 => "all backends terminated, 32 callers",
            Self::Outage => "outage of 5 s, 32 callers",
            Self::Freeze => "server stopped for 3 s, 32 callers",
            Self::BlackHole => "connects swallowed for 3 s, 32 callers on an empty pool",
            Self::IdleKill => "10 idle connections ended by the server, then 10 callers",
            Self::Cancel => "10,000 borrows given up, 32 callers besides",
            Self::Panic => "10 panics inside a transaction",
            Self::Resize => "10 → 5 → 10, empty and with 32 callers",
            Self::Spike => "50 requests on an empty pool of 50, 150 ms for a connect",
            Self::HangBeyond5 => "connects beyond the 5th hang, 20 callers",
        }
    }

    /// The most connections of the pool.
    pub(super) fn size(self) -> usize {
        if self == Self::Spike { 50 } else { 10 }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("no value is skipped");
        f.pad(value.get_name())
    }
}

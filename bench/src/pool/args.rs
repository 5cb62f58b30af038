//! What the command is asked for.

use std::path::PathBuf;

use clap::ValueEnum as _;

use super::adapters::Kind;
use super::load::Load;
use crate::throughput::at_least_one;

/// Options of `pool`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Who borrows
    #[arg(long, value_delimiter = ',', default_values_t = Load::value_variants().to_vec(), value_enum)]
    pub(super) loads: Vec<Load>,
    /// Rounds after the first, which warms up
    #[arg(long, default_value_t = 7, value_parser = at_least_one)]
    pub(super) rounds: usize,
    /// Borrows of each caller in a round of `alone` and `tasks2`
    #[arg(long, default_value_t = 500_000, value_parser = at_least_one)]
    pub(super) borrows: usize,
    /// Milliseconds of a round of the other loads
    #[arg(long, default_value_t = 300, value_parser = at_least_one)]
    pub(super) millis: usize,
    /// Subject that ratios refer to; for threads it is r2d2
    #[arg(long, default_value = "deadpool", value_enum)]
    pub(super) reference: Kind,
    /// Only these subjects [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(super) subjects: Vec<Kind>,
    /// Times only: no instructions, for which valgrind is needed
    #[arg(long)]
    pub(super) no_instructions: bool,
    /// Also writes the tables to this page, in place of those of an earlier run
    #[arg(long)]
    pub(super) page: Option<PathBuf>,
}

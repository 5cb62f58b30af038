//! A phase shift: a trace where only recency pays, then one where only frequency does, then the first again.
//!
//! The composition is that of "Adaptive Software Cache Management" (G. Einziger et al., Middleware 2018): corda-vault,
//! lirs-loop five times, corda-vault.

use std::path::Path;

use super::{Request, Requests, compression, corda, lirs};

/// What the composition is called.
pub const NAME: &str = "stress-corda-loop";
/// What the file names of its parts begin with.
pub const PARTS: [&str; 2] = ["corda-vault", "lirs-loop"];
/// How often the loop is repeated.
const LOOPS: usize = 5;
/// Keeps the loop's keys apart from corda's.
const SHIFT: u64 = 1 << 24;

/// Joins the parts.
///
/// # Errors
/// If a part can't be opened.
pub fn read(vault: &Path, cycle: &Path) -> anyhow::Result<Requests> {
    let first = corda::read(compression::open(vault)?);
    let last = corda::read(compression::open(vault)?);
    let loops = (0..LOOPS).map(|_| Ok(lirs::read(compression::open(cycle)?)));
    let loops: Vec<Requests> = loops.collect::<anyhow::Result<_>>()?;
    let middle = loops.into_iter().flatten().map(|request| {
        let request = request?;
        Ok(Request { key: request.key + SHIFT, ..request })
    });
    Ok(Box::new(first.chain(middle).chain(last)))
}

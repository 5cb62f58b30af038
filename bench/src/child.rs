//! Measurements that need a process of their own: what earlier ones left in the allocator, in thread locals or in
//! background threads must not count. The program runs itself with a hidden subcommand, which prints JSON.

use std::process::Command;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

/// Runs this program with these arguments and reads what it prints.
pub(crate) fn run<T: DeserializeOwned>(arguments: &[String]) -> anyhow::Result<T> {
    let program = std::env::current_exe()?;
    let output = Command::new(program).args(arguments).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}: {}", arguments.join(" "), errors.trim());
    serde_json::from_slice(&output.stdout).with_context(|| arguments.join(" "))
}

/// Prints the result of a hidden subcommand.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn answer(result: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(result)?);
    Ok(())
}

//! The service in a process of its own, which is this same program once more.

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::Stdio;

use airports::config::Config;
use airports::serve::Service;
use anyhow::Context;
use clap::Parser as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The first argument of the process that serves.
const SERVE: &str = "serve";

/// Serves, if that is what this process was started for; true when it has.
pub(crate) async fn serve_if_asked() -> anyhow::Result<bool> {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).as_deref() != Some(OsStr::new(SERVE)) {
        return Ok(false);
    }
    let config = Config::parse_from([OsStr::new("airports").to_owned()].into_iter().chain(arguments));
    let service = Service::start(&config).await?;
    writeln!(std::io::stdout(), "{}", service.url())?;
    service
        .run_until(async {
            // Also when the parent is killed.
            let _ended = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
        })
        .await;
    Ok(true)
}

/// A service; dropping it kills it.
pub(crate) struct Serving {
    process: Child,
    pub(crate) url: String,
}

impl Serving {
    /// Starts one and waits until it listens.
    pub(crate) async fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .arg("--listen=127.0.0.1:0")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut url = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut url).await?;
        anyhow::ensure!(url.starts_with("http"), "the service did not start");
        Ok(Self { process, url: url.trim().to_owned() })
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    /// One of its statistics, by its JSON pointer.
    pub(crate) async fn statistic<T: DeserializeOwned>(&self, pointer: &str) -> anyhow::Result<T> {
        let mut all: Value = reqwest::get(format!("{}/stats", self.url)).await?.json().await?;
        let one = all.pointer_mut(pointer).with_context(|| format!("no statistic {pointer}"))?;
        Ok(serde_json::from_value(one.take())?)
    }
}

/// Prints a verdict.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) fn judge(target: &str, is_met: bool) {
    println!("  {}: {target}", if is_met { "met" } else { "MISSED" });
}

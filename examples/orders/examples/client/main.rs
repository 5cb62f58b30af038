//! A run against the service: makes users and stock, places orders from many tasks at once, and checks the books.
//!
//! ```sh
//! cargo run --release -p orders --example client                                  # brings its own service, on SQLite
//! cargo run --release -p orders --example client -- --database postgres://…       # its own, on that database
//! cargo run --release -p orders --example client -- --url http://127.0.0.1:50051  # one that runs already
//! ```
//!
//! A call that gets no answer, because the service is away or too busy, is made again with the same ids for `--patience`: kill the service and
//! start it again meanwhile. Exits with an error if an acknowledged order is missing, or what was sold and what is left is not what there was.

mod run;

use clap::Parser;
use orders::config::Config;
use orders::serve;
use tokio::sync::oneshot;

use crate::run::{Options, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(url) = options.url.clone() {
        return run(&options, url).await;
    }
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let database = options.database.clone().unwrap_or_else(|| format!("sqlite:{}", path("orders.sqlite")));
    let (data, own) = (path("data"), ["orders", "--listen", "127.0.0.1:0"]);
    let arguments = own.into_iter().chain(["--database", &database, "--data", &data]);
    let service = serve::start(&Config::try_parse_from(arguments)?).await?;
    let url = service.url();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(service.run_until(async {
        let _stop = stopped.await;
    }));
    let outcome = run(&options, url).await;
    drop(stop);
    serving.await??;
    outcome
}

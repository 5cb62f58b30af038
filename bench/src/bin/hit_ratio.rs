//! Stands in until `main.rs` has the command.
#[path = "../hit_ratio/mod.rs"]
mod hit_ratio;
#[path = "../trace/mod.rs"]
mod trace;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: hit_ratio::Args,
}

fn main() -> anyhow::Result<()> {
    hit_ratio::run(<Cli as clap::Parser>::parse().args)
}

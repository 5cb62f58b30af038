//! The run: orders from many tasks, and the books.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use orders::again::Again;
use orders::proto::orders_client::OrdersClient;
use orders::proto::{
    CreateUserRequest, Figures, GetFiguresRequest, GetStockRequest, GetUserRequest, ListOrdersRequest,
    ListOrdersResponse, Order, PlaceOrderRequest, SetStockRequest, Stock, User,
};
use rand::Rng;
use rand::seq::IndexedRandom;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Places orders and checks the books.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// A service that runs; without one the client brings its own.
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// The database of its own service. Default: SQLite in a temporary folder.
    #[arg(long, conflicts_with = "url")]
    pub(crate) database: Option<String>,
    /// Users to make.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    users: u32,
    /// Articles to make.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    articles: u32,
    /// Units of each article.
    #[arg(long, default_value_t = 1000)]
    units: i64,
    /// Orders to place, of 1 to 5 units each. With the other defaults there is not enough for all of them.
    #[arg(long, default_value_t = 10_000)]
    orders: u64,
    /// Tasks that place them.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    tasks: u32,
    /// Connections, which the tasks share.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How long a call is made again that the service did not answer.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    patience: Duration,
}

/// A connection, on which calls are made again.
#[derive(Clone)]
struct Client {
    stub: OrdersClient<Channel>,
    again: Again,
}

/// Methods with the names and the answers of the stub's.
macro_rules! calls {
    ($($name:ident($request:ty) -> $answer:ty;)*) => {
        impl Client {
            $(async fn $name(&self, request: $request) -> Result<$answer, Status> {
                let call = |request| {
                    let mut stub = self.stub.clone();
                    async move { stub.$name(request).await }
                };
                self.again.call(request, call).await
            })*
        }
    };
}

calls! {
    create_user(CreateUserRequest) -> User;
    get_user(GetUserRequest) -> User;
    set_stock(SetStockRequest) -> Stock;
    get_stock(GetStockRequest) -> Stock;
    place_order(PlaceOrderRequest) -> Order;
    list_orders(ListOrdersRequest) -> ListOrdersResponse;
    get_figures(GetFiguresRequest) -> Figures;
}

/// What a task has seen.
struct Seen {
    placed: Histogram<u64>,
    read: Histogram<u64>,
    /// Units sold, by article.
    sold: BTreeMap<String, i64>,
    ids: BTreeSet<String>,
    sold_out: u64,
    failed: BTreeMap<String, u64>,
}

impl Seen {
    fn new() -> anyhow::Result<Self> {
        // From a microsecond to a minute, three digits.
        let histogram = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        Ok(Self {
            placed: histogram.clone(),
            read: histogram,
            sold: BTreeMap::new(),
            ids: BTreeSet::new(),
            sold_out: 0,
            failed: BTreeMap::new(),
        })
    }

    fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.placed.add(other.placed)?;
        self.read.add(other.read)?;
        for (sku, units) in other.sold {
            *self.sold.entry(sku).or_default() += units;
        }
        self.ids.extend(other.ids);
        self.sold_out += other.sold_out;
        for (reason, count) in other.failed {
            *self.failed.entry(reason).or_default() += count;
        }
        Ok(())
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Reads a user and a stock, as a page before an order does, and orders; until all orders were asked for.
async fn buy(
    client: Client,
    users: Arc<[String]>,
    articles: Arc<[String]>,
    left: Arc<AtomicU64>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::new()?;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let (user, sku, quantity) = {
            let mut random = rand::rng();
            let choose = |of: &[String], random: &mut _| of.choose(random).cloned().unwrap_or_default();
            (choose(&users, &mut random), choose(&articles, &mut random), random.random_range(1..=5))
        };
        let began = Instant::now();
        client.get_user(GetUserRequest { user_id: user.clone() }).await?;
        client.get_stock(GetStockRequest { sku: sku.clone() }).await?;
        seen.read.saturating_record(micros(began) / 2);
        let order_id = uuid::Uuid::new_v4().to_string();
        let order =
            PlaceOrderRequest { order_id: order_id.clone(), user_id: user, sku: sku.clone(), quantity };
        let began = Instant::now();
        match client.place_order(order).await {
            Ok(_) => {
                seen.placed.saturating_record(micros(began));
                *seen.sold.entry(sku).or_default() += quantity;
                seen.ids.insert(order_id);
            }
            Err(status) if status.code() == Code::FailedPrecondition => seen.sold_out += 1,
            Err(status) => *seen.failed.entry(format!("{:?}", status.code())).or_default() += 1,
        }
    }
    Ok(seen)
}

async fn listed(client: &Client, users: &[String]) -> anyhow::Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for user in users {
        let mut page_token = String::new();
        loop {
            let request = ListOrdersRequest { user_id: user.clone(), page_size: 1000, page_token };
            let page = client.list_orders(request).await?;
            ids.extend(page.orders.into_iter().map(|order| order.order_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
    }
    Ok(ids)
}

/// All of it.
pub(crate) async fn run(options: &Options, url: String) -> anyhow::Result<()> {
    let again = Again::new(options.patience);
    let mut clients = Vec::new();
    for _ in 0..options.connections {
        let endpoint = Endpoint::from_shared(url.clone())?.timeout(Duration::from_secs(30)).tcp_nodelay(true);
        let stub = OrdersClient::new(endpoint.connect().await.with_context(|| url.clone())?);
        clients.push(Client { stub, again: again.clone() });
    }
    let client = clients[0].clone();
    // Of this run alone, so that runs do not mix in one database.
    let run = uuid::Uuid::new_v4().simple().to_string();
    let names = |what: &str, count: u32| (0..count).map(|n| format!("{what}-{}-{n}", &run[..8])).collect();
    let (users, articles): (Arc<[String]>, Arc<[String]>) =
        (names("user", options.users), names("article", options.articles));
    for user in &*users {
        let request = CreateUserRequest { user_id: user.clone(), name: format!("Name of {user}") };
        client.create_user(request).await?;
    }
    for sku in &*articles {
        client.set_stock(SetStockRequest { sku: sku.clone(), units: options.units }).await?;
    }
    let before = client.get_figures(GetFiguresRequest {}).await?;
    let left = Arc::new(AtomicU64::new(options.orders));
    let began = Instant::now();
    let tasks: Vec<_> = (0..options.tasks as usize)
        .map(|task| {
            let client = clients[task % clients.len()].clone();
            tokio::spawn(buy(client, Arc::clone(&users), Arc::clone(&articles), Arc::clone(&left)))
        })
        .collect();
    let mut seen = Seen::new()?;
    for task in tasks {
        seen.add(task.await??)?;
    }
    let took = began.elapsed();
    let listed = listed(&client, &users).await?;
    let after = client.get_figures(GetFiguresRequest {}).await?;
    print(&seen, took, &before, &after)?;
    writeln!(io::stdout(), "retries:      {} calls were made again", again.retries())?;
    ensure!(seen.failed.is_empty(), "some calls failed: {:?}", seen.failed);
    ensure!(listed == seen.ids, "{} orders were acknowledged, {} are listed", seen.ids.len(), listed.len());
    let (mut sold, mut left) = (0, 0);
    for sku in &*articles {
        let stock = client.get_stock(GetStockRequest { sku: sku.clone() }).await?.units;
        let units = seen.sold.get(sku).copied().unwrap_or(0);
        ensure!(
            stock >= 0 && units + stock == options.units,
            "{sku}: {units} sold, {stock} left, {} there were",
            options.units
        );
        (sold, left) = (sold + units, left + stock);
    }
    let initial = options.units * i64::from(options.articles);
    writeln!(
        io::stdout(),
        "books agree:  {sold} units sold + {left} left = {initial}, for each article too"
    )?;
    Ok(())
}

fn print(seen: &Seen, took: Duration, before: &Figures, after: &Figures) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let placed = seen.ids.len();
    let per_second = (placed as f64) / took.as_secs_f64();
    writeln!(
        out,
        "orders:       {placed} placed, {} sold out, in {:.2} s: {per_second:.0} a second",
        seen.sold_out,
        took.as_secs_f64()
    )?;
    for (what, times) in [("PlaceOrder", &seen.placed), ("reads", &seen.read)] {
        let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
        writeln!(
            out,
            "{:<13} p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms",
            format!("{what}:"),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        )?;
    }
    let caches = [("users", &before.users, &after.users), ("stock", &before.stock, &after.stock)];
    for (what, before, after) in caches {
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        // A service that was started anew meanwhile has begun to count anew.
        let hits = after.hits.saturating_sub(before.hits);
        let misses = after.misses.saturating_sub(before.misses);
        let ratio = 100.0 * hits as f64 / (hits + misses).max(1) as f64;
        writeln!(out, "{:<13} {hits} hits, {misses} misses ({ratio:.1} % hits)", format!("{what}:"))?;
    }
    let statements = after.statements.saturating_sub(before.statements);
    writeln!(
        out,
        "statements:   {statements}, {:.2} for each order that was placed",
        statements as f64 / placed.max(1) as f64
    )?;
    let batches = after.order_batches.saturating_sub(before.order_batches);
    let written = after.orders_written.saturating_sub(before.orders_written);
    writeln!(
        out,
        "write-behind: {written} orders in {batches} transactions; {} syncs of the journal",
        after.journal_syncs.saturating_sub(before.journal_syncs)
    )
}

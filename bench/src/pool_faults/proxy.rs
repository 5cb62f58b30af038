//! A proxy between pools and the server: it counts connections, delays them, swallows them, ends them. On threads of its
//! own, so that it takes no turn from the pool.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What the network is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// All connections are ended with a RST, new ones too.
    pub(super) down: bool,
    /// So many new connections reach the server from now on; nothing is ever heard of the others.
    pub(super) pass: usize,
    /// How long it takes until a new connection reaches the server.
    pub(super) delay: Duration,
}

impl Weather {
    pub(super) const FAIR: Self = Self { down: false, pass: usize::MAX, delay: Duration::ZERO };
}

/// The proxy; it ends when it is dropped.
pub(super) struct Proxy {
    pub(super) port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    weather: watch::Sender<Weather>,
    /// Of `Weather::pass`, those used up.
    passed: AtomicUsize,
    dials: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
    /// Connections that the server ended, and whose clients have been told.
    ended: AtomicUsize,
}

impl Proxy {
    /// In front of a server on this port of 127.0.0.1.
    pub(super) fn start(upstream: u16) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let listener = {
            let _guard = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(Weather::FAIR),
            passed: AtomicUsize::new(0),
            dials: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        });
        runtime.spawn(accept(listener, upstream, Arc::clone(&shared)));
        Ok(Self { port, shared, runtime: Some(runtime) })
    }

    pub(super) fn set(&self, weather: Weather) {
        self.shared.passed.store(0, SeqCst);
        self.shared.weather.send_replace(weather);
    }

    /// Connections that were ever opened.
    pub(super) fn dials(&self) -> usize {
        self.shared.dials.load(SeqCst)
    }

    /// The most connections that there were at a time, of those the server had not ended yet.
    pub(super) fn most(&self) -> usize {
        self.shared.most.load(SeqCst)
    }

    /// Connections that there are.
    pub(super) fn open(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    /// Connections that the server ended, and whose clients have been told.
    pub(super) fn ended(&self) -> usize {
        self.shared.ended.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Counts a connection for as long as it lasts.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        let open = shared.open.fetch_add(1, SeqCst) + 1;
        shared.most.fetch_max(open, SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

async fn accept(listener: TcpListener, upstream: u16, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.dials.fetch_add(1, SeqCst);
        if shared.weather.borrow().down {
            // Ends it with a RST.
            let _set = client.set_zero_linger();
            continue;
        }
        let open = Open::new(&shared);
        tokio::spawn(async move {
            let weather = open.0.weather.subscribe();
            let reached = reach(client, upstream, &open.0, weather.clone()).await;
            let Some((mut client, server)) = reached else { return };
            if carry(&mut client, server, &open.0, weather).await == End::Down {
                let _set = client.set_zero_linger();
            }
        });
    }
}

/// Waits until the connection may pass, and opens its other half.
async fn reach(
    mut client: TcpStream,
    upstream: u16,
    shared: &Shared,
    mut weather: watch::Receiver<Weather>,
) -> Option<(TcpStream, TcpStream)> {
    let Weather { pass, delay, .. } = *weather.borrow_and_update();
    if shared.passed.fetch_add(1, SeqCst) >= pass {
        // Until the client gives up, or all are ended.
        tokio::select! {
            () = ended(&mut weather) => {
                let _set = client.set_zero_linger();
            }
            () = listen(&mut client) => {}
        }
        return None;
    }
    tokio::time::sleep(delay).await;
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await.ok()?;
    let _set = (server.set_nodelay(true), client.set_nodelay(true));
    Some((client, server))
}

/// Until all connections are ended.
async fn ended(weather: &mut watch::Receiver<Weather>) {
    let _found = weather.wait_for(|weather| weather.down).await.map(drop);
}

/// Reads to the end.
async fn listen(client: &mut TcpStream) {
    let mut heard = [0; 1024];
    while matches!(client.read(&mut heard).await, Ok(count) if count > 0) {}
}

#[derive(PartialEq)]
enum End {
    Usual,
    Down,
}

/// Until both sides have ended: a connection that the client left is the server's as long as that keeps it.
async fn carry(
    client: &mut TcpStream,
    mut server: TcpStream,
    shared: &Shared,
    mut weather: watch::Receiver<Weather>,
) -> End {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut client_is_there = true;
    loop {
        tokio::select! {
            () = ended(&mut weather) => return End::Down,
            read = from_client.read(&mut up), if client_is_there => match read {
                Ok(0) | Err(_) => {
                    client_is_there = false;
                    let _end = to_server.shutdown().await;
                }
                Ok(count) => {
                    if to_server.write_all(&up[..count]).await.is_err() {
                        return End::Usual;
                    }
                }
            },
            read = from_server.read(&mut down) => match read {
                Ok(0) | Err(_) => {
                    let _end = to_client.shutdown().await;
                    shared.ended.fetch_add(1, SeqCst);
                    return End::Usual;
                }
                Ok(count) => {
                    // One that left hears nothing; the server goes on until it notices.
                    let _told = to_client.write_all(&down[..count]).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it hears.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ended = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        port
    }

    async fn answers(client: &mut TcpStream, within: Duration) -> bool {
        let mut answer = [0];
        let ask =
            async { client.write_all(b"x").await.is_ok() && client.read_exact(&mut answer).await.is_ok() };
        tokio::time::timeout(within, ask).await.unwrap_or(false)
    }

    async fn says_back(client: &mut TcpStream) -> bool {
        answers(client, Duration::from_secs(10)).await
    }

    async fn is_silent(client: &mut TcpStream) -> bool {
        !answers(client, Duration::from_millis(200)).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn weather_is_what_clients_see() {
        let proxy = Proxy::start(echo().await).unwrap();
        let dial = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port));
        let mut first = dial().await.unwrap();
        assert!(says_back(&mut first).await);
        // One passes, the next is swallowed for good.
        proxy.set(Weather { pass: 1, ..Weather::FAIR });
        let mut second = dial().await.unwrap();
        assert!(says_back(&mut second).await);
        let mut third = dial().await.unwrap();
        assert!(is_silent(&mut third).await);
        proxy.set(Weather::FAIR);
        assert!(is_silent(&mut third).await && says_back(&mut first).await);
        assert_eq!((proxy.dials(), proxy.most(), proxy.ended()), (3, 3, 0));
        proxy.set(Weather { down: true, ..Weather::FAIR });
        assert!(!says_back(&mut first).await);
        let refused = match dial().await {
            Ok(mut fourth) => !says_back(&mut fourth).await,
            Err(_) => true,
        };
        assert!(refused);
    }
}

//! A proxy that carries bytes between a client and a server, late, not at all, or with a broken end.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Takes bytes and connections, and passes nothing on.
    BlackHole,
    /// Ends what was there before with a RST.
    Reset,
    /// Tells clients that nothing more will come, and listens on.
    HalfClose,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    faults: watch::Sender<Fault>,
    delay: Arc<AtomicU64>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// In front of a server on this port of 127.0.0.1.
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (faults, watched) = watch::channel(Fault::None);
        let delay = Arc::new(AtomicU64::new(0));
        let accepted = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn({
            let (delay, accepted) = (Arc::clone(&delay), Arc::clone(&accepted));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    accepted.fetch_add(1, Ordering::SeqCst);
                    let (mut watched, delay) = (watched.clone(), Arc::clone(&delay));
                    tokio::spawn(async move {
                        while *watched.borrow_and_update() == Fault::BlackHole {
                            if watched.changed().await.is_err() {
                                return;
                            }
                        }
                        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await else {
                            return;
                        };
                        let (from_client, to_client) = client.into_split();
                        let (from_server, to_server) = server.into_split();
                        tokio::spawn(carry(
                            from_client,
                            to_server,
                            watched.clone(),
                            Arc::clone(&delay),
                            false,
                        ));
                        carry(from_server, to_client, watched, delay, true).await;
                    });
                }
            }
        });
        Self { port, faults, delay, accepted, task }
    }

    /// Every piece of bytes arrives this much later.
    pub(crate) fn delay(&self, by: Duration) {
        self.delay.store(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Nothing arrives any more; ends with `false`.
    pub(crate) fn black_hole(&self, on: bool) {
        self.faults.send_replace(if on { Fault::BlackHole } else { Fault::None });
    }

    /// All connections there are end with a RST.
    pub(crate) fn reset(&self) {
        self.faults.send_replace(Fault::Reset);
        self.faults.send_replace(Fault::None);
    }

    /// All connections there are say that nothing more will come.
    pub(crate) fn half_close(&self) {
        self.faults.send_replace(Fault::HalfClose);
    }

    /// Connections that clients opened.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Fault>,
    delay: Arc<AtomicU64>,
    to_client: bool,
) {
    // A reset may be over before it is seen: any change from then on counts.
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            biased;
            changed = faults.changed() => {
                if changed.is_err() {
                    return;
                }
                let fault = *faults.borrow_and_update();
                match fault {
                    Fault::BlackHole => {}
                    Fault::HalfClose => {
                        if to_client {
                            let _ = to.shutdown().await;
                        }
                    }
                    // `None` after a reset that was not seen: only a black hole ends otherwise.
                    Fault::Reset | Fault::None => {
                        if to_client {
                            let _ = to.as_ref().set_zero_linger();
                        }
                        return;
                    }
                }
                continue;
            }
            read = from.read(&mut buffer) => read,
        };
        match read {
            Ok(0) | Err(_) => {
                let _ = to.shutdown().await;
                return;
            }
            Ok(count) => {
                while *faults.borrow_and_update() == Fault::BlackHole {
                    if faults.changed().await.is_err() {
                        return;
                    }
                }
                let late = delay.load(Ordering::SeqCst);
                if late > 0 {
                    tokio::time::sleep(Duration::from_millis(late)).await;
                }
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

//! A stretch of the network between a host and its broker, which can be down or swallow everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections once it is [opened](Proxy::open); until then it hangs up on them.
pub struct Proxy {
    pub address: SocketAddr,
    /// How often it was opened. A connection lives with the opening that it was made in.
    opened: watch::Sender<usize>,
    attempts: Arc<AtomicUsize>,
}

impl Proxy {
    /// A closed one, to the address `target`.
    pub async fn new(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, attempts) = (watch::Sender::new(0), Arc::new(AtomicUsize::new(0)));
        let (state, count) = (opened.subscribe(), attempts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                if *state.borrow() > 0 {
                    tokio::spawn(forward(client, target.clone(), state.clone()));
                }
            }
        });
        Self { address, opened, attempts }
    }

    /// Forwards from now on. What was connected before is not cut: it stays open, and nothing
    /// passes any more, as behind a cable that was pulled.
    pub fn open(&self) {
        self.opened.send_modify(|times| *times += 1);
    }

    /// How often somebody has tried to connect.
    pub fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }
}

async fn forward(mut client: TcpStream, target: String, mut opened: watch::Receiver<usize>) {
    opened.mark_unchanged();
    let mut server = TcpStream::connect(target).await.unwrap();
    let again = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => false,
        changed = opened.changed() => changed.is_ok(),
    };
    if again {
        std::future::pending::<()>().await;
    }
}

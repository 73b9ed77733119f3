//! A stretch of the network between a host and its broker, which can be down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Forwards connections once it is [opened](Proxy::open); until then it hangs up on them.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    open: AtomicBool,
    attempts: AtomicUsize,
}

impl Proxy {
    /// A closed one, to the address `target`.
    pub async fn new(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let here = state.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                here.attempts.fetch_add(1, Ordering::SeqCst);
                if here.open.load(Ordering::SeqCst) {
                    let target = target.clone();
                    tokio::spawn(async move {
                        let mut server = TcpStream::connect(target).await.unwrap();
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    });
                }
            }
        });
        Self { address, state }
    }

    /// Forwards from now on.
    pub fn open(&self) {
        self.state.open.store(true, Ordering::SeqCst);
    }

    /// How often somebody has tried to connect.
    pub fn attempts(&self) -> usize {
        self.state.attempts.load(Ordering::SeqCst)
    }
}

//! A stretch of the network between a host and its broker: it can be down, slow, deaf in one direction
//! or both, and it can end connections, also in the middle of a frame.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// What is read at once.
const CHUNK: usize = 16 * 1024;
/// So many chunks are on their way in each direction.
const ON_THE_WAY: usize = 64;
/// The last bytes of a frame, any of which leaves it unfinished; the shortest has eight.
const FRAME_END: RangeInclusive<usize> = 1..=7;

/// How it is out there, for every connection.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// On the way in each direction, between these two.
    pub delay: Option<(Duration, Duration)>,
    /// In each direction.
    pub bytes_per_second: Option<u32>,
    /// The bytes that are sent at once.
    pub slices: Option<RangeInclusive<usize>>,
    /// Nothing arrives at the broker: it is held, as by a network that loses every packet.
    pub deaf_broker: bool,
    /// Nothing arrives at the host.
    pub deaf_host: bool,
}

/// How connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// As by a peer that closes.
    Close,
    /// By RST, at once.
    Reset,
    /// By RST, once a frame is under way, which arrives in part.
    ResetInFrame,
}

#[derive(Debug, Clone)]
struct State {
    /// How often it was opened. A connection lives with the opening that it was made in.
    opened: usize,
    weather: Weather,
    /// How many blows there were, and the last.
    blows: (usize, Blow),
}

/// Forwards connections once it is [opened](Proxy::open); until then it hangs up on them.
pub struct Proxy {
    pub address: SocketAddr,
    state: watch::Sender<State>,
    attempts: Arc<AtomicUsize>,
    landed: Arc<AtomicUsize>,
}

impl Proxy {
    /// A closed one, to the address `target`.
    pub async fn new(target: String) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    /// The same, at this address.
    pub async fn at(address: SocketAddr, target: String) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (attempts, landed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let weather = Weather::default();
        let state = watch::Sender::new(State { opened: 0, weather, blows: (0, Blow::Close) });
        let (seen, tried, landing) = (state.subscribe(), attempts.clone(), landed.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tried.fetch_add(1, Ordering::SeqCst);
                if seen.borrow().opened > 0 {
                    tokio::spawn(connect(client, target.clone(), seen.clone(), landing.clone()));
                }
            }
        });
        Self { address, state, attempts, landed }
    }

    /// Forwards from now on. What was connected before is not cut: it stays open, and nothing
    /// passes any more, as behind a cable that was pulled.
    pub fn open(&self) {
        self.state.send_modify(|state| state.opened += 1);
    }

    /// Changes the weather.
    pub fn weather(&self, change: impl FnOnce(&mut Weather)) {
        self.state.send_modify(|state| change(&mut state.weather));
    }

    /// Ends the connections that there are.
    pub fn strike(&self, blow: Blow) {
        self.state.send_modify(|state| state.blows = (state.blows.0 + 1, blow));
    }

    /// How many connections were ended so.
    pub fn landed(&self) -> usize {
        self.landed.load(Ordering::SeqCst)
    }

    /// How often somebody has tried to connect.
    pub fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }
}

/// One connection, to its end.
async fn connect(
    mut client: TcpStream,
    target: String,
    state: watch::Receiver<State>,
    landed: Arc<AtomicUsize>,
) {
    let blows = state.borrow().blows.0;
    // A broker that is down refuses; so does this, by hanging up.
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let (mut up, mut down) = (state.clone(), state.clone());
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = pass(from_client, to_server, &mut up, |weather| weather.deaf_broker);
    let down = pass(from_server, to_client, &mut down, |weather| weather.deaf_host);
    let forwarded = async {
        tokio::select! { struck = up => struck, struck = down => struck }
    };
    let struck = tokio::select! {
        struck = forwarded => struck,
        struck = at_once(state, blows) => struck,
    };
    if matches!(struck, Some(Blow::Reset | Blow::ResetInFrame)) {
        for stream in [&client, &server] {
            // One of them may be gone already.
            let _ = stream.set_zero_linger();
        }
    }
    landed.fetch_add(usize::from(struck.is_some()), Ordering::SeqCst);
}

/// The next blow that does not wait for a frame.
async fn at_once(mut state: watch::Receiver<State>, before: usize) -> Option<Blow> {
    let struck = |state: &State| state.blows.0 > before && state.blows.1 != Blow::ResetInFrame;
    match state.wait_for(struck).await.map(|state| state.blows.1) {
        Ok(blow) => Some(blow),
        Err(_) => std::future::pending().await,
    }
}

/// One direction, up to its end or to a blow in the middle of a frame.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    state: &mut watch::Receiver<State>,
    deaf: fn(&Weather) -> bool,
) -> Option<Blow> {
    let (opened, blows) = (state.borrow().opened, state.borrow().blows.0);
    let arrives = |state: &State| state.opened == opened && !deaf(&state.weather);
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let later = state.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let delay = later
                .borrow()
                .weather
                .delay
                .map(|(least, most)| least + (most - least).mul_f64(fastrand::f64()));
            let due = Instant::now() + delay.unwrap_or_default();
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            if state.wait_for(arrives).await.is_err() {
                return None;
            }
            let now = state.borrow().clone();
            if now.blows.0 > blows && now.blows.1 == Blow::ResetInFrame && chunk.len() > 1 {
                let missing = fastrand::usize(FRAME_END).min(chunk.len() - 1);
                let _ = to.write_all(&chunk[..chunk.len() - missing]).await;
                return Some(Blow::ResetInFrame);
            }
            if send(&mut to, &chunk, &now.weather).await.is_err() {
                return None;
            }
        }
        None
    };
    let read = async {
        read.await;
        // What was read is written still.
        std::future::pending().await
    };
    tokio::select! { struck = write => struck, struck = read => struck }
}

async fn send(to: &mut WriteHalf<'_>, chunk: &[u8], weather: &Weather) -> std::io::Result<()> {
    let mut rest = chunk;
    while !rest.is_empty() {
        let size = weather.slices.clone().map_or(rest.len(), fastrand::usize);
        let (slice, after) = rest.split_at(size.min(rest.len()));
        to.write_all(slice).await?;
        rest = after;
    }
    if let Some(rate) = weather.bytes_per_second {
        sleep(Duration::from_secs_f64(chunk.len() as f64 / f64::from(rate))).await;
    }
    Ok(())
}

//! The little HTTP that waiting for a server and talking to the host's admin address takes.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// For connecting, and for each read.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An address on this machine where nobody listens. Someone else may take it at any time.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// An address for a server that ends and comes back, which no connection is given in between: below
/// the ports that systems hand out by themselves.
pub fn kept_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    // Far from that of a process that was started next to this one.
    let first = (std::process::id() as u16).wrapping_mul(61);
    for _ in PORTS {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address =
            SocketAddr::from(([127, 0, 0, 1], PORTS.start + number % (PORTS.end - PORTS.start)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port")
}

/// Connects, with time limits set.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// The status and the body of `GET path`. `headers` are whole lines.
pub fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Result<(u16, String)> {
    request(address, &format!("GET {path}"), headers, "")
}

/// The status and the body of `POST path` with JSON.
pub fn post(address: SocketAddr, path: &str, body: &Value) -> Result<(u16, String)> {
    let body = body.to_string();
    let length = format!("Content-Length: {}", body.len());
    let headers = ["Content-Type: application/json", &length];
    request(address, &format!("POST {path}"), &headers, &body)
}

/// HTTP/1.0: the answer is neither chunked nor followed by another.
fn request(address: SocketAddr, what: &str, headers: &[&str], body: &str) -> Result<(u16, String)> {
    let mut stream = connect(address)?;
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    write!(stream, "{what} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n{body}")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.context("no HTTP status")?, body.to_owned()))
}

//! A broker that is none: it says that it is of any version, agrees to whatever is asked, and does
//! what a test tells it to. For releases of RabbitMQ that can't be installed here.

use super::process::eventually;
use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable, ShortString};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

/// The payload of the largest frame.
const FRAME_MAX: u32 = 131_072;

/// It listens until it is dropped.
pub struct FakeBroker {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: tokio_util::sync::DropGuard,
}

/// What clients have sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The connection, from 0.
    pub connection: usize,
    pub channel: u16,
    pub method: AMQPClass,
}

/// What clients have published.
#[derive(Debug, Clone)]
pub struct Published {
    pub exchange: String,
    pub routing_key: String,
    pub properties: basic::AMQPProperties,
    pub body: Vec<u8>,
}

/// A consumer that a client has begun.
#[derive(Clone)]
pub struct FakeConsumer {
    pub connection: usize,
    pub channel: u16,
    tag: ShortString,
    out: UnboundedSender<AMQPFrame>,
}

#[derive(Default)]
struct Shared {
    version: Mutex<String>,
    sent: Mutex<Vec<Sent>>,
    published: Mutex<Vec<Published>>,
    consumers: Mutex<Vec<FakeConsumer>>,
    connections: Mutex<Vec<CancellationToken>>,
    /// It takes publications and does not confirm them.
    silent: AtomicBool,
}

impl FakeBroker {
    /// A RabbitMQ of `version`, as far as anybody can tell.
    pub async fn start(version: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let shared = Arc::new(Shared { version: Mutex::new(version.into()), ..Shared::default() });
        let (here, ended) = (shared.clone(), stop.clone());
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let hung_up = CancellationToken::new();
                let mut connections = here.connections.lock().unwrap();
                connections.push(hung_up.clone());
                let served = Connection::serve(stream, connections.len() - 1, here.clone());
                tokio::spawn(hung_up.run_until_cancelled_owned(served));
            }
        }));
        Self { address, shared, _stop: stop.drop_guard() }
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address)
    }

    /// Is of `version` from now on, and ends all connections.
    pub fn upgrade(&self, version: &str) {
        *self.shared.version.lock().unwrap() = version.to_owned();
        self.shared.connections.lock().unwrap().iter().for_each(CancellationToken::cancel);
    }

    /// Whether it confirms publications from now on.
    pub fn confirms(&self, does: bool) {
        self.shared.silent.store(!does, Ordering::Relaxed);
    }

    /// Ends this connection.
    pub fn hang_up(&self, connection: usize) {
        self.shared.connections.lock().unwrap()[connection].cancel();
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().len()
    }

    /// All that was sent which `pick` wants.
    pub fn sent<T>(&self, pick: impl FnMut(&Sent) -> Option<T>) -> Vec<T> {
        self.shared.sent.lock().unwrap().iter().filter_map(pick).collect()
    }

    /// How the deliveries of `consumer` were settled: `ack 1`, `reject 2`, `nack 3`.
    pub fn settled(&self, consumer: &FakeConsumer) -> Vec<String> {
        self.sent(|sent| {
            let of = (sent.connection, sent.channel) == (consumer.connection, consumer.channel);
            match &sent.method {
                AMQPClass::Basic(_) if !of => None,
                AMQPClass::Basic(basic::AMQPMethod::Ack(it)) => {
                    Some(format!("ack {}", it.delivery_tag))
                }
                AMQPClass::Basic(basic::AMQPMethod::Reject(it)) => {
                    Some(format!("reject {}", it.delivery_tag))
                }
                AMQPClass::Basic(basic::AMQPMethod::Nack(it)) => {
                    Some(format!("nack {}", it.delivery_tag))
                }
                _ => None,
            }
        })
    }

    /// Waits until this is how the deliveries of `consumer` were settled.
    pub async fn settles(&self, consumer: &FakeConsumer, expected: &[&str]) {
        eventually(&format!("deliveries settled with {expected:?}"), async || {
            (self.settled(consumer) == expected).then_some(())
        })
        .await;
    }

    /// All that was published.
    pub fn published(&self) -> Vec<Published> {
        self.shared.published.lock().unwrap().clone()
    }

    /// The consumer that was begun as number `number`, from 0, as soon as it is.
    pub async fn consumer(&self, number: usize) -> FakeConsumer {
        eventually(&format!("consumer {number}"), async || {
            self.shared.consumers.lock().unwrap().get(number).cloned()
        })
        .await
    }
}

impl FakeConsumer {
    /// `delivery_tag` counts from 1 on each channel.
    pub fn deliver(&self, delivery_tag: u64, headers: FieldTable, body: &str) {
        self.method(AMQPClass::Basic(basic::AMQPMethod::Deliver(basic::Deliver {
            consumer_tag: self.tag.clone(),
            delivery_tag,
            redelivered: false,
            exchange: "".into(),
            routing_key: "orders".into(),
        })));
        let properties = basic::AMQPProperties::default().with_headers(headers);
        let body_size = body.len() as u64;
        let header = AMQPContentHeader { class_id: 60, body_size, properties };
        self.send(AMQPFrame::Header(self.channel, header));
        self.send(AMQPFrame::Body(self.channel, body.into()));
    }

    /// As RabbitMQ does from 4.3 on when a delivery is held for too long.
    pub fn cancel(&self) {
        let cancel = basic::Cancel { consumer_tag: self.tag.clone(), nowait: true };
        self.method(AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel)));
    }

    /// As RabbitMQ did before.
    pub fn close_channel(&self) {
        let text = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out";
        self.method(AMQPClass::Channel(channel::AMQPMethod::Close(channel::Close {
            reply_code: 406,
            reply_text: text.into(),
            class_id: 0,
            method_id: 0,
        })));
    }

    fn method(&self, method: AMQPClass) {
        self.send(AMQPFrame::Method(self.channel, method));
    }

    fn send(&self, frame: AMQPFrame) {
        // Nobody is there any more: then the test waits in vain for what comes of it, and says so.
        let _ = self.out.send(frame);
    }
}

/// One connection, while it lives.
struct Connection {
    number: usize,
    shared: Arc<Shared>,
    out: UnboundedSender<AMQPFrame>,
    /// What is being published on each channel, and how many were before.
    publishing: HashMap<u16, (u64, Option<(Published, u64)>)>,
}

impl Connection {
    async fn serve(stream: TcpStream, number: usize, shared: Arc<Shared>) {
        let (mut read, mut write) = stream.into_split();
        let (out, frames) = unbounded_channel();
        let mut connection = Self { number, shared, out, publishing: HashMap::new() };
        let written = async { write_frames(&mut write, frames).await };
        let answered = async {
            let mut header = [0; 8];
            read.read_exact(&mut header).await?;
            connection.say(0, connection.start());
            while let Some(frame) = read_frame(&mut read).await? {
                connection.answer(frame);
            }
            io::Result::Ok(())
        };
        tokio::select! {
            _ = written => {}
            _ = answered => {}
        }
    }

    fn start(&self) -> AMQPClass {
        let version = self.shared.version.lock().unwrap().clone();
        let mut server_properties = FieldTable::default();
        for (name, value) in
            [("product", "RabbitMQ"), ("version", &version), ("cluster_name", "rabbit@fake")]
        {
            server_properties.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let (mechanisms, locales) = ("PLAIN".into(), "en_US".into());
        AMQPClass::Connection(connection::AMQPMethod::Start(connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties,
            mechanisms,
            locales,
        }))
    }

    fn say(&self, channel: u16, method: AMQPClass) {
        // The writer ends with the connection.
        let _ = self.out.send(AMQPFrame::Method(channel, method));
    }

    fn answer(&mut self, frame: AMQPFrame) {
        match frame {
            AMQPFrame::Heartbeat => drop(self.out.send(AMQPFrame::Heartbeat)),
            AMQPFrame::Header(channel, header) => self.content(channel, Some(header), &[]),
            AMQPFrame::Body(channel, body) => self.content(channel, None, &body),
            AMQPFrame::Method(channel, method) => {
                let sent = Sent { connection: self.number, channel, method: method.clone() };
                self.shared.sent.lock().unwrap().push(sent);
                if let Some(answer) = self.answer_to(channel, method) {
                    self.say(channel, answer);
                }
            }
            _ => {}
        }
    }

    fn answer_to(&mut self, number: u16, method: AMQPClass) -> Option<AMQPClass> {
        use {AMQPClass as Class, basic::AMQPMethod as Basic, connection::AMQPMethod as Link};
        Some(match method {
            Class::Connection(Link::StartOk(_)) => {
                Class::Connection(Link::Tune(connection::Tune {
                    channel_max: 2047,
                    frame_max: FRAME_MAX,
                    heartbeat: 0,
                }))
            }
            Class::Connection(Link::Open(_)) => {
                Class::Connection(Link::OpenOk(connection::OpenOk {}))
            }
            Class::Connection(Link::Close(_)) => {
                Class::Connection(Link::CloseOk(connection::CloseOk {}))
            }
            Class::Channel(channel::AMQPMethod::Open(_)) => {
                Class::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {}))
            }
            Class::Channel(channel::AMQPMethod::Close(_)) => {
                Class::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}))
            }
            Class::Exchange(exchange::AMQPMethod::Declare(_)) => {
                Class::Exchange(exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {}))
            }
            Class::Queue(queue::AMQPMethod::Declare(it)) => {
                let (queue, message_count, consumer_count) = (it.queue, 0, 0);
                let declared = queue::DeclareOk { queue, message_count, consumer_count };
                Class::Queue(queue::AMQPMethod::DeclareOk(declared))
            }
            Class::Queue(queue::AMQPMethod::Bind(_)) => {
                Class::Queue(queue::AMQPMethod::BindOk(queue::BindOk {}))
            }
            Class::Confirm(confirm::AMQPMethod::Select(_)) => {
                Class::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {}))
            }
            Class::Basic(Basic::Qos(_)) => Class::Basic(Basic::QosOk(basic::QosOk {})),
            Class::Basic(Basic::Consume(it)) => {
                let (connection, out) = (self.number, self.out.clone());
                let consumer_tag = it.consumer_tag.clone();
                let consume_ok = Class::Basic(Basic::ConsumeOk(basic::ConsumeOk { consumer_tag }));
                // Before a test can deliver to it.
                self.say(number, consume_ok);
                let consumer =
                    FakeConsumer { connection, channel: number, tag: it.consumer_tag, out };
                self.shared.consumers.lock().unwrap().push(consumer);
                return None;
            }
            Class::Basic(Basic::Cancel(it)) => {
                let consumer_tag = it.consumer_tag;
                Class::Basic(Basic::CancelOk(basic::CancelOk { consumer_tag }))
            }
            Class::Basic(Basic::Publish(it)) => {
                let published = Published {
                    exchange: it.exchange.to_string(),
                    routing_key: it.routing_key.to_string(),
                    properties: basic::AMQPProperties::default(),
                    body: Vec::new(),
                };
                self.publishing.entry(number).or_default().1 = Some((published, 0));
                return None;
            }
            _ => return None,
        })
    }

    /// Confirms a publication with its last frame.
    fn content(&mut self, channel: u16, header: Option<AMQPContentHeader>, body: &[u8]) {
        let Some((count, current)) = self.publishing.get_mut(&channel) else { return };
        let Some((published, size)) = current else { return };
        if let Some(header) = header {
            (published.properties, *size) = (header.properties, header.body_size);
        }
        published.body.extend(body);
        if published.body.len() as u64 == *size {
            *count += 1;
            let ack = basic::Ack { delivery_tag: *count, multiple: false };
            self.shared.published.lock().unwrap().extend(current.take().map(|(it, _)| it));
            if self.shared.silent.load(Ordering::Relaxed) {
                return;
            }
            self.say(channel, AMQPClass::Basic(basic::AMQPMethod::Ack(ack)));
        }
    }
}

async fn write_frames(
    to: &mut (impl AsyncWriteExt + Unpin),
    mut frames: UnboundedReceiver<AMQPFrame>,
) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        let bytes = gen_frame(&frame)(Vec::new().into()).expect("it can be written").write;
        to.write_all(&bytes).await?;
    }
    Ok(())
}

/// `None` for what is not AMQP.
async fn read_frame(from: &mut OwnedReadHalf) -> io::Result<Option<AMQPFrame>> {
    let mut bytes = vec![0; 7];
    from.read_exact(&mut bytes).await?;
    let size = u32::from_be_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]);
    assert!(size <= FRAME_MAX, "a frame of {size} bytes");
    bytes.resize(7 + size as usize + 1, 0);
    from.read_exact(&mut bytes[7..]).await?;
    Ok(parse_frame(bytes.as_slice()).ok().map(|(_, frame)| frame))
}

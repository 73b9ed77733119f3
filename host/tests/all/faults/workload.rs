//! The publisher: events in batches of a hundred, persistent, mandatory and confirmed, by a
//! connection that is made anew when it is lost. What was not confirmed is sent again, and that is
//! recorded. Next: oracle.rs.

use super::{ms, secs};
use crate::support::rabbit::table;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::AMQPValue;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The number of an event; [`id`] makes its message-id.
pub type Number = u32;

const BATCH: usize = 100;
/// For a publication to be written, and for each confirm: a cluster may need some time for one.
const CONFIRM_MAX: Duration = secs(30);

/// The message-id of an event.
pub fn id(number: Number) -> String {
    format!("e{number}")
}

/// The event of a message-id.
pub fn number(id: &str) -> Option<Number> {
    id.strip_prefix('e')?.parse().ok()
}

/// Which of so many keys an event has.
pub fn key(number: Number, keys: u32) -> u32 {
    // Not one after the other.
    (number.wrapping_mul(2_654_435_761) >> 16) % keys.max(1)
}

/// What is published, and how.
pub struct Load {
    /// Where the broker is: one after the other until one answers.
    pub urls: Vec<String>,
    /// How many events.
    pub events: u32,
    /// How long the second third is to take the handlers.
    pub during: Duration,
    /// How many events are handled at once.
    pub concurrency: u32,
    /// If there are keys, each event has one in the header `key`, and some events ask to come again.
    pub keys: u32,
    /// Each event asks to come again once.
    pub retried: bool,
}

impl Load {
    /// The events before, during and after the fault.
    pub fn thirds(&self) -> [Range<Number>; 3] {
        let third = self.events / 3;
        [0..third, third..2 * third, 2 * third..self.events]
    }

    /// How long the handler of an event of the second third sleeps.
    fn sleep(&self) -> Duration {
        self.during * self.concurrency / (self.events / 3)
    }

    fn body(&self, number: Number, slow: bool) -> Vec<u8> {
        let again = "ok-from:2".to_owned();
        let again = Some(again).filter(|_| self.retried || self.keys > 0 && number % 41 == 7);
        let sleep = format!("sleep:{}", self.sleep().as_millis());
        let slow = Some(sleep).filter(|_| slow && !self.during.is_zero());
        let effect = "report:event::effects".to_owned();
        let steps: Vec<_> = again.into_iter().chain(slow).chain([effect]).collect();
        serde_json::to_vec(&steps).unwrap()
    }
}

/// What became of the publications.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// Were sent at least once.
    pub attempted: BTreeSet<Number>,
    /// Are in the broker's hands, as it has confirmed.
    pub acknowledged: BTreeSet<Number>,
    /// Were sent again, as nobody knew what had become of them.
    pub resent: BTreeSet<Number>,
    /// How often the broker gave one back, as no queue took it.
    pub returned: usize,
}

impl Ledger {
    fn sends(&mut self, number: Number, again: bool) {
        self.attempted.insert(number);
        self.resent.extend(again.then_some(number));
    }
}

/// The running publisher.
pub struct Workload {
    ledger: Arc<Mutex<Ledger>>,
    released: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Workload {
    /// Publishes the first third.
    pub fn start(load: Load) -> Self {
        let (ledger, released) = (Arc::<Mutex<Ledger>>::default(), watch::Sender::new(1));
        let publisher = Publisher {
            load,
            ledger: ledger.clone(),
            uncertain: BTreeSet::new(),
            open: None,
            next: 0,
        };
        let task = tokio::spawn(publisher.run(released.subscribe()));
        Self { ledger, released, task }
    }

    /// Lets the next third be published.
    pub fn release(&self) {
        self.released.send_modify(|thirds| *thirds += 1);
    }

    /// What became of it up to now.
    pub fn ledger(&self) -> Ledger {
        self.ledger.lock().unwrap().clone()
    }

    /// Waits until all is confirmed; false if that takes longer.
    pub async fn done(&mut self, limit: Duration) -> bool {
        matches!(timeout(limit, &mut self.task).await, Ok(Ok(())))
    }
}

struct Publisher {
    load: Load,
    ledger: Arc<Mutex<Ledger>>,
    /// Sent, and neither confirmed nor given back.
    uncertain: BTreeSet<Number>,
    open: Option<(Connection, Channel)>,
    /// Which URL is tried next.
    next: usize,
}

impl Publisher {
    async fn run(mut self, mut released: watch::Receiver<usize>) {
        for (nth, third) in self.load.thirds().into_iter().enumerate() {
            if released.wait_for(|thirds| *thirds > nth).await.is_err() {
                return;
            }
            let numbers: Vec<_> = third.collect();
            let batches = numbers.chunks(BATCH);
            // Twice as fast as it is handled: there is always something waiting.
            let pause = if nth == 1 { self.load.during / 2 / batches.len() as u32 } else { ms(0) };
            let mut due = Instant::now();
            for batch in batches {
                sleep_until(due).await;
                due += pause;
                self.publish(batch, nth == 1).await;
            }
        }
    }

    /// Publishes until all is confirmed.
    async fn publish(&mut self, batch: &[Number], slow: bool) {
        let mut waiting = batch.to_vec();
        while !waiting.is_empty() {
            let channel = self.channel().await;
            let (confirmed, well) = self.send(&channel, &waiting, slow).await;
            self.ledger.lock().unwrap().acknowledged.extend(&confirmed);
            waiting.retain(|number| !confirmed.contains(number));
            if !well {
                self.leave();
            }
            if !waiting.is_empty() {
                sleep(ms(100)).await;
            }
        }
    }

    /// Sends them once; those that were confirmed, and whether the connection is good still.
    async fn send(
        &mut self,
        channel: &Channel,
        numbers: &[Number],
        slow: bool,
    ) -> (BTreeSet<Number>, bool) {
        let mut confirms = Vec::new();
        let mut well = true;
        for number in numbers {
            let again = !self.uncertain.insert(*number);
            self.ledger.lock().unwrap().sends(*number, again);
            match timeout(CONFIRM_MAX, publish(channel, &self.load, *number, slow)).await {
                Ok(Ok(confirm)) => confirms.push((*number, confirm)),
                _ => {
                    well = false;
                    break;
                }
            }
        }
        let (mut confirmed, mut returned) = (BTreeSet::new(), BTreeSet::new());
        for (of, confirm) in confirms {
            match timeout(CONFIRM_MAX, confirm).await {
                Ok(Ok(Confirmation::Ack(back))) => {
                    confirmed.insert(of);
                    // It comes with whichever confirm is the next one.
                    let back = back.and_then(|message| {
                        number(message.delivery.properties.message_id().as_ref()?.as_str())
                    });
                    returned.extend(back);
                }
                Ok(Ok(_)) => {}
                _ => well = false,
            }
        }
        self.ledger.lock().unwrap().returned += returned.len();
        for known in confirmed.iter().chain(&returned) {
            self.uncertain.remove(known);
        }
        confirmed.retain(|number| !returned.contains(number));
        (confirmed, well)
    }

    /// The channel, as soon as there is one.
    async fn channel(&mut self) -> Channel {
        loop {
            match &self.open {
                Some((_, channel)) if channel.status().connected() => return channel.clone(),
                Some(_) => self.leave(),
                None => {}
            }
            let url = &self.load.urls[self.next % self.load.urls.len()];
            match timeout(secs(5), connect(url)).await {
                Ok(Ok(open)) => self.open = Some(open),
                _ => {
                    self.next += 1;
                    sleep(ms(100)).await;
                }
            }
        }
    }

    fn leave(&mut self) {
        if let Some((connection, _)) = self.open.take() {
            tokio::spawn(async move {
                // It may be long gone.
                let _ = timeout(secs(5), connection.close(200, "bye".into())).await;
            });
        }
    }
}

async fn connect(url: &str) -> lapin::Result<(Connection, Channel)> {
    let name = ConnectionProperties::default().with_connection_name("workload".into());
    let connection = Connection::connect(url, name).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

async fn publish(
    channel: &Channel,
    load: &Load,
    number: Number,
    slow: bool,
) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(id(number).into())
        .with_content_type("application/json".into());
    if load.keys > 0 {
        let key = AMQPValue::LongUInt(key(number, load.keys));
        properties = properties.with_headers(table(&[("key", key)]));
    }
    let body = load.body(number, slow);
    channel.basic_publish("".into(), "work".into(), options, &body, properties).await
}

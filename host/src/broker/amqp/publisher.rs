//! Publishes, mandatory and confirmed, with exactly one publication in flight on each channel: so
//! a return belongs to the confirm that follows it, and a channel that the broker closes takes one
//! publication along. Next in the flow: [`super::declare`].

use super::STEP_LIMIT;
use super::backoff::Backoff;
use super::convert::{basic_properties, header_size, short};
use super::error::words;
use super::link::{Link, Open};
use crate::broker::PublishError;
use crate::flow::Publication;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind, PublisherConfirm};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// For the broker to confirm a publication; a queue that has lost its majority never does, and must
/// not keep a channel from others.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);
/// As many publications are in flight at once.
const CHANNELS_MAX: usize = 64;
/// Type, channel and length before the payload of a frame, and the mark at its end.
const FRAME_OVERHEAD: usize = 8;

/// Publishes over one link.
pub(super) struct Publisher {
    link: Arc<Link>,
    permits: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

/// A channel in confirm mode with nothing in flight.
struct Idle {
    channel: Channel,
    generation: u64,
}

/// A publication as lapin takes it.
struct Message {
    exchange: ShortString,
    routing_key: ShortString,
    properties: BasicProperties,
    header_size: usize,
    body: Vec<u8>,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, permits: Semaphore::new(CHANNELS_MAX), idle: Mutex::default() }
    }

    /// See [`crate::broker::Broker::publish`].
    pub(super) async fn publish(&self, publication: Publication) -> Result<(), PublishError> {
        let message = Message::new(publication)?;
        // Never closed.
        let _permit = self.permits.acquire().await;
        loop {
            let (open, channel) = self.channel().await;
            message.fits(&open)?;
            let sent = channel
                .basic_publish(
                    message.exchange.clone(),
                    message.routing_key.clone(),
                    BasicPublishOptions { mandatory: true, ..Default::default() },
                    &message.body,
                    message.properties.clone(),
                )
                .await;
            let confirmed = match sent {
                Ok(confirm) => match self.confirmed(confirm).await {
                    Some(confirmed) => confirmed,
                    // The channel goes with it: its confirm may come yet.
                    None => return Err(PublishError::Lost(unconfirmed())),
                },
                Err(error) => Err(error),
            };
            return match confirmed {
                Ok(Confirmation::Ack(None)) => {
                    self.keep(channel, &open);
                    Ok(())
                }
                Ok(Confirmation::Ack(Some(returned))) => {
                    self.keep(channel, &open);
                    Err(unroutable(returned))
                }
                Ok(Confirmation::Nack(_)) => {
                    self.keep(channel, &open);
                    Err(PublishError::Nacked)
                }
                Ok(Confirmation::NotRequested) => {
                    Err(PublishError::Refused("the channel does not confirm".to_owned()))
                }
                // lapin looked before it wrote anything: the channel was closed while it was idle.
                Err(error) if is_unsent(&error) => continue,
                Err(error) if error.is_amqp_soft_error() => {
                    Err(PublishError::Refused(words(&error)))
                }
                Err(error) => Err(PublishError::Lost(words(&error))),
            };
        }
    }

    /// Waits for a confirm; while the broker takes no publications, what is on its way stays there,
    /// and to publish it again would be to publish it twice.
    async fn confirmed(
        &self,
        mut confirm: PublisherConfirm,
    ) -> Option<lapin::Result<Confirmation>> {
        loop {
            match tokio::time::timeout(CONFIRM_LIMIT, &mut confirm).await {
                Ok(confirmed) => return Some(confirmed),
                Err(_) if !self.link.is_blocked() => return None,
                Err(_) => {}
            }
            tokio::select! {
                confirmed = &mut confirm => return Some(confirmed),
                _ = self.link.writable() => {}
            }
        }
    }

    /// A channel of its own, as soon as the broker takes publications.
    async fn channel(&self) -> (Arc<Open>, Channel) {
        let mut backoff = Backoff::default();
        loop {
            let open = self.link.writable().await;
            if let Some(channel) = self.idle(&open) {
                return (open, channel);
            }
            match tokio::time::timeout(STEP_LIMIT, confirming(&open)).await {
                Ok(Ok(channel)) => return (open, channel),
                Ok(Err(error)) => {
                    let reason = words(&error);
                    tracing::debug!(reason, "no channel to publish on, trying on");
                }
                Err(_) => tracing::debug!("no channel to publish on in time, trying on"),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    fn idle(&self, open: &Open) -> Option<Channel> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.generation == open.generation && idle.channel.status().connected());
        idle.pop().map(|idle| idle.channel)
    }

    fn keep(&self, channel: Channel, open: &Open) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Idle { channel, generation: open.generation });
    }
}

async fn confirming(open: &Open) -> lapin::Result<Channel> {
    let channel = open.connection().create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

fn unconfirmed() -> String {
    format!("the broker did not confirm it within {} s", CONFIRM_LIMIT.as_secs())
}

fn is_unsent(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidChannelState(_, "basic.publish"))
}

impl Message {
    fn new(publication: Publication) -> Result<Self, PublishError> {
        let refused = |error: super::convert::TooLong| PublishError::Refused(error.to_string());
        let Publication { exchange, routing_key, properties, body } = publication;
        Ok(Self {
            exchange: short("the exchange", &exchange).map_err(refused)?,
            routing_key: short("the routing key", &routing_key).map_err(refused)?,
            header_size: header_size(&properties),
            properties: basic_properties(&properties).map_err(refused)?,
            body,
        })
    }

    /// Properties go in one frame: a longer one would cost the whole connection.
    fn fits(&self, open: &Open) -> Result<(), PublishError> {
        let frame_max = open.connection().configuration().frame_max() as usize;
        let max = frame_max.saturating_sub(FRAME_OVERHEAD);
        if frame_max > 0 && self.header_size > max {
            return Err(PublishError::TooLarge { size: self.header_size, max });
        }
        Ok(())
    }
}

fn unroutable(returned: BasicReturnMessage) -> PublishError {
    PublishError::Unroutable {
        reply: format!("{} {}", returned.reply_code, returned.reply_text),
        exchange: returned.delivery.exchange.into(),
        routing_key: returned.delivery.routing_key.into(),
    }
}

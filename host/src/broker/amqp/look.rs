//! Looks what queues hold. Next in the flow: [`super::consumer`]; its own queue each consumer asks
//! about itself, in [`super::tally`].

use super::STEP_LIMIT;
use super::convert::short;
use super::refusal::Refusal;
use crate::broker::{Depth, TopologyError};
use futures_util::future::join_all;
use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

/// How many exchanges are asked for at once, each in a millisecond or two: far fewer than in the time
/// that an answer may take.
const CHUNK: usize = 200;

/// What a queue holds, if it is there.
pub(super) async fn depth(
    connection: &Connection,
    queue: &str,
) -> Result<Option<Depth>, TopologyError> {
    let asked = async {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = channel.queue_declare(name(queue)?, options, FieldTable::default()).await?;
        // Whether that is confirmed changes nothing.
        let _ = channel.close(200, "done".into()).await;
        Ok(Depth { ready: found.message_count().into(), consumers: found.consumer_count() })
    };
    match in_time(asked).await {
        Ok(depth) => Ok(Some(depth)),
        Err(refusal) if refusal.is_missing() && !refusal.is_away() => Ok(None),
        Err(refusal) => Err(refusal.about(format!("queue `{queue}`"))),
    }
}

/// Those of `names` that are there as exchanges with a binding, and what the queues of the same names
/// hold. `exchange.delete` with `if-unused` asks for them: it is answered with OK, and not with an
/// error, if there is none, and takes away nothing that leads anywhere. (`queue.delete` with
/// `if-empty` would be as quiet, and confirms what is published to the queue at that moment, which
/// is lost.)
pub(super) async fn sweep(
    connection: &Connection,
    names: &[String],
) -> Result<Vec<(String, Depth)>, TopologyError> {
    let mut there = Vec::new();
    let mut rest = names;
    while !rest.is_empty() {
        let asked_for = rest.get(..CHUNK).unwrap_or(rest);
        let asked = async {
            let channel = connection.create_channel().await?;
            let refused = first_refused(&channel, asked_for).await;
            if refused.is_none() {
                let _ = channel.close(200, "done".into()).await;
            }
            Ok(refused)
        };
        let swept = in_time(asked).await.map_err(|it| it.about("delay queues".to_owned()))?;
        let (asked_for, after) =
            rest.split_at(swept.as_ref().map_or(asked_for.len(), |(at, _)| at + 1));
        rest = after;
        let (Some((_, refusal)), Some(found)) = (swept, asked_for.last()) else { continue };
        if !refusal.is_in_use() {
            return Err(refusal.about(format!("exchange `{found}`")));
        }
        if let Some(depth) = depth(connection, found).await? {
            there.push((found.clone(), depth));
        }
    }
    Ok(there)
}

/// Asks for all at once; what comes after a refusal is not answered.
async fn first_refused(channel: &Channel, names: &[String]) -> Option<(usize, Refusal)> {
    let options = ExchangeDeleteOptions { if_unused: true, ..Default::default() };
    let delete = async |text: &String| {
        channel.exchange_delete(name(text)?, options).await.map_err(Refusal::from)
    };
    let answers = join_all(names.iter().map(delete)).await;
    let mut answers = answers.into_iter().enumerate();
    answers.find_map(|(at, answer)| Some((at, answer.err()?)))
}

fn name(text: &str) -> Result<lapin::types::ShortString, Refusal> {
    short("the name", text).map_err(|error| Refusal { code: None, text: error.to_string() })
}

async fn in_time<T>(asked: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    match tokio::time::timeout(STEP_LIMIT, asked).await {
        Ok(answered) => answered,
        Err(_) => {
            let text = format!("no answer from the broker within {} s", STEP_LIMIT.as_secs());
            Err(Refusal { code: None, text })
        }
    }
}

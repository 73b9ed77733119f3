//! What the host adds to a request: the key that tells a repetition from another request, the trace
//! that its event belongs to, and secrets in place of their placeholders.

use super::super::grants::{Denied, Target};
use super::super::secrets::{PLACEHOLDER, Placeholder};
use crate::flow::{Event, Field};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Uri};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use wasmtime_wasi_http::WasiBody;
use zeroize::Zeroizing;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `00-`, the trace, the parent and flags, as W3C has it; later versions may be longer.
const TRACEPARENT_BYTES: std::ops::RangeInclusive<usize> = 55..=255;

/// The event that requests are sent for.
#[derive(Debug)]
pub struct Origin {
    /// The same for each attempt.
    id: [u8; 32],
    traceparent: Option<HeaderValue>,
    /// How many requests were sent, and how many with the same method and URL.
    pub(super) sent: u32,
    alike: HashMap<(Method, Uri), u32>,
}

impl Origin {
    /// `event`, as `plugin` handles it: known by the host's id for it, or else by message-id and content.
    pub fn new(plugin: &str, event: &Event) -> Self {
        let Event { exchange, routing_key, properties, body, .. } = event;
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(plugin.as_bytes());
        add(event.queue.as_bytes());
        if let Some(id) = &event.id {
            add(id.as_bytes());
        } else {
            let [content_type, kind] = [&properties.content_type, &properties.kind]
                .map(|text| text.as_deref().unwrap_or_default());
            let id = event.message_id().unwrap_or_default();
            for text in [id, exchange, routing_key, content_type, kind] {
                add(text.as_bytes());
            }
            add(body);
        }
        let traceparent = properties.headers.get("traceparent").and_then(traceparent);
        Self { id: hash.finalize().into(), traceparent, sent: 0, alike: HashMap::new() }
    }

    /// The key of the next request with `method` to `uri`: the same at each attempt if the handler
    /// sends the same requests, whatever it sends between them.
    fn next_key(&mut self, method: &Method, uri: &Uri) -> String {
        let number = self.alike.entry((method.clone(), uri.clone())).or_default();
        *number += 1;
        let mut hash = Sha256::new();
        hash.update(self.id);
        hash.update(number.to_le_bytes());
        hash.update(format!("{method} {uri}"));
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

fn traceparent(header: &Field) -> Option<HeaderValue> {
    let Field::Text(text) = header else { return None };
    let fits = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let whole = TRACEPARENT_BYTES.contains(&text.len()) && text.bytes().all(fits);
    whole.then(|| HeaderValue::from_str(text).ok())?
}

/// A request that may be sent.
pub struct Prepared {
    /// With all that is added to it.
    pub request: Request<WasiBody>,
    /// Where it goes.
    pub target: Target,
}

/// Adds to `request` what belongs to it.
///
/// # Errors
/// A placeholder is where it is not meant for.
pub fn prepare(
    mut request: Request<WasiBody>,
    target: Target,
    origin: &mut Origin,
    placeholders: &[Placeholder],
) -> Result<Prepared, Denied> {
    let url = request.uri().path_and_query().map_or("", |it| it.as_str());
    if let Some(it) = placeholders.iter().find(|it| url.contains(&it.text)) {
        let secret = &it.secret;
        let rule = format!(
            "the placeholder of secret `{secret}` is in its URL, and is replaced in headers only"
        );
        return Err(Denied { rule, add: None });
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let unsafe_method =
        [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(&method);
    if unsafe_method {
        let key = origin.next_key(&method, &uri);
        if let (false, Ok(key)) =
            (request.headers().contains_key(IDEMPOTENCY_KEY), HeaderValue::from_str(&key))
        {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
    }
    if let (Some(trace), false) = (&origin.traceparent, request.headers().contains_key(TRACEPARENT))
    {
        request.headers_mut().insert(TRACEPARENT, trace.clone());
    }
    reveal(request.headers_mut(), &target, placeholders)?;
    Ok(Prepared { request, target })
}

/// Puts secrets in place of their placeholders.
fn reveal(
    headers: &mut HeaderMap,
    target: &Target,
    placeholders: &[Placeholder],
) -> Result<(), Denied> {
    for (name, value) in headers.iter_mut() {
        let Ok(text) = value.to_str() else { continue };
        if !text.contains(PLACEHOLDER) {
            continue;
        }
        let mut text = Zeroizing::new(text.to_owned());
        for Placeholder { text: placeholder, secret, value, hosts } in placeholders {
            if text.contains(placeholder) {
                if hosts.judge(target).is_err() {
                    let rule = format!(
                        "secret `{secret}` in its header `{name}` is not meant for this host"
                    );
                    return Err(Denied { rule, add: None });
                }
                text = Zeroizing::new(text.replace(placeholder, value.reveal()));
            }
        }
        let revealed = HeaderValue::from_str(&text).map_err(|_| {
            let rule =
                format!("a secret in its header `{name}` has characters that no header may have");
            Denied { rule, add: None }
        })?;
        *value = revealed;
        value.set_sensitive(true);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Properties;

    fn event(message_id: Option<&str>, body: &str) -> Event {
        let message_id = message_id.map(str::to_owned);
        let properties = Properties { message_id, ..Properties::default() };
        let text = String::new;
        Event {
            exchange: text(),
            routing_key: text(),
            queue: "orders".into(),
            redelivered: false,
            attempt: 1,
            returned: 0,
            first_seen: 5,
            id: None,
            properties,
            body: body.into(),
        }
    }

    fn keys(event: &Event, calls: &[(&str, &str)]) -> Vec<String> {
        let mut origin = Origin::new("orders", event);
        let key = |(method, uri): &(&str, &str)| {
            origin.next_key(&method.parse().unwrap(), &uri.parse().unwrap())
        };
        calls.iter().map(key).collect()
    }

    #[test]
    fn a_request_has_the_same_key_at_each_attempt_and_no_other_has_it() {
        let calls = [
            ("POST", "https://a/1"),
            ("POST", "https://a/1"),
            ("PUT", "https://a/1"),
            ("POST", "https://b/1"),
        ];
        let first = event(Some("1"), "body");
        let retried = Event { attempt: 2, redelivered: true, first_seen: 6, ..first.clone() };
        assert_eq!(keys(&first, &calls), keys(&retried, &calls));
        let named = |id: &str| Event { id: Some(id.to_owned()), ..event(None, "body") };
        let retried = Event { attempt: 2, first_seen: 6, ..named("a") };
        assert_eq!(keys(&named("a"), &calls), keys(&retried, &calls));
        let mut other_kind = first.clone();
        other_kind.properties.kind = Some("cancelled".to_owned());
        let others = [
            event(Some("2"), "body"),
            event(Some("1"), "other"),
            other_kind,
            named("a"),
            named("b"),
        ];
        let all = others.iter().chain([&first]).flat_map(|event| keys(event, &calls));
        let mut all: Vec<_> = all.collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        // What was done at an earlier attempt and is left out now changes no other key.
        assert_eq!(keys(&first, &calls[2..]), keys(&first, &calls)[2..]);
    }

    #[test]
    fn only_what_is_a_traceparent_is_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (text, passed) in
            [(good, true), ("00-1-2-01", false), (&good.replace('0', "\n"), false)]
        {
            assert_eq!(traceparent(&Field::Text(text.into())).is_some(), passed, "{text}");
        }
        assert!(traceparent(&Field::I64(1)).is_none());
    }
}

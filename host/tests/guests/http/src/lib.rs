//! Sends the requests that the event's body lists, and publishes what came of them. See README.md.

use serde_json::{Value, json};
use wabbit::handler::types::Retry;
use wabbit::publish::publisher;
use wasi::config::store;
use wasi::http::outgoing_handler;
use wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wasi::io::streams::StreamError;
use wasi::logging::logging;

wit_bindgen::generate!({ path: "../../../../wit", world: "http-handler", generate_all });

struct Http;

impl Guest for Http {
    fn handle(event: Event) -> Result<(), Failure> {
        let script: Value = serde_json::from_slice(&event.body)
            .map_err(|error| Failure::Reject(format!("not JSON: {error}")))?;
        let requests = script["requests"].as_array().cloned().unwrap_or_default();
        let answers: Vec<Value> = if script["leave"] == true {
            // Resources that are leaked outlive the call.
            requests.iter().map(send).for_each(std::mem::forget);
            Vec::new()
        } else if script["at-once"] == true {
            let sent: Vec<_> = requests.iter().map(send).collect();
            sent.into_iter().map(|sent| told(sent.and_then(|sent| receive(&sent)))).collect()
        } else {
            requests.iter().map(|it| told(send(it).and_then(|sent| receive(&sent)))).collect()
        };
        if let Some(name) = script["say"].as_str() {
            let value = variable(name);
            println!("printed {value}");
            logging::log(logging::Level::Warn, &value, &format!("logged {value}"));
            return Err(Failure::Reject(format!("rejected {value}")));
        }
        let fails = script["fails"].as_u64().unwrap_or(0);
        if u64::from(event.attempt) <= fails {
            let reason = format!("attempt {} of {fails}", event.attempt);
            return Err(Failure::Retry(Retry { after_ms: Some(10), reason }));
        }
        if let Some(to) = script["to"].as_str() {
            let body = Value::from(answers).to_string();
            publisher::publish("", to, body.as_bytes(), &[])
                .map_err(|error| Failure::Reject(format!("{error:?}")))?;
        }
        Ok(())
    }
}

fn variable(name: &str) -> String {
    store::get(name).ok().flatten().unwrap_or_else(|| "nothing".into())
}

/// `text` with the variables in it that stand in `{}`.
fn filled(text: &str) -> String {
    let mut filled = text.to_owned();
    for (name, value) in store::get_all().unwrap_or_default() {
        filled = filled.replace(&format!("{{{name}}}"), &value);
    }
    filled
}

fn told(answer: Result<Value, ErrorCode>) -> Value {
    answer.unwrap_or_else(|error| json!({ "error": format!("{error:?}") }))
}

fn send(request: &Value) -> Result<FutureIncomingResponse, ErrorCode> {
    let url = filled(request["url"].as_str().unwrap_or_default());
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", &url));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let headers = Fields::new();
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        let value = filled(value.as_str().unwrap_or_default());
        if let Err(error) = headers.append(name, value.as_bytes()) {
            return Err(ErrorCode::InternalError(Some(format!("{error:?}"))));
        }
    }
    let outgoing = OutgoingRequest::new(headers);
    let wrong = |()| ErrorCode::HttpRequestUriInvalid;
    outgoing.set_method(&method(request["method"].as_str().unwrap_or("GET"))).map_err(wrong)?;
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    outgoing.set_scheme(Some(&scheme)).map_err(wrong)?;
    outgoing.set_authority(Some(authority)).map_err(wrong)?;
    outgoing.set_path_with_query(Some(path)).map_err(wrong)?;
    let size = request["size"].as_u64().unwrap_or(0);
    let text = request["body"].as_str().map(filled).unwrap_or_default();
    let body = outgoing.body().map_err(wrong)?;
    let sent = outgoing_handler::handle(outgoing, None)?;
    {
        let stream = body.write().map_err(wrong)?;
        let whole = [text.into_bytes(), vec![b'x'; size as usize]].concat();
        for piece in whole.chunks(4096) {
            if stream.blocking_write_and_flush(piece).is_err() {
                break;
            }
        }
    }
    // What is wrong with the body is told with the answer.
    let _ = OutgoingBody::finish(body, None);
    Ok(sent)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        other => Method::Other(other.to_owned()),
    }
}

fn receive(sent: &FutureIncomingResponse) -> Result<Value, ErrorCode> {
    sent.subscribe().block();
    let answer = sent.get().ok_or(ErrorCode::InternalError(None))?;
    let response = answer.map_err(|()| ErrorCode::InternalError(None))??;
    let headers = response.headers().entries();
    let headers = headers
        .into_iter()
        .map(|(name, value)| (name, Value::from(String::from_utf8_lossy(&value).into_owned())));
    let headers = headers.collect::<serde_json::Map<_, _>>();
    let status = response.status();
    let body = response.consume().map_err(|()| ErrorCode::InternalError(None))?;
    let stream = body.stream().map_err(|()| ErrorCode::InternalError(None))?;
    let mut read = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => read.extend(piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasi::http::types::http_error_code(&error);
                let text = error.to_debug_string();
                return Err(code.unwrap_or(ErrorCode::InternalError(Some(text))));
            }
        }
    }
    let body = String::from_utf8_lossy(&read[..read.len().min(1000)]).into_owned();
    Ok(json!({ "status": status, "headers": headers, "body": body, "bytes": read.len() }))
}

export!(Http);

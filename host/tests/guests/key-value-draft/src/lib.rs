//! A guest of `wasi:keyvalue@0.2.0-draft`.

use wasi::keyvalue::{atomics, batch, store};

wit_bindgen::generate!({ path: "../../../../wit", world: "key-value-handler", generate_all });

include!("../../key_value.rs");

fn page_after(
    bucket: &store::Bucket,
    page: Option<&store::KeyResponse>,
) -> Result<store::KeyResponse, store::Error> {
    bucket.list_keys(page.and_then(|page| page.cursor))
}

/// There is nothing that only this draft has, but for cursors that nobody was given.
fn of_this_draft<'a>(
    bucket: &store::Bucket,
    word: &impl Fn(usize) -> &'a str,
) -> Result<Option<Value>, store::Error> {
    match word(0) {
        "cursor" => {
            let page = bucket.list_keys(word(1).parse().ok())?;
            Ok(Some(json!(page.keys)))
        }
        other => Err(store::Error::Other(format!("no such step: {other}"))),
    }
}

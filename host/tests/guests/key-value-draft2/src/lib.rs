//! A guest of `wasi:keyvalue@0.2.0-draft2`.

use wasi::keyvalue0_2_0_draft2::{atomics, batch, store};

wit_bindgen::generate!({
    path: ["../../../../wit/drafts/wasi-keyvalue-draft2", "../../../../wit"],
    inline: "
        package test:keyvalue;
        world guest {
            include wabbit:handler/publishing-handler@0.1.0;
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
        }
    ",
    world: "test:keyvalue/guest",
    generate_all,
});

include!("../../key_value.rs");

fn page_after(
    bucket: &store::Bucket,
    page: Option<&store::KeyResponse>,
) -> Result<store::KeyResponse, store::Error> {
    bucket.list_keys(page.and_then(|page| page.cursor.as_deref()))
}

/// `["swap", KEY, VALUE]`, and `["stale-swap", KEY, VALUE]`, which changes the value in between and tries
/// again.
fn of_this_draft<'a>(
    bucket: &store::Bucket,
    word: &impl Fn(usize) -> &'a str,
) -> Result<Option<Value>, store::Error> {
    let (key, value) = (word(1), word(2).as_bytes());
    let cas = atomics::Cas::new(bucket, key)?;
    let before = cas.current()?;
    match word(0) {
        "swap" => {}
        "stale-swap" => bucket.set(key, b"changed")?,
        other => return Err(store::Error::Other(format!("no such step: {other}"))),
    }
    match atomics::swap(cas, value) {
        Ok(()) => Ok(shown(before)),
        Err(atomics::CasError::StoreError(error)) => Err(error),
        Err(atomics::CasError::CasFailed(cas)) => {
            let now = cas.current()?;
            match atomics::swap(cas, value) {
                Ok(()) => Ok(Some(json!({ "failed": [shown(before), shown(now)] }))),
                Err(_) => Err(store::Error::Other("it failed twice".to_owned())),
            }
        }
    }
}

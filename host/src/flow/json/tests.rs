use super::*;

#[test]
fn every_type_of_header_comes_back() {
    let inner: Headers = [("deep", Field::Table([("n", Field::I8(-1))].into_iter().collect()))]
        .into_iter()
        .collect();
    let fields = [
        Field::Text("text".into()),
        Field::RawText(vec![0xff]),
        Field::Bytes(vec![0, 1]),
        Field::Bool(true),
        Field::I8(-8),
        Field::U8(8),
        Field::I16(-16),
        Field::U16(16),
        Field::I32(-32),
        Field::U32(32),
        Field::I64(-64),
        Field::F32(0.5),
        Field::F64(-0.25),
        Field::Decimal { scale: 2, value: 314 },
        Field::Timestamp(1_700_000_000),
        Field::Void,
        Field::Array(vec![Field::Void, Field::I16(3)]),
        Field::Table(inner),
        Field::Table([("$uint8", Field::I8(1))].into_iter().collect()),
        Field::Table([("$table", Field::Table(Headers::default()))].into_iter().collect()),
        Field::F32(f32::NEG_INFINITY),
        Field::F64(f64::INFINITY),
        Field::F64(1.0 / 3.0),
    ];
    for field in fields {
        let properties =
            Properties { headers: [("h", field)].into_iter().collect(), ..Properties::default() };
        let publication = Publication { properties, body: vec![0xff], ..Publication::default() };
        assert_eq!(Publication::from_json(publication.to_json()), Ok(publication));
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let table = [
        (json!([]), "`.` must be an object"),
        (
            json!({"rooting-key": "a"}),
            "`rooting-key` is unknown; the nearest that is known is `routing-key`",
        ),
        (json!({"exchange": 1}), "`exchange` must be a text"),
        (
            json!({"properties": {"priority": 256}}),
            "`properties.priority` must be a whole number in its range",
        ),
        (
            json!({"properties": {"massage-id": ""}}),
            "`properties.massage-id` is unknown; the nearest that is known is `message-id`",
        ),
        (
            json!({"properties": {"headers": {"a": {"$uint8": 300}}}}),
            "`properties.headers.a` has no value of the type `uint8`",
        ),
        (json!({"body": "a", "body-base64": "YQ=="}), "`body-base64` can't stand beside `body`"),
    ];
    for (value, expected) in table {
        assert_eq!(Publication::from_json(value).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_body_may_be_written_as_json() {
    let event = Event::from_json(json!({"body": {"id": 7}, "attempt": 2})).unwrap();
    assert_eq!((event.body, event.attempt), (br#"{"id":7}"#.to_vec(), 2));
}

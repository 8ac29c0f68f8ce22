use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::stream::Stream;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    by: String,
    items: Vec<(String, f64)>,
    notes: BTreeMap<String, Option<i64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    VeryLarge,
    Small,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Code(u128);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    r#type: String,
    count: i64,
    value: f64,
    ratio: f32,
    is_good: bool,
    letter: char,
    kind: Kind,
    code: Code,
    note: Option<String>,
    #[serde(with = "serde_bytes")]
    raw: Vec<u8>,
}

fn nested() -> impl Strategy<Value = Order> {
    let items = prop::collection::vec((".*", -1e9..1e9_f64), 0..5);
    let notes = prop::collection::btree_map(".*", any::<Option<i64>>(), 0..5);
    (any::<u64>(), ".*", items, notes).prop_map(|(id, by, items, notes)| Order {
        id,
        by,
        items,
        notes,
    })
}

fn flat() -> impl Strategy<Value = Reading> {
    let numbers = (any::<i64>(), any::<f64>(), any::<f32>(), any::<u128>());
    let texts = (".*", any::<char>(), any::<Option<String>>());
    let others = (any::<bool>(), any::<bool>(), any::<Vec<u8>>());
    (numbers, texts, others).prop_map(|(numbers, texts, others)| Reading {
        r#type: texts.0,
        count: numbers.0,
        value: numbers.1,
        ratio: numbers.2,
        is_good: others.0,
        letter: texts.1,
        kind: if others.1 {
            Kind::VeryLarge
        } else {
            Kind::Small
        },
        code: Code(numbers.3),
        note: texts.2,
        raw: others.2,
    })
}

fn shapes() -> impl Strategy<Value = Shape> {
    let serializer = prop_oneof![Just(Serializer::Json), Just(Serializer::MessagePack)];
    let compression = prop_oneof![
        Just(Compression::None),
        Just(Compression::Lz4),
        Just(Compression::Gzip)
    ];
    (serializer, compression).prop_map(|(serializer, compression)| Shape::Nested {
        serializer,
        compression,
    })
}

proptest! {
    #[test]
    fn a_nested_record_comes_back_whatever_the_stream_says_by_then(
        record in nested(),
        shape in shapes(),
    ) {
        let fields = shape.encode(&record).unwrap();
        prop_assert_eq!(decode::<Order>(&fields), Ok(record));
    }

    #[test]
    fn a_primitive_record_comes_back(record in flat()) {
        let fields = Shape::Primitive.encode(&record).unwrap();
        prop_assert!(fields.iter().all(|(name, _)| name != "note") == record.note.is_none());
        prop_assert_eq!(decode::<Reading>(&fields), Ok(record.clone()));
        // What was sent before the stream was declared otherwise.
        let fields = Shape::default().encode(&record).unwrap();
        prop_assert_eq!(decode::<Reading>(&fields), Ok(record));
    }

    #[test]
    fn fields_of_others_are_read_or_refused(
        data in any::<Vec<u8>>(),
        format in prop::option::of(prop_oneof![
            Just("json+lz4".to_owned()),
            Just("json+gzip".into()),
            Just("messagepack".into()),
            Just("messagepack+lz4".into()),
            ".*",
        ]),
        more in prop::collection::vec((".*", any::<Vec<u8>>()), 0..4),
    ) {
        let fields: Fields = more.clone().into_iter().collect();
        let _ = decode::<Order>(&fields);
        let _ = decode::<Reading>(&fields);
        let format = format.map(|format| (FORMAT.to_owned(), format.into_bytes()));
        let nested = [(DATA.to_owned(), data)].into_iter().chain(format);
        let fields: Fields = more.into_iter().chain(nested).collect();
        let _ = decode::<Order>(&fields);
    }
}

fn fields(pairs: &[(&str, &[u8])]) -> Fields {
    pairs.iter().copied().collect()
}

#[test]
fn records_are_written_for_other_programs_to_read() {
    #[derive(Serialize)]
    struct Small {
        key: &'static str,
        seq: u8,
        half: f32,
        none: Option<u8>,
    }
    let record = Small {
        key: "a b",
        seq: 7,
        half: 0.5,
        none: None,
    };
    let primitive = Shape::Primitive.encode(&record).unwrap();
    assert_eq!(
        primitive,
        fields(&[("key", b"a b"), ("seq", b"7"), ("half", b"0.5")])
    );
    let nested = encode(&record).unwrap();
    let json = br#"{"key":"a b","seq":7,"half":0.5,"none":null}"#;
    assert_eq!(nested, fields(&[("data", json)]));
    let packed = Stream::<Small>::new("small")
        .serializer(Serializer::MessagePack)
        .compression(Compression::Lz4);
    let packed = packed.encode(&record).unwrap();
    assert_eq!(packed.get("format"), Some(b"messagepack+lz4".as_slice()));
}

#[test]
fn what_is_no_struct_of_scalars_is_refused_with_its_field() {
    #[derive(Serialize)]
    struct Deep {
        fine: u8,
        list: Vec<u8>,
    }
    #[derive(Serialize)]
    struct Taken {
        data: String,
    }
    let refused =
        |record: &dyn Fn() -> Result<Fields, RecordError>| record().unwrap_err().to_string();
    let deep = Deep {
        fine: 1,
        list: vec![],
    };
    let text = refused(&|| Shape::Primitive.encode(&deep));
    assert!(
        text.contains("field `list`") && text.contains(".primitive()"),
        "{text}"
    );
    let taken = Taken { data: "x".into() };
    let text = refused(&|| Shape::Primitive.encode(&taken));
    assert!(text.contains("`data`"), "{text}");
    for text in [
        refused(&|| Shape::Primitive.encode(&"text")),
        refused(&|| Shape::Primitive.encode(&Some(1))),
        refused(&|| Shape::Primitive.encode(&BTreeMap::from([("a", 1)]))),
    ] {
        assert!(text.contains("no struct"), "{text}");
    }
    let no_keys = BTreeMap::from([((1, 2), 3)]);
    assert!(refused(&|| encode(&no_keys)).contains("cannot be written"));
}

#[test]
fn a_record_that_cannot_be_read_names_its_field() {
    let long = "9".repeat(1_000);
    for (pairs, words) in [
        (vec![("data", &b"{"[..])], "field `data`"),
        (
            vec![("data", b"\xc0"), ("format", b"messagepack")],
            "field `data`",
        ),
        (vec![("data", b"{}"), ("format", b"zip")], "`zip`"),
        (vec![("data", b"ab"), ("format", b"json+lz4")], "cut short"),
        (vec![("data", b"ab"), ("format", b"json+gzip")], "expanded"),
        (
            vec![("key", b"a"), ("seq", long.as_bytes())],
            "field `seq`: expected u8, got `999",
        ),
        (
            vec![("key", b"\xff"), ("seq", b"1")],
            "field `key`: it is no text",
        ),
        (vec![("key", b"a")], "missing field `seq`"),
        (vec![], "missing field"),
    ] {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "it is never read")]
        struct Small {
            key: String,
            seq: u8,
        }
        let error = decode::<Small>(&fields(&pairs)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.len() < 300, "{error}");
    }
}

#[test]
fn sizes_are_held_to_on_both_sides() {
    let most = RECORD_LIMIT - DATA.len() - 2;
    assert!(encode(&"x".repeat(most)).is_ok());
    let error = encode(&"x".repeat(most + 1)).unwrap_err();
    let len = RECORD_LIMIT + 1;
    assert_eq!(
        error,
        RecordError::TooLarge {
            len,
            limit: RECORD_LIMIT
        }
    );

    for compression in [Compression::Lz4, Compression::Gzip] {
        let shape = Shape::Nested {
            serializer: Serializer::Json,
            compression,
        };
        let record = "x".repeat(EXPANDED_LIMIT - 2);
        let fields = shape.encode(&record).unwrap();
        assert_eq!(decode::<String>(&fields), Ok(record));
        let error = shape.encode(&"x".repeat(EXPANDED_LIMIT)).unwrap_err();
        assert!(matches!(error, RecordError::TooLarge { .. }));
    }
    // Small, and it would fill the memory.
    let bomb = gzip(&vec![b' '; EXPANDED_LIMIT + 1]).unwrap();
    let bomb = fields(&[("data", &bomb), ("format", b"json+gzip")]);
    let error = decode::<String>(&bomb).unwrap_err().to_string();
    assert!(error.contains("expands to more"), "{error}");
    let bomb = fields(&[("data", b"\xff\xff\xff\xff"), ("format", b"json+lz4")]);
    let error = decode::<String>(&bomb).unwrap_err().to_string();
    assert!(error.contains("expands to more"), "{error}");
}

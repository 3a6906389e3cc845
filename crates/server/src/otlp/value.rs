//! Values of OTLP as JSON, and back: nothing is lost on the way.
//!
//! Strings, booleans, lists and null are what they are in JSON. An integer has neither point nor exponent, a double has one or the other, so
//! each stays what it was. What JSON has no word for is an object with one key that begins with `$`:
//!
//! | JSON | value |
//! |---|---|
//! | `{"$double":"NaN"}`, `"Infinity"`, `"-Infinity"` | such a double |
//! | `{"$bytes":"aGk="}` | bytes, in base64 |
//! | `{"$pairs":[["a",1],["a",2]]}` | pairs of which two have the same key, or whose first key begins with `$` |

use std::collections::HashSet;
use std::fmt;

use data_encoding::BASE64;
use legwork_proto::opentelemetry::proto::common::v1::any_value::Value;
use legwork_proto::opentelemetry::proto::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList,
};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

const DOUBLE: &str = "$double";
const BYTES: &str = "$bytes";
const PAIRS: &str = "$pairs";

/// Writes a value.
pub(super) fn write(out: &mut Vec<u8>, value: Option<&AnyValue>) {
    match value.and_then(|value| value.value.as_ref()) {
        None => out.extend_from_slice(b"null"),
        Some(Value::StringValue(text)) => write_text(out, text),
        Some(Value::BoolValue(true)) => out.extend_from_slice(b"true"),
        Some(Value::BoolValue(false)) => out.extend_from_slice(b"false"),
        Some(Value::IntValue(number)) => out.extend_from_slice(number.to_string().as_bytes()),
        Some(Value::DoubleValue(number)) => write_double(out, *number),
        Some(Value::ArrayValue(list)) => {
            out.push(b'[');
            for (at, value) in list.values.iter().enumerate() {
                comma(out, at);
                write(out, Some(value));
            }
            out.push(b']');
        }
        Some(Value::KvlistValue(list)) => write_pairs(out, &list.values),
        Some(Value::BytesValue(bytes)) => wrapped(out, BYTES, &BASE64.encode(bytes)),
    }
}

/// Writes a text as a JSON string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes everything, and a text is a string");
}

/// Writes pairs as an object.
pub(super) fn write_pairs(out: &mut Vec<u8>, pairs: &[KeyValue]) {
    if !is_object(pairs) {
        out.extend_from_slice(b"{\"$pairs\":[");
        for (at, pair) in pairs.iter().enumerate() {
            comma(out, at);
            out.push(b'[');
            write_text(out, &pair.key);
            out.push(b',');
            write(out, pair.value.as_ref());
            out.push(b']');
        }
        out.extend_from_slice(b"]}");
        return;
    }
    out.push(b'{');
    for (at, pair) in pairs.iter().enumerate() {
        comma(out, at);
        write_text(out, &pair.key);
        out.push(b':');
        write(out, pair.value.as_ref());
    }
    out.push(b'}');
}

/// Whether pairs can be an object: no key twice, and nothing that reads as one of our own words.
fn is_object(pairs: &[KeyValue]) -> bool {
    if pairs.first().is_some_and(|pair| pair.key.starts_with('$')) {
        return false;
    }
    let mut keys = HashSet::with_capacity(pairs.len());
    pairs.iter().all(|pair| keys.insert(pair.key.as_str()))
}

fn comma(out: &mut Vec<u8>, at: usize) {
    if at > 0 {
        out.push(b',');
    }
}

fn write_double(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        // The shortest form that reads as the same number, never without point and exponent.
        return out.extend_from_slice(format!("{number:?}").as_bytes());
    }
    let word = match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    };
    wrapped(out, DOUBLE, word);
}

fn wrapped(out: &mut Vec<u8>, key: &str, text: &str) {
    out.push(b'{');
    write_text(out, key);
    out.push(b':');
    write_text(out, text);
    out.push(b'}');
}

/// A value as it is read from JSON. Any JSON is one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Read(pub(super) AnyValue);

impl Read {
    fn of(value: Value) -> Self {
        Self(AnyValue { value: Some(value) })
    }

    /// As pairs, if it is an object.
    pub(super) fn into_pairs(self) -> Option<Vec<KeyValue>> {
        match self.0.value {
            Some(Value::KvlistValue(list)) => Some(list.values),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match &self.0.value {
            Some(Value::StringValue(text)) => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Read, E> {
        Ok(Read(AnyValue { value: None }))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Read, E> {
        Ok(Read::of(Value::BoolValue(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Read, E> {
        Ok(Read::of(Value::IntValue(value)))
    }

    /// One that OTLP has no integer for keeps its digits.
    fn visit_u64<E: Error>(self, value: u64) -> Result<Read, E> {
        Ok(Read::of(match i64::try_from(value) {
            Ok(value) => Value::IntValue(value),
            Err(_) => Value::StringValue(value.to_string()),
        }))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Read, E> {
        Ok(Read::of(Value::DoubleValue(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Read, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Read, E> {
        Ok(Read::of(Value::StringValue(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Read, A::Error> {
        let mut values = Vec::new();
        while let Some(Read(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Read::of(Value::ArrayValue(ArrayValue { values })))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let mut values = Vec::new();
        while let Some((key, Read(value))) = map.next_entry::<String, Read>()? {
            let value = Some(value);
            values.push(KeyValue { key, value });
        }
        if let [only] = values.as_mut_slice()
            && let Some(meant) = meant(only)
        {
            return Ok(Read(AnyValue { value: Some(meant) }));
        }
        Ok(Read::of(Value::KvlistValue(KeyValueList { values })))
    }
}

/// What an object with this one pair stands for, if it is one of ours. Clients may have such objects of their own: those stay what they are.
fn meant(pair: &KeyValue) -> Option<Value> {
    let value = Read(pair.value.clone().unwrap_or_default());
    match pair.key.as_str() {
        DOUBLE => match value.text()? {
            "NaN" => Some(Value::DoubleValue(f64::NAN)),
            "Infinity" => Some(Value::DoubleValue(f64::INFINITY)),
            "-Infinity" => Some(Value::DoubleValue(f64::NEG_INFINITY)),
            _ => None,
        },
        BYTES => {
            let bytes = BASE64.decode(value.text()?.as_bytes()).ok()?;
            Some(Value::BytesValue(bytes.into()))
        }
        PAIRS => {
            let Some(Value::ArrayValue(list)) = value.0.value else {
                return None;
            };
            let values: Option<Vec<_>> = list.values.into_iter().map(pair_of).collect();
            values.map(|values| Value::KvlistValue(KeyValueList { values }))
        }
        _ => None,
    }
}

fn pair_of(value: AnyValue) -> Option<KeyValue> {
    let Some(Value::ArrayValue(two)) = value.value else {
        return None;
    };
    let [key, value] = <[AnyValue; 2]>::try_from(two.values).ok()?;
    let Some(Value::StringValue(key)) = key.value else {
        return None;
    };
    let value = Some(value);
    Some(KeyValue { key, value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{AnyValue, ArrayValue, KeyValue, KeyValueList, Read, Value, write};

    fn anything() -> impl Strategy<Value = AnyValue> {
        let leaf = prop_oneof![
            Just(None),
            any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
            any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
            any::<f64>().prop_map(|value| Some(Value::DoubleValue(value))),
            ".{0,6}".prop_map(|value| Some(Value::StringValue(value))),
            any::<Vec<u8>>().prop_map(|value| Some(Value::BytesValue(value.into()))),
        ];
        leaf.prop_map(|value| AnyValue { value })
            .prop_recursive(4, 32, 5, |inner| {
                let list = prop::collection::vec(inner.clone(), 0..5);
                let key = prop_oneof!["[ab]", r"\$(double|bytes|pairs)", ".{0,3}"];
                let pairs = prop::collection::vec((key, inner), 0..5);
                prop_oneof![
                    list.prop_map(|values| Value::ArrayValue(ArrayValue { values })),
                    pairs.prop_map(|pairs| {
                        let pairs = pairs.into_iter().map(|(key, value)| KeyValue {
                            key,
                            value: Some(value),
                        });
                        let values = pairs.collect();
                        Value::KvlistValue(KeyValueList { values })
                    }),
                ]
                .prop_map(|value| AnyValue { value: Some(value) })
            })
    }

    fn text(value: &AnyValue) -> String {
        let mut out = Vec::new();
        write(&mut out, Some(value));
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(value in anything()) {
            let json = text(&value);
            let read: Read = serde_json::from_str(&json).unwrap();
            // NaN is not equal to itself.
            prop_assert_eq!(format!("{:?}", read.0), format!("{value:?}"), "{}", json);
        }
    }

    #[test]
    fn the_forms_are_those_that_are_documented() {
        let told = |value| text(&AnyValue { value: Some(value) });
        assert_eq!(told(Value::IntValue(7)), "7");
        assert_eq!(told(Value::DoubleValue(7.0)), "7.0");
        assert_eq!(told(Value::DoubleValue(f64::NAN)), r#"{"$double":"NaN"}"#);
        let bytes = Value::BytesValue(b"hi".as_slice().into());
        assert_eq!(told(bytes), r#"{"$bytes":"aGk="}"#);
        let pair = |key: &str, value| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(Value::IntValue(value)),
            }),
        };
        let pairs = |values| told(Value::KvlistValue(KeyValueList { values }));
        assert_eq!(pairs(vec![pair("a", 1), pair("b", 2)]), r#"{"a":1,"b":2}"#);
        let twice = r#"{"$pairs":[["a",1],["a",2]]}"#;
        assert_eq!(pairs(vec![pair("a", 1), pair("a", 2)]), twice);
    }

    #[test]
    fn json_of_others_is_a_value_too() {
        let read = |json: &str| serde_json::from_str::<Read>(json).unwrap().0.value;
        let digits = "18446744073709551615";
        assert_eq!(read(digits), Some(Value::StringValue(digits.to_owned())));
        assert_eq!(read("1e3"), Some(Value::DoubleValue(1000.0)));
        let own = read(r#"{"$bytes":7}"#);
        assert!(matches!(own, Some(Value::KvlistValue(list)) if list.values[0].key == "$bytes"));
    }
}

//! JSON in which no object has a key twice: of two, another reader may take the one that this one does not (RFC 8259, 4).

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// A value, all objects in it with keys of their own.
#[derive(Debug)]
pub(super) struct Unique(pub(super) Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(value)) = values.next_element()? {
            all.push(value);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((key, Unique(value))) = entries.next_entry::<String, _>()? {
            if all.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            all.insert(key, value);
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_that_is_there_twice_is_named() {
        let said = |text: &str| serde_json::from_str::<Unique>(text).unwrap_err().to_string();
        assert!(
            said(r#"{"a":1,"b":2,"a":1}"#).starts_with(r#"the key "a" is there twice at line 1 column "#)
        );
        assert!(said(r#"{"a":[{"b":{"c":1,"\u0063":2}}]}"#).contains(r#"the key "c" is there twice"#));
        assert!(serde_json::from_str::<Unique>(r#"[{"a":1},{"a":1,"b":{"a":1}}]"#).is_ok());
    }

    proptest! {
        /// What the usual reader reads of bytes is what this one reads, but for keys that are there twice.
        #[test]
        fn it_reads_what_is_usual(text in r#"[\[\]{},:"a0-9eE.+\-trufalsn ]{0,24}"#) {
            let usual = serde_json::from_str::<Value>(&text);
            match serde_json::from_str::<Unique>(&text) {
                Ok(Unique(value)) => prop_assert_eq!(value, usual.unwrap()),
                Err(error) => prop_assert!(usual.is_err() || error.is_data(), "{} {}", text, error),
            }
        }
    }

    #[test]
    fn it_reads_each_kind_of_value() {
        let text = r#"{"a":null,"b":[true,false,-7,18446744073709551615,1.5,"x\n"],"c":{"d":{}},"e":1e400}"#;
        assert!(serde_json::from_str::<Unique>(text).is_err(), "no number is so large");
        let text = text.replace(r#","e":1e400"#, "");
        let usual: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::from_str::<Unique>(&text).unwrap().0, usual);
    }
}

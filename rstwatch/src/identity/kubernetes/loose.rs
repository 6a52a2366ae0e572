//! Reading JSON that may be anything: what does not fit is as if it were not there, and nothing grows without bound.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Longest text that is kept (bytes): names in Kubernetes have at most 253.
pub const TEXT_BYTES: usize = 256;

/// A text, if it is one of at most [`TEXT_BYTES`] and not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Option<Box<str>>);

impl Text {
    /// As text.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// A truth, if it is one; else false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

/// An object, if it is one; else the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loose<T>(pub T);

/// The first `MOST` of a list, if it is one; else none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MOST: usize>(pub Vec<T>);

impl<T, const MOST: usize> Default for List<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The visits that a type does not care for.
macro_rules! otherwise {
    ($visit:ident($value:ty) $($rest:tt)*) => {
        fn $visit<E>(self, _: $value) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        otherwise! { $($rest)* }
    };
    (nothing $($rest:tt)*) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        otherwise! { $($rest)* }
    };
    (list $($rest:tt)*) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
        otherwise! { $($rest)* }
    };
    (object $($rest:tt)*) => {
        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
        otherwise! { $($rest)* }
    };
    () => {
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("anything")
        }
    };
}

struct AsText;

impl<'de> Visitor<'de> for AsText {
    type Value = Text;

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text((1..=TEXT_BYTES).contains(&text.len()).then(|| text.into())))
    }

    otherwise! { visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) nothing list object }
}

struct AsFlag;

impl<'de> Visitor<'de> for AsFlag {
    type Value = Flag;

    fn visit_bool<E>(self, flag: bool) -> Result<Flag, E> {
        Ok(Flag(flag))
    }

    otherwise! { visit_str(&str) visit_i64(i64) visit_u64(u64) visit_f64(f64) nothing list object }
}

struct AsObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for AsObject<T> {
    type Value = Loose<T>;

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Loose<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(Loose)
    }

    otherwise! { visit_str(&str) visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) nothing list }
}

struct AsList<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for AsList<T, MOST> {
    type Value = List<T, MOST>;

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T, MOST>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < MOST {
            let Some(element) = list.next_element()? else { return Ok(List(kept)) };
            kept.push(element);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(List(kept))
    }

    otherwise! { visit_str(&str) visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) nothing object }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsText)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsFlag)
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsObject(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsList(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Thing {
        text: Text,
        flag: Flag,
        list: List<Text, 2>,
        inner: Loose<Inner>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Inner {
        text: Text,
    }

    fn text(text: &str) -> Text {
        Text(Some(text.into()))
    }

    #[test]
    fn what_fits_is_read() {
        let read = serde_json::from_str(
            r#"{"text":"a","flag":true,"list":["b","c","d",{"e":[1]}],"inner":{"text":"f"},"new":[{"x":1}]}"#,
        );
        let expected = Thing {
            text: text("a"),
            flag: Flag(true),
            list: List(vec![text("b"), text("c")]),
            inner: Loose(Inner { text: text("f") }),
        };
        assert_eq!(read.map_err(|error: serde_json::Error| error.to_string()), Ok(expected));
    }

    #[test]
    fn what_does_not_fit_is_not_there() {
        let long = format!("\"{}\"", "x".repeat(TEXT_BYTES + 1));
        for value in ["null", "1", "-1", "1.5", "\"\"", "[]", "[[1],{\"a\":2}]", "{}", "{\"a\":{\"b\":[]}}", &long] {
            for key in ["text", "flag", "list", "inner"] {
                let json = format!("{{\"{key}\":{value},\"flag\":false}}").replace("\"flag\":[", "\"flag\":[");
                // A key twice is no object that an API server writes.
                let json = if key == "flag" { format!("{{\"flag\":{value}}}") } else { json };
                let mut read: Thing = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}: {error}"));
                if key == "list" {
                    read.list.0.retain(|text| text.0.is_some());
                }
                assert_eq!(read, Thing::default(), "{json}");
            }
        }
    }
}

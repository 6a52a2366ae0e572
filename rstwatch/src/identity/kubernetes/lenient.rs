//! Lenient JSON types: a value of the wrong type decodes to the default, and sizes are bounded.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Longest text kept, in bytes; Kubernetes names have at most 253.
pub const MAX_TEXT: usize = 256;

/// A non-empty string of at most [`MAX_TEXT`] bytes; otherwise `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Option<Box<str>>);

impl Text {
    /// The string.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// A boolean; otherwise false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

/// An object; otherwise the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lenient<T>(pub T);

/// The first `MAX` elements of a list; otherwise empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Visitor methods for values of the wrong type, which decode to the default.
macro_rules! default_for {
    ($visit:ident($value:ty) $($rest:tt)*) => {
        fn $visit<E>(self, _: $value) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        default_for! { $($rest)* }
    };
    (null $($rest:tt)*) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        default_for! { $($rest)* }
    };
    (list $($rest:tt)*) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
        default_for! { $($rest)* }
    };
    (object $($rest:tt)*) => {
        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
        default_for! { $($rest)* }
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
        Ok(Text((1..=MAX_TEXT).contains(&text.len()).then(|| text.into())))
    }

    default_for! { visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) null list object }
}

struct AsFlag;

impl<'de> Visitor<'de> for AsFlag {
    type Value = Flag;

    fn visit_bool<E>(self, flag: bool) -> Result<Flag, E> {
        Ok(Flag(flag))
    }

    default_for! { visit_str(&str) visit_i64(i64) visit_u64(u64) visit_f64(f64) null list object }
}

struct AsObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for AsObject<T> {
    type Value = Lenient<T>;

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Lenient<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(Lenient)
    }

    default_for! { visit_str(&str) visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) null list }
}

struct AsList<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AsList<T, MAX> {
    type Value = List<T, MAX>;

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T, MAX>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < MAX {
            let Some(element) = list.next_element()? else { return Ok(List(kept)) };
            kept.push(element);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(List(kept))
    }

    default_for! { visit_str(&str) visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) null object }
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

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AsObject(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
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
        inner: Lenient<Inner>,
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
    fn values_of_the_right_type_are_decoded() {
        let read = serde_json::from_str(
            r#"{"text":"a","flag":true,"list":["b","c","d",{"e":[1]}],"inner":{"text":"f"},"new":[{"x":1}]}"#,
        );
        let expected = Thing {
            text: text("a"),
            flag: Flag(true),
            list: List(vec![text("b"), text("c")]),
            inner: Lenient(Inner { text: text("f") }),
        };
        assert_eq!(read.map_err(|error: serde_json::Error| error.to_string()), Ok(expected));
    }

    #[test]
    fn values_of_the_wrong_type_are_ignored() {
        let long = format!("\"{}\"", "x".repeat(MAX_TEXT + 1));
        for value in ["null", "1", "-1", "1.5", "\"\"", "[]", "[[1],{\"a\":2}]", "{}", "{\"a\":{\"b\":[]}}", &long] {
            for key in ["text", "flag", "list", "inner"] {
                let json = format!("{{\"{key}\":{value},\"flag\":false}}");
                // Do not write the key twice.
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

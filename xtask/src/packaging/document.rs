//! YAML documents as JSON values.

use anyhow::{Context as _, Result, bail};
use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value};

/// All documents in a text, without empty ones.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let read = Yaml::load_from_str(text).context("not YAML")?;
    let values: Vec<_> = read.iter().map(value).collect::<Result<_>>()?;
    Ok(values.into_iter().filter(|value| !value.is_null()).collect())
}

fn value(node: &Yaml<'_>) -> Result<Value> {
    Ok(match node {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(truth) => Value::from(*truth),
            Scalar::Integer(number) => Value::from(*number),
            Scalar::FloatingPoint(number) => Value::from(f64::from(*number)),
            Scalar::String(text) => Value::from(&**text),
        },
        Yaml::Sequence(items) => items.iter().map(value).collect::<Result<_>>()?,
        Yaml::Mapping(pairs) => {
            let pair = |(key, inner): (&Yaml<'_>, &Yaml<'_>)| {
                let key = key.as_str().context("a key is not a string")?;
                Ok((key.to_owned(), value(inner)?))
            };
            Value::Object(pairs.iter().map(pair).collect::<Result<Map<_, _>>>()?)
        }
        other => bail!("not a scalar, sequence or mapping: {other:?}"),
    })
}

/// Kind and name of a document, for messages.
pub(crate) fn name(document: &Value) -> String {
    format!("{} {}", word(document, "/kind"), word(document, "/metadata/name"))
}

/// The string at a JSON pointer; empty if there is none.
pub(crate) fn word<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The array at a JSON pointer; empty if there is none.
pub(crate) fn list<'a>(document: &'a Value, pointer: &str) -> &'a [Value] {
    document.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_types() {
        let text = "a: 1\nb: '1'\nc: true\nd: [x, 1.5]\n---\n---\ne: |\n  l\n";
        let read = documents(text).expect("YAML");
        let expected =
            [serde_json::json!({"a": 1, "b": "1", "c": true, "d": ["x", 1.5]}), serde_json::json!({"e": "l\n"})];
        assert_eq!(read, expected);
    }
}

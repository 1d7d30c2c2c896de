//! `inner.micro_batch_segments`: how many segments are computed at once.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const EXPECTED: &str = "\"auto\" or a number of segments";

/// Segments computed at once: written as `"auto"`, or their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MicroBatch {
    /// One on a CPU, and on a GPU as many as its free memory holds.
    #[default]
    Auto,
    /// So many.
    Segments(usize),
}

impl fmt::Display for MicroBatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Segments(segments) => segments.fmt(out),
        }
    }
}

impl FromStr for MicroBatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Segments).map_err(|_| format!("expected {EXPECTED}")),
        }
    }
}

impl Serialize for MicroBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Segments(segments) => serializer.serialize_u64(segments as u64),
        }
    }
}

impl<'de> Deserialize<'de> for MicroBatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MicroBatchVisitor)
    }
}

impl JsonSchema for MicroBatch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MicroBatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1 }] })
    }
}

struct MicroBatchVisitor;

impl de::Visitor<'_> for MicroBatchVisitor {
    type Value = MicroBatch;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MicroBatch, E> {
        match text {
            "auto" => Ok(MicroBatch::Auto),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, segments: u64) -> Result<MicroBatch, E> {
        let wrong = |_| E::invalid_value(de::Unexpected::Unsigned(segments), &self);
        usize::try_from(segments).map(MicroBatch::Segments).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_auto_is_read_and_written_alike_in_files_and_on_the_command_line() {
        for (micro_batch, json) in [(MicroBatch::Auto, "\"auto\""), (MicroBatch::Segments(12), "12")] {
            assert_eq!(serde_json::to_string(&micro_batch).unwrap(), json);
            assert_eq!(serde_json::from_str::<MicroBatch>(json).unwrap(), micro_batch);
            assert_eq!(micro_batch.to_string().parse(), Ok(micro_batch));
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for json in ["\"all\"", "\"12\"", "-1", "1.5", "true", "[1]"] {
            let message = serde_json::from_str::<MicroBatch>(json).unwrap_err().to_string();
            assert!(message.contains(EXPECTED), "{json}: {message}");
        }
        for text in ["", "all", "-1", "1.5", "18446744073709551616"] {
            assert!(text.parse::<MicroBatch>().unwrap_err().contains(EXPECTED), "{text}");
        }
    }
}

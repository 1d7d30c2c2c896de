//! The form of a configuration as a JSON Schema, by which editors complete and check it.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// The schema of a configuration of `command`: every key with its description, its type and its default.
///
/// # Errors
/// Defaults that cannot be written as JSON; there are none.
pub fn schema<T: JsonSchema + Default + Serialize>(command: &str) -> Result<Value> {
    let generator =
        SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut schema = Schema::to_value(generator.into_root_schema_for::<T>());
    let defaults = serde_json::to_value(T::default())
        .map_err(|fault| Error::Invalid(format!("the defaults cannot be written as JSON: {fault}")))?;
    schema["title"] = format!("configuration of {command}").into();
    no_key_is_required(&mut schema);
    plain_descriptions(&mut schema);
    for (block, inner) in schema["properties"].as_object_mut().into_iter().flatten() {
        // A key that nobody knows is refused, as perk refuses it.
        inner["additionalProperties"] = false.into();
        set_defaults(inner, &defaults[block]);
    }
    schema["additionalProperties"] = false.into();
    Ok(schema)
}

/// What is left out has its default.
fn no_key_is_required(schema: &mut Value) {
    visit(schema, &mut |object| drop(object.remove("required")));
}

/// Descriptions are written for Rust's documentation: links in them are names here.
fn plain_descriptions(schema: &mut Value) {
    visit(schema, &mut |object| {
        if let Some(Value::String(text)) = object.get_mut("description") {
            *text = without_links(text);
        }
    });
}

fn set_defaults(block: &mut Value, defaults: &Value) {
    let Some(properties) = block.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (key, property) in properties {
        if let (Some(property), Some(default)) = (property.as_object_mut(), defaults.get(key)) {
            property.insert("default".to_owned(), default.clone());
        }
    }
}

fn visit(value: &mut Value, see: &mut dyn FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            see(object);
            object.values_mut().for_each(|inner| visit(inner, see));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| visit(inner, see)),
        _ => {}
    }
}

/// "see [`Place`](super::Place)" as "see `Place`".
fn without_links(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, after)) = after.split_once("`]") else { break };
        plain += &format!("{before}`{name}`");
        rest = match after.strip_prefix('(').and_then(|link| link.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BaseRecipe, Config};

    fn properties(schema: &Value, block: &str) -> serde_json::Map<String, Value> {
        schema["properties"][block]["properties"].as_object().unwrap().clone()
    }

    /// Every key that is read is in the schema, and no other, with the default that it has.
    fn assert_complete<T: JsonSchema + Default + Serialize>() {
        let (schema, defaults) = (schema::<T>("perk").unwrap(), serde_json::to_value(T::default()).unwrap());
        for (block, keys) in defaults.as_object().unwrap() {
            let properties = properties(&schema, block);
            let expected: Vec<&String> = keys.as_object().unwrap().keys().collect();
            let mut found: Vec<&String> = properties.keys().collect();
            found.sort();
            assert_eq!(found, expected, "{block}");
            for (key, property) in &properties {
                assert_eq!(property["default"], keys[key], "{block}.{key}");
                assert!(
                    property["description"].as_str().is_some_and(|text| !text.contains("](")),
                    "{block}.{key}"
                );
            }
        }
    }

    #[test]
    fn a_schema_has_every_key_with_its_description_and_its_default() {
        assert_complete::<Config>();
        assert_complete::<BaseRecipe>();
    }

    #[test]
    fn values_that_are_names_are_listed() {
        let text = schema::<Config>("perk").unwrap().to_string();
        for name in [
            "\"adamw\"",
            "\"labelled_tokens\"",
            "\"q4_k\"",
            "\"in-context\"",
            "\"student-records\"",
            "\"auto\"",
        ] {
            assert!(text.contains(name), "{name} is missing in {text}");
        }
        assert!(!text.contains("\"required\""));
    }

    #[test]
    fn links_of_documentation_are_names() {
        assert_eq!(without_links("see [`A`](super::A), [`B`] and [c]"), "see `A`, `B` and [c]");
    }
}

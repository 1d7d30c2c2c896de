//! The fields of a JSON object, taken out one by one; what is left over is refused by name.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::fault::Fault;

/// The fields that are left.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// Bytes that are no JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, Fault> {
        let bad = |reason: String| Fault::new(axum::http::StatusCode::BAD_REQUEST, reason);
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(bad("the body must be a JSON object".to_owned())),
            Err(fault) => Err(bad(format!("the body is no JSON: {fault}"))),
        }
    }

    /// The value of a field; `None` where it is missing or null.
    ///
    /// # Errors
    /// A value of another form, named by the field.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Fault> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_path_to_error::deserialize(value).map(Some).map_err(|fault| {
                let path = fault.path().to_string();
                let field = match path.as_str() {
                    "." => name.to_owned(),
                    path if path.starts_with('[') => format!("{name}{path}"),
                    path => format!("{name}.{path}"),
                };
                Fault::field(field, fault.inner().to_string())
            }),
        }
    }

    /// The value of a field that must be there.
    ///
    /// # Errors
    /// As [`take`](Self::take), and a field that is missing.
    pub fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Fault> {
        self.take(name)?.ok_or_else(|| Fault::field(name, "is missing"))
    }

    /// Drops fields that change nothing here.
    pub fn ignore(&mut self, names: &[&str]) {
        names.iter().for_each(|name| drop(self.0.remove(*name)));
    }

    /// Drops fields that may only say what holds anyway.
    ///
    /// # Errors
    /// The first of them that says something else.
    pub fn only(&mut self, allowed: &[(&str, &[Value])]) -> Result<(), Fault> {
        for (name, values) in allowed {
            match self.0.remove(*name) {
                Some(value) if !value.is_null() && !values.contains(&value) => {
                    let allowed: Vec<_> = values.iter().map(Value::to_string).collect();
                    let reason = format!("is not supported here, but for {}", allowed.join(" or "));
                    return Err(Fault::field(*name, reason));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// No field may be left.
    ///
    /// # Errors
    /// One that nobody knows.
    pub fn end(self) -> Result<(), Fault> {
        match self.0.keys().next() {
            Some(name) => Err(Fault::field(name, "is unknown here")),
            None => Ok(()),
        }
    }
}

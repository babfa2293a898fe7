//! The arguments of a call, read into types; a mistake names the argument.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::ApiError;
use super::methods::Method;

/// A value, or `none` to take it away.
#[derive(Debug)]
pub struct OrNone<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

/// The arguments of one call of `method`.
#[derive(Debug)]
pub struct Args {
    method: &'static Method,
    values: Map<String, Value>,
}

impl Args {
    /// Anything but an object counts as one without members, as ubus sends it for a method without arguments.
    pub fn new(method: &'static Method, params: Value) -> Self {
        let values = match params {
            Value::Object(values) => values,
            _ => Map::new(),
        };
        Self { method, values }
    }

    /// An argument that must be there.
    pub fn need<T: FromStr<Err: Display>>(&self, field: &'static str) -> Result<T, ApiError> {
        let help = self.method.params.iter().find(|param| param.name == field).map_or("", |param| param.help);
        self.get(field)?.ok_or(ApiError::Missing { field, help })
    }

    /// An argument that may be left out; an empty text counts as left out, as forms send it.
    pub fn get<T: FromStr<Err: Display>>(&self, field: &'static str) -> Result<Option<T>, ApiError> {
        debug_assert!(
            self.method.params.iter().any(|param| param.name == field),
            "{field} is not in the table"
        );
        let bad = |message: String| ApiError::BadValue { field, message };
        let text = match self.values.get(field) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(other) => return Err(bad(format!("`{field}` must be a text or a number, not `{other}`"))),
        };
        text.parse().map(Some).map_err(|error: T::Err| bad(error.to_string()))
    }

    /// A whole number that may be left out.
    pub fn number(&self, field: &'static str) -> Result<Option<u64>, ApiError> {
        self.get(field).map_err(|_| self.no_number(field))
    }

    pub fn need_number(&self, field: &'static str) -> Result<u64, ApiError> {
        self.need(field).map_err(|error| match error {
            ApiError::BadValue { .. } => self.no_number(field),
            other => other,
        })
    }

    fn no_number(&self, field: &'static str) -> ApiError {
        let shown: String = self.values.get(field).map(ToString::to_string).unwrap_or_default();
        let shown: String = shown.chars().take(crate::types::limits::NAME_SHOWN).collect();
        ApiError::BadValue { field, message: format!("`{}` is not a whole number", shown.trim_matches('"')) }
    }
}

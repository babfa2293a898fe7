//! blobmsg: JSON's values as attributes with names.
//!
//! | JSON | blobmsg | and back |
//! |---|---|---|
//! | null | type 0, nothing | null |
//! | true, false | int8 | every int8 is one of the two |
//! | whole number | int32 if it fits, else int64; a double beyond that | also from int16 |
//! | other number | double | null if it is none of JSON's |
//! | text | bytes and a NUL | must be UTF-8 |
//! | list, object | entries; those of a list have empty names | of a name that stands twice the last counts |

use serde_json::{Map, Number, Value};

use super::attr::{Attr, Attrs, Malformed, Writer, put_text};
use crate::types::limits;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Null = 0,
    List = 1,
    Table = 2,
    Text = 3,
    Int64 = 4,
    Int32 = 5,
    Int16 = 6,
    Bool = 7,
    Double = 8,
}

impl Kind {
    /// As it travels.
    pub const fn id(self) -> u8 {
        self as u8
    }

    const fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            0 => Self::Null,
            1 => Self::List,
            2 => Self::Table,
            3 => Self::Text,
            4 => Self::Int64,
            5 => Self::Int32,
            6 => Self::Int16,
            7 => Self::Bool,
            8 => Self::Double,
            _ => return None,
        })
    }
}

/// Why bytes are not arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("an argument without a name")]
    NoName,
    #[error("a value of the unknown type {0}")]
    Type(u8),
    #[error("a value that is shorter than its type")]
    Short,
    #[error("a text that is not UTF-8")]
    NotUtf8,
    #[error("lists and tables nested more than {} deep", limits::UBUS_DEPTH)]
    TooDeep,
}

/// The entries of a table.
pub fn read_table(bytes: &[u8]) -> Result<Map<String, Value>, BadValue> {
    table(bytes, limits::UBUS_DEPTH)
}

fn table(bytes: &[u8], depth: usize) -> Result<Map<String, Value>, BadValue> {
    let depth = depth.checked_sub(1).ok_or(BadValue::TooDeep)?;
    Attrs::new(bytes)
        .map(|attr| {
            let (name, kind, data) = entry(&attr?)?;
            Ok((name.to_owned(), value(kind, data, depth)?))
        })
        .collect()
}

fn list(bytes: &[u8], depth: usize) -> Result<Vec<Value>, BadValue> {
    let depth = depth.checked_sub(1).ok_or(BadValue::TooDeep)?;
    Attrs::new(bytes)
        .map(|attr| {
            let (_, kind, data) = entry(&attr?)?;
            value(kind, data, depth)
        })
        .collect()
}

/// Name, type and bytes of an entry.
fn entry<'a>(attr: &Attr<'a>) -> Result<(&'a str, Kind, &'a [u8]), BadValue> {
    let kind = Kind::from_id(attr.id).ok_or(BadValue::Type(attr.id))?;
    if !attr.extended {
        return Err(BadValue::NoName);
    }
    let (length, after) = attr.data.split_first_chunk::<2>().ok_or(BadValue::NoName)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let name = after.get(..length).ok_or(BadValue::NoName)?;
    let name = str::from_utf8(name).map_err(|_| BadValue::NotUtf8)?;
    // Two bytes of length, the name, a NUL.
    let data = attr.data.get((length + 3).next_multiple_of(4)..).unwrap_or_default();
    Ok((name, kind, data))
}

fn value(kind: Kind, data: &[u8], depth: usize) -> Result<Value, BadValue> {
    Ok(match kind {
        Kind::Null => Value::Null,
        Kind::List => Value::Array(list(data, depth)?),
        Kind::Table => Value::Object(table(data, depth)?),
        Kind::Text => {
            let text = data.strip_suffix(&[0]).ok_or(BadValue::Short)?;
            Value::String(str::from_utf8(text).map_err(|_| BadValue::NotUtf8)?.to_owned())
        }
        Kind::Int64 => i64::from_be_bytes(fixed(data)?).into(),
        Kind::Int32 => i32::from_be_bytes(fixed(data)?).into(),
        Kind::Int16 => i16::from_be_bytes(fixed(data)?).into(),
        Kind::Bool => Value::Bool(fixed::<1>(data)? != [0]),
        Kind::Double => Number::from_f64(f64::from_be_bytes(fixed(data)?)).map_or(Value::Null, Value::Number),
    })
}

fn fixed<const N: usize>(data: &[u8]) -> Result<[u8; N], BadValue> {
    data.try_into().map_err(|_| BadValue::Short)
}

/// Appends the entries of a table.
pub fn write_table(writer: &mut Writer<'_>, table: &Map<String, Value>) {
    for (name, value) in table {
        write(writer, name, value);
    }
}

/// Appends one entry.
pub fn write(writer: &mut Writer<'_>, name: &str, value: &Value) {
    match value {
        Value::Null => writer.entry(Kind::Null.id(), name, |_| {}),
        Value::Bool(yes) => writer.entry(Kind::Bool.id(), name, |out| out.push((*yes).into())),
        Value::Number(number) => write_number(writer, name, number),
        Value::String(text) => write_text(writer, name, text),
        Value::Array(items) => writer.entry(Kind::List.id(), name, |out| {
            let mut inner = Writer(out);
            for item in items {
                write(&mut inner, "", item);
            }
        }),
        Value::Object(table) => {
            writer.entry(Kind::Table.id(), name, |out| write_table(&mut Writer(out), table));
        }
    }
}

pub fn write_text(writer: &mut Writer<'_>, name: &str, text: &str) {
    writer.entry(Kind::Text.id(), name, |out| put_text(out, text));
}

fn write_number(writer: &mut Writer<'_>, name: &str, number: &Number) {
    let whole = number.as_i64();
    if let Some(small) = whole.and_then(|whole| i32::try_from(whole).ok()) {
        writer.entry(Kind::Int32.id(), name, |out| out.extend_from_slice(&small.to_be_bytes()));
    } else if let Some(whole) = whole {
        writer.entry(Kind::Int64.id(), name, |out| out.extend_from_slice(&whole.to_be_bytes()));
    } else {
        let double = number.as_f64().unwrap_or(f64::NAN);
        writer.entry(Kind::Double.id(), name, |out| out.extend_from_slice(&double.to_be_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn encode(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        write_table(&mut Writer(&mut out), value.as_object().expect("a table"));
        out
    }

    #[test]
    fn numbers_take_the_smallest_type_that_programs_expect() {
        #[rustfmt::skip]
        let rows = [
            (json!(-5),                     Kind::Int32,  json!(-5)),
            (json!(i32::MAX),               Kind::Int32,  json!(i32::MAX)),
            (json!(2_147_483_648_u64),      Kind::Int64,  json!(2_147_483_648_u64)),
            (json!(i64::MIN),               Kind::Int64,  json!(i64::MIN)),
            (json!(u64::MAX),               Kind::Double, json!(18_446_744_073_709_551_615.0)),
            (json!(0.5),                    Kind::Double, json!(0.5)),
            (json!(true),                   Kind::Bool,   json!(true)),
            (json!(null),                   Kind::Null,   json!(null)),
        ];
        for (value, kind, back) in rows {
            let bytes = encode(&json!({ "n": value }));
            assert_eq!(bytes[0], 0x80 | kind.id(), "{value}");
            assert_eq!(read_table(&bytes), Ok(json!({ "n": back }).as_object().expect("one").clone()));
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_the_reason() {
        #[rustfmt::skip]
        let rows: [(&[u8], BadValue); 7] = [
            (&[3, 0, 0, 8, 0, 0, 0, 0],                        BadValue::NoName),
            (&[0x83, 0, 0, 5, 0, 0, 0, 0],                     BadValue::NoName),
            (&[0x83, 0, 0, 8, 0, 9, b'a', 0],                  BadValue::NoName),
            (&[0x89, 0, 0, 8, 0, 1, b'a', 0],                  BadValue::Type(9)),
            (&[0x85, 0, 0, 10, 0, 1, b'a', 0, 1, 2, 0, 0],     BadValue::Short),
            (&[0x83, 0, 0, 8, 0, 1, b'a', 0],                  BadValue::Short),
            (&[0x83, 0, 0, 10, 0, 1, b'a', 0, 0xff, 0, 0, 0],  BadValue::NotUtf8),
        ];
        for (bytes, problem) in rows {
            assert_eq!(read_table(bytes), Err(problem), "{bytes:x?}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({ "x": inner }));
        assert!(read_table(&encode(&nested(limits::UBUS_DEPTH - 1))).is_ok());
        assert_eq!(read_table(&encode(&nested(limits::UBUS_DEPTH))), Err(BadValue::TooDeep));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f64>().prop_map(|double| json!(double)),
            "[^\0]{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map("[^\0]{0,12}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// What one side says is what the other side hears.
        #[test]
        fn every_value_arrives_as_it_was_sent(value in any_value()) {
            let table = json!({ "value": value });
            let bytes = encode(&table);
            prop_assert_eq!(bytes.len() % 4, 0);
            prop_assert_eq!(read_table(&bytes).map(Value::Object), Ok(table));
        }

        /// No bytes break the reader, and what it makes of them can be sent again.
        #[test]
        fn any_bytes_are_a_table_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(table) = read_table(&bytes) {
                let table = Value::Object(table);
                prop_assert!(read_table(&encode(&table)).is_ok());
            }
        }
    }
}

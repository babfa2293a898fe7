//! Whether an entry matches a filter (RFC 4511 §4.5.1.7), with the three values of the RFC: `None` is "undefined".
//!
//! Comparing ignores case, as the attributes that people search for do (RFC 4519); numbers compare as numbers, names of
//! entries as names.

use ldap3_proto::proto::{LdapFilter, LdapSubstringFilter};

use super::directory::{ATTRIBUTES, Directory, Entry};
use super::dn::Dn;

/// Deeper filters are refused by the reader of messages, so this ends.
pub fn matches(directory: &Directory, entry: Entry<'_>, filter: &LdapFilter) -> Option<bool> {
    let all = |filters: &[LdapFilter], decides: bool| {
        let mut result = Some(!decides);
        for filter in filters {
            match matches(directory, entry, filter) {
                Some(value) if value == decides => return Some(decides),
                Some(_) => {}
                None => result = None,
            }
        }
        result
    };
    let any_value = |attribute: &str, fits: &dyn Fn(&str, &str) -> bool| {
        let attribute = known(attribute)?;
        let values = directory.values(entry, &attribute);
        Some(values.iter().any(|value| fits(&attribute, value)))
    };
    match filter {
        LdapFilter::And(filters) => all(filters, false),
        LdapFilter::Or(filters) => all(filters, true),
        LdapFilter::Not(filter) => matches(directory, entry, filter).map(|value| !value),
        LdapFilter::Present(attribute) => any_value(attribute, &|_, _| true),
        LdapFilter::Equality(attribute, wanted) | LdapFilter::Approx(attribute, wanted) => {
            any_value(attribute, &|attribute, value| equal(attribute, value, wanted))
        }
        LdapFilter::Substring(attribute, wanted) => any_value(attribute, &|_, value| holds(value, wanted)),
        LdapFilter::GreaterOrEqual(attribute, wanted) => {
            any_value(attribute, &|_, value| compare(value, wanted).is_ge())
        }
        LdapFilter::LessOrEqual(attribute, wanted) => {
            any_value(attribute, &|_, value| compare(value, wanted).is_le())
        }
        // No rule is announced, so none can be asked for.
        LdapFilter::Extensible(_) => None,
    }
}

/// How many comparisons a filter asks for at most.
pub fn terms(filter: &LdapFilter) -> usize {
    match filter {
        LdapFilter::And(filters) | LdapFilter::Or(filters) => filters.iter().map(terms).sum(),
        LdapFilter::Not(filter) => terms(filter),
        LdapFilter::Substring(_, parts) => {
            1 + parts.any.len() + usize::from(parts.initial.is_some()) + usize::from(parts.final_.is_some())
        }
        _ => 1,
    }
}

/// The attribute in small letters and without options such as `;lang-de`, if any entry could have it.
pub fn known(attribute: &str) -> Option<String> {
    let name = attribute.split(';').next().unwrap_or_default().to_ascii_lowercase();
    ATTRIBUTES.iter().any(|known| known.eq_ignore_ascii_case(&name)).then_some(name)
}

pub fn equal(attribute: &str, value: &str, wanted: &str) -> bool {
    match attribute {
        "memberof" | "entrydn" => match (value.parse::<Dn>(), wanted.parse::<Dn>()) {
            (Ok(value), Ok(wanted)) => value == wanted,
            _ => false,
        },
        "uidnumber" | "gidnumber" => compare(value, wanted).is_eq(),
        _ => folded(value) == folded(wanted),
    }
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn compare(value: &str, wanted: &str) -> std::cmp::Ordering {
    match (value.parse::<u64>(), wanted.trim().parse::<u64>()) {
        (Ok(value), Ok(wanted)) => value.cmp(&wanted),
        _ => folded(value).cmp(&folded(wanted)),
    }
}

fn holds(value: &str, wanted: &LdapSubstringFilter) -> bool {
    let value = value.to_lowercase();
    let mut rest = value.as_str();
    if let Some(initial) = &wanted.initial {
        let Some(after) = rest.strip_prefix(initial.to_lowercase().as_str()) else { return false };
        rest = after;
    }
    for part in &wanted.any {
        let part = part.to_lowercase();
        let Some((_, after)) = rest.split_once(part.as_str()) else { return false };
        rest = after;
    }
    wanted.final_.as_ref().is_none_or(|end| rest.ends_with(end.to_lowercase().as_str()))
}

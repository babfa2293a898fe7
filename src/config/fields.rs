//! One section of `/etc/config/bramble` after its options have been held against [`super::schema`]: values by name and
//! by type, defaults filled in.
//!
//! An option whose value had a problem is as if it had been left out; the problem has been noted by then.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::kind::Parsed;
use super::schema::{self, Absent, SectionSpec};
use super::uci::Section;
use crate::types::{ByteSize, ClassName, HostName, ImageRef, MacAddr, NfsUrl, Spanned, Subnet};

/// A section whose options have been held against the schema.
#[derive(Debug)]
pub struct Fields<'a> {
    pub spec: &'static SectionSpec,
    pub section: Option<&'a Section>,
    pub values: HashMap<&'static str, Vec<Spanned<Parsed>>>,
}

/// `section.option` as `uci set` takes it.
pub fn path(section: &Section, option: &str) -> String {
    format!("{}.{option}", section.path())
}

impl Fields<'_> {
    /// A section that was left out: every option has its default.
    pub fn absent(kind: &'static str) -> Self {
        let spec = schema::section(kind).expect("the sections asked for by name are in the schema");
        Self { spec, section: None, values: HashMap::new() }
    }

    pub fn again(&self) -> Self {
        Self { spec: self.spec, section: self.section, values: self.values.clone() }
    }

    /// `section.option` of this section.
    pub fn at(&self, option: &str) -> String {
        self.section.map_or_else(|| format!("{}.{option}", self.spec.kind), |section| path(section, option))
    }

    /// The value that was written; for a list its first.
    pub fn value(&self, name: &str) -> Option<&Spanned<Parsed>> {
        self.values.get(name).and_then(|values| values.first())
    }

    /// The values that count: those written, else the default.
    pub fn all(&self, name: &str) -> Vec<Spanned<Parsed>> {
        if let Some(written) = self.values.get(name).filter(|values| !values.is_empty()) {
            return written.clone();
        }
        let spec = self.spec.option(name).expect("options are asked for by names of the schema");
        match spec.default {
            Absent::Value(text) => {
                let value = spec.kind.parse(text).expect("a test parses every default");
                let (line, column) =
                    self.section.map_or((0, 0), |section| (section.kind.line, section.kind.column));
                vec![Spanned { value, line, column }]
            }
            Absent::Required | Absent::Unset => Vec::new(),
        }
    }

    pub fn first<T>(&self, name: &str, pick: impl Fn(Parsed) -> Option<T>) -> Option<Spanned<T>> {
        let Spanned { value, line, column } = self.all(name).into_iter().next()?;
        pick(value).map(|value| Spanned { value, line, column })
    }

    pub fn bool(&self, name: &str) -> bool {
        self.first(name, |value| if let Parsed::Bool(on) = value { Some(on) } else { None })
            .is_some_and(|on| on.value)
    }

    pub fn number(&self, name: &str) -> u32 {
        let pick = |value| if let Parsed::Number(number) = value { Some(number) } else { None };
        self.first(name, pick).map_or(0, |number| number.value)
    }

    pub fn optional_duration(&self, name: &str) -> Option<Duration> {
        let pick = |value| if let Parsed::Duration(time) = value { Some(time) } else { None };
        self.first(name, pick).map(|time| time.value)
    }

    pub fn duration(&self, name: &str) -> Duration {
        self.optional_duration(name).unwrap_or_default()
    }

    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.first(name, |value| if let Parsed::Path(path) = value { Some(path) } else { None })
            .map(|path| path.value)
    }

    pub fn nfs_url(&self, name: &str) -> Option<NfsUrl> {
        self.first(name, |value| if let Parsed::NfsUrl(url) = value { Some(url) } else { None })
            .map(|url| url.value)
    }

    pub fn ip(&self, name: &str) -> Option<Spanned<Ipv4Addr>> {
        self.first(name, |value| if let Parsed::Ip(ip) = value { Some(ip) } else { None })
    }

    pub fn subnet(&self, name: &str) -> Option<Spanned<Subnet>> {
        self.first(name, |value| if let Parsed::Subnet(subnet) = value { Some(subnet) } else { None })
    }

    pub fn mac(&self, name: &str) -> Option<Spanned<MacAddr>> {
        self.first(name, |value| if let Parsed::Mac(mac) = value { Some(mac) } else { None })
    }

    pub fn host_name(&self, name: &str) -> Option<Spanned<HostName>> {
        self.first(name, |value| if let Parsed::HostName(host) = value { Some(host) } else { None })
    }

    pub fn image(&self, name: &str) -> Option<ImageRef> {
        self.first(name, |value| if let Parsed::Image(image) = value { Some(image) } else { None })
            .map(|image| image.value)
    }

    /// `None` for no bound.
    pub fn size(&self, name: &str) -> Option<ByteSize> {
        self.first(name, |value| if let Parsed::Size(size) = value { size } else { None })
            .map(|size| size.value)
    }

    pub fn class_names(&self, name: &str) -> Vec<ClassName> {
        let class = |value: Spanned<Parsed>| match value.value {
            Parsed::ClassName(class) => Some(class),
            _ => None,
        };
        self.all(name).into_iter().filter_map(class).collect()
    }

    pub fn texts(&self, name: &str) -> Vec<Spanned<String>> {
        let text = |value: Spanned<Parsed>| match value.value {
            Parsed::Text(text) => Some(Spanned { value: text, line: value.line, column: value.column }),
            _ => None,
        };
        self.all(name).into_iter().filter_map(text).collect()
    }

    pub fn all_text(&self, name: &str) -> Vec<String> {
        self.texts(name).into_iter().map(|text| text.value).collect()
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.all_text(name).into_iter().next()
    }
}

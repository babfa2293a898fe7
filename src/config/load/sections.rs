//! Each section of the file, held against [`schema`]: is it known, is it named as it must be, is each value what its option
//! takes.

use std::collections::HashMap;

use super::Builder;
use crate::config::fields::{Fields, path};
use crate::config::kind::Parsed;
use crate::config::problem::nearest;
use crate::config::schema::{self, Absent, Naming, OptionSpec, SECTIONS, SectionSpec};
use crate::config::uci::{Document, Entry, Section};
use crate::types::Spanned;

impl Builder<'_> {
    /// Holds every section against the schema.
    pub(super) fn sections<'d>(&mut self, document: &'d Document) -> Vec<Fields<'d>> {
        let mut all = Vec::new();
        for section in &document.sections {
            let Some(spec) = schema::section(&section.kind.value) else {
                let kinds = SECTIONS.iter().map(|spec| spec.kind);
                let remedy = match nearest(&section.kind.value, kinds.clone()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("remove it; there are {}", kinds.collect::<Vec<_>>().join(", ")),
                };
                let message = format!("`{}` is not a type of section; {remedy}", section.kind.value);
                self.problems.note(self.file, &section.kind, section.path(), message);
                continue;
            };
            self.naming(section, spec);
            all.push(self.fields(section, spec));
        }
        all
    }

    fn naming(&mut self, section: &Section, spec: &SectionSpec) {
        let (kind, name) = (spec.kind, section.name.as_ref());
        match (spec.naming, name) {
            (Naming::Fixed(right), _) if name.is_none_or(|name| name.value != right) => {
                let message = format!(
                    "there is one section of this type and it has a fixed name; write `config {kind} '{right}'`"
                );
                self.problems.note(self.file, name.unwrap_or(&section.kind), section.path(), message);
            }
            (Naming::Named, None) => {
                let message = format!("a {kind} needs a name; write `config {kind} 'lab'`");
                self.problems.note(self.file, &section.kind, section.path(), message);
            }
            (Naming::Fixed(_) | Naming::Named | Naming::Free, _) => {}
        }
    }

    fn fields<'d>(&mut self, section: &'d Section, spec: &'static SectionSpec) -> Fields<'d> {
        let mut values = HashMap::new();
        for entry in &section.options {
            let Some(option) = spec.option(&entry.name.value) else {
                let meant = nearest(&entry.name.value, spec.options.iter().map(|option| option.name));
                let remedy = if let Some(meant) = meant {
                    format!("did you mean `{meant}`?")
                } else {
                    let names: Vec<&str> = spec.options.iter().map(|option| option.name).collect();
                    format!("remove it; there are {}", names.join(", "))
                };
                let message = format!("a `{}` section has no option of this name; {remedy}", spec.kind);
                self.problems.note(self.file, &entry.name, path(section, &entry.name.value), message);
                continue;
            };
            values.insert(option.name, self.values(section, option, entry));
        }
        for option in spec.options.iter().filter(|option| option.default == Absent::Required) {
            if section.entry(option.name).is_none() {
                let message = format!(
                    "is missing and has no default; write `option {} '…'` ({})",
                    option.name,
                    option.kind.describe()
                );
                self.problems.note(self.file, &section.kind, path(section, option.name), message);
            }
        }
        Fields { spec, section: Some(section), values }
    }

    fn values(&mut self, section: &Section, option: &OptionSpec, entry: &Entry) -> Vec<Spanned<Parsed>> {
        let all = entry.value.all();
        if let (false, Some(second)) = (option.list, all.get(1)) {
            let message =
                format!("has one value, and this is one more; keep one line, `option {} '…'`", option.name);
            self.problems.note(self.file, second, path(section, option.name), message);
        }
        let mut parsed: Vec<Spanned<Parsed>> = Vec::new();
        for value in all {
            match option.kind.parse(&value.value) {
                Ok(good) => parsed.push(value.clone().map(|_| good)),
                Err(message) => self.problems.note(self.file, value, path(section, option.name), message),
            }
        }
        parsed
    }
}

//! Reads UCI text as libuci reads it, and keeps the place of every word.
//!
//! The grammar is that of libuci's own reader, quirks included, because `uci show` and Bramble must never disagree on
//! what a file says: quotes join (`'it'\''s'` is one word), `#` begins a comment even inside a bare word, a backslash
//! at the end of a line joins lines, `;` separates commands, `package` is ignored, a section that comes twice is
//! merged. Where libuci stops at the first fault, this reader notes it and goes on at the next line.
//!
//! Nothing here knows what an option means; that is [`super::schema`]. Two differences are meant: a NUL byte is a
//! fault (libuci stops reading there), and bytes that are not UTF-8 become U+FFFD.

use std::ops::Range;

use crate::types::Spanned;

/// One UCI file, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// In the order of the file; a section that comes again is merged into its first appearance.
    pub sections: Vec<Section>,
    /// What libuci would have refused. A document with faults is not what `uci` sees: it sees nothing at all.
    pub faults: Vec<Fault>,
    /// Every command, in the order of the file, for edits that keep the rest of it.
    pub statements: Vec<Statement>,
}

/// `config TYPE ['NAME']` and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub kind: Spanned<String>,
    pub name: Option<Spanned<String>>,
    /// Which section of its type this is, from 0: the `n` of `@type[n]`.
    pub index: usize,
    /// In the order in which `uci show` prints them.
    pub options: Vec<Entry>,
}

/// One option or list of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Spanned<String>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `option NAME VALUE`.
    One(Spanned<String>),
    /// `list NAME VALUE`, one or more.
    Many(Vec<Spanned<String>>),
}

/// A line that is not UCI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: &'static str,
}

/// One command and the bytes it takes up, without the blanks around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub command: Command,
    pub bytes: Range<usize>,
    /// Index into [`Document::sections`]; `None` for `package`.
    pub section: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Package,
    Config,
    /// Sets the option of this name, or would have but for an empty value.
    Option(String),
    /// Adds to the list of this name.
    List(String),
}

impl Section {
    /// How `uci` names this section: `main`, or `@client[0]`.
    pub fn path(&self) -> String {
        match &self.name {
            Some(name) => name.value.clone(),
            None => format!("@{}[{}]", self.kind.value, self.index),
        }
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.options.iter().find(|entry| entry.name.value == name)
    }

    /// The values of an option or list: as `config_get` and `config_list_foreach` see them.
    pub fn values(&self, name: &str) -> &[Spanned<String>] {
        self.entry(name).map_or(&[], |entry| entry.value.all())
    }

    /// The value of an option; for a list its first.
    pub fn value(&self, name: &str) -> Option<&Spanned<String>> {
        self.values(name).first()
    }
}

impl Value {
    pub fn all(&self) -> &[Spanned<String>] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

impl Document {
    /// Reads `text`. Never fails: what is wrong is in [`Document::faults`].
    pub fn read(text: &[u8]) -> Self {
        let mut reader = Reader::new(text);
        while reader.next_line() {
            reader.line();
        }
        reader.document
    }

    /// Sections of one type, in the order of the file.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |section| section.kind.value == kind)
    }

    /// The section that `uci` finds under this name or `@type[n]`.
    pub fn section(&self, path: &str) -> Option<&Section> {
        self.sections.iter().find(|section| {
            section.path() == path || format!("@{}[{}]", section.kind.value, section.index) == path
        })
    }

    /// The whole file as `uci -c DIR show PACKAGE` prints it.
    pub fn show(&self, package: &str) -> String {
        let mut out = String::new();
        for section in &self.sections {
            let path = section.path();
            let mut line = |text: String| out.extend([package, ".", &path, &text, "\n"]);
            line(format!("={}", section.kind.value));
            for Entry { name, value } in &section.options {
                let quoted: Vec<String> = value.all().iter().map(|v| quote(&v.value)).collect();
                line(format!(".{}={}", name.value, quoted.join(" ")));
            }
        }
        out
    }
}

/// A word as UCI files write it: in single quotes, each quote of its own as `'\''`.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A section or option name: what `uci` takes after the dot.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Blanks as C's `isspace` has them.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// A word as it was found: its value and where its first character stands.
struct Word {
    text: Vec<u8>,
    from: usize,
    /// Just behind its last character, closing quote included.
    to: usize,
}

impl Word {
    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Why the rest of a line is given up.
struct Bad {
    at: usize,
    message: &'static str,
}

struct Reader<'a> {
    text: &'a [u8],
    /// Next byte to look at.
    at: usize,
    /// End of what has been fetched: the end of the line, later lines joined by a quote or backslash included.
    /// Behind it a command sees nothing.
    end: usize,
    /// Where the next line begins.
    next: usize,
    places: Places<'a>,
    document: Document,
    current: Option<usize>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            end: 0,
            next: 0,
            places: Places::new(text),
            document: Document::default(),
            current: None,
        }
    }

    fn peek(&self) -> Option<u8> {
        (self.at < self.end).then(|| self.text.get(self.at).copied()).flatten()
    }

    /// Makes the next line visible, if there is one, behind what is already there.
    fn fetch(&mut self) -> bool {
        let rest = self.text.get(self.next..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        let length = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |newline| newline + 1);
        self.next += length;
        self.end = self.next;
        true
    }

    fn next_line(&mut self) -> bool {
        self.at = self.next;
        self.fetch()
    }

    /// Reads the commands of one line.
    fn line(&mut self) {
        let begin = self.at;
        if let Err(bad) = self.commands() {
            self.fault(bad.at, bad.message);
        }
        let seen = self.text.get(begin..self.next).unwrap_or_default();
        if let Some(nul) = seen.iter().position(|&b| b == 0) {
            self.fault(begin + nul, "a NUL byte; configuration is text, remove it");
        }
    }

    fn fault(&mut self, at: usize, message: &'static str) {
        let (line, column) = self.places.of(at);
        self.document.faults.push(Fault { line, column, message });
    }

    fn commands(&mut self) -> Result<(), Bad> {
        self.skip_spaces();
        loop {
            // libuci cuts the command off with strtok, at blanks and tabs only.
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
            let from = self.at;
            while self.peek().is_some_and(|b| !matches!(b, b' ' | b'\t')) {
                self.at += 1;
            }
            let word = self.text.get(from..self.at).unwrap_or_default();
            if word.first().is_none_or(|&b| b == b'#') {
                return Ok(());
            }
            let cut = self.at == self.end;
            self.at += usize::from(!cut);
            let missing = |message| if cut { Err(Bad { at: from, message }) } else { Ok(()) };
            match word {
                b"p" | b"package" => {
                    missing("`package` needs a name; write `package bramble`, or leave the line out")?;
                    self.package(from)?;
                }
                b"c" | b"config" => {
                    missing("`config` needs a type; write `config client`")?;
                    self.config(from)?;
                }
                b"o" | b"option" => {
                    self.inside(from)?;
                    missing("`option` needs a name and a value; write `option name 'value'`")?;
                    self.option(from, false)?;
                }
                b"l" | b"list" => {
                    self.inside(from)?;
                    missing("`list` needs a name and a value; write `list name 'value'`")?;
                    self.option(from, true)?;
                }
                _ => {
                    return Err(Bad {
                        at: from,
                        message: "not a UCI command; a line begins with `config`, `option`, `list` or `#`",
                    });
                }
            }
        }
    }

    fn inside(&self, from: usize) -> Result<(), Bad> {
        match self.current {
            Some(_) => Ok(()),
            None => Err(Bad {
                at: from,
                message: "stands before the first section; write a `config` line above it",
            }),
        }
    }

    fn package(&mut self, from: usize) -> Result<(), Bad> {
        let name = self.required("`package` needs a name; write `package bramble`, or leave the line out")?;
        let fits = |&b: &u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !name.text.iter().all(fits) {
            return Err(Bad {
                at: name.from,
                message: "a package name has only letters, digits, `_` and `-`",
            });
        }
        self.end_of_command()?;
        self.statement(Command::Package, from..name.to, None);
        Ok(())
    }

    fn config(&mut self, from: usize) -> Result<(), Bad> {
        let kind = self.required("`config` needs a type; write `config client`")?;
        if !kind.text.iter().all(|&b| (33..=126).contains(&b)) {
            return Err(Bad {
                at: kind.from,
                message: "a section type is one word of plain ASCII, without blanks",
            });
        }
        let name = self.word()?;
        if !name.is_empty() {
            check_name(&name)?;
        }
        self.end_of_command()?;
        let to = if name.is_empty() { kind.to } else { name.to };
        let named = (!name.is_empty()).then(|| self.spanned(&name));
        let kind = self.spanned(&kind);
        let sections = &self.document.sections;
        let known = named.as_ref().and_then(|new| {
            sections.iter().position(|s| s.name.as_ref().is_some_and(|old| old.value == new.value))
        });
        let section = match known {
            Some(known) if sections.get(known).is_some_and(|old| old.kind.value != kind.value) => {
                return Err(Bad {
                    at: name.from,
                    message: "a section of this name but of another type stands above; give one of them another name",
                });
            }
            Some(known) => known,
            None => {
                let index = sections.iter().filter(|s| s.kind.value == kind.value).count();
                self.document.sections.push(Section { kind, name: named, index, options: Vec::new() });
                self.document.sections.len() - 1
            }
        };
        self.current = Some(section);
        self.statement(Command::Config, from..to, Some(section));
        Ok(())
    }

    fn option(&mut self, from: usize, list: bool) -> Result<(), Bad> {
        let name = self.required("a name is missing; write `option name 'value'`")?;
        check_name(&name)?;
        let value = self.word()?;
        self.end_of_command()?;
        let to = if value.to > value.from { value.to } else { name.to };
        let (name, value) = (self.spanned(&name), self.spanned(&value));
        let command = if list { Command::List } else { Command::Option };
        self.statement(command(name.value.clone()), from..to, self.current);
        if let Some(section) = self.current.and_then(|at| self.document.sections.get_mut(at)) {
            if list { add(section, name, value) } else { set(section, name, value) }
        }
        Ok(())
    }

    fn statement(&mut self, command: Command, bytes: Range<usize>, section: Option<usize>) {
        self.document.statements.push(Statement { command, bytes, section });
    }

    fn spanned(&mut self, word: &Word) -> Spanned<String> {
        let (line, column) = self.places.of(word.from);
        Spanned { value: String::from_utf8_lossy(&word.text).into_owned(), line, column }
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn required(&mut self, message: &'static str) -> Result<Word, Bad> {
        let word = self.word()?;
        if word.is_empty() { Err(Bad { at: word.from, message }) } else { Ok(word) }
    }

    /// Nothing but a `;` or the end of the line may follow.
    fn end_of_command(&mut self) -> Result<(), Bad> {
        let word = self.word()?;
        if word.is_empty() {
            return Ok(());
        }
        Err(Bad {
            at: word.from,
            message: "one word too many; put a value with blanks in quotes, such as `option name 'two words'`",
        })
    }

    /// The next word, or an empty one at a `;` (which it consumes) or at the end of the line.
    fn word(&mut self) -> Result<Word, Bad> {
        self.skip_spaces();
        let from = self.at;
        if self.peek() == Some(b';') {
            self.at += 1;
            return Ok(Word { text: Vec::new(), from, to: from });
        }
        let mut text = Vec::new();
        // Whether the word in the file is longer than its value: only then does a `;` behind it survive.
        let mut shrunk = false;
        loop {
            match self.peek() {
                Some(quote @ (b'\'' | b'"')) => {
                    shrunk = true;
                    self.quoted(quote, &mut text)?;
                }
                Some(b'#') | None => {
                    let to = self.at;
                    self.end = self.at;
                    return Ok(Word { text, from, to });
                }
                Some(b';') => {
                    let to = self.at;
                    if !shrunk {
                        // libuci ends the word by overwriting the `;`, and with it hides the rest of the line.
                        self.end = self.at;
                    }
                    return Ok(Word { text, from, to });
                }
                Some(b'\\') => {
                    shrunk = true;
                    if self.backslash() {
                        self.take(&mut text);
                    }
                }
                Some(_) => self.take(&mut text),
            }
            if self.peek().is_none_or(is_space) {
                let to = self.at;
                self.at += usize::from(self.peek().is_some());
                return Ok(Word { text, from, to });
            }
        }
    }

    fn take(&mut self, text: &mut Vec<u8>) {
        text.extend(self.peek());
        self.at += 1;
    }

    /// Steps over a backslash. False if it stood at the end of the line and the next line has been joined.
    fn backslash(&mut self) -> bool {
        self.at += 1;
        let rest = self.text.get(self.at..self.end).unwrap_or_default();
        if matches!(rest, [] | [b'\n', ..] | b"\r\n") {
            self.at = self.end;
            self.fetch();
            return false;
        }
        true
    }

    fn quoted(&mut self, quote: u8, text: &mut Vec<u8>) -> Result<(), Bad> {
        let opened = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(byte) if byte == quote => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') if quote == b'"' => {
                    if self.backslash() {
                        self.take(text);
                    }
                }
                Some(_) => self.take(text),
                None if self.fetch() => {}
                None => {
                    return Err(Bad {
                        at: opened,
                        message: "this quote is never closed; close it at the end of the value",
                    });
                }
            }
        }
    }
}

fn check_name(word: &Word) -> Result<(), Bad> {
    if word.text.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(Bad { at: word.from, message: "a name has only letters, digits and `_`" })
}

/// `option`: the last one wins and moves to the end, unless it says the same again; an empty value sets nothing.
fn set(section: &mut Section, name: Spanned<String>, value: Spanned<String>) {
    if value.value.is_empty() {
        return;
    }
    if let Some(old) = section.options.iter().position(|entry| entry.name.value == name.value) {
        if section
            .options
            .get(old)
            .is_some_and(|e| matches!(&e.value, Value::One(v) if v.value == value.value))
        {
            return;
        }
        section.options.remove(old);
    }
    section.options.push(Entry { name, value: Value::One(value) });
}

/// `list`: appends; an option of the same name becomes the list's first value.
fn add(section: &mut Section, name: Spanned<String>, value: Spanned<String>) {
    let old = section.options.iter().position(|entry| entry.name.value == name.value);
    if let Some(Entry { value: Value::Many(values), .. }) = old.and_then(|at| section.options.get_mut(at)) {
        values.push(value);
        return;
    }
    let first = old.map(|at| section.options.remove(at));
    let mut values = first.map_or_else(Vec::new, |entry| entry.value.all().to_vec());
    values.push(value);
    section.options.push(Entry { name, value: Value::Many(values) });
}

/// Turns byte offsets, asked for in rising order or nearly so, into lines and columns.
struct Places<'a> {
    text: &'a [u8],
    line: usize,
    begin: usize,
}

impl<'a> Places<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, line: 1, begin: 0 }
    }

    /// Line and column, both from 1, the column in characters.
    fn of(&mut self, at: usize) -> (usize, usize) {
        if at < self.begin {
            (self.line, self.begin) = (1, 0);
        }
        let skipped = self.text.get(self.begin..at).unwrap_or_default();
        self.line += skipped.split(|&b| b == b'\n').count() - 1;
        if let Some(last) = skipped.iter().rposition(|&b| b == b'\n') {
            self.begin += last + 1;
        }
        let before = self.text.get(self.begin..at).unwrap_or_default();
        // A byte 10xxxxxx goes on with a character; every other begins one.
        (self.line, 1 + before.iter().filter(|&&b| b & 0xc0 != 0x80).count())
    }
}

//! A list of people as a spreadsheet or a school's program saves it: bytes in, lines with named cells out.
//!
//! Pure, and tolerant of how such files come: UTF-8 with or without a mark, UTF-16 with one, or Windows-1252; `;`, `,` or
//! tabs; columns in any order under plain words in English, German or French. What cannot be understood is said, never
//! guessed: a column of another name is ignored and named.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::limits;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    Name,
    FullName,
    FirstName,
    LastName,
    Class,
    Role,
    Note,
    Password,
    Hash,
    Expires,
}

/// Headings as they are compared: small letters without accents, digits, nothing else.
const HEADINGS: &[(Column, &[&str])] = &[
    (
        Column::Name,
        &[
            "name",
            "login",
            "loginname",
            "user",
            "username",
            "account",
            "accountname",
            "benutzer",
            "benutzername",
            "anmeldename",
            "kennung",
            "konto",
            "kontoname",
            "identifiant",
            "utilisateur",
            "nomdutilisateur",
            "compte",
        ],
    ),
    (
        Column::FullName,
        &[
            "fullname",
            "displayname",
            "realname",
            "vollername",
            "vollstandigername",
            "anzeigename",
            "schuler",
            "schulername",
            "nomcomplet",
            "nometprenom",
            "prenometnom",
            "eleve",
            "pupil",
            "student",
        ],
    ),
    (Column::FirstName, &["firstname", "givenname", "forename", "vorname", "rufname", "prenom"]),
    (
        Column::LastName,
        &["lastname", "surname", "familyname", "nachname", "familienname", "nom", "nomdefamille"],
    ),
    (
        Column::Class,
        &["class", "classes", "group", "groups", "klasse", "klassen", "gruppe", "classe", "groupe"],
    ),
    (Column::Role, &["role", "rolle", "funktion", "typ", "type", "fonction"]),
    (
        Column::Note,
        &[
            "note",
            "notes",
            "comment",
            "studentnumber",
            "cardnumber",
            "librarycard",
            "id",
            "notiz",
            "bemerkung",
            "kommentar",
            "schulernummer",
            "ausweisnummer",
            "bibliotheksausweis",
            "remarque",
            "commentaire",
            "numerodeleve",
            "carte",
        ],
    ),
    (Column::Password, &["password", "passwort", "kennwort", "motdepasse"]),
    (Column::Hash, &["hash", "passwordhash", "crypt", "userpassword"]),
    (
        Column::Expires,
        &["expires", "expiry", "validuntil", "ablauf", "gultigbis", "expiration", "valablejusquau"],
    ),
];

/// Why a file is no list of people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSheet {
    #[error("the file is empty; its first line must name the columns, such as `first name;last name;class`")]
    Empty,
    #[error(
        "no column names people; the first line must have `name`, `full name`, or `first name` and `last name`, and it \
         has {found}"
    )]
    NoNames { found: String },
    #[error("two columns, `{first}` and `{second}`, hold the same; remove one")]
    Twice { first: String, second: String },
    #[error("the file has more than {most} lines; cut it into several", most = limits::SHEET_LINES)]
    TooLong,
    #[error("line {line} cannot be read; look for a quotation mark that is never closed")]
    Line { line: u64 },
}

/// One line, as it is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetLine {
    /// Counted from 1, the headings included.
    pub number: u64,
    cells: BTreeMap<Column, String>,
}

/// A list that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    pub lines: Vec<SheetLine>,
    /// Headings that mean nothing here.
    pub ignored: Vec<String>,
}

impl SheetLine {
    /// What stands there; empty counts as nothing.
    pub fn get(&self, column: Column) -> Option<&str> {
        self.cells.get(&column).map(String::as_str).filter(|text| !text.is_empty())
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::FullName => "full name",
            Self::FirstName => "first name",
            Self::LastName => "last name",
            Self::Class => "class",
            Self::Role => "role",
            Self::Note => "note",
            Self::Password => "password",
            Self::Hash => "hash",
            Self::Expires => "expires",
        })
    }
}

/// The text of a file, whichever way it was written.
pub fn decode(bytes: &[u8]) -> String {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = rest.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().copied().map(windows_1252).collect(),
        },
    }
}

/// Windows-1252 is Latin-1 but for these 32; the five it leaves open stay as they are.
const HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

fn windows_1252(byte: u8) -> char {
    let high = byte.checked_sub(0x80).and_then(|at| HIGH.get(usize::from(at)));
    high.copied().unwrap_or(char::from(byte))
}

/// Reads a list.
pub fn read(text: &str) -> Result<Sheet, BadSheet> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Lines { text: text.as_bytes(), at: 0, line: 1 };
    let (rest, told) = told_delimiter(text);
    let before = text.len() - rest.len();
    let text = rest;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(told.unwrap_or_else(|| delimiter(text)))
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut columns: Option<Vec<Option<Column>>> = None;
    let mut sheet = Sheet { lines: Vec::new(), ignored: Vec::new() };
    let mut record = csv::StringRecord::new();
    loop {
        let begin = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
        let number = lines.at(before.saturating_add(begin));
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return Err(BadSheet::Line { line: number }),
        }
        if record.iter().all(str::is_empty) {
            continue;
        }
        let Some(columns) = &columns else {
            columns = Some(headings(&record, &mut sheet.ignored)?);
            continue;
        };
        if sheet.lines.len() >= limits::SHEET_LINES {
            return Err(BadSheet::TooLong);
        }
        let cells = columns.iter().zip(&record).filter_map(|(column, cell)| {
            let column = (*column)?;
            Some((column, short(meant(column, cell))))
        });
        sheet.lines.push(SheetLine { number, cells: cells.collect() });
    }
    if columns.is_none() { Err(BadSheet::Empty) } else { Ok(sheet) }
}

/// A cell as it is written: what a spreadsheet would calculate gets the apostrophe that makes it a text there. Without it a
/// full name such as `=HYPERLINK(…)` acts on the computer of whoever opens the list. [`read`] takes the apostrophe away.
pub fn as_text(cell: &str) -> Cow<'_, str> {
    if is_formula(cell) { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

/// Whether a spreadsheet would calculate it, or would but for apostrophes.
fn is_formula(cell: &str) -> bool {
    cell.trim_start_matches('\'').starts_with(['=', '+', '-', '@'])
}

/// What [`as_text`] was given. A password is what stands there.
fn meant(column: Column, cell: &str) -> &str {
    let is_marked = column != Column::Password && is_formula(cell);
    cell.strip_prefix('\'').filter(|_| is_marked).unwrap_or(cell)
}

/// Counts lines, which end with LF, CR LF or CR.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the record that begins at `byte`, or behind line ends there. Records come in order.
    fn at(&mut self, byte: usize) -> u64 {
        while let Some(this) = self.text.get(self.at) {
            let is_end = matches!(this, b'\r' | b'\n');
            if self.at >= byte && !is_end {
                break;
            }
            let is_half = *this == b'\r' && self.text.get(self.at + 1) == Some(&b'\n');
            self.line += u64::from(is_end && !is_half);
            self.at += 1;
        }
        self.line
    }
}

/// The list without the line `sep=;` that some spreadsheets write first, and what it says. The line ends stay, for counting.
fn told_delimiter(text: &str) -> (&str, Option<u8>) {
    let line = text.split(['\r', '\n']).next().unwrap_or_default();
    let told = line.get(..4).filter(|begin| begin.eq_ignore_ascii_case("sep="));
    match (told, line.as_bytes().get(4..)) {
        (Some(_), Some([delimiter])) if delimiter.is_ascii() => {
            (text.get(line.len()..).unwrap_or_default(), Some(*delimiter))
        }
        _ => (text, None),
    }
}

/// What separates cells: the one that the line of headings has most of.
fn delimiter(text: &str) -> u8 {
    // Also a lone CR ends a line, as old spreadsheets of a Mac write it.
    let first = text.split(['\r', '\n']).find(|line| !line.trim().is_empty()).unwrap_or_default();
    let many = |delimiter: &u8| first.bytes().filter(|byte| byte == delimiter).count();
    // Of equals the last counts, so a line of one column is read with `;`.
    [b'\t', b',', b';'].into_iter().max_by_key(many).unwrap_or(b';')
}

fn headings(record: &csv::StringRecord, ignored: &mut Vec<String>) -> Result<Vec<Option<Column>>, BadSheet> {
    let mut columns: Vec<Option<Column>> = Vec::new();
    for heading in record {
        let column = column(heading);
        if column.is_none() {
            ignored.push(short(heading));
        }
        if let Some(at) = column.and_then(|column| columns.iter().position(|known| *known == Some(column))) {
            let first = short(record.get(at).unwrap_or_default());
            return Err(BadSheet::Twice { first, second: short(heading) });
        }
        columns.push(column);
    }
    let has = |column| columns.contains(&Some(column));
    if has(Column::Name) || has(Column::FullName) || has(Column::LastName) {
        return Ok(columns);
    }
    let found: Vec<String> = record.iter().take(8).map(|heading| format!("`{}`", short(heading))).collect();
    Err(BadSheet::NoNames { found: found.join(", ") })
}

fn column(heading: &str) -> Option<Column> {
    let plain: String = fold(heading).chars().filter(char::is_ascii_alphanumeric).collect();
    HEADINGS.iter().find(|(_, words)| words.contains(&plain.as_str())).map(|(column, _)| *column)
}

/// No cell is longer than what anything it could become may be.
fn short(cell: &str) -> String {
    let end = cell.floor_char_boundary(limits::SHEET_CELL);
    cell.get(..end).unwrap_or_default().to_owned()
}

/// Small letters without the accents of western Europe; `ä` is `a` here, for comparing.
fn fold(text: &str) -> String {
    text.to_lowercase().chars().map(|c| plain_letter(c).0).collect()
}

/// What somebody is called, as a name to log in with: `Zoë Müller` is `zoe-mueller`.
pub fn login_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.trim().to_lowercase().chars() {
        let (letter, second) = plain_letter(c);
        if letter.is_ascii_alphanumeric() {
            name.push(letter);
            name.extend(second);
        } else if !name.ends_with('-') && !name.is_empty() && letter != '\'' && letter != '’' {
            name.push('-');
        }
    }
    name.truncate(limits::USER_NAME);
    name.trim_end_matches('-').to_owned()
}

/// The letter without its accent, and the second one it is written with where there is no accent.
fn plain_letter(c: char) -> (char, Option<char>) {
    match c {
        'ä' | 'æ' => ('a', Some('e')),
        'ö' | 'ø' | 'œ' => ('o', Some('e')),
        'ü' => ('u', Some('e')),
        'ß' => ('s', Some('s')),
        'à' | 'á' | 'â' | 'ã' | 'å' | 'ą' | 'ă' => ('a', None),
        'ç' | 'ć' | 'č' => ('c', None),
        'ď' | 'đ' | 'ð' => ('d', None),
        'è' | 'é' | 'ê' | 'ë' | 'ę' | 'ě' => ('e', None),
        'ğ' => ('g', None),
        'ì' | 'í' | 'î' | 'ï' | 'ı' => ('i', None),
        'ł' => ('l', None),
        'ñ' | 'ń' | 'ň' => ('n', None),
        'ò' | 'ó' | 'ô' | 'õ' | 'ő' => ('o', None),
        'ř' => ('r', None),
        'ś' | 'š' | 'ş' | 'ș' => ('s', None),
        'ť' | 'ţ' | 'ț' => ('t', None),
        'ù' | 'ú' | 'û' | 'ű' | 'ů' => ('u', None),
        'ý' | 'ÿ' => ('y', None),
        'ź' | 'ž' | 'ż' => ('z', None),
        other => (other, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells(text: &str, column: Column) -> Vec<String> {
        let sheet = read(text).unwrap_or_else(|bad| panic!("{bad}"));
        sheet.lines.iter().map(|line| line.get(column).unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn files_come_in_many_ways_and_say_the_same() {
        let text = "Nachname;Vorname;Klasse\nMüller;Zoë;7b\n";
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let latin: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
        let ways = [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe".as_slice(), &wide].concat(),
            latin,
            text.replace(';', ",").into_bytes(),
            text.replace(';', "\t").into_bytes(),
            text.replace('\n', "\r\n").into_bytes(),
            b"\r\n;;\r\n\"Klasse\" ; PR\xc9NOM;Nom\r\n7b;Zo\xeb;\"M\xfcller\"\r\n".to_vec(),
        ];
        for bytes in ways {
            let text = decode(&bytes);
            assert_eq!(cells(&text, Column::LastName), ["Müller"], "{text}");
            assert_eq!(cells(&text, Column::FirstName), ["Zoë"], "{text}");
            assert_eq!(cells(&text, Column::Class), ["7b"], "{text}");
        }
        assert_eq!(decode(b"\x80\x93\x9c\xe9"), "€“œé");
    }

    #[test]
    fn what_spreadsheets_say_of_themselves_is_heard() {
        for text in ["sep=;\nname;note\nanna;a,b,c,d\n", "SEP=,\r\nname,note\r\nanna,\"a,b,c,d\"\r\n"] {
            assert_eq!(cells(text, Column::Note), ["a,b,c,d"], "{text}");
            assert_eq!(read(text).expect("a list").lines[0].number, 3);
        }
        let mac = "name;note\ra,b,c;x\r\rd,e,f;y\r";
        assert_eq!(cells(mac, Column::Name), ["a,b,c", "d,e,f"], "a lone CR");
        let numbers = |text: &str| -> Vec<u64> {
            read(text).expect("a list").lines.iter().map(|line| line.number).collect()
        };
        assert_eq!(numbers(mac), [2, 4]);
        assert_eq!(numbers("\n\r\nname\r\n\"a\nb\"\nc\n"), [4, 6], "as an editor counts them");
        assert!(read("sep=").is_err() && read("sep=ä\nname").is_err() && read("sep").is_err());
    }

    #[test]
    fn no_cell_is_a_formula_and_each_is_read_as_it_was() {
        let cells = ["=1+1", "+49 30 1234", "-x", "@sum", "'=x", "''=x", "'quoted'", "a=b", "'", ""];
        let written = cells.map(as_text);
        assert_eq!(
            written,
            ["'=1+1", "'+49 30 1234", "'-x", "'@sum", "''=x", "'''=x", "'quoted'", "a=b", "'", ""]
        );
        for (cell, text) in cells.iter().zip(&written) {
            assert_eq!(meant(Column::Note, text), *cell);
        }
        let list = read("name;note;password\nanna;'=1;'=1\n").expect("a list");
        assert_eq!(list.lines[0].get(Column::Note), Some("=1"));
        assert_eq!(list.lines[0].get(Column::Password), Some("'=1"), "a password is what stands there");
    }

    #[test]
    fn what_is_no_list_of_people_is_refused_with_the_reason() {
        #[rustfmt::skip]
        let rows = [
            ("", "the file is empty; its first line must name the columns, such as `first name;last name;class`"),
            ("\n \n", "the file is empty; its first line must name the columns, such as `first name;last name;class`"),
            ("class;colour\na;b", "no column names people; the first line must have `name`, `full name`, or `first name` and `last name`, and it has `class`, `colour`"),
            ("name;login\na;b", "two columns, `name` and `login`, hold the same; remove one"),
        ];
        for (text, why) in rows {
            assert_eq!(read(text).expect_err(text).to_string(), why);
        }
        let long = "name\n".repeat(limits::SHEET_LINES + 2);
        assert_eq!(read(&long), Err(BadSheet::TooLong));
    }

    #[test]
    fn headings_mean_one_thing_each_and_are_already_folded() {
        let mut words: Vec<&str> = HEADINGS.iter().flat_map(|(_, words)| *words).copied().collect();
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all);
        assert!(words.iter().all(|word| column(word).is_some()));
        for (heading, expected) in [
            ("Vollständiger Name", Some(Column::FullName)),
            ("Schüler-Nummer", Some(Column::Note)),
            ("Nom d’utilisateur", Some(Column::Name)),
            ("Mot de passe", Some(Column::Password)),
            ("colour", None),
        ] {
            assert_eq!(column(heading), expected, "{heading}");
        }
    }

    #[test]
    fn names_become_names_to_log_in_with() {
        for (text, name) in [
            ("Zoë Müller", "zoe-mueller"),
            ("Jean-Luc  d’Été", "jean-luc-dete"),
            ("Łukasz Weiß", "lukasz-weiss"),
            ("李", ""),
            ("  ", ""),
        ] {
            assert_eq!(login_name(text), name, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Any file is read or refused, and what is read is bounded.
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600), heads in any::<bool>()) {
            let mut text = decode(&bytes);
            if heads {
                text.insert_str(0, "name;class\n");
            }
            if let Ok(sheet) = read(&text) {
                for line in &sheet.lines {
                    prop_assert!(line.cells.values().all(|cell| cell.len() <= limits::SHEET_CELL));
                }
            }
        }

        /// What a spreadsheet writes is what is read, whatever is in the cells.
        #[test]
        fn written_cells_are_read_as_they_were(rows in proptest::collection::vec(["[a-zà-ü;,\"' ]{0,20}", "[^\\r\\n\\x00]{0,20}"], 1..8)) {
            let mut writer = csv::WriterBuilder::new().delimiter(b';').from_writer(Vec::new());
            writer.write_record(["full name", "note"]).expect("written");
            for [name, note] in &rows {
                writer.write_record([format!("x{name}"), note.clone()]).expect("written");
            }
            let text = String::from_utf8(writer.into_inner().expect("flushed")).expect("UTF-8");
            let sheet = read(&text).expect("a list");
            prop_assert_eq!(sheet.lines.len(), rows.len());
            for ([name, note], line) in rows.iter().zip(&sheet.lines) {
                let name = format!("x{name}");
                prop_assert_eq!(line.get(Column::FullName).unwrap_or_default(), name.trim());
                prop_assert_eq!(line.get(Column::Note).unwrap_or_default(), meant(Column::Note, note.trim()));
            }
        }

        /// Whatever writes a list, in whatever order of columns: it says the same.
        #[test]
        fn every_way_of_writing_a_list_says_the_same(
            people in proptest::collection::vec(("[A-Za-zäöüßéÉ ;,\"'-]{1,20}", "[a-zäöü0-9]{1,6}", "[ -~€œ]{0,12}"), 1..6),
            order in Just([0_usize, 1, 2]).prop_shuffle(),
            heads in 0_usize..3,
            (delimiter, encoding) in (0_usize..3, 0_usize..5),
        ) {
            let heads = [
                ["full name", "Class", "note"],
                ["Vollständiger Name", "KLASSE", "Bemerkung"],
                ["Nom complet", "classe", "Remarque"],
            ][heads];
            let mut writer = csv::WriterBuilder::new().delimiter(b"\t,;"[delimiter]).from_writer(Vec::new());
            writer.write_record(order.map(|at| heads[at])).expect("written");
            for (name, class, note) in &people {
                let cells = [&format!("x{name}"), class, note];
                writer.write_record(order.map(|at| cells[at])).expect("written");
            }
            let text = String::from_utf8(writer.into_inner().expect("flushed")).expect("UTF-8");
            let latin = |c: char| {
                let high = HIGH.iter().position(|known| *known == c).map(|at| at + 0x80);
                u8::try_from(high.unwrap_or(u32::from(c) as usize)).expect("in Windows-1252")
            };
            let bytes = match encoding {
                0 => text.clone().into_bytes(),
                1 => ["\u{feff}", &text].concat().into_bytes(),
                2 => text.chars().map(latin).collect(),
                3 => ["\u{feff}", &text].concat().encode_utf16().flat_map(u16::to_le_bytes).collect(),
                _ => ["\u{feff}", &text].concat().encode_utf16().flat_map(u16::to_be_bytes).collect(),
            };
            let sheet = read(&decode(&bytes)).expect("a list");
            prop_assert!(sheet.ignored.is_empty() && sheet.lines.len() == people.len());
            for ((name, class, note), line) in people.iter().zip(&sheet.lines) {
                let name = format!("x{name}");
                prop_assert_eq!(line.get(Column::FullName).unwrap_or_default(), name.trim());
                prop_assert_eq!(line.get(Column::Class).unwrap_or_default(), class);
                prop_assert_eq!(line.get(Column::Note).unwrap_or_default(), meant(Column::Note, note.trim()));
            }
        }

        /// A made-up name to log in with is one, or is empty, or begins with a digit.
        #[test]
        fn login_names_are_plain(text in ".{0,60}") {
            let name = login_name(&text);
            let right = name.parse::<crate::types::UserName>().is_ok();
            prop_assert!(right || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()), "{}", name);
        }
    }
}

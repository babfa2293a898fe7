//! A list of people in any bytes is read or refused, its cells are bounded, and reading its export gives it back.

#![no_main]

use bramble::service::accounts::sheet::{self, Column};
use bramble::types::{UserName, limits};
use libfuzzer_sys::fuzz_target;

const COLUMNS: [Column; 10] = [
    Column::Name,
    Column::FullName,
    Column::FirstName,
    Column::LastName,
    Column::Class,
    Column::Role,
    Column::Note,
    Column::Password,
    Column::Hash,
    Column::Expires,
];

fuzz_target!(|bytes: &[u8]| {
    let text = sheet::decode(bytes);
    for list in [text.clone(), format!("name;class;hash\n{text}")] {
        let Ok(sheet) = sheet::read(&list) else { continue };
        assert!(sheet.lines.len() <= limits::SHEET_LINES);
        for line in &sheet.lines {
            for cell in COLUMNS.iter().filter_map(|column| line.get(*column)) {
                assert!(!cell.is_empty() && cell.len() <= limits::SHEET_CELL);
                let name = sheet::login_name(cell);
                let digit = name.starts_with(|c: char| c.is_ascii_digit());
                assert!(name.is_empty() || digit || name.parse::<UserName>().is_ok(), "{name}");
                let _ = bramble::service::accounts::password::accept(cell);
            }
        }
    }
});

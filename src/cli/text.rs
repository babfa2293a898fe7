//! Text for people: tables, wrapped sentences, durations. Pure; what is printed where is decided elsewhere.

use std::fmt::Write as _;
use std::time::Duration;

/// Columns of a terminal that does not say how many it has.
pub const WIDTH: usize = 80;

/// Fewest characters a column is cut to.
const NARROWEST: usize = 6;

/// A table whose columns are as wide as their widest cell, two blanks between them. If a line would be longer than
/// `width`, the columns of `may_shrink` give way, the widest first, and cut cells end in `…`.
pub fn table(header: &[&str], rows: &[Vec<String>], may_shrink: &[usize], width: usize) -> String {
    let length = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|title| length(title)).collect();
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(length(cell));
        }
    }
    while widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1) > width {
        let widest = may_shrink.iter().copied().max_by_key(|column| widths.get(*column).copied());
        match widest.and_then(|column| widths.get_mut(column)) {
            Some(columns) if *columns > NARROWEST => *columns -= 1,
            _ => break,
        }
    }
    let mut text = String::new();
    let titles: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{:width$}  ", cut(cell, *width));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `text` if it has at most `width` characters, else its beginning and `…`.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// `text` in lines of at most `width` characters, the first one behind `first` and the others behind as many blanks.
pub fn wrap(first: &str, text: &str, width: usize) -> String {
    let indent = first.chars().count();
    let mut lines = first.to_owned();
    let mut column = indent;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > indent && column + 1 + length > width {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines.push('\n');
    lines
}

/// `12 s`, `3 min`, `2 h 10 min`, `3 d 4 h`: two units at most, rounded down.
pub fn span(duration: Duration) -> String {
    let secs = duration.as_secs();
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min", secs / 60),
        3600..86_400 => two(secs / 3600, "h", secs % 3600 / 60, "min"),
        _ => two(secs / 86_400, "d", secs % 86_400 / 3600, "h"),
    }
}

/// `1 client is`, `2 clients are`.
pub fn are(many: usize, noun: &str) -> String {
    format!("{} {}", count(many, noun), if many == 1 { "is" } else { "are" })
}

/// `1 job`, `3 jobs`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [row(&["lab-01", "up"]), row(&["a-longer-name", ""])];
        assert_eq!(
            table(&["NAME", "STATE"], &rows, &[0], 80),
            "NAME           STATE\nlab-01         up\na-longer-name\n"
        );
    }

    #[test]
    fn a_line_too_long_is_cut_where_that_is_allowed() {
        let rows = [row(&["a-very-long-name", "192.168.100.100"])];
        assert_eq!(table(&["NAME", "IP"], &rows, &[0], 27), "NAME        IP\na-very-lo…  192.168.100.100\n");
        let widest = table(&["NAME", "IP"], &rows, &[0], 10);
        assert_eq!(widest, "NAME    IP\na-ver…  192.168.100.100\n", "an address is never cut");
    }

    #[test]
    fn sentences_are_wrapped_between_words() {
        assert_eq!(wrap("- ", "one two three", 9), "- one two\n  three\n");
        assert_eq!(wrap("", "unbreakable", 5), "unbreakable\n");
    }

    #[test]
    fn durations_have_two_units() {
        let rows = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (7800, "2 h 10 min"),
            (86_400, "1 d"),
            (273_600, "3 d 4 h"),
        ];
        for (secs, text) in rows {
            assert_eq!(span(Duration::from_secs(secs)), text);
        }
    }
}

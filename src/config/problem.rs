//! What is wrong with a configuration, and where.
//!
//! The message is the interface: it says what stands there, why it cannot be, and what to write instead. Checking
//! goes on after a problem, so that one run shows all of them.

use std::fmt;

use crate::types::Spanned;

/// One thing wrong with the configuration, placed so that an editor or the web page can show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as a person would open it.
    pub file: String,
    /// Line in the file, from 1; 0 for a problem with the file as a whole.
    pub line: usize,
    /// First character of the offending value, from 1; 0 with a `line` of 0.
    pub column: usize,
    /// `section.option` as `uci set` spells it after the package; empty for a line that is not UCI at all.
    pub path: String,
    /// What is there, why it is wrong, what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}", self.message)
    }
}

/// Everything wrong with a configuration, file by file and from top to bottom. Never empty as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

/// One problem a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl Problems {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes a problem with what stands at `place`.
    pub fn note<T>(
        &mut self,
        file: &str,
        place: &Spanned<T>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.0.push(Problem {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            path: path.into(),
            message: message.into(),
        });
    }

    /// Notes a problem with a file as a whole.
    pub fn note_file(&mut self, file: &str, message: impl Into<String>) {
        self.note(file, &Spanned::<()>::default(), "", message);
    }

    /// Problems of one file stay together, in the order of its lines; `files` says which file comes first.
    pub fn sort(&mut self, files: &[&str]) {
        let rank = |file: &str| files.iter().position(|known| *known == file).unwrap_or(files.len());
        self.0.sort_by_key(|problem| (rank(&problem.file), problem.line, problem.column));
        self.0.dedup();
    }
}

/// The word of `known` that was probably meant by `given`: at most a third of its letters differ.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given: Vec<char> = given.chars().take(64).collect();
    known
        .into_iter()
        .map(|word| (distance(&given, &word.chars().collect::<Vec<_>>()), word))
        .filter(|(distance, word)| *distance <= word.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters must be changed, added, removed or swapped with their neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best =
                (cell(&row, j) + usize::from(x != y)).min(cell(&row, j + 1) + 1).min(cell(&next, j) + 1);
            let swapped = j > 0 && i > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(cell(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    cell(&row, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_its_place_only_where_it_has_one() {
        let mut problems = Problems::default();
        let at = Spanned { value: "12x", line: 14, column: 20 };
        problems.note("/etc/config/bramble", &at, "dhcp.lease_time", "`12x` is not a time");
        problems.note_file("/etc/config/network", "cannot be read");
        problems.sort(&["/etc/config/network", "/etc/config/bramble"]);
        assert_eq!(
            problems.to_string(),
            "/etc/config/network: cannot be read\n\
             /etc/config/bramble:14:20: dhcp.lease_time: `12x` is not a time"
        );
    }

    #[test]
    fn slips_of_the_finger_are_recognised_and_other_words_are_not() {
        let known = ["image", "config_txt", "lease_time", "ip"];
        #[rustfmt::skip]
        let rows = [("iamge", Some("image")), ("images", Some("image")), ("config-txt", Some("config_txt")),
            ("leasetime", Some("lease_time")), ("pi", Some("ip")), ("kernel", None), ("", None)];
        for (given, meant) in rows {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
    }
}

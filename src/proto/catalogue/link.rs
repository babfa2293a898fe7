//! Where something is that a list names: on the web, or in a folder of this machine.
//!
//! A list from the web names nothing on this machine. A list in a folder (on a USB stick) names the web, and files of its own
//! folder. Nothing is resolved that could lead out of a folder.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::types::limits;

/// A place, or the place of a list itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// `https://…` or `http://…`.
    Web(String),
    File(PathBuf),
}

/// Whether `text` is an address of the web, whole and printable, without a name and password in it.
pub fn is_web(text: &str) -> bool {
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    let Some(len) =
        ["https://", "http://"].iter().find(|scheme| lower.starts_with(**scheme)).map(|s| s.len())
    else {
        return false;
    };
    let host = text.get(len..).unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
    text.len() <= limits::URL
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte))
        && !host.is_empty()
        && !host.contains('@')
}

impl Link {
    /// What `text` names in a list that stands here. `None` if it may not name it.
    pub fn follow(&self, text: &str) -> Option<Self> {
        let text = text.trim();
        if is_web(text) {
            return Some(Self::Web(text.to_owned()));
        }
        // Another scheme, such as Imager's own `internal://format`, or a drive letter.
        if text.is_empty()
            || text.contains("://")
            || text.contains('\\')
            || text.chars().any(char::is_control)
        {
            return None;
        }
        match self {
            Self::File(list) => {
                let path = Path::new(text);
                let is_inside =
                    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
                is_inside.then(|| Self::File(list.parent().unwrap_or(Path::new("/")).join(path)))
            }
            Self::Web(list) => {
                let list = list.split(['?', '#']).next().unwrap_or(list);
                let scheme = list.find("://")? + 3;
                let root = list.get(scheme..)?.find('/').map_or(list.len(), |at| at + scheme);
                let url = if let Some(host) = text.strip_prefix("//") {
                    format!("{}{host}", list.get(..scheme)?)
                } else if text.starts_with('/') {
                    format!("{}{text}", list.get(..root)?)
                } else if text.split(['/', '?']).any(|part| part == "..") {
                    return None;
                } else {
                    let folder = list.rfind('/').filter(|at| *at >= root).map_or(list.len(), |at| at);
                    format!("{}/{}", list.get(..folder)?, text.strip_prefix("./").unwrap_or(text))
                };
                is_web(&url).then_some(Self::Web(url))
            }
        }
    }

    /// Whether nobody on the way can change what comes from here.
    pub fn is_safe(&self) -> bool {
        match self {
            Self::Web(url) => url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")),
            Self::File(_) => true,
        }
    }

    /// The last part of the path, for its ending.
    pub fn file_name(&self) -> &str {
        let text = match self {
            Self::Web(url) => url.split(['?', '#']).next().unwrap_or_default(),
            Self::File(path) => path.to_str().unwrap_or_default(),
        };
        text.rsplit('/').next().unwrap_or_default()
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Web(url) => f.write_str(url),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_what_it_may() {
        let web = Link::Web("https://host.example/lists/os.json?x=/y".to_owned());
        let bare = Link::Web("http://host.example".to_owned());
        let stick = Link::File("/mnt/stick/lists/os.json".into());
        #[rustfmt::skip]
        let rows = [
            (&web,   "https://other.example/a.img.xz", Some("https://other.example/a.img.xz")),
            (&web,   "a.img.xz",                       Some("https://host.example/lists/a.img.xz")),
            (&web,   "./a/b.img.xz",                   Some("https://host.example/lists/a/b.img.xz")),
            (&web,   "/a.img.xz",                      Some("https://host.example/a.img.xz")),
            (&web,   "//third.example/a",              Some("https://third.example/a")),
            (&web,   "../a.img.xz",                    None),
            (&web,   "file:///etc/passwd",             None),
            (&web,   "internal://format",              None),
            (&web,   "https://",                       None),
            (&web,   "https://a b/",                   None),
            (&web,   "https://me:pw@host/",            None),
            (&web,   "\u{1b}[2J",                      None),
            (&bare,  "a.img.xz",                       Some("http://host.example/a.img.xz")),
            (&stick, "a.img.xz",                       Some("/mnt/stick/lists/a.img.xz")),
            (&stick, "sub/a.img.xz",                   Some("/mnt/stick/lists/sub/a.img.xz")),
            (&stick, "../a.img.xz",                    None),
            (&stick, "/etc/passwd",                    None),
            (&stick, "HTTPS://other.example/a",        Some("HTTPS://other.example/a")),
        ];
        for (base, text, expected) in rows {
            let found = base.follow(text).map(|link| link.to_string());
            assert_eq!(found.as_deref(), expected, "{text} in {base}");
        }
        assert_eq!(Link::Web("https://h/x/a.img.xz?token=1/2".to_owned()).file_name(), "a.img.xz");
        assert!(web.is_safe() && !bare.is_safe() && stick.is_safe());
    }
}

//! Another name for an image, in each room and client that names it.

use super::{Edit, NewValue};
use crate::config::uci::Document;
use crate::types::{ImageName, ImageRef};

/// Kinds of sections that name an image.
const NAMING: [&str; 2] = ["room", "client"];

/// The changes that make `old` `new` in the configuration `text`; a pinned version stays pinned.
pub fn rename_image(text: &[u8], old: &ImageName, new: &ImageName) -> Vec<Edit> {
    let document = Document::read(text);
    let sections = NAMING.iter().flat_map(|kind| document.of_kind(kind));
    sections
        .filter_map(|section| {
            let image: ImageRef = section.value("image")?.value.parse().ok()?;
            let renamed = ImageRef { name: new.clone(), ..image.clone() };
            (image.name == *old).then(|| Edit::Set {
                section: section.path(),
                option: "image".to_owned(),
                value: NewValue::One(renamed.to_string()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::edit::edited;

    #[test]
    fn every_place_that_names_an_image_gets_the_new_name() {
        let before = "config room 'lab'\n\toption image 'trixie'  # the usual one\n\
            config room 'hall'\n\toption image 'trixie2'\n\
            config client\n\toption mac 'dc:a6:32:00:00:01'\n\toption image 'trixie@3'\n\
            config client\n\toption mac 'dc:a6:32:00:00:02'\n\toption name 'trixie'\n";
        let [old, new] = ["trixie", "desk-top"].map(|name| name.parse().expect("a name"));
        let edits = rename_image(before.as_bytes(), &old, &new);
        let after = String::from_utf8(edited(before.as_bytes(), &edits).expect("edited")).expect("text");
        let expected = before
            .replace("image 'trixie'  #", "image 'desk-top'  #")
            .replace("image 'trixie@3'", "image 'desk-top@3'");
        assert_eq!(after, expected);
        assert_eq!(rename_image(after.as_bytes(), &old, &new), []);
    }
}

use proptest::prelude::*;

use super::*;

/// In the form of `os_list_imagingutility_v4.json`, with everything that the real one has.
const IMAGER: &str = r#"{
 "imager": {"latest_version": "2.0.0", "url": "https://host.example/imager/",
  "devices": [{"name": "Raspberry Pi 5", "tags": ["pi5-64bit", "pi5-32bit"], "matching_type": "exclusive"}]},
 "os_list": [
  {"name": "Raspberry Pi OS (64-bit)", "description": "A port of Debian Trixie", "icon": "x.png",
   "url": "https://downloads.example/raspios_arm64.img.xz", "extract_size": 5905580032,
   "extract_sha256": "00000000000000000000000000000000000000000000000000000000000000aa",
   "image_download_size": 1288490188, "release_date": "2026-06-18", "init_format": "cloudinit-rpi",
   "devices": ["pi5-64bit", "pi4-64bit", "pi3-64bit"]},
  {"name": "Raspberry Pi OS (other)", "description": "Others", "subitems": [
   {"name": "Lite", "description": "No desktop", "url": "lite.img.xz", "release_date": "soon", "extract_size": "2000000000",
    "devices": ["pi2-32bit", 7, "../x"]},
   {"name": "Elsewhere", "description": "", "subitems_url": "sub/other.json"}]},
  {"name": "Erase", "description": "Format card as FAT32", "url": "internal://format"},
  {"name": "", "url": "https://downloads.example/x.img"},
  {"name": "In the clear", "url": "http://downloads.example/x.img.xz"},
  {"name": "In the clear, with a sum", "url": "http://downloads.example/x.img.xz",
   "image_download_sha256": "00000000000000000000000000000000000000000000000000000000000000BB"},
  17
 ]}"#;

fn base() -> Link {
    Link::Web("https://host.example/os_list.json".to_owned())
}

fn sum_of(last: u8) -> Sum {
    let mut sum = [0; 32];
    sum[31] = last;
    sum
}

#[test]
fn a_list_of_imager() {
    let list = read(IMAGER.as_bytes(), &base(), &[]).expect("a list");
    let names: Vec<&str> = list.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["Raspberry Pi OS (64-bit)", "Lite", "In the clear, with a sum"]);
    assert_eq!(list.left_out, 4, "Erase, the nameless one, the one nobody vouches for, and a number");
    assert_eq!(
        list.entries[0],
        Entry {
            name: "Raspberry Pi OS (64-bit)".to_owned(),
            description: "A port of Debian Trixie".to_owned(),
            headings: vec![],
            place: Link::Web("https://downloads.example/raspios_arm64.img.xz".to_owned()),
            released: "2026-06-18".to_owned(),
            file_bytes: Some(1_288_490_188),
            content_bytes: Some(5_905_580_032),
            file_sum: None,
            content_sum: Some(sum_of(0xaa)),
            devices: ["pi5-64bit", "pi4-64bit", "pi3-64bit"].map(str::to_owned).to_vec(),
        }
    );
    let lite = &list.entries[1];
    assert_eq!(lite.headings, ["Raspberry Pi OS (other)"]);
    assert_eq!(lite.place.to_string(), "https://host.example/lite.img.xz");
    assert_eq!((lite.released.as_str(), lite.content_bytes), ("", Some(2_000_000_000)));
    assert_eq!(lite.devices, ["pi2-32bit"]);
    assert_eq!(list.entries[2].file_sum, Some(sum_of(0xbb)));
    let more = More {
        headings: vec!["Raspberry Pi OS (other)".to_owned(), "Elsewhere".to_owned()],
        place: Link::Web("https://host.example/sub/other.json".to_owned()),
    };
    assert_eq!(list.more, [more]);
}

#[test]
fn a_list_of_piserver() {
    let text = r#"{"os_list": [{"os_name": "Raspbian Full", "release_date": "2020-05-28",
        "tarball": "http://downloads.example/full.tar.xz", "nominal_size": 7000}, {"os_name": "No tarball"}]}"#;
    let base = Link::Web("http://downloads.example/piserver.json".to_owned());
    let list = read(text.as_bytes(), &base, &[]).expect("a list");
    assert_eq!((list.entries.len(), list.left_out), (1, 1));
    let entry = &list.entries[0];
    assert_eq!((entry.name.as_str(), entry.released.as_str()), ("Raspbian Full", "2020-05-28"));
    assert_eq!((entry.content_bytes, entry.file_bytes), (Some(7000 << 20), None));
    assert_eq!(fits(entry, &[]), Ok(()));
}

#[test]
fn what_is_no_list_says_so() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let many = format!("{{\"os_list\":[{}]}}", vec!["{}"; limits::CATALOGUE_VALUES].join(","));
    let long = " ".repeat(limits::CATALOGUE + 1);
    #[rustfmt::skip]
    let rows = [
        ("", BadList::NotJson { line: 1, column: 0 }),
        ("{\"os_list\":\n  [}", BadList::NotJson { line: 2, column: 4 }),
        ("[]", BadList::NoList),
        ("{\"os_list\": {}}", BadList::NoList),
        ("\u{feff}\n <!DOCTYPE html>", BadList::WebPage),
        (many.as_str(), BadList::TooMuch),
        (long.as_str(), BadList::TooLong),
        (deep.as_str(), BadList::NotJson { line: 1, column: 128 }),
    ];
    for (text, expected) in rows {
        assert_eq!(read(text.as_bytes(), &base(), &[]), Err(expected), "{text:.40}");
    }
}

#[test]
fn lists_within_lists_have_an_end() {
    let mut text = r#"{"name": "x", "url": "https://h.example/x.img"}"#.to_owned();
    for _ in 0..20 {
        text = format!(r#"{{"name": "a", "subitems": [{text}]}}"#);
    }
    let list = read(format!("{{\"os_list\":[{text}]}}").as_bytes(), &base(), &[]).expect("a list");
    assert_eq!((list.entries.len(), list.left_out), (0, 1));
}

#[test]
fn what_is_offered() {
    let entry = |file: &str, devices: &[&str], content: Option<u64>| Entry {
        name: "x".to_owned(),
        description: String::new(),
        headings: vec![],
        place: Link::Web(format!("https://h.example/{file}")),
        released: String::new(),
        file_bytes: None,
        content_bytes: content,
        file_sum: None,
        content_sum: None,
        devices: devices.iter().map(|tag| (*tag).to_owned()).collect(),
    };
    let (pi4, all): (&[Family], &[Family]) = (&[Family::Pi4], &[]);
    let gib = Some(4 << 30);
    #[rustfmt::skip]
    let rows = [
        (entry("a.img.xz", &["pi4-64bit", "pi5-64bit"], gib), pi4, Ok(())),
        (entry("a.img.xz", &["pi4"], gib), pi4, Ok(())),
        (entry("a.img.xz", &["pi5-64bit"], gib), pi4, Err(Misfit::Devices)),
        (entry("a.img.xz", &["pi5-64bit"], gib), all, Ok(())),
        (entry("a.img.xz", &["pi1-32bit"], gib), all, Err(Misfit::Devices)),
        (entry("a.img.xz", &[], None), pi4, Ok(())),
        (entry("a.zip", &[], None), pi4, Ok(())),
        (entry("a.tar.zst", &[], gib), pi4, Ok(())),
        (entry("eeprom.zip", &["pi4-64bit"], Some(1 << 20)), pi4, Err(Misfit::Tool)),
        (entry("a.iso", &[], gib), pi4, Err(Misfit::Form)),
        (entry("a.img.bz2", &[], gib), pi4, Err(Misfit::Form)),
    ];
    for (entry, pis, expected) in rows {
        assert_eq!(fits(&entry, pis), expected, "{} {:?}", entry.place, entry.devices);
    }
    for model in crate::types::revision::Model::ALL {
        assert_eq!(
            Family::of(model.as_str()).is_some(),
            model != crate::types::revision::Model::Unknown,
            "{model}"
        );
    }
}

proptest! {
    /// What is written of files beside the list is read back as it was, wherever the list stands.
    #[test]
    fn a_written_list_is_read_as_it_was(
        rows in proptest::collection::vec(("[a-z][a-z0-9-]{0,20}", "[ -~]{0,60}", "[A-Za-z0-9][A-Za-z0-9._+-]{0,30}", any::<[u8; 32]>(), 1_u64..1 << 40), 0..6),
        on_the_web in any::<bool>(),
    ) {
        let list = if on_the_web { base() } else { Link::File("/mnt/stick/catalogue.json".into()) };
        let entries: Vec<Entry> = rows
            .into_iter()
            .filter(|(_, _, file, _, _)| can_name(file))
            .map(|(name, description, file, sum, bytes)| Entry {
                name,
                description: clean(&description, limits::CATALOGUE_TEXT),
                headings: vec![],
                place: list.follow(&file).expect("a name"),
                released: "2026-11-27".to_owned(),
                file_bytes: Some(bytes),
                content_bytes: None,
                file_sum: Some(sum),
                content_sum: None,
                devices: tags(crate::types::Arch::Arm64),
            })
            .collect();
        let read = read(&write(&entries), &list, &[]).expect("a list");
        prop_assert_eq!(read, List { entries, more: vec![], left_out: 0 });
    }

    /// Whatever a list holds: no fault, and all that is answered is within its bounds.
    #[test]
    fn any_list_is_read_within_bounds(
        names in proptest::collection::vec("\\PC{0,200}|.{0,60}", 0..6),
        url in "(https?://|file://|/|\\.\\./|[a-z]:)?[!-~]{0,30}",
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0_usize..400,
    ) {
        let items: Vec<Value> = names
            .iter()
            .map(|name| serde_json::json!({ "name": name, "description": name, "url": url, "devices": [name] }))
            .collect();
        let mut bytes = serde_json::json!({ "os_list": [{ "name": "a", "subitems": items }] }).to_string().into_bytes();
        prop_assert!(read(&bytes, &base(), &[]).is_ok());
        let at = at.min(bytes.len());
        bytes.splice(at..at, noise);
        if let Ok(list) = read(&bytes, &base(), &[]) {
            for entry in &list.entries {
                prop_assert!(entry.name.chars().count() <= limits::CATALOGUE_NAME);
                prop_assert!(!entry.name.chars().any(char::is_control));
                prop_assert!(matches!(&entry.place, Link::Web(url) if is_web(url)), "{:?}", entry.place);
            }
        }
    }
}

#[test]
fn what_a_list_can_name_beside_it() {
    for good in ["trixie.tar.zst", "School_OS-2.tar.xz", "a+b.tar.zst"] {
        assert!(can_name(good), "{good}");
    }
    for bad in ["", "a b.tar.zst", "caf\u{e9}.tar.zst", "a?b", "a#b", "a%20b", "a/b", "..", "a\\b", "a:\u{7}"]
    {
        assert!(!can_name(bad), "{bad}");
    }
}

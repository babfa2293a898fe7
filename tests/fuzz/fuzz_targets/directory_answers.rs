//! What a directory elsewhere could answer: cut into messages, read as the library reads them, and taken for people and groups.
#![no_main]

use bramble::config::directory::{Directory, Kind, Numbers};
use bramble::proto::ldap::Messages;
use bramble::service::directory::{Entry, Groups, Listing};
use bramble::types::{UserName, limits};
use ldap3::asn1::{PL, StructureTag, parse_tag};
use ldap3::{ResultEntry, SearchEntry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [size, data @ ..] = data else { return };
    let (mut messages, mut entries) = (Messages::default(), Vec::new());
    'all: for piece in data.chunks(usize::from(*size) + 1) {
        messages.push(piece);
        loop {
            match messages.take() {
                Ok(None) => break,
                Ok(Some(message)) => entries.extend(entry(&message)),
                Err(_) => break 'all,
            }
        }
        assert!(messages.waiting() <= limits::DIRECTORY_MESSAGE + 8);
    }
    people(&entries);
});

/// The entry in a message that was let through, if one is in it. Nothing in here may fail.
fn entry(message: &[u8]) -> Option<Entry> {
    let (rest, whole) = parse_tag(message).expect("a whole message");
    assert!(rest.is_empty(), "one message");
    let parts = whole.expect_constructed().expect("parts");
    assert!((2..=3).contains(&parts.len()));
    let said: StructureTag = parts.into_iter().nth(1).expect("what is said");
    assert!(matches!(said.payload, PL::C(_)) || said.id == 25);
    (said.id == 4).then(|| Entry::from(SearchEntry::construct(ResultEntry::new(said))))
}

fn people(entries: &[Entry]) {
    let posix = Directory { name_attribute: "uid".to_owned(), ..Directory::default() };
    let name_attribute = "sAMAccountName".to_owned();
    let ad = Directory {
        kind: Kind::ActiveDirectory,
        numbers: Numbers::Sid,
        name_attribute,
        ..Directory::default()
    };
    let own: (u32, UserName) = (10_000, "root-of-us".parse().expect("a name"));
    for settings in [posix, ad] {
        let groups = Groups::read(&settings, entries);
        let listing = Listing::read(&settings, &groups, entries, std::slice::from_ref(&own));
        let mut numbers = vec![own.0];
        for person in listing.people() {
            assert!(person.uid.0 >= 1000 && person.name.as_str() != "root");
            if person.name != own.1 {
                numbers.push(person.uid.0);
            }
            assert!(person.classes.iter().all(|(_, gid)| gid.0 >= 1000));
        }
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all, "nobody has somebody else's number");
    }
}

//! Whether an answer of a directory has the parts that RFC 4511 gives it: what reads it (`ldap3`) does not ask, and panics at
//! a part that is missing or of another kind.

/// Tags of what a server says (RFC 4511 §4): entry, reference and intermediate answer; the others are results.
const ENTRY: u8 = 0x64;
const REFERENCE: u8 = 0x73;
const INTERMEDIATE: u8 = 0x79;
const RESULTS: [u8; 8] = [0x61, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, 0x78];

const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// Controls, and what Active Directory puts in their place when it hangs up.
const CONTROLS: u8 = 0xa0;
const NAME_OUTSIDE: u8 = 0x8a;
/// Parts of a result: referrals, credentials, name and value of an extended answer.
const REFERRALS: u8 = 0xa3;
const MORE: [u8; 3] = [0x87, 0x8a, 0x8b];

/// One element after the other. The lengths have been looked at.
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, &first) = (self.0.first()?, self.0.get(1)?);
        let octets = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
        let length = match octets {
            0 => first.into(),
            _ => self.0.get(2..2 + octets)?.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)),
        };
        let (content, rest) = self.0.get(2 + octets..)?.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

/// The content of a message behind its number: what is said, and perhaps controls.
pub fn is_answer(behind_the_number: &[u8]) -> bool {
    let mut parts = Parts(behind_the_number);
    let Some((tag, content)) = parts.next() else { return false };
    let said = match tag {
        ENTRY => is_entry(content),
        REFERENCE => are_texts(content),
        INTERMEDIATE => true,
        tag => RESULTS.contains(&tag) && is_result(content),
    };
    let controls = match parts.next() {
        None | Some((NAME_OUTSIDE, _)) => true,
        Some((CONTROLS, controls)) => are_controls(controls),
        Some(_) => false,
    };
    said && controls && parts.next().is_none()
}

fn text(part: Option<(u8, &[u8])>) -> bool {
    part.is_some_and(|(tag, content)| tag == OCTETS && std::str::from_utf8(content).is_ok())
}

fn are_texts(content: &[u8]) -> bool {
    Parts(content).all(|part| text(Some(part)))
}

fn is_entry(content: &[u8]) -> bool {
    let mut parts = Parts(content);
    let name = text(parts.next());
    let Some((SEQUENCE, attributes)) = parts.next() else { return false };
    let mut attributes = Parts(attributes);
    let all = attributes.all(|(tag, attribute)| {
        let mut parts = Parts(attribute);
        tag == SEQUENCE
            && text(parts.next())
            && parts
                .next()
                .is_some_and(|(tag, values)| tag == SET && Parts(values).all(|(tag, _)| tag == OCTETS))
    });
    name && all && parts.next().is_none()
}

fn is_result(content: &[u8]) -> bool {
    let mut parts = Parts(content);
    let code = parts.next().is_some_and(|(tag, code)| tag == ENUMERATED && (1..=4).contains(&code.len()));
    let words = text(parts.next()) && text(parts.next());
    code && words
        && parts.all(|(tag, content)| match tag {
            REFERRALS => are_texts(content),
            tag => MORE.contains(&tag) && (tag != NAME_OUTSIDE || std::str::from_utf8(content).is_ok()),
        })
}

fn are_controls(content: &[u8]) -> bool {
    Parts(content).all(|(tag, control)| {
        let mut parts = Parts(control);
        let name = text(parts.next());
        let value = match parts.next() {
            Some((BOOLEAN, critical)) if critical.len() == 1 => parts.next(),
            Some((BOOLEAN, _)) => return false,
            other => other,
        };
        tag == SEQUENCE && name && value.is_none_or(|(tag, _)| tag == OCTETS) && parts.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).expect("short")][..], &content].concat()
    }

    #[test]
    fn answers_are_known_by_their_parts() {
        let octets = |text: &[u8]| element(OCTETS, &[text]);
        let (dn, cn, empty) = (octets(b"cn=x"), octets(b"cn"), octets(b""));
        let values = element(SET, &[&octets(b"x"), &octets(b"\xff")]);
        let attribute = element(SEQUENCE, &[&cn, &values]);
        let attributes = element(SEQUENCE, &[&attribute]);
        let code: &[u8] = &[ENUMERATED, 1, 0];
        let done = element(0x65, &[code, &empty, &empty]);
        let pages = element(SEQUENCE, &[&octets(b"1.2"), &[BOOLEAN, 1, 0xff], &octets(b"page")]);
        let referrals = element(REFERRALS, &[&octets(b"ldap://other")]);
        #[rustfmt::skip]
        let rows: [(&str, Vec<u8>, bool); 16] = [
            ("an entry",               element(ENTRY, &[&dn, &attributes]), true),
            ("without attributes",     element(ENTRY, &[&dn, &[SEQUENCE, 0]]), true),
            ("without that list",      element(ENTRY, &[&dn]), false),
            ("a name that is no text", element(ENTRY, &[&octets(b"\xff"), &attributes]), false),
            ("a value that is a list", element(ENTRY, &[&dn, &element(SEQUENCE, &[&element(SEQUENCE, &[&cn, &element(SET, &[&values])])])]), false),
            ("an attribute of one part", element(ENTRY, &[&dn, &element(SEQUENCE, &[&element(SEQUENCE, &[&cn])])]), false),
            ("a result",               done.clone(), true),
            ("with controls",          [&done[..], &element(CONTROLS, &[&pages])].concat(), true),
            ("a control with no name", [&done[..], &element(CONTROLS, &[&[SEQUENCE, 0]])].concat(), false),
            ("a control with no flag", [&done[..], &element(CONTROLS, &[&element(SEQUENCE, &[&cn, &[BOOLEAN, 0]])])].concat(), false),
            ("Active Directory hangs up", [&element(0x78, &[code, &empty, &empty])[..], &element(NAME_OUTSIDE, &[b"1.3"])].concat(), true),
            ("with referrals",         element(0x65, &[&[ENUMERATED, 1, 10], &empty, &empty, &referrals]), true),
            ("without a code",         element(0x65, &[&empty, &empty]), false),
            ("without words",          element(0x65, &[code]), false),
            ("a reference",            element(REFERENCE, &[&octets(b"ldap://other")]), true),
            ("a question",             element(0x63, &[&dn]), false),
        ];
        for (shows, bytes, expected) in rows {
            assert_eq!(is_answer(&bytes), expected, "{shows}");
        }
        assert!(!is_answer(&[]));
    }
}

//! The directory as programs ask for it: what nslcd, `ldapsearch` and address books send, and what must be refused.

use ldap3_proto::control::LdapControl;
use ldap3_proto::parse_ldap_filter_str;
use ldap3_proto::proto::*;
use proptest::prelude::*;

use super::*;
use crate::types::{ClassName, Gid, Person, Role, Secret, Uid, limits};

const BASE: &str = "dc=raspberrypi,dc=local";

fn person(name: &str, uid: u32, full: &str, classes: &[(&str, u32)]) -> Person {
    let class = |(name, gid): &(&str, u32)| (name.parse::<ClassName>().expect("class"), Gid(*gid));
    Person {
        name: name.parse().expect("name"),
        uid: Uid(uid),
        gid: Gid(uid),
        full_name: full.parse().expect("full name"),
        role: Role::Pupil,
        classes: classes.iter().map(class).collect(),
        must_change: name == "ben",
    }
}

fn directory() -> Directory {
    let people = vec![
        person("anna", 10_001, "Anna Maier", &[("b7", 100_000), ("chess", 100_001)]),
        person("ben", 10_002, "Bën Ölmez", &[("b7", 100_000)]),
        person("carl", 10_003, "", &[]),
    ];
    Directory::new(BASE.parse().expect("base"), people)
}

fn policy() -> Policy {
    Policy { base: BASE.parse().expect("base"), anonymous: false, clear: false }
}

fn anybody() -> Connection {
    Connection::new(Policy { anonymous: true, ..policy() }, true)
}

fn ask(op: LdapOp) -> LdapMsg {
    LdapMsg { msgid: 7, op, ctrl: vec![] }
}

fn search(base: &str, scope: LdapSearchScope, filter: &str, attrs: &[&str]) -> LdapMsg {
    ask(LdapOp::SearchRequest(LdapSearchRequest {
        base: base.to_owned(),
        scope,
        aliases: LdapDerefAliases::Never,
        sizelimit: 0,
        timelimit: 0,
        typesonly: false,
        filter: parse_ldap_filter_str(filter).expect("a filter"),
        attrs: attrs.iter().map(|a| (*a).to_owned()).collect(),
    }))
}

/// First parts of the names found, and the code at the end.
fn find(connection: &mut Connection, message: LdapMsg) -> (Vec<String>, i64, Vec<LdapControl>) {
    let answers = match connection.step(message) {
        Step::Find(query) => query.answers(Ok(&directory())),
        Step::Answer(answer) => vec![answer],
        other => panic!("{other:?}"),
    };
    let mut names = Vec::new();
    for answer in answers {
        assert_eq!(answer.msgid, 7);
        match answer.op {
            LdapOp::SearchResultEntry(entry) => {
                names.push(entry.dn.split(',').next().unwrap_or_default().to_owned());
            }
            LdapOp::SearchResultDone(done) => return (names, done.code as i64, answer.ctrl),
            other => panic!("{other:?}"),
        }
    }
    panic!("a search ends");
}

fn bind(dn: &str, password: &str) -> LdapMsg {
    ask(LdapOp::BindRequest(LdapBindRequest {
        version: 3,
        dn: dn.to_owned(),
        cred: LdapBindCred::Simple(password.to_owned()),
    }))
}

fn code(step: Step) -> i64 {
    let Step::Answer(answer) = step else { panic!("{step:?}") };
    match answer.op {
        LdapOp::BindResponse(LdapBindResponse { res, .. })
        | LdapOp::ExtendedResponse(LdapExtendedResponse { res, .. })
        | LdapOp::SearchResultDone(res)
        | LdapOp::AddResponse(res)
        | LdapOp::DelResponse(res)
        | LdapOp::CompareResult(res) => res.code as i64,
        other => panic!("{other:?}"),
    }
}

/// The filters are those that nslcd 0.9 sends.
#[test]
fn what_programs_search_for_is_found() {
    use LdapSearchScope::{Base, Children, OneLevel, Subtree};
    let people = "ou=people,dc=raspberrypi,dc=local";
    #[rustfmt::skip]
    let rows: &[(&str, LdapSearchScope, &str, &[&str])] = &[
        (BASE, Subtree, "(objectClass=posixAccount)", &["uid=anna", "uid=ben", "uid=carl"]),
        (BASE, Subtree, "(&(objectClass=posixAccount)(uid=anna))", &["uid=anna"]),
        (BASE, Subtree, "(&(objectClass=posixAccount)(uidNumber=10002))", &["uid=ben"]),
        (BASE, Subtree, "(&(objectClass=shadowAccount)(uid=carl))", &["uid=carl"]),
        (BASE, Subtree, "(&(objectClass=posixGroup)(cn=b7))", &["cn=b7"]),
        (BASE, Subtree, "(&(objectClass=posixGroup)(gidNumber=10003))", &["cn=carl"]),
        (BASE, Subtree, "(&(objectClass=posixGroup)(|(memberUid=anna)(member=anna)))", &["cn=b7", "cn=chess"]),
        (BASE, Base, "(objectClass=*)", &["dc=raspberrypi"]),
        (BASE, OneLevel, "(objectClass=*)", &["ou=people", "ou=groups"]),
        (people, Children, "(sn=maier)", &["uid=anna"]),
        ("OU=People, DC=RaspberryPi ,dc=LOCAL", OneLevel, "(cn=B*LM*z)", &["uid=ben"]),
        (people, Subtree, "(!(cn=*))", &["ou=people"]),
        (people, Subtree, "(&(uidNumber>=10002)(!(uid=ben)))", &["uid=carl"]),
        // Undefined is neither true nor false (RFC 4511 §4.5.1.7).
        (people, Subtree, "(!(nonsense=1))", &[]),
        (people, Subtree, "(|(nonsense=1)(uid=carl))", &["uid=carl"]),
        ("", Subtree, "(uid=anna)", &["uid=anna"]),
    ];
    for (base, scope, filter, expected) in rows {
        let (names, code, _) = find(&mut anybody(), search(base, scope.clone(), filter, &[]));
        assert_eq!(
            (names.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), code),
            (*expected, 0),
            "{filter}"
        );
    }
    let (_, code, _) = find(&mut anybody(), search("dc=elsewhere", Subtree, "(uid=*)", &[]));
    assert_eq!(code, LdapResultCode::NoSuchObject as i64);
    let (_, code, _) = find(&mut anybody(), search("elsewhere", Subtree, "(uid=*)", &[]));
    assert_eq!(code, LdapResultCode::InvalidDNSyntax as i64);
}

/// The crate's reader of filters as text knows no `=` in a value and only ASCII; on the wire both come.
#[test]
fn names_and_letters_compare_as_people_read_them() {
    let found = |attribute: &str, value: &str| {
        let mut message = search(BASE, LdapSearchScope::Subtree, "(uid=*)", &[]);
        let LdapOp::SearchRequest(request) = &mut message.op else { panic!("a search") };
        request.filter = LdapFilter::Equality(attribute.into(), value.into());
        find(&mut anybody(), message).0
    };
    assert_eq!(found("memberOf", "CN=Chess, ou=Groups,dc=raspberrypi,dc=local"), ["uid=anna"]);
    assert_eq!(found("memberof;lang-de", "cn=chess,dc=raspberrypi,dc=local"), [""; 0]);
    assert_eq!(found("cn", "BËN  ölmez"), ["uid=ben"]);
    assert_eq!(found("uidNumber", "010002"), ["uid=ben"]);
}

#[test]
fn an_entry_says_what_was_asked_for() {
    let mut connection = anybody();
    let mut shown = |filter: &str, attrs: &[&str]| {
        let Step::Find(query) = connection.step(search(BASE, LdapSearchScope::Subtree, filter, attrs)) else {
            panic!("a search")
        };
        let answers = query.answers(Ok(&directory()));
        let LdapOp::SearchResultEntry(entry) = answers[0].op.clone() else { panic!("an entry") };
        let value = |a: &LdapPartialAttribute| {
            let vals: Vec<_> = a.vals.iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect();
            format!("{}={}", a.atype, vals.join("|"))
        };
        entry.attributes.iter().map(value).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        shown(
            "(uid=anna)",
            &["uid", "uidnumber", "gecos", "homeDirectory", "loginShell", "userPassword", "sn"]
        ),
        "sn=Maier uid=anna gecos=Anna Maier uidNumber=10001 homeDirectory=/home/anna loginShell=/bin/bash"
    );
    assert_eq!(shown("(uid=ben)", &["gecos", "shadowLastChange", "cn"]), "cn=Bën Ölmez shadowLastChange=0");
    assert_eq!(
        shown("(uid=carl)", &["cn", "sn", "entryDN"]),
        "cn=carl sn=carl entryDN=uid=carl,ou=people,dc=raspberrypi,dc=local"
    );
    assert_eq!(
        shown("(cn=b7)", &["*"]),
        "objectClass=top|posixGroup cn=b7 gidNumber=100000 memberUid=anna|ben"
    );
    assert_eq!(shown("(cn=b7)", &["1.1"]), "");
}

#[test]
fn pages_follow_each_other_to_the_end() {
    let mut connection = anybody();
    let (mut names, mut cookie) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let mut message = search(BASE, LdapSearchScope::Subtree, "(objectClass=posixAccount)", &[]);
        message.ctrl.push(LdapControl::SimplePagedResults { size: 2, cookie: cookie.clone() });
        let (page, code, controls) = find(&mut connection, message);
        assert_eq!(code, 0);
        assert!(page.len() <= 2);
        names.extend(page);
        let [LdapControl::SimplePagedResults { cookie: next, .. }] = controls.as_slice() else {
            panic!("{controls:?}")
        };
        if next.is_empty() {
            assert_eq!(names, ["uid=anna", "uid=ben", "uid=carl"]);
            return;
        }
        cookie.clone_from(next);
    }
    panic!("it never ended");
}

#[test]
fn a_limit_of_the_client_is_kept_and_said() {
    let mut message = search(BASE, LdapSearchScope::Subtree, "(objectClass=posixAccount)", &[]);
    let LdapOp::SearchRequest(request) = &mut message.op else { panic!("a search") };
    request.sizelimit = 2;
    let (names, code, _) = find(&mut anybody(), message);
    assert_eq!((names.len(), code), (2, LdapResultCode::SizeLimitExceeded as i64));
}

#[test]
fn every_entry_is_found_by_its_name_and_nothing_else_is() {
    let directory = directory();
    for entry in directory.entries() {
        let dn = directory.dn(entry);
        let found = directory.find(&dn).expect("found");
        assert_eq!(format!("{found:?}"), format!("{entry:?}"), "{dn}");
    }
    for name in [
        "",
        "dc=local",
        "ou=other,dc=raspberrypi,dc=local",
        "uid=anna,dc=raspberrypi,dc=local",
        "cn=anna,ou=people,dc=raspberrypi,dc=local",
        "uid=b7,ou=people,dc=raspberrypi,dc=local",
    ] {
        assert!(directory.find(&name.parse().expect("a name")).is_none(), "{name}");
    }
}

#[test]
fn who_may_ask_what() {
    let anna = "uid=anna,ou=people,dc=raspberrypi,dc=local";
    let everything = || search(BASE, LdapSearchScope::Subtree, "(uid=*)", &[]);
    let root = || search("", LdapSearchScope::Base, "(objectClass=*)", &[]);
    let mut connection = Connection::new(policy(), false);
    assert_eq!(code(connection.step(everything())), LdapResultCode::InsufficentAccessRights as i64);
    assert!(matches!(connection.step(root()), Step::Find(_)), "everybody may ask what server this is");
    assert_eq!(code(connection.step(bind("", ""))), 0, "nobody is somebody too");
    assert_eq!(code(connection.step(everything())), LdapResultCode::InsufficentAccessRights as i64);
    assert_eq!(code(connection.step(bind(anna, ""))), LdapResultCode::UnwillingToPerform as i64);
    assert_eq!(code(connection.step(bind(anna, "secret"))), LdapResultCode::ConfidentialityRequired as i64);
    connection.secured();
    for (name, expected) in
        [(anna, "anna"), ("UID=Anna , ou=People,dc=raspberrypi,dc=local", "anna"), ("anna", "anna")]
    {
        let Step::Verify { id: 7, name, password } = connection.step(bind(name, "secret")) else {
            panic!("{name}")
        };
        assert_eq!((name.as_str(), password.expose()), (expected, "secret"));
    }
    for name in ["cn=anna,dc=raspberrypi,dc=local", "uid=anna,ou=people,dc=other", "uid=a\\,b,dc=x", " "] {
        assert_eq!(
            code(connection.step(bind(name, "secret"))),
            LdapResultCode::InvalidCredentials as i64,
            "{name}"
        );
    }
    let wrong = connection.verified(7, "anna".into(), Err((Denied::Credentials, "no".into())));
    assert_eq!(code(Step::Answer(wrong)), LdapResultCode::InvalidCredentials as i64);
    assert_eq!(code(connection.step(everything())), LdapResultCode::InsufficentAccessRights as i64);
    assert_eq!(code(Step::Answer(connection.verified(7, "anna".into(), Ok(())))), 0);
    assert!(matches!(connection.step(everything()), Step::Find(_)));
    assert_eq!(
        code(connection.step(ask(LdapOp::DelRequest(anna.into())))),
        LdapResultCode::UnwillingToPerform as i64
    );
    // A failed bind ends the one before.
    assert_eq!(code(connection.step(bind("", "x"))), LdapResultCode::InvalidCredentials as i64);
    assert_eq!(code(connection.step(everything())), LdapResultCode::InsufficentAccessRights as i64);
    assert!(matches!(connection.step(ask(LdapOp::UnbindRequest)), Step::Close));
}

#[test]
fn everybody_changes_their_own_password() {
    let request = |who: Option<&str>, old: Option<&str>, new: Option<&str>| {
        let text = |text: Option<&str>| text.map(ToOwned::to_owned);
        let modify = LdapPasswordModifyRequest {
            user_identity: text(who),
            old_password: text(old),
            new_password: text(new),
        };
        ask(LdapOp::ExtendedRequest(modify.into()))
    };
    let mut connection = Connection::new(policy(), true);
    let full = || request(Some("uid=anna,ou=people,dc=raspberrypi,dc=local"), Some("old"), Some("new"));
    assert_eq!(code(connection.step(full())), LdapResultCode::InsufficentAccessRights as i64);
    connection.verified(1, "anna".into(), Ok(()));
    let secret = |text: &str| text.parse::<Secret>().expect("a password");
    let Step::Change { name, old, new, .. } = connection.step(full()) else { panic!("a change") };
    assert_eq!((name.as_str(), old.expose(), new.expose()), ("anna", "old", "new"));
    assert_eq!(secret("x").expose(), "x");
    assert_eq!(
        code(connection.step(request(None, None, Some("new")))),
        LdapResultCode::UnwillingToPerform as i64
    );
    assert_eq!(
        code(connection.step(request(Some("ben"), Some("a"), Some("b")))),
        LdapResultCode::InsufficentAccessRights as i64
    );
    assert!(!format!("{:?}", connection.step(full())).contains("\"new\""), "passwords are not shown");
    let mut clear = Connection::new(policy(), false);
    clear.verified(1, "anna".into(), Ok(()));
    assert_eq!(code(clear.step(full())), LdapResultCode::ConfidentialityRequired as i64);
}

/// A long filter over many people is hours of a router's time, if nobody counts.
#[test]
fn a_filter_has_a_bound_of_terms() {
    let anybody_of = |terms: usize| {
        let one = |n| format!("(&(uid=nobody{n})(cn=a*b*c))");
        format!("(|(uid=anna){})", (0..terms).map(one).collect::<String>())
    };
    // One, and five for each of the others.
    let fits = search(BASE, LdapSearchScope::Subtree, &anybody_of((limits::LDAP_TERMS - 1) / 5), &["uid"]);
    let (names, code, _) = find(&mut anybody(), fits);
    assert_eq!((names[0].as_str(), code), ("uid=anna", 0));
    let long = search(BASE, LdapSearchScope::Subtree, &anybody_of(limits::LDAP_TERMS / 5 + 1), &["uid"]);
    let (names, code, _) = find(&mut anybody(), long);
    assert_eq!((names.len(), code), (0, LdapResultCode::AdminLimitExceeded as i64));
}

#[test]
fn what_must_not_be_ignored_is_refused() {
    let unknown = |criticality| LdapControl::Unknown { oid: "1.2.3".into(), criticality, value: None };
    let mut message = search(BASE, LdapSearchScope::Base, "(objectClass=*)", &[]);
    message.ctrl.push(unknown(false));
    assert_eq!(find(&mut anybody(), message.clone()).1, 0);
    message.ctrl.push(unknown(true));
    assert_eq!(find(&mut anybody(), message).1, LdapResultCode::UnavailableCriticalExtension as i64);
    let result = LdapResult {
        code: LdapResultCode::Success,
        matcheddn: String::new(),
        message: String::new(),
        referral: vec![],
    };
    let step = anybody().step(ask(LdapOp::SearchResultDone(result)));
    assert!(matches!(step, Step::Close), "an answer where a question belongs");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A name is the same value however it is spelled, and its own spelling means it again.
    #[test]
    fn names_have_one_spelling(pairs in proptest::collection::vec(("[a-zA-Z]{1,8}", "[a-zA-Z0-9äÖ ._-]{0,8}[a-z0-9]"), 0..6)) {
        let text = |eq: &str, comma: &str| {
            pairs.iter().map(|(a, v)| format!("{a}{eq}{}", v.trim())).collect::<Vec<_>>().join(comma)
        };
        let dn: Dn = text("=", ",").parse().expect("a name");
        prop_assert_eq!(&dn, &text(" = ", " , ").parse::<Dn>().expect("a name"));
        prop_assert_eq!(&dn, &dn.to_string().parse::<Dn>().expect("its own spelling"));
    }

    #[test]
    fn no_name_panics(text in any::<String>()) {
        let _ = text.parse::<Dn>();
    }

    /// However large or small the pages, all results come once.
    #[test]
    fn pages_lose_nothing(size in 1i64..20) {
        let mut connection = anybody();
        let (mut count, mut cookie) = (0, Vec::new());
        loop {
            let mut message = search(BASE, LdapSearchScope::Subtree, "(objectClass=*)", &[]);
            message.ctrl.push(LdapControl::SimplePagedResults { size, cookie: cookie.clone() });
            let (page, _, controls) = find(&mut connection, message);
            count += page.len();
            let Some(LdapControl::SimplePagedResults { cookie: next, .. }) = controls.first() else { panic!("no cookie") };
            if next.is_empty() { break }
            cookie.clone_from(next);
        }
        prop_assert_eq!(count, 3 + 3 + 2 + 3);
    }
}

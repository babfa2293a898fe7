//! One client's connection: what it may ask at which moment, and what it is told.
//!
//! Questions are answered one after the other: [`Step`] says what the driver has to find out before the next message is
//! read. So a connection never holds more than one question, however many a client sends.

use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapBindResponse, LdapCompareRequest, LdapExtendedRequest,
    LdapExtendedResponse, LdapMsg, LdapOp, LdapPartialAttribute, LdapPasswordModifyRequest, LdapResult,
    LdapResultCode as Code, LdapSearchRequest, LdapSearchResultEntry, LdapSearchScope as Scope,
    OID_PASSWORD_MODIFY, OID_WHOAMI,
};

use super::directory::{ATTRIBUTES, Directory, Entry, OPERATIONAL};
use super::dn::Dn;
use super::filter::{equal, known, matches, terms};
use crate::types::{Secret, limits};

/// StartTLS (RFC 4511 §4.14).
const OID_STARTTLS: &str = "1.3.6.1.4.1.1466.20037";
/// Results in pages (RFC 2696).
const OID_PAGES: &str = "1.2.840.113556.1.4.319";

/// What the administrator decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub base: Dn,
    /// Whether those who have not proved who they are may search.
    pub anonymous: bool,
    /// Whether passwords are taken over connections that anybody on the way can read.
    pub clear: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    policy: Policy,
    secure: bool,
    bound: Option<String>,
}

/// A search, understood and allowed.
#[derive(Debug, PartialEq)]
pub struct Query {
    id: i32,
    what: What,
    /// Size of a page, and how many results went before it.
    page: Option<(usize, usize)>,
}

#[derive(Debug, PartialEq)]
enum What {
    Search(LdapSearchRequest),
    Compare(LdapCompareRequest),
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    Answer(LdapMsg),
    /// Is this the password of that account? Then [`Connection::verified`].
    Verify {
        id: i32,
        name: String,
        password: Secret,
    },
    /// Give that account another password. Then [`Connection::changed`].
    Change {
        id: i32,
        name: String,
        old: Secret,
        new: Secret,
    },
    /// Get the directory. Then [`Query::answers`].
    Find(Query),
    /// Send the answer, then go on inside TLS with [`Connection::secured`].
    StartTls(LdapMsg),
    Nothing,
    Close,
}

/// Why the driver could not do what a step asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Name or password is wrong, or the account may not be used.
    Credentials,
    /// Too many tries; later.
    Busy,
    /// The new password will not do.
    Weak,
    Unavailable,
}

impl Denied {
    const fn code(self) -> Code {
        match self {
            Self::Credentials => Code::InvalidCredentials,
            Self::Busy => Code::Busy,
            Self::Weak => Code::ConstraintViolation,
            Self::Unavailable => Code::Unavailable,
        }
    }
}

/// Refused with a code and a sentence.
type No = (Code, String);

fn no(code: Code, message: &str) -> No {
    (code, message.to_owned())
}

impl Connection {
    /// `secure`: the connection is inside TLS from the start.
    pub fn new(policy: Policy, secure: bool) -> Self {
        Self { policy, secure, bound: None }
    }

    /// From here on the connection is inside TLS. Who the client was before counts no more (RFC 4513 §3.1.1).
    pub fn secured(&mut self) {
        self.secure = true;
        self.bound = None;
    }

    /// Who the client has proved to be.
    pub fn bound(&self) -> Option<&str> {
        self.bound.as_deref()
    }

    /// The client is not any more who it proved to be: from here on it is nobody.
    pub fn forget(&mut self) {
        self.bound = None;
    }

    pub fn step(&mut self, message: LdapMsg) -> Step {
        let id = message.msgid;
        match message.op {
            LdapOp::UnbindRequest => Step::Close,
            LdapOp::AbandonRequest(_) => Step::Nothing,
            op => {
                let kind = Kind::of(&op);
                let result = match critical(&message.ctrl) {
                    Some(oid) => Err((
                        Code::UnavailableCriticalExtension,
                        format!("control {oid} is not understood here"),
                    )),
                    None => self.carry_out(id, op, &message.ctrl),
                };
                match (result, kind) {
                    (Ok(step), _) => step,
                    (Err((code, text)), Some(kind)) => Step::Answer(kind.answer(id, code, text)),
                    // An answer where a question belongs.
                    (Err(_), None) => Step::Close,
                }
            }
        }
    }

    fn carry_out(&mut self, id: i32, op: LdapOp, controls: &[LdapControl]) -> Result<Step, No> {
        match op {
            LdapOp::BindRequest(bind) => self.bind(id, bind),
            LdapOp::ExtendedRequest(request) => self.extended(id, &request),
            LdapOp::SearchRequest(search) => {
                let root = search.base.is_empty() && search.scope == Scope::Base;
                if !root {
                    self.may_search()?;
                }
                if terms(&search.filter) > limits::LDAP_TERMS {
                    return Err(no(
                        Code::AdminLimitExceeded,
                        "the filter has too many terms; ask in several searches",
                    ));
                }
                let page = page(controls)?;
                Ok(Step::Find(Query { id, what: What::Search(search), page }))
            }
            LdapOp::CompareRequest(compare) => {
                self.may_search()?;
                Ok(Step::Find(Query { id, what: What::Compare(compare), page: None }))
            }
            _ => Err(no(
                Code::UnwillingToPerform,
                "this directory can only be read; change accounts with `bramble account` on the router",
            )),
        }
    }

    fn may_search(&self) -> Result<(), No> {
        if self.bound.is_some() || self.policy.anonymous {
            return Ok(());
        }
        Err(no(
            Code::InsufficentAccessRights,
            "log in first; who has not logged in may not search (`option anonymous` of section `ldap` allows it)",
        ))
    }

    fn may_send_passwords(&self) -> Result<(), No> {
        if self.secure || self.policy.clear {
            return Ok(());
        }
        Err(no(
            Code::ConfidentialityRequired,
            "passwords are taken over TLS only; use ldaps:// or StartTLS (`option clear` of section `ldap` allows it)",
        ))
    }

    fn bind(&mut self, id: i32, bind: LdapBindRequest) -> Result<Step, No> {
        // Whatever comes of it, who was bound before is not any more (RFC 4511 §4.2.1).
        self.bound = None;
        if bind.version != 3 {
            return Err(no(Code::ProtocolError, "only version 3 of LDAP is spoken here"));
        }
        let LdapBindCred::Simple(password) = bind.cred else {
            return Err(no(
                Code::AuthMethodNotSupported,
                "only simple binds, with a name and a password, are known here",
            ));
        };
        match (bind.dn.is_empty(), password.is_empty()) {
            (true, true) => Ok(Step::Answer(Kind::Bind.answer(id, Code::Success, String::new()))),
            // RFC 4513 §5.1.2: taken for a log-in by careless programs.
            (false, true) => Err(no(Code::UnwillingToPerform, "a name without a password proves nothing")),
            (_, false) => {
                self.may_send_passwords()?;
                let name = self.account(&bind.dn).ok_or_else(wrong)?;
                let password = Secret::try_from(password).map_err(|_| wrong())?;
                Ok(Step::Verify { id, name, password })
            }
        }
    }

    /// The account that a name means: `uid=NAME,ou=people,<base>`, or the bare name, which some programs can only send.
    fn account(&self, text: &str) -> Option<String> {
        if !text.contains('=') {
            return Some(text.trim().to_owned()).filter(|name| !name.is_empty());
        }
        let dn: Dn = text.parse().ok()?;
        let (attribute, name, above) = dn.split()?;
        (attribute == "uid" && above == self.policy.base.child("ou", "people")).then(|| name.to_owned())
    }

    /// The answer to a bind.
    pub fn verified(&mut self, id: i32, name: String, result: Result<(), (Denied, String)>) -> LdapMsg {
        match result {
            Ok(()) => {
                self.bound = Some(name);
                Kind::Bind.answer(id, Code::Success, String::new())
            }
            Err((denied, why)) => Kind::Bind.answer(id, denied.code(), why),
        }
    }

    fn extended(&self, id: i32, request: &LdapExtendedRequest) -> Result<Step, No> {
        match request.name.as_str() {
            OID_STARTTLS if self.secure => {
                Err(no(Code::OperationsError, "this connection is inside TLS already"))
            }
            OID_STARTTLS => {
                let mut answer = Kind::Extended.answer(id, Code::Success, String::new());
                if let LdapOp::ExtendedResponse(response) = &mut answer.op {
                    response.name = Some(OID_STARTTLS.to_owned());
                }
                Ok(Step::StartTls(answer))
            }
            OID_WHOAMI => {
                let who = self.bound.as_ref().map_or_else(String::new, |name| {
                    format!("dn:{}", self.policy.base.child("ou", "people").child("uid", name))
                });
                let mut answer = Kind::Extended.answer(id, Code::Success, String::new());
                if let LdapOp::ExtendedResponse(response) = &mut answer.op {
                    response.value = Some(who.into_bytes());
                }
                Ok(Step::Answer(answer))
            }
            OID_PASSWORD_MODIFY => self.password(id, request),
            _ => Err(no(Code::ProtocolError, "this extended operation is not known here")),
        }
    }

    /// RFC 3062. Everybody changes their own password, and shows the old one.
    fn password(&self, id: i32, request: &LdapExtendedRequest) -> Result<Step, No> {
        self.may_send_passwords()?;
        let request = LdapPasswordModifyRequest::try_from(request)
            .map_err(|_| no(Code::ProtocolError, "the request to change a password cannot be read"))?;
        let bound = self.bound.as_ref().ok_or_else(|| {
            no(
                Code::InsufficentAccessRights,
                "log in first; then the password of that account can be changed",
            )
        })?;
        let name = match request.user_identity.as_deref().filter(|text| !text.is_empty()) {
            None => bound.clone(),
            Some(text) => self.account(text.strip_prefix("dn:").unwrap_or(text)).ok_or_else(wrong)?,
        };
        if name != *bound {
            return Err(no(
                Code::InsufficentAccessRights,
                "everybody changes their own password here; `bramble account password` on the router sets that of another",
            ));
        }
        let missing = |what| move || no(Code::UnwillingToPerform, what);
        let old = request.old_password.ok_or_else(missing("the old password is missing; send it too"))?;
        let new = request
            .new_password
            .ok_or_else(missing("the new password is missing; this server does not make one up"))?;
        let old = Secret::try_from(old).map_err(|_| wrong())?;
        let new = Secret::try_from(new).map_err(|bad| (Code::ConstraintViolation, bad.to_string()))?;
        Ok(Step::Change { id, name, old, new })
    }

    /// The answer to a change of a password.
    pub fn changed(&self, id: i32, result: Result<(), (Denied, String)>) -> LdapMsg {
        match result {
            Ok(()) => Kind::Extended.answer(id, Code::Success, String::new()),
            Err((denied, why)) => Kind::Extended.answer(id, denied.code(), why),
        }
    }
}

impl Query {
    /// The answers to a search, the last of them "done".
    ///
    /// With a large directory and a long filter that takes a while.
    pub fn answers(&self, directory: Result<&Directory, String>) -> Vec<LdapMsg> {
        let done = |code, why| {
            let kind = match self.what {
                What::Search(_) => Kind::Search,
                What::Compare(_) => Kind::Compare,
            };
            kind.answer(self.id, code, why)
        };
        let directory = match directory {
            Ok(directory) => directory,
            Err(why) => return vec![done(Code::Unavailable, why)],
        };
        match &self.what {
            What::Compare(request) => match compare(directory, request) {
                Ok(true) => vec![done(Code::CompareTrue, String::new())],
                Ok(false) => vec![done(Code::CompareFalse, String::new())],
                Err((code, why)) => vec![done(code, why)],
            },
            What::Search(request) if request.base.is_empty() && request.scope == Scope::Base => {
                vec![
                    entry(self.id, String::new(), root(directory, request)),
                    done(Code::Success, String::new()),
                ]
            }
            What::Search(request) => match search(directory, request, self.page) {
                Ok(found) => {
                    let mut end = done(found.code, String::new());
                    end.ctrl.extend(
                        found.cookie.map(|cookie| LdapControl::SimplePagedResults { size: 0, cookie }),
                    );
                    let asked = asked(request);
                    let entries = found.entries.into_iter().map(|found| {
                        let dn = directory.dn(found).to_string();
                        entry(self.id, dn, attributes(directory, found, &asked, request))
                    });
                    entries.chain([end]).collect()
                }
                Err((code, why)) => vec![done(code, why)],
            },
        }
    }
}

fn wrong() -> No {
    no(Code::InvalidCredentials, "that name or password is not right")
}

/// Which answer belongs to which question.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Bind,
    Search,
    Compare,
    Extended,
    Modify,
    Add,
    Delete,
    Rename,
}

impl Kind {
    fn of(op: &LdapOp) -> Option<Self> {
        Some(match op {
            LdapOp::BindRequest(_) => Self::Bind,
            LdapOp::SearchRequest(_) => Self::Search,
            LdapOp::CompareRequest(_) => Self::Compare,
            LdapOp::ExtendedRequest(_) => Self::Extended,
            LdapOp::ModifyRequest(_) => Self::Modify,
            LdapOp::AddRequest(_) => Self::Add,
            LdapOp::DelRequest(_) => Self::Delete,
            LdapOp::ModifyDNRequest(_) => Self::Rename,
            _ => return None,
        })
    }

    fn answer(self, id: i32, code: Code, message: String) -> LdapMsg {
        let res = LdapResult { code, matcheddn: String::new(), message, referral: Vec::new() };
        let op = match self {
            Self::Bind => LdapOp::BindResponse(LdapBindResponse { res, saslcreds: None }),
            Self::Search => LdapOp::SearchResultDone(res),
            Self::Compare => LdapOp::CompareResult(res),
            Self::Extended => LdapOp::ExtendedResponse(LdapExtendedResponse { res, name: None, value: None }),
            Self::Modify => LdapOp::ModifyResponse(res),
            Self::Add => LdapOp::AddResponse(res),
            Self::Delete => LdapOp::DelResponse(res),
            Self::Rename => LdapOp::ModifyDNResponse(res),
        };
        LdapMsg { msgid: id, op, ctrl: Vec::new() }
    }
}

/// A control that must not be ignored, and that we do not know.
fn critical(controls: &[LdapControl]) -> Option<&str> {
    controls.iter().find_map(|control| match control {
        LdapControl::Unknown { oid, criticality: true, .. } => Some(oid.as_str()),
        LdapControl::SyncRequest { criticality: true, .. } => Some("1.3.6.1.4.1.4203.1.9.1.1"),
        LdapControl::ServerSort { .. } | LdapControl::AdDirsync { .. } => {
            Some("for sorting or synchronising")
        }
        _ => None,
    })
}

/// Size of the page asked for, and where it begins.
fn page(controls: &[LdapControl]) -> Result<Option<(usize, usize)>, No> {
    let asked = controls.iter().find_map(|control| match control {
        LdapControl::SimplePagedResults { size, cookie } => Some((*size, cookie)),
        _ => None,
    });
    let Some((size, cookie)) = asked else { return Ok(None) };
    let begin = match <[u8; 4]>::try_from(cookie.as_slice()) {
        _ if cookie.is_empty() => 0,
        Ok(bytes) => u32::from_be_bytes(bytes),
        Err(_) => return Err(no(Code::UnwillingToPerform, "the cookie of the page is not one of ours")),
    };
    let size = usize::try_from(size).unwrap_or(0).min(limits::LDAP_RESULTS);
    Ok(Some((size, usize::try_from(begin).unwrap_or(usize::MAX))))
}

/// What a search found.
struct Found<'a> {
    entries: Vec<Entry<'a>>,
    code: Code,
    /// For the next page; empty after the last.
    cookie: Option<Vec<u8>>,
}

fn search<'a>(
    directory: &'a Directory,
    request: &LdapSearchRequest,
    page: Option<(usize, usize)>,
) -> Result<Found<'a>, No> {
    let base = place(directory, &request.base)?;
    let in_scope = |entry: Entry<'_>| {
        let depth = directory.dn(entry).depth_below(&base);
        depth.is_some_and(|depth| match request.scope {
            Scope::Base => depth == 0,
            Scope::OneLevel => depth == 1,
            Scope::Subtree => true,
            Scope::Children => depth > 0,
        })
    };
    let fits =
        |entry: &Entry<'_>| in_scope(*entry) && matches(directory, *entry, &request.filter) == Some(true);
    let asked = usize::try_from(request.sizelimit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let (size, begin) = page.unwrap_or((limits::LDAP_RESULTS, 0));
    // One more than is sent, to see whether there is more.
    let most = size.min(asked.saturating_sub(begin));
    let mut entries: Vec<_> =
        directory.entries().filter(fits).skip(begin).take(most.saturating_add(1)).collect();
    let more = entries.len() > most;
    entries.truncate(most);
    let end = begin.saturating_add(entries.len());
    let page_follows = more && page.is_some() && end < asked && size > 0;
    Ok(Found {
        code: if more && !page_follows && size > 0 { Code::SizeLimitExceeded } else { Code::Success },
        cookie: page.map(|_| match u32::try_from(end) {
            Ok(end) if page_follows => end.to_be_bytes().to_vec(),
            _ => Vec::new(),
        }),
        entries,
    })
}

/// The name that a request means, if there is such an entry.
fn place(directory: &Directory, text: &str) -> Result<Dn, No> {
    let dn: Dn = text.parse().map_err(|bad: super::BadDn| (Code::InvalidDNSyntax, bad.to_string()))?;
    // The root of all directories: only what is ours is below it.
    if dn.is_empty() {
        return Ok(directory.base().clone());
    }
    let missing = || {
        (
            Code::NoSuchObject,
            format!("there is no such entry; everything here is below `{}`", directory.base()),
        )
    };
    if directory.find(&dn).is_some() { Ok(dn) } else { Err(missing()) }
}

fn compare(directory: &Directory, request: &LdapCompareRequest) -> Result<bool, No> {
    let dn = place(directory, &request.dn)?;
    let entry = directory.find(&dn);
    let attribute = known(&request.atype)
        .ok_or_else(|| no(Code::UndefinedAttributeType, "no entry here has such an attribute"))?;
    let wanted = String::from_utf8_lossy(&request.val);
    let values = entry.map(|entry| directory.values(entry, &attribute)).unwrap_or_default();
    Ok(values.iter().any(|value| equal(&attribute, value, &wanted)))
}

fn entry(id: i32, dn: String, attributes: Vec<LdapPartialAttribute>) -> LdapMsg {
    LdapMsg {
        msgid: id,
        op: LdapOp::SearchResultEntry(LdapSearchResultEntry { dn, attributes }),
        ctrl: Vec::new(),
    }
}

/// Those that are wanted. Found once for all entries: the list of a stranger may be long.
fn asked(request: &LdapSearchRequest) -> Vec<&'static str> {
    ATTRIBUTES.into_iter().filter(|attribute| wanted(request, attribute)).collect()
}

/// Which attributes are wanted (RFC 4511 §4.5.1.8).
fn wanted(request: &LdapSearchRequest, attribute: &str) -> bool {
    let operational = OPERATIONAL.contains(&attribute);
    if request.attrs.is_empty() {
        return !operational;
    }
    request.attrs.iter().any(|asked| match asked.as_str() {
        "*" => !operational,
        "+" => operational,
        asked => known(asked).is_some_and(|asked| asked.eq_ignore_ascii_case(attribute)),
    })
}

fn attributes(
    directory: &Directory,
    entry: Entry<'_>,
    asked: &[&'static str],
    request: &LdapSearchRequest,
) -> Vec<LdapPartialAttribute> {
    let values = asked.iter().filter_map(|attribute| {
        let values = directory.values(entry, &attribute.to_ascii_lowercase());
        let bytes = |value: std::borrow::Cow<'_, str>| value.into_owned().into_bytes();
        let vals = if request.typesonly { Vec::new() } else { values.iter().cloned().map(bytes).collect() };
        (!values.is_empty()).then(|| LdapPartialAttribute { atype: (*attribute).to_owned(), vals })
    });
    values.collect()
}

/// What the server says of itself (RFC 4512 §5.1).
fn root(directory: &Directory, request: &LdapSearchRequest) -> Vec<LdapPartialAttribute> {
    let base = directory.base().to_string();
    let says: [(&str, &[&str]); 6] = [
        ("objectClass", &["top"]),
        ("namingContexts", &[&base]),
        ("supportedLDAPVersion", &["3"]),
        ("supportedExtension", &[OID_STARTTLS, OID_PASSWORD_MODIFY, OID_WHOAMI]),
        ("supportedControl", &[OID_PAGES]),
        ("vendorName", &["Bramble"]),
    ];
    let asked = |name: &str| {
        let all = request.attrs.is_empty() || request.attrs.iter().any(|a| a == "*" || a == "+");
        all || request.attrs.iter().any(|a| a.eq_ignore_ascii_case(name))
    };
    let says = says.into_iter().filter(|(name, _)| asked(name));
    says.map(|(name, values)| LdapPartialAttribute {
        atype: name.to_owned(),
        vals: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
    })
    .collect()
}

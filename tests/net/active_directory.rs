//! A password that Active Directory wants replaced, from the log-in that it refuses to the one that works.
//!
//! OpenLDAP has neither its refusals with a number in their words nor `unicodePwd`, so the server here is one of the test's
//! own: what it answers is what [MS-ADTS] says of binds (§5.1.1.1), of changes of `unicodePwd` (§3.1.1.3.1.5) and of
//! questions before a bind.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bramble::proto::agent::channel::{Ask, Code, Reply};
use bramble::sim::classroom::Classroom;
use bramble::sim::net::PREFIX;
use bramble::sim::pi::Options;
use bramble::types::{MacAddr, Secret, SessionKind, UserName};
use bytes::BytesMut;
use ldap3_proto::LdapCodec;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapBindResponse, LdapFilter, LdapModifyRequest, LdapModifyType, LdapMsg,
    LdapOp, LdapPartialAttribute, LdapResult, LdapResultCode, LdapSearchRequest, LdapSearchResultEntry,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::classroom::{boot, classroom};
use crate::directory::School;
use crate::harness::isolated;
use crate::slapd::{ADDRESS, OWN_SECRET, certificates, sid};

const BRAMBLE: &str = "cn=bramble,dc=ad,dc=lan";

/// The least that the domain lets a password be, in characters.
const LEAST: usize = 10;

/// A user of the domain.
struct User {
    dn: &'static str,
    account: &'static str,
    rid: u32,
    password: String,
    /// `pwdLastSet` is 0: an administrator said so. Data 773 at a bind.
    must_change: bool,
    /// Older than the domain allows, which no attribute says. Data 532 at a bind.
    is_old: bool,
}

/// A domain controller, on port 636 only.
struct Controller {
    folder: PathBuf,
    users: Arc<Mutex<Vec<User>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Controller {
    fn start(room: &mut Classroom, folder: &Path) -> Self {
        let (lab, lan) = room.lab();
        let machine = lab.client(lan, MacAddr::new([2, 0, 0, 0, 0, 5])).expect("a machine");
        machine.address("eth0", ADDRESS, PREFIX).expect("an address");
        let folder = folder.join("ad");
        std::fs::create_dir(&folder).expect("a folder");
        certificates(&folder);
        let chain = vec![CertificateDer::from_pem_file(folder.join("server.pem")).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("a key");
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .expect("TLS");
        let listener = machine.run(|| TcpListener::bind((ADDRESS, 636))).expect("a port");
        listener.set_nonblocking(true).expect("set");
        let user = |dn, account, rid, must_change, is_old| User {
            dn,
            account,
            rid,
            password: "opensesame".to_owned(),
            must_change,
            is_old,
        };
        let users = Arc::new(Mutex::new(vec![
            user("CN=Anna Maier,DC=ad,DC=lan", "Anna.Maier", 1104, true, false),
            user("CN=Ben,DC=ad,DC=lan", "ben", 1105, false, true),
            user("CN=Carl,DC=ad,DC=lan", "carl", 1106, false, false),
        ]));
        let over = Arc::new(AtomicBool::new(false));
        let (tls, shared, stop) = (Arc::new(tls), Arc::clone(&users), Arc::clone(&over));
        let thread = thread::spawn(move || {
            // The machine is there as long as it is served.
            let _machine = machine;
            let mut connections = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (tls, users, stop) = (Arc::clone(&tls), Arc::clone(&shared), Arc::clone(&stop));
                        connections.push(thread::spawn(move || {
                            // A client that goes is no fault.
                            let _ = serve(stream, tls, &users, &stop);
                        }));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
            for connection in connections {
                connection.join().expect("a connection breaks off in order");
            }
        });
        Self { folder, users, over, thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the controller ends in order");
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn serve(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    users: &Mutex<Vec<User>>,
    over: &AtomicBool,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut stream = StreamOwned::new(ServerConnection::new(tls).map_err(io::Error::other)?, stream);
    let (mut codec, mut read) = (LdapCodec::default(), BytesMut::new());
    let mut bound = false;
    while !over.load(Ordering::Relaxed) {
        while let Some(message) = codec.decode(&mut read)? {
            let mut users = users.lock().expect("no test failed with it");
            let (answers, ctrl) = match message.op {
                LdapOp::BindRequest(request) => {
                    let res = bind(&users, &request);
                    bound = res.code == LdapResultCode::Success;
                    (vec![LdapOp::BindResponse(LdapBindResponse { res, saslcreds: None })], Vec::new())
                }
                LdapOp::SearchRequest(request) => {
                    let mut answers = if bound { find(&users, &request) } else { Vec::new() };
                    answers.push(LdapOp::SearchResultDone(if bound { done() } else { not_bound() }));
                    (answers, vec![LdapControl::SimplePagedResults { size: 0, cookie: Vec::new() }])
                }
                LdapOp::ModifyRequest(request) => {
                    let result = if bound { modify(&mut users, &request) } else { not_bound() };
                    (vec![LdapOp::ModifyResponse(result)], Vec::new())
                }
                LdapOp::UnbindRequest => return Ok(()),
                other => panic!("nobody asks a domain controller for {other:?}"),
            };
            let (last, mut out) = (answers.len() - 1, BytesMut::new());
            for (at, op) in answers.into_iter().enumerate() {
                let ctrl = if at == last { ctrl.clone() } else { Vec::new() };
                codec.encode(LdapMsg { msgid: message.msgid, op, ctrl }, &mut out)?;
            }
            stream.write_all(&out)?;
            stream.flush()?;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => read.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn result(code: LdapResultCode, message: &str) -> LdapResult {
    LdapResult { code, matcheddn: String::new(), message: message.to_owned(), referral: Vec::new() }
}

fn done() -> LdapResult {
    result(LdapResultCode::Success, "")
}

fn not_bound() -> LdapResult {
    let says = "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be \
                completed on the connection., data 0, v4563";
    result(LdapResultCode::OperationsError, says)
}

/// Whoever shows the right password is told why it does not do; whoever does not is told nothing.
fn bind(users: &[User], request: &LdapBindRequest) -> LdapResult {
    let LdapBindCred::Simple(password) = &request.cred else { panic!("{request:?}") };
    if request.dn.eq_ignore_ascii_case(BRAMBLE) && password == OWN_SECRET {
        return done();
    }
    let user = users.iter().find(|user| user.dn.eq_ignore_ascii_case(&request.dn));
    let data = match user {
        None => "525",
        Some(user) if user.password != *password => "52e",
        Some(user) if user.must_change => "773",
        Some(user) if user.is_old => "532",
        Some(_) => return done(),
    };
    let says =
        format!("80090308: LdapErr: DSID-0C0903D9, comment: AcceptSecurityContext error, data {data}, v4563");
    result(LdapResultCode::InvalidCredentials, &says)
}

type Attributes = Vec<(&'static str, Vec<u8>)>;

fn find(users: &[User], request: &LdapSearchRequest) -> Vec<LdapOp> {
    let person = |user: &User| -> (String, Attributes) {
        let attributes = vec![
            ("objectClass", b"user".to_vec()),
            ("objectCategory", b"person".to_vec()),
            ("sAMAccountName", user.account.into()),
            ("displayName", user.account.into()),
            ("objectSid", sid(user.rid)),
            ("userAccountControl", b"512".to_vec()),
            ("primaryGroupID", b"513".to_vec()),
            ("pwdLastSet", if user.must_change { b"0".to_vec() } else { b"133485408000000000".to_vec() }),
        ];
        (user.dn.to_owned(), attributes)
    };
    let group = vec![
        ("objectClass", b"group".to_vec()),
        ("cn", b"Domain Users".to_vec()),
        ("sAMAccountName", b"Domain Users".to_vec()),
        ("objectSid", sid(513)),
    ];
    let all = users.iter().map(person).chain([("CN=Domain Users,DC=ad,DC=lan".to_owned(), group)]);
    let entry = |(dn, attributes): (String, Attributes)| {
        let attributes = attributes
            .into_iter()
            .map(|(name, value)| LdapPartialAttribute { atype: name.to_owned(), vals: vec![value] })
            .collect();
        LdapOp::SearchResultEntry(LdapSearchResultEntry { dn, attributes })
    };
    all.filter(|(_, attributes)| fits(&request.filter, attributes)).map(entry).collect()
}

fn fits(filter: &LdapFilter, attributes: &[(&str, Vec<u8>)]) -> bool {
    match filter {
        LdapFilter::And(all) => all.iter().all(|filter| fits(filter, attributes)),
        LdapFilter::Equality(name, wanted) => attributes.iter().any(|(attribute, value)| {
            attribute.eq_ignore_ascii_case(name) && value.eq_ignore_ascii_case(wanted.as_bytes())
        }),
        other => panic!("{other:?}"),
    }
}

/// A user changes their password: what it was is taken away and what it will be is put there, in one request, each in
/// quotation marks and in UTF-16.
fn modify(users: &mut [User], request: &LdapModifyRequest) -> LdapResult {
    let quoted =
        |text: &str| -> Vec<u8> { format!("\"{text}\"").encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let plain = |bytes: &[u8]| -> String {
        let pairs: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        String::from_utf16(&pairs).expect("UTF-16").trim_matches('"').to_owned()
    };
    let [out, put] = request.changes.as_slice() else { panic!("{request:?}") };
    assert_eq!((&out.operation, &put.operation), (&LdapModifyType::Delete, &LdapModifyType::Add));
    for change in [out, put] {
        assert_eq!((change.modification.atype.as_str(), change.modification.vals.len()), ("unicodePwd", 1));
    }
    let user = users.iter_mut().find(|user| user.dn.eq_ignore_ascii_case(&request.dn)).expect("a user");
    if out.modification.vals[0] != quoted(&user.password) {
        return result(
            LdapResultCode::ConstraintViolation,
            "00000056: AtrErr: DSID-03191083, #1:\n\t0: 00000056: DSID-03191083, problem 1005 (CONSTRAINT_ATT_TYPE), \
             data 0, Att 9005a (unicodePwd)",
        );
    }
    let new = plain(&put.modification.vals[0]);
    if put.modification.vals[0] != quoted(&new) {
        return result(
            LdapResultCode::UnwillingToPerform,
            "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0",
        );
    }
    if new.chars().count() < LEAST {
        return result(
            LdapResultCode::ConstraintViolation,
            "0000052D: AtrErr: DSID-03191083, #1:\n\t0: 0000052D: DSID-03191083, problem 1005 (CONSTRAINT_ATT_TYPE), \
             data 0, Att 9005a (unicodePwd)",
        );
    }
    (user.password, user.must_change, user.is_old) = (new, false, false);
    done()
}

#[test]
fn a_password_that_has_run_out_is_replaced_and_opens_the_home() {
    isolated(|| {
        let (folder, mut room) = classroom(1);
        let controller = Controller::start(&mut room, folder.path());
        let up = boot(&mut room, Options { skip_walk: true }).pop().expect("a seat");
        let mut school = School::of(folder, room, up, controller);
        let at = school.directory.folder.clone();
        school.take(format!(
            "\nconfig accounts 'accounts'\n\toption source 'ldap'\n\nconfig directory 'directory'\n\tlist server '{ADDRESS}'\n\
             \toption kind 'ad'\n\toption base 'DC=ad,DC=lan'\n\toption bind_dn '{BRAMBLE}'\n\toption secret_file '{}'\n\
             \toption ca_file '{}'\n\toption timeout '5'\n\toption offline 'passwords'\n",
            at.join("secret").display(),
            at.join("ca.pem").display()
        ));
        let secret = |text: &str| -> Secret { text.parse().expect("a password") };
        for name in ["anna-maier", "ben"] {
            let name: UserName = name.parse().expect("a name");
            let open = || Ask::OpenSession {
                name: name.clone(),
                service: "login".into(),
                terminal: "tty1".into(),
                kind: SessionKind::Console,
            };
            let change =
                |old, new| Ask::ChangePassword { name: name.clone(), old: secret(old), new: secret(new) };
            let (code, _) = school.try_password(name.as_str(), "wrong").expect_err("refused");
            assert_eq!(code, Code::WrongPassword, "{name}");
            let verified =
                school.try_password(name.as_str(), "opensesame").expect("let in, to choose another");
            assert!(verified.must_change, "{name}");
            let mut seat = school.channel();
            let Reply::Refused { message, .. } = seat.ask(open()).expect("an answer") else {
                panic!("opened")
            };
            assert_eq!(message, "choose a new password first");
            let refused = |reply: Reply| match reply {
                Reply::Refused { code, message } => (code, message),
                other => panic!("{name}: {other:?}"),
            };
            let (code, _) = refused(seat.ask(change("opensesam", "closesesame")).expect("an answer"));
            assert_eq!(code, Code::WrongPassword, "the old one has to be shown");
            let (code, message) = refused(seat.ask(change("opensesame", "sesame-99")).expect("an answer"));
            assert_eq!(
                (code, message.as_str()),
                (Code::Weak, "the directory does not take this password; choose a longer or less common one")
            );
            let done = seat.ask(change("opensesame", "Öffne-dich-9")).expect("an answer");
            assert_eq!(done, Reply::Changed, "{name}: {}", school.log());
            let opened = seat.ask(open()).expect("an answer");
            assert!(matches!(opened, Reply::Opened { .. }), "{name}: {opened:?}");
            assert!(
                !school.try_password(name.as_str(), "Öffne-dich-9").expect("let in").must_change,
                "{name}"
            );
            let (code, _) = school.try_password(name.as_str(), "opensesame").expect_err("refused");
            assert_eq!(code, Code::WrongPassword, "{name}");
        }
        assert!(
            school
                .directory
                .users
                .lock()
                .expect("whole")
                .iter()
                .all(|user| !user.must_change && !user.is_old)
        );

        // What was right is right for a while without the domain, and what was right before is not.
        school.directory.stop();
        let anna = school.try_password("anna-maier", "Öffne-dich-9").expect("let in");
        assert_eq!((anna.uid.0, anna.must_change), (201_104, false));
        assert_eq!(
            school.try_password("anna-maier", "opensesame").expect_err("refused").0,
            Code::WrongPassword
        );
        assert_eq!(school.try_password("carl", "opensesame").expect_err("never seen").0, Code::Unreachable);
        let log = school.log();
        for secret in [OWN_SECRET, "sesame", "ffne-dich"] {
            assert!(!log.contains(secret), "`{secret}` is in the log");
        }
    });
}

//! Connections that live longer than what was proved on them.

use std::sync::atomic::{AtomicI64, Ordering};

use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapExtendedRequest, LdapOp, LdapPasswordModifyRequest, LdapResultCode,
};
use tokio::io::DuplexStream;
use tokio::sync::watch;

use super::*;
use crate::proto::dhcp::Uptime;
use crate::service::leases::Now;
use crate::store::Store;
use crate::store::accounts::{AccountChange, NewAccount};
use crate::types::{Moment, Secret, UserName};

const BEGINNING: Moment = Moment::from_secs(1_795_435_200);

/// Accounts of `anna` and `ben`, and the interface over them.
struct Library {
    _folder: tempfile::TempDir,
    accounts: Accounts,
    shared: Arc<Shared>,
    /// Seconds since the beginning.
    now: Arc<AtomicI64>,
}

fn name(text: &str) -> UserName {
    text.parse().expect("a name")
}

fn secret(text: &str) -> Secret {
    text.parse().expect("a password")
}

fn library() -> Library {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("bramble.db")).expect("a store");
    let now = Arc::new(AtomicI64::new(0));
    let seconds = Arc::clone(&now);
    let clock = Box::new(move || {
        let secs = seconds.load(Ordering::SeqCst);
        let up = Uptime(Duration::from_secs(secs.try_into().expect("after the beginning")));
        Now { up, civil: BEGINNING.plus(up.0) }
    });
    let mut config = Config::default();
    config.ldap.base = "dc=raspberrypi,dc=local".parse().expect("a base");
    config.ldap.clear = true;
    let config = Arc::new(config);
    let accounts = Accounts::new(store, watch::Sender::new(Arc::clone(&config)).subscribe(), clock);
    for (who, password) in [("anna", "opensesame"), ("ben", "letmein-2")] {
        let new = NewAccount::pupil(name(who));
        accounts.add(new, Some(&secret(password))).expect("added");
    }
    let pair = KeyPair::open(folder.path(), "ldap", vec!["bramble".to_owned()]).expect("a key");
    let shared = Shared::new(&config, accounts.clone(), &pair).expect("shared");
    Library { _folder: folder, accounts, shared, now }
}

impl Library {
    fn connect(&self) -> Client {
        let (here, there) = tokio::io::duplex(4096);
        let talk = Talk {
            shared: Arc::clone(&self.shared),
            connection: Connection::new(self.shared.policy.clone(), false),
            proof: None,
            stream: Box::pin(there),
            ip: Ipv4Addr::LOCALHOST,
        };
        Client { stream: here, talk: Box::pin(talk.run()) }
    }

    /// A connection on which `who` has logged in.
    async fn logged_in(&self, who: &str, password: &str) -> Client {
        let mut client = self.connect();
        assert_eq!(client.bind(who, password).await, LdapResultCode::Success, "{who}");
        assert_eq!(client.who().await, format!("dn:uid={who},ou=people,dc=raspberrypi,dc=local"));
        client
    }

    fn set(&self, who: &str, change: AccountChange) {
        self.accounts.set(&name(who), change).expect("changed");
    }
}

struct Client {
    stream: DuplexStream,
    talk: Pin<Box<dyn Future<Output = io::Result<()>>>>,
}

impl Client {
    async fn ask(&mut self, op: LdapOp) -> LdapOp {
        let mut codec = LdapCodec::default();
        let mut bytes = BytesMut::new();
        codec.encode(LdapMsg { msgid: 1, op, ctrl: Vec::new() }, &mut bytes).expect("a message");
        let conversation = async {
            self.stream.write_all(&bytes).await.expect("sent");
            bytes.clear();
            loop {
                if let Some(answer) = codec.decode(&mut bytes).expect("an answer") {
                    return answer.op;
                }
                self.stream.read_buf(&mut bytes).await.expect("received");
            }
        };
        tokio::select! {
            answer = conversation => answer,
            ended = &mut self.talk => panic!("the connection ended: {ended:?}"),
        }
    }

    async fn bind(&mut self, who: &str, password: &str) -> LdapResultCode {
        let cred = LdapBindCred::Simple(password.to_owned());
        let request = LdapBindRequest { version: 3, dn: who.to_owned(), cred };
        match self.ask(LdapOp::BindRequest(request)).await {
            LdapOp::BindResponse(response) => response.res.code,
            other => panic!("{other:?}"),
        }
    }

    /// Who the server takes the client for; empty for nobody.
    async fn who(&mut self) -> String {
        let request = LdapExtendedRequest { name: "1.3.6.1.4.1.4203.1.11.3".to_owned(), value: None };
        match self.ask(LdapOp::ExtendedRequest(request)).await {
            LdapOp::ExtendedResponse(response) => {
                String::from_utf8(response.value.unwrap_or_default()).expect("text")
            }
            other => panic!("{other:?}"),
        }
    }

    async fn change(&mut self, old: &str, new: &str) -> LdapResultCode {
        let request = LdapPasswordModifyRequest {
            user_identity: None,
            old_password: Some(old.to_owned()),
            new_password: Some(new.to_owned()),
        };
        match self.ask(LdapOp::ExtendedRequest(request.into())).await {
            LdapOp::ExtendedResponse(response) => response.res.code,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn whoever_may_no_longer_log_in_is_nobody_from_the_next_request_on() {
    type Change = fn(&Library);
    let changes: [(&str, Change); 5] = [
        ("switched off", |library| {
            library.set("anna", AccountChange { enabled: Some(false), ..AccountChange::default() });
        }),
        ("at its end", |library| {
            let expires_at = Some(Some(BEGINNING.plus(Duration::from_mins(1))));
            library.set("anna", AccountChange { expires_at, ..AccountChange::default() });
            library.now.store(61, Ordering::SeqCst);
            library.accounts.time_passes();
        }),
        ("renamed", |library| {
            library.set("anna", AccountChange { name: Some(name("eva")), ..AccountChange::default() });
        }),
        ("removed", |library| drop(library.accounts.remove(&[name("anna")]).expect("removed"))),
        ("given another password", |library| {
            library.accounts.reset_password(&name("anna"), None).expect("reset");
        }),
    ];
    for (what, change) in changes {
        let library = library();
        let mut anna = library.logged_in("anna", "opensesame").await;
        let mut ben = library.logged_in("ben", "letmein-2").await;
        change(&library);
        assert_eq!(anna.who().await, "", "anna's account is {what}");
        assert_eq!(anna.change("opensesame", "closesesame").await, LdapResultCode::InsufficentAccessRights);
        assert!(ben.who().await.contains("uid=ben"), "what becomes of anna ends nobody else's connection");
    }
}

#[tokio::test]
async fn a_password_that_was_changed_counts_on_no_other_connection() {
    let library = library();
    let mut one = library.logged_in("anna", "opensesame").await;
    let mut other = library.logged_in("anna", "opensesame").await;
    library.set("ben", AccountChange { note: Some("a note".to_owned()), ..AccountChange::default() });
    assert!(other.who().await.contains("uid=anna"), "a change of somebody else changes nothing");
    assert_eq!(one.change("opensesame", "closesesame").await, LdapResultCode::Success);
    assert!(one.who().await.contains("uid=anna"), "whoever chose it has shown it");
    assert_eq!(other.who().await, "");
    assert_eq!(other.bind("anna", "opensesame").await, LdapResultCode::InvalidCredentials);
    assert_eq!(other.bind("anna", "closesesame").await, LdapResultCode::Success);
    assert!(other.who().await.contains("uid=anna"));
    library.accounts.restored().expect("restored");
    assert_eq!(other.who().await, "", "a backup may have brought other passwords");
}

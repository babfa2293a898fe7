//! LDAP messages as a stranger could send them, read and answered over a small directory.
#![no_main]

use bramble::proto::ldap::{Connection, Denied, Directory, Policy, Step};
use bramble::types::limits;
use bytes::BytesMut;
use ldap3_proto::LdapCodec;
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::{Decoder as _, Encoder as _};

fuzz_target!(|data: &[u8]| {
    let base = "dc=raspberrypi,dc=local".parse().expect("a name");
    let mut connection = Connection::new(Policy { base, anonymous: true, clear: true }, false);
    let base = "dc=raspberrypi,dc=local".parse().expect("a name");
    let directory = Directory::new(base, Vec::new());
    let mut codec = LdapCodec::new(Some(limits::LDAP_MESSAGE), Some(limits::LDAP_DEPTH));
    let (mut read, mut out) = (BytesMut::from(data), BytesMut::new());
    while let Ok(Some(message)) = codec.decode(&mut read) {
        let answers = match connection.step(message) {
            Step::Answer(answer) => vec![answer],
            Step::Verify { id, name, .. } if name.len() % 2 == 0 => vec![connection.verified(id, name, Ok(()))],
            Step::Verify { id, name, .. } => {
                vec![connection.verified(id, name, Err((Denied::Credentials, String::new())))]
            }
            Step::Change { id, .. } => vec![connection.changed(id, Ok(()))],
            Step::Find(query) => query.answers(Ok(&directory)),
            Step::StartTls(answer) => {
                connection.secured();
                vec![answer]
            }
            Step::Nothing => Vec::new(),
            Step::Close => return,
        };
        for answer in answers {
            LdapCodec::default().encode(answer, &mut out).expect("our own answers can be written");
        }
        out.clear();
    }
});

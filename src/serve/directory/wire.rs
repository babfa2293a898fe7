//! The way to a server of a directory: TCP, TLS if there is to be any, and bounds for what comes back.
//!
//! `ldap3` would read an answer of any size and any depth. So it is not given the server's socket but one end of a pair; a task
//! carries bytes between the other end and the server, and lets only those messages through that [`Messages`] has looked at.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use crate::proto::ldap::{BadMessage, Messages};
use crate::types::{chain, limits};

/// `StartTLS` (RFC 4511 §4.14) as question number 1: what is sent in the clear is this and nothing else.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// Why TLS does not stand.
#[derive(Debug, thiserror::Error)]
pub enum NoTls {
    /// The server will not begin it; with its result code.
    #[error("the server does not begin TLS (LDAP result {0})")]
    Refused(u8),
    /// What it answered is no answer.
    #[error("its answer is not LDAP")]
    NoAnswer,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a connection was given up, if what came over it was the reason.
#[derive(Clone, Debug, Default)]
pub struct Fault(Arc<OnceLock<String>>);

impl Fault {
    pub fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// TLS over `stream`.
pub async fn secure(
    host: &str,
    config: Arc<ClientConfig>,
    mut stream: TcpStream,
    in_the_clear_first: bool,
) -> Result<impl AsyncRead + AsyncWrite + Send + 'static, NoTls> {
    if in_the_clear_first {
        start_tls(&mut stream).await?;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}

/// Asks for TLS. Whatever comes behind the answer and before TLS is somebody else's.
async fn start_tls(stream: &mut TcpStream) -> Result<(), NoTls> {
    stream.write_all(START_TLS).await?;
    let (mut messages, mut buffer) = (Messages::default(), [0; 512]);
    let answer = loop {
        match stream.read(&mut buffer).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            length => messages.push(buffer.get(..length).unwrap_or_default()),
        }
        if let Some(answer) = messages.take().map_err(|_| NoTls::NoAnswer)? {
            break answer;
        }
    };
    match result(&answer) {
        Some(0) if messages.waiting() == 0 => Ok(()),
        Some(0) | None => Err(NoTls::NoAnswer),
        Some(code) => Err(NoTls::Refused(code)),
    }
}

/// The result code of an answer to an extended question (`ExtendedResponse`), with short lengths or long ones.
fn result(message: &[u8]) -> Option<u8> {
    let inside = |bytes: &[u8], tag: u8| -> Option<usize> {
        let (&found, &length) = (bytes.first()?, bytes.get(1)?);
        (found == tag).then(|| 2 + if length < 0x80 { 0 } else { usize::from(length & 0x7f) })
    };
    let content = message.get(inside(message, 0x30)?..)?;
    let number = inside(content, 0x02)? + usize::from(*content.get(1)?);
    let answer = content.get(number..)?;
    match answer.get(inside(answer, 0x78)?..)? {
        [0x0a, 1, code, ..] => Some(*code),
        _ => None,
    }
}

/// The other end of `server`, which is carried by a task of `handle` until either side closes it.
pub fn bounded<S>(handle: &Handle, server: S) -> io::Result<(StdUnixStream, Fault)>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (own, other) = StdUnixStream::pair()?;
    own.set_nonblocking(true)?;
    let own = UnixStream::from_std(own)?;
    let fault = Fault::default();
    let told = fault.clone();
    handle.spawn(async move {
        if let Err(why) = carry(own, server).await {
            tracing::debug!(why, "a connection to the directory was given up");
            let _ = told.0.set(why);
        }
    });
    Ok((other, fault))
}

/// Carries bytes until one side is done; why it was given up, if the server is to blame.
async fn carry<S: AsyncRead + AsyncWrite>(mut own: UnixStream, server: S) -> Result<(), String> {
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut asked, mut came) = (vec![0; 1024], vec![0; CHUNK]);
    let mut messages = Messages::default();
    // Since the last question.
    let mut answered = 0;
    loop {
        tokio::select! {
            read = own.read(&mut asked) => match read {
                Ok(length) if length > 0 => {
                    answered = 0;
                    let question = asked.get(..length).unwrap_or_default();
                    if to_server.write_all(question).await.is_err() || to_server.flush().await.is_err() {
                        return Ok(());
                    }
                }
                _ => {
                    let _ = to_server.shutdown().await;
                    return Ok(());
                }
            },
            read = from_server.read(&mut came) => {
                let length = read.map_err(|error| chain(&error))?;
                if length == 0 {
                    return Ok(());
                }
                answered += length;
                // The library keeps what nobody has taken yet.
                if answered > limits::DIRECTORY_ANSWER {
                    return Err(format!(
                        "it answers one question with more than {} bytes", limits::DIRECTORY_ANSWER
                    ));
                }
                messages.push(came.get(..length).unwrap_or_default());
                while let Some(message) = messages.take().map_err(|bad: BadMessage| bad.to_string())? {
                    if own.write_all(&message).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_starttls_is_read_in_both_spellings() {
        let rows: [(&[u8], Option<u8>); 5] = [
            (b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", Some(0)),
            // Active Directory writes four octets of length.
            (b"\x30\x84\0\0\0\x10\x02\x01\x01\x78\x84\0\0\0\x07\x0a\x01\x34\x04\x00\x04\x00", Some(52)),
            (b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", None),
            (b"\x30\x05\x02\x01\x01\x78\x00", None),
            (b"", None),
        ];
        for (message, expected) in rows {
            assert_eq!(result(message), expected, "{message:?}");
        }
    }

    #[tokio::test]
    async fn what_is_too_much_ends_the_connection_and_says_why() {
        let bound = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (own, fault) = bounded(&Handle::current(), there).expect("a pair");
        own.set_nonblocking(true).expect("set");
        let mut own = UnixStream::from_std(own).expect("a socket");
        let (mut from, mut to) = tokio::io::split(here);
        own.write_all(b"question").await.expect("sent");
        let mut asked = [0; 8];
        from.read_exact(&mut asked).await.expect("carried");
        assert_eq!(&asked, b"question");
        to.write_all(bound).await.expect("sent");
        let mut answer = [0; 14];
        own.read_exact(&mut answer).await.expect("carried");
        assert_eq!(&answer, bound);
        assert_eq!(fault.get(), None);
        to.write_all(b"\x30\x84\x7f\xff\xff\xff").await.expect("sent");
        assert_eq!(own.read(&mut answer).await.expect("closed"), 0);
        assert_eq!(
            fault.get(),
            Some("it sends a message of 2147483647 bytes, more than the 1048576 that are read")
        );
    }

    #[tokio::test]
    async fn one_question_has_no_endless_answer() {
        let (here, there) = tokio::io::duplex(1 << 20);
        let (own, fault) = bounded(&Handle::current(), there).expect("a pair");
        own.set_nonblocking(true).expect("set");
        let mut own = UnixStream::from_std(own).expect("a socket");
        let reader = tokio::spawn(async move {
            let (mut all, mut buffer) = (0, vec![0; 64 * 1024]);
            while let Ok(length @ 1..) = own.read(&mut buffer).await {
                all += length;
            }
            all
        });
        let entry =
            [&b"\x30\x84\0\0\x03\xf0\x02\x01\x01\x73\x84\0\0\x03\xe7\x04\x84\0\0\x03\xe1"[..], &[b'x'; 993]]
                .concat();
        let (_from, mut to) = tokio::io::split(here);
        while to.write_all(&entry).await.is_ok() {}
        let all = reader.await.expect("read");
        assert!((limits::DIRECTORY_ANSWER - (1 << 20)..=limits::DIRECTORY_ANSWER).contains(&all), "{all}");
        assert_eq!(fault.get(), Some("it answers one question with more than 16777216 bytes"));
    }
}

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::handshake::{Broken, as_server, as_viewer};
use super::*;

const CHALLENGE: [u8; 16] = *b"0123456789abcdef";

/// A viewer of `version` that knows `password`; what it was told at the end.
async fn viewer(stream: &mut tokio::io::DuplexStream, version: &[u8; 12], password: &str) -> u32 {
    let mut said = [0; 12];
    stream.read_exact(&mut said).await.expect("a version");
    assert_eq!(&said, rfb::VERSION);
    stream.write_all(version).await.expect("sent");
    if version == b"RFB 003.003\n" {
        assert_eq!(stream.read_u32().await.expect("a kind"), 2);
    } else {
        assert_eq!(stream.read_u16().await.expect("one kind"), 0x0102);
        stream.write_u8(2).await.expect("sent");
    }
    let mut challenge = [0; 16];
    stream.read_exact(&mut challenge).await.expect("a challenge");
    stream.write_all(&rfb::response(&challenge, password)).await.expect("sent");
    stream.read_u32().await.expect("a result")
}

#[tokio::test]
async fn who_knows_the_password_is_let_in_whatever_version_they_speak() {
    for version in [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"] {
        for (password, lets_in) in [("right2go", true), ("wrong2go", false)] {
            let (mut own, mut other) = duplex(256);
            let (served, told) = tokio::join!(
                as_server(&mut own, &CHALLENGE, "right2go"),
                viewer(&mut other, version, password)
            );
            assert_eq!((served.is_ok(), told == 0), (lets_in, lets_in));
            assert!(lets_in || matches!(served, Err(Broken::WrongPassword)));
        }
    }
}

#[tokio::test]
async fn nonsense_is_refused() {
    let rows: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.0\r\n\r\n", "it does not speak the protocol of VNC"),
        (b"RFB 003.008\n\x01", "it chose another kind of security than there is"),
        (b"RFB 003.008\n\x02short", "the connection failed"),
        (b"", "the connection failed"),
    ];
    for (bytes, expected) in rows {
        let (mut own, mut other) = duplex(256);
        other.write_all(bytes).await.expect("sent");
        other.shutdown().await.expect("shut");
        let error = as_server(&mut own, &CHALLENGE, "x").await.expect_err("refused");
        assert_eq!(error.to_string(), expected);
    }
    // On the client's side: one that asks for a password itself, as wayvnc does that somebody set up.
    let (mut own, mut other) = duplex(256);
    other.write_all(b"RFB 003.008\n\x01\x02").await.expect("sent");
    assert!(matches!(as_viewer(&mut own).await, Err(Broken::AsksForPassword)));
}

#[test]
fn passwords_are_easy_to_copy() {
    assert_eq!(password([0, 31, 32, 255, 8, 9, 10, 11]), "a9a9ijkm");
    assert_eq!(hex(&[0xab; 16]).len(), 32);
}

/// One who connects and speaks, and is let in or not.
async fn calls(at: SocketAddr, password: &str) -> Option<u32> {
    let mut stream = TcpStream::connect(at).await.ok()?;
    let mut said = [0; 12];
    stream.read_exact(&mut said).await.ok()?;
    stream.write_all(b"RFB 003.003\n").await.ok()?;
    stream.read_u32().await.ok()?;
    let mut challenge = [0; 16];
    stream.read_exact(&mut challenge).await.ok()?;
    stream.write_all(&rfb::response(&challenge, password)).await.ok()?;
    stream.read_u32().await.ok()
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_out() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let at = listener.local_addr().expect("an address");
    // From another address than the teacher's, as far as this machine has one.
    let mut silent = Vec::new();
    for _ in 0..5 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.9:0".parse().expect("an address")).expect("bound");
        silent.push(socket.connect(at).await.expect("connected"));
    }
    let teacher = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        calls(at, "right2go").await
    };
    let within =
        timeout(Duration::from_secs(3), async { tokio::join!(enter(&listener, None, "right2go"), teacher) });
    let (entered, told) = within.await.expect("the teacher does not wait for who says nothing");
    assert_eq!((entered.expect("let in").1, told), (Ipv4Addr::LOCALHOST, Some(0)));
}

#[tokio::test]
async fn who_guesses_is_out_and_the_teacher_is_not() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let at = listener.local_addr().expect("an address");
    let callers = async {
        for _ in 0..limits::SCREEN_TRIES {
            assert_eq!(calls(at, "guess").await, Some(1));
        }
        assert_eq!(calls(at, "right2go").await, None, "this address has guessed enough");
    };
    tokio::select! {
        entered = enter(&listener, None, "right2go") => panic!("{:?}", entered.map(|(_, ip)| ip)),
        () = callers => {}
    }
    // The only one who may come has guessed: nobody else is waited for.
    let guesses = async {
        for _ in 0..limits::SCREEN_TRIES {
            calls(at, "guess").await;
        }
    };
    let (entered, ()) = tokio::join!(enter(&listener, Some(Ipv4Addr::LOCALHOST), "right2go"), guesses);
    assert_eq!(entered.map(|(_, ip)| ip).expect_err("over"), "the password was wrong too often");
}

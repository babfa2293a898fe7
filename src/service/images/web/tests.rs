//! Downloads from servers that are slow, break off, lie, redirect, exchange the file, and prove or do not prove who they are.
#![expect(clippy::disallowed_methods, reason = "a test looks how long it took")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::config::catalogue;
use crate::types::chain;

const FILE: usize = 300_000;

fn content() -> Vec<u8> {
    (0..FILE).map(|n| u8::try_from(n % 251).expect("small")).collect()
}

/// What a server was asked.
#[derive(Clone, Debug, Default)]
struct Asked {
    line: String,
    /// Where a range begins.
    from: usize,
    if_range: Option<String>,
    /// `from` was given.
    range: bool,
}

/// What a server does with a request; the number counts requests.
type Manner = fn(number: usize, asked: &Asked, out: &mut dyn Write);

fn read_request(stream: impl Read) -> Option<Asked> {
    let mut asked = Asked::default();
    let mut lines = BufReader::new(stream).lines();
    asked.line = lines.next()?.ok()?;
    for line in lines {
        let line = line.ok()?;
        let lower = line.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = lower.strip_prefix("range: bytes=") {
            asked.from = range.split('-').next()?.parse().ok()?;
            asked.range = true;
        }
        if lower.starts_with("if-range: ") {
            asked.if_range = Some(line["if-range: ".len()..].to_owned());
        }
    }
    Some(asked)
}

/// A server that treats each request in its own manner; its host and port, and how many requests it has had.
fn serve(manner: Manner) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("known").to_string();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                if let Some(asked) = read_request(stream.try_clone().expect("another")) {
                    manner(counted.fetch_add(1, Ordering::Relaxed), &asked, &mut stream);
                }
            });
        }
    });
    (host, requests)
}

fn send(out: &mut dyn Write, head: &str, bytes: &[u8]) {
    let _ = out.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
    let _ = out.write_all(bytes);
}

/// The file from where it is asked for, of which only `most` bytes are sent.
fn part(out: &mut dyn Write, asked: &Asked, most: usize, tag: &str) {
    let all = content();
    let same = asked.if_range.as_deref().is_none_or(|wanted| wanted == tag);
    if !asked.range || !same {
        let head = format!("200 OK\r\nETag: {tag}\r\nAccept-Ranges: bytes\r\nContent-Length: {FILE}");
        return send(out, &head, &all[..most.min(FILE)]);
    }
    let rest = &all[asked.from..];
    let head = format!(
        "206 Partial Content\r\nContent-Range: bytes {}-{}/{FILE}\r\nETag: {tag}\r\nContent-Length: {}",
        asked.from,
        FILE - 1,
        rest.len()
    );
    send(out, &head, &rest[..most.min(rest.len())]);
}

/// Settings with which a test does not wait between its tries.
fn hasty() -> Settings {
    Settings {
        patience: Patience {
            found: Duration::from_secs(20),
            silent: Duration::from_secs(20),
            text: Duration::from_secs(2),
            pauses: vec![Duration::ZERO; 3],
        },
        ..Settings::default()
    }
}

/// The same for servers that fall silent.
fn impatient() -> Settings {
    let mut settings = hasty();
    settings.patience.silent = Duration::from_millis(300);
    settings
}

fn fetched(settings: Settings, url: &str, task: &Task) -> Result<Vec<u8>, String> {
    let web = Web::default();
    web.set(settings);
    let mut download = web.download(url, task).map_err(|error| chain(&error))?;
    let mut bytes = Vec::new();
    match download.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(match reason(error) {
            Ok(known) => known.to_string(),
            Err(other) => format!("unnamed: {other}"),
        }),
    }
}

fn download(settings: Settings, manner: Manner) -> Result<Vec<u8>, String> {
    fetched(settings, &format!("http://{}/image.img.xz", serve(manner).0), &Task::unwatched())
}

#[test]
fn a_download_survives_what_servers_do() {
    let whole: Manner = |_, asked, out| part(out, asked, FILE, "\"a\"");
    let breaks_off: Manner = |_, asked, out| part(out, asked, 40_000, "\"a\"");
    let knows_no_ranges: Manner =
        |_, _, out| send(out, &format!("200 OK\r\nContent-Length: {FILE}"), &content());
    let says_no_length: Manner = |_, _, out| send(out, "200 OK", &content());
    let redirects: Manner = |number, asked, out| match number {
        0..4 => send(out, "302 Found\r\nLocation: /elsewhere/image.img.xz\r\nContent-Length: 0", b""),
        _ => part(out, asked, FILE, "\"a\""),
    };
    let is_silent_once: Manner = |number, asked, out| match number {
        1 => {}
        number => part(out, asked, if number == 0 { 1000 } else { FILE }, "\"a\""),
    };
    let stalls: Manner = |number, asked, out| {
        part(out, asked, if number < 2 { 90_000 } else { FILE }, "\"a\"");
        if number < 2 {
            let _ = out.flush();
            std::thread::sleep(Duration::from_secs(2));
        }
    };
    let busy_once: Manner = |number, asked, out| match number {
        0 => part(out, asked, 1000, "\"a\""),
        1 => send(out, "503 Busy\r\nContent-Length: 0", b""),
        _ => part(out, asked, FILE, "\"a\""),
    };
    let slow: Manner = |_, asked, out| {
        let all = content();
        let _ = out.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {FILE}\r\n\r\n").as_bytes());
        for piece in all[asked.from..].chunks(60_000) {
            let _ = out.write_all(piece);
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let only_a_date: Manner = |number, asked, out| {
        let from = asked.from;
        let rest = &content()[from..];
        let most = if number == 0 { 5000 } else { FILE };
        let head = if asked.range {
            format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{FILE}", FILE - 1)
        } else {
            "200 OK".to_owned()
        };
        let head = format!(
            "{head}\r\nLast-Modified: Wed, 18 Jun 2026 10:00:00 GMT\r\nContent-Length: {}",
            rest.len()
        );
        send(out, &head, &rest[..most.min(rest.len())]);
    };
    #[rustfmt::skip]
    let rows: [(&str, Manner); 10] = [
        ("whole", whole), ("breaks off again and again", breaks_off), ("no ranges", knows_no_ranges), ("no length", says_no_length),
        ("redirects", redirects), ("hangs up without an answer", is_silent_once), ("stalls", stalls), ("busy once", busy_once),
        ("slow", slow), ("a date for a mark", only_a_date),
    ];
    for (shows, manner) in rows {
        let settings = if shows == "stalls" { impatient() } else { hasty() };
        let bytes = download(settings, manner).unwrap_or_else(|error| panic!("{shows}: {error}"));
        assert!(bytes == content(), "{shows}: {} bytes", bytes.len());
    }
}

#[test]
fn what_cannot_work_is_said_in_words() {
    let not_there: Manner = |_, _, out| send(out, "404 Not Found\r\nContent-Length: 0", b"");
    let busy: Manner = |_, _, out| send(out, "503 Busy\r\nContent-Length: 0", b"");
    let secret: Manner = |_, _, out| send(out, "403 Forbidden\r\nContent-Length: 0", b"");
    let circles: Manner =
        |_, _, out| send(out, "302 Found\r\nLocation: /image.img.xz\r\nContent-Length: 0", b"");
    let exchanged: Manner =
        |number, asked, out| part(out, asked, 1000, if number == 0 { "\"a\"" } else { "\"b\"" });
    let exchanged_unmarked: Manner = |number, asked, out| match number {
        0 => part(out, asked, 1000, "\"a\""),
        _ => send(
            out,
            &format!(
                "206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes 1000-4999/5000\r\nContent-Length: {}",
                4000
            ),
            &[7; 4000],
        ),
    };
    let begins_elsewhere: Manner = |number, asked, out| match number {
        0 => part(out, asked, 1000, "\"a\""),
        _ => send(
            out,
            &format!(
                "206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes 0-{}/{FILE}\r\nContent-Length: {FILE}",
                FILE - 1
            ),
            &content(),
        ),
    };
    let shorter: Manner = |number, asked, out| match number {
        0 => part(out, asked, 1000, "\"a\""),
        _ => send(out, "416 Range Not Satisfiable\r\nETag: \"a\"\r\nContent-Length: 0", b""),
    };
    let gives_up: Manner = |number, asked, out| {
        if number == 0 {
            part(out, asked, 1000, "\"a\"");
        }
    };
    let cannot_continue: Manner =
        |_, _, out| send(out, &format!("200 OK\r\nContent-Length: {FILE}"), &content()[..1000]);
    let is_no_http: Manner = |_, _, out| {
        let _ = out.write_all(b"220 ready\r\n\r\n");
    };
    let long_head: Manner = |_, _, out| {
        let _ = out.write_all(b"HTTP/1.1 200 OK\r\n");
        for _ in 0..5000 {
            let _ = out.write_all(b"X-Long: 01234567890123456789\r\n");
        }
    };
    #[rustfmt::skip]
    let rows: [(Manner, &str); 12] = [
        (not_there, "image.img.xz` is not there (404); it has been moved or removed, look the address up again"),
        (busy, "`127.0.0.1` refuses with status 503: it is busy, try again later"),
        (secret, "`127.0.0.1` refuses with status 403: the file is not for everybody"),
        (circles, "`127.0.0.1` sends us from one address to the next without end"),
        (exchanged, "the file on `127.0.0.1` was exchanged for another one during the download; start again"),
        (exchanged_unmarked, "the file on `127.0.0.1` was exchanged for another one during the download; start again"),
        (begins_elsewhere, "the file on `127.0.0.1` was exchanged for another one during the download; start again"),
        (shorter, "`127.0.0.1` says that the file has 300000 bytes, and has 1000; try again later, or take it from another server"),
        (gives_up, "the download from `127.0.0.1` broke off at 1000 B of 292.9 KiB, and several tries to go on brought nothing; try again later"),
        (cannot_continue, "the download from `127.0.0.1` broke off at 1000 B of 292.9 KiB, and the server can only begin anew; start again, or take it from another server"),
        (is_no_http, "what `127.0.0.1` answers is not HTTP; is the address right?"),
        (long_head, "what `127.0.0.1` answers is not HTTP; is the address right?"),
    ];
    for (manner, says) in rows {
        let error = download(hasty(), manner).expect_err(says);
        assert!(error.contains(says), "{error}\n{says}");
    }
    let is_silent: Manner = |_, _, _| std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        download(impatient(), is_silent).expect_err("no answer"),
        "`127.0.0.1` does not answer in time; try again later"
    );
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("known");
    let say = |url: &str| fetched(hasty(), url, &Task::unwatched()).expect_err("refused");
    assert_eq!(
        say(&format!("http://{closed}/x")),
        "`127.0.0.1` refuses connections; it is switched off, or the address has the wrong port"
    );
    assert_eq!(
        say("http://no-such-host.invalid/x"),
        "the name `no-such-host.invalid` cannot be looked up; check the address, and this router's own connection to the internet"
    );
    for url in ["https://", "ftp://host/x", "http://a b/", "file:///etc/passwd", "http://me:pw@host/x"] {
        assert!(say(url).starts_with(&format!("`{url}` is not an address of the web")), "{}", say(url));
    }
}

#[test]
fn a_redirect_without_end_is_bounded() {
    let circles: Manner = |_, _, out| send(out, "302 Found\r\nLocation: /again\r\nContent-Length: 0", b"");
    let (host, requests) = serve(circles);
    fetched(hasty(), &format!("http://{host}/x"), &Task::unwatched()).expect_err("no end");
    assert!(requests.load(Ordering::Relaxed) <= limits::REDIRECTS as usize + 1);
}

#[test]
fn a_download_that_waits_is_cancelled_at_once() {
    let stalls: Manner = |number, asked, out| {
        part(out, asked, if number == 0 { 1000 } else { 0 }, "\"a\"");
        let _ = out.flush();
        std::thread::sleep(Duration::from_secs(30));
    };
    let mut settings = hasty();
    settings.patience.silent = Duration::from_secs(25);
    let web = Web::default();
    web.set(settings);
    let task = Task::unwatched();
    let mut download = web.download(&format!("http://{}/x", serve(stalls).0), &task).expect("begun");
    let stop = download.stop();
    let began = Instant::now();
    let waiting = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        download.read_to_end(&mut bytes)
    });
    std::thread::sleep(Duration::from_millis(200));
    task.cancel();
    stop.now();
    let error = waiting.join().expect("ended").expect_err("cancelled");
    assert!(matches!(reason(error), Ok(FetchError::Cancelled)));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_text_has_an_end() {
    let long: Manner = |_, _, out| send(out, "200 OK", &[b'x'; 5000]);
    let web = Web::default();
    web.set(hasty());
    let url = format!("http://{}/list.json", serve(long).0);
    let task = Task::unwatched();
    assert_eq!(web.text(&url, 5000, &task).expect("fits").len(), 5000);
    assert_eq!(
        web.text(&url, 4999, &task).expect_err("too long").to_string(),
        "`127.0.0.1` sends more than 4.8 KiB where a list is expected"
    );
}

#[test]
fn a_text_that_trickles_has_an_end_too_and_can_be_cancelled() {
    let trickles: Manner = |_, _, out| {
        send(out, "200 OK", b"");
        while out.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let web = Web::default();
    web.set(hasty());
    let url = format!("http://{}/list.json", serve(trickles).0);
    let task = Task::unwatched();
    assert_eq!(
        web.text(&url, 5000, &task).expect_err("without end").to_string(),
        "`127.0.0.1` does not answer in time; try again later"
    );
    let patient =
        Settings { patience: Patience { text: Duration::from_hours(1), ..hasty().patience }, ..hasty() };
    web.set(patient);
    let told = task.clone();
    let reading = std::thread::spawn(move || web.text(&url, 5000, &told));
    std::thread::sleep(Duration::from_millis(200));
    assert!(!reading.is_finished());
    task.cancel();
    assert!(matches!(reading.join().expect("ended"), Err(FetchError::Cancelled)));
}

#[test]
fn a_proxy_is_asked_and_says_what_it_wants() {
    let proxy: Manner = |_, asked, out| {
        if asked.line.starts_with("GET http://far.example/") {
            part(out, asked, FILE, "\"a\"");
        } else if asked.line.starts_with("CONNECT far.example:80 ") {
            // A proxy for any protocol: it becomes the way to the server.
            let _ = out.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        }
    };
    let (host, requests) = serve(proxy);
    let through = |proxy: &str| Settings { proxy: Some(catalogue::Proxy(proxy.to_owned())), ..hasty() };
    let _ = fetched(through(&format!("http://{host}")), "http://far.example/x", &Task::unwatched());
    assert!(requests.load(Ordering::Relaxed) >= 1, "the proxy was asked, and no name was looked up");

    let wants_password: Manner =
        |_, _, out| send(out, "407 Proxy Authentication Required\r\nContent-Length: 0", b"");
    let (host, _) = serve(wants_password);
    let error = fetched(through(&format!("http://{host}")), "http://far.example/x", &Task::unwatched())
        .expect_err("refused");
    assert!(error.contains("name and password") || error.contains("a name and a password"), "{error}");
}

/// Authorities of one name would be told apart by their keys only.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// An authority of our own, and a server whose certificate it signed for `names`, valid in these years.
fn authority(names: &[&str], years: (i32, i32)) -> (String, Arc<ServerConfig>) {
    let key = || rcgen::KeyPair::generate().expect("a key");
    let ca_key = key();
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    let ca_certificate = ca.self_signed(&ca_key).expect("signed");
    let server_key = key();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut server = rcgen::CertificateParams::new(names).expect("parameters");
    server.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    server.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let certificate = server.signed_by(&server_key, &issuer).expect("signed");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a server");
    (ca_certificate.pem(), Arc::new(config))
}

/// As [`serve`], in TLS.
fn serve_tls(config: Arc<ServerConfig>, manner: Manner) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("known").port();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut tls: StreamOwned<ServerConnection, TcpStream> = StreamOwned::new(connection, stream);
            if let Some(asked) = read_request(&mut tls) {
                manner(number, &asked, &mut tls);
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    port
}

#[test]
fn a_server_proves_who_it_is_or_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole: Manner = |_, asked, out| part(out, asked, 100_000, "\"a\"");
    let downgrades: Manner =
        |_, _, out| send(out, "302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0", b"");
    let (roots, server) = authority(&["localhost"], (2020, 2090));
    let ca_file = folder.path().join("roots.pem");
    std::fs::write(&ca_file, roots).expect("written");
    let with = |ca_file: PathBuf| Settings { ca_file, ..hasty() };
    let task = Task::unwatched();

    let port = serve_tls(Arc::clone(&server), whole);
    let bytes =
        fetched(with(ca_file.clone()), &format!("https://localhost:{port}/x"), &task).expect("believed");
    assert!(bytes == content(), "three connections, each with TLS");

    let say = |ca_file: PathBuf, url: String| fetched(with(ca_file), &url, &task).expect_err("refused");
    let port = serve_tls(Arc::clone(&server), downgrades);
    assert_eq!(
        say(ca_file.clone(), format!("https://localhost:{port}/x")),
        "`localhost` sends us on from TLS to an address without it; that is refused, somebody could change what comes from there"
    );
    let port = serve_tls(server, whole);
    assert_eq!(
        say(ca_file.clone(), format!("https://127.0.0.1:{port}/x")),
        "`127.0.0.1` cannot prove who it is (its certificate is for another name); is somebody in between, such as a filter of the school's network?"
    );

    let (_, stranger) = authority(&["localhost"], (2020, 2090));
    let port = serve_tls(stranger, whole);
    assert_eq!(
        say(ca_file.clone(), format!("https://localhost:{port}/x")),
        "`localhost` cannot prove who it is (nobody whom this router knows vouches for it); is somebody in between, such as a filter of the school's network?"
    );

    for (years, says) in [
        ((2010, 2011), "has run out; the router's clock says "),
        ((2080, 2090), "is not valid yet; the router's clock says "),
    ] {
        let (roots, server) = authority(&["localhost"], years);
        let ca_file = folder.path().join("other.pem");
        std::fs::write(&ca_file, roots).expect("written");
        let port = serve_tls(server, whole);
        let error = say(ca_file, format!("https://localhost:{port}/x"));
        assert!(
            error.starts_with("`localhost` cannot prove who it is (its certificate ") && error.contains(says),
            "{error}"
        );
    }

    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("known").port();
    let missing = folder.path().join("missing.pem");
    let error = say(missing.clone(), format!("https://localhost:{port}/x"));
    let says = format!(
        "there are no certificates in `{}`, so no server can prove who it is; install the package `ca-bundle`, or set `ca_file` of the section `catalogue`",
        missing.display()
    );
    assert!(error.starts_with(&says), "{error}");
}

/// A router without a battery begins in 1970.
#[test]
fn a_clock_that_has_not_been_set_is_told() {
    let error = rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidYet);
    let client = Client::new("http://localhost/x", hasty()).expect("a client");
    let told = client.not_proven_at(&error, crate::types::Moment::from_secs(100)).to_string();
    assert_eq!(
        told,
        "this router's clock says 1970-01-01 00:01:40, and nobody's certificate is valid at that time; set it (LuCI: System), or wait until it has been set over the network"
    );
}

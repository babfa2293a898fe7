//! The object on ubus, through a broker that is not ours and called by a client that is not ours; and ubusds that hang,
//! crawl and die.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "a test says what it met, and knows its answers")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bramble::api::METHODS;
use bramble::api::methods::Kind;
use bramble::proto::ubus::attr::Writer;
use bramble::serve::control::Handler;
use bramble::service::health::Health;
use bramble::types::limits;
use bramble::ubus::{Field, Notice, Notices, Ubus};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use ubus::UbusError;
use ubus::client::UbusClient;
use ubus::json::{blobmsg_to_json, json_to_blobmsg};
use ubus::unix::UnixUbusTransport;

/// A broker on a thread of its own; stopped when dropped.
struct Broker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    fn start(socket: &Path) -> Self {
        let config = ubusd::Config {
            socket_path: socket.to_str().expect("UTF-8").to_owned(),
            ..ubusd::Config::default()
        };
        let stop = Arc::new(AtomicBool::new(false));
        let mut broker = ubusd::Broker::bind(config).expect("bound");
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                broker.poll_once(5).expect("a broker");
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the broker ended well");
        }
    }
}

/// The object, served.
struct Served {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    notices: Notices,
    health: Arc<Health>,
}

impl Served {
    fn start(socket: &Path, handler: Handler) -> Self {
        let (stop, told) = watch::channel(false);
        let (notices, health) = (Notices::default(), Arc::new(Health::default()));
        let served = Ubus {
            socket: socket.to_owned(),
            handler,
            notices: notices.clone(),
            health: Arc::clone(&health),
        };
        #[expect(clippy::disallowed_methods, reason = "the test is the supervisor")]
        let task = tokio::spawn(async move {
            let Ok(()) = served.run(told).await;
        });
        Self { stop, task, notices, health }
    }

    /// With nothing left to answer it ends at once.
    async fn stop(self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        ended.expect("it ended in time").expect("it ended well");
    }
}

/// Answers with what was asked; some methods do other things.
fn handler() -> Handler {
    Arc::new(|method, params| {
        Box::pin(async move {
            match method.as_str() {
                "client_get" => {
                    json!({ "error": { "code": "no_such_client", "message": "no", "field": "client" } })
                }
                "events" => {
                    let length = params["count"].as_u64().and_then(|length| usize::try_from(length).ok());
                    json!({ "ok": { "text": "x".repeat(length.unwrap_or(0)) } })
                }
                _ => json!({ "ok": { "method": method, "params": params } }),
            }
        })
    })
}

fn site() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("ubus.sock");
    (folder, socket)
}

struct Caller {
    client: UbusClient<UnixUbusTransport>,
    object: u32,
}

impl Caller {
    /// Waits until the object is there.
    fn new(socket: &Path) -> Self {
        for _ in 0..1000 {
            if let Ok(transport) = UnixUbusTransport::connect(socket.to_str().expect("UTF-8"))
                && let Ok(mut client) = UbusClient::connect(transport)
                && let Ok(object) = client.lookup("bramble")
            {
                return Self { client, object };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the object never came");
    }

    fn call(&mut self, method: &str, arguments: &Value) -> Result<Value, UbusError> {
        self.client.transport_mut().set_deadline(Some(Duration::from_secs(20)));
        let arguments = json_to_blobmsg(arguments)?;
        blobmsg_to_json(&self.client.invoke(self.object, method, &arguments)?)
    }
}

/// Runs what blocks beside the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the assertions hold")
}

#[tokio::test]
async fn the_object_has_the_methods_of_the_table_with_their_types() {
    let (_folder, socket) = site();
    let _broker = Broker::start(&socket);
    let served = Served::start(&socket, handler());
    blocking(move || {
        let mut caller = Caller::new(&socket);
        let objects = caller.client.lookup_objects(Some("bramble")).expect("listed");
        let seen = blobmsg_to_json(&objects[0].signature).expect("a signature");
        let mut expected = json!({});
        for method in METHODS {
            expected[method.name] = json!({});
            for param in method.params {
                let id = match param.kind {
                    Kind::Text => 3,
                    Kind::Number => 5,
                };
                expected[method.name][param.name] = json!(id);
            }
        }
        assert_eq!(seen, expected);
        assert_eq!(seen["job_status"]["job"], 5);
    })
    .await;
    served.stop().await;
}

#[tokio::test]
async fn calls_are_answered_and_refusals_travel_in_the_answer() {
    let (_folder, socket) = site();
    let _broker = Broker::start(&socket);
    let served = Served::start(&socket, handler());
    blocking(move || {
        let mut caller = Caller::new(&socket);
        let arguments =
            json!({ "name": "lab-01", "nobody": [1, { "knows": null }], "ubus_rpc_session": "5c3f" });
        let answer = caller.call("client_adopt", &arguments).expect("answered");
        let params = json!({ "name": "lab-01", "nobody": [1, { "knows": null }] });
        assert_eq!(answer, json!({ "method": "client_adopt", "params": params }));
        let answer = caller.call("status", &json!({})).expect("answered");
        assert_eq!(answer, json!({ "method": "status", "params": {} }));
        let answer = caller.call("client_get", &json!({ "client": "x" })).expect("status 0");
        assert_eq!(
            answer,
            json!({ "error": { "code": "no_such_client", "message": "no", "field": "client" } })
        );
        assert!(matches!(caller.call("client_sell", &json!({})), Err(UbusError::Status(3))));

        let length = |answer: &Value| answer["text"].as_str().map(str::len);
        for count in [900_000, 1_040_000] {
            let answer = caller.call("events", &json!({ "count": count })).expect("answered");
            assert_eq!(length(&answer), Some(count));
        }
        let answer = caller.call("events", &json!({ "count": 1_100_000 })).expect("answered");
        assert_eq!(answer["error"]["code"], "too_large");
        let answer = caller.call("image_import", &json!({ "source": "x".repeat(70_000) })).expect("answered");
        assert_eq!(answer["error"]["code"], "bad_request");
    })
    .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_callers_at_once_are_all_answered_and_few_are_carried_out_at_a_time() {
    let (_folder, socket) = site();
    let _broker = Broker::start(&socket);
    let running = Arc::new(AtomicU32::new(0));
    let most = Arc::new(AtomicU32::new(0));
    let (counted, peak) = (Arc::clone(&running), Arc::clone(&most));
    let slow: Handler = Arc::new(move |_, params| {
        let (running, most) = (Arc::clone(&counted), Arc::clone(&peak));
        Box::pin(async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            json!({ "ok": params })
        })
    });
    let served = Served::start(&socket, slow);
    let callers: Vec<_> = (0..50)
        .map(|number| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                let mut caller = Caller::new(&socket);
                for round in 0..3 {
                    let arguments = json!({ "n": number * 10 + round });
                    assert_eq!(caller.call("status", &arguments).expect("answered"), arguments);
                }
            })
        })
        .collect();
    for caller in callers {
        blocking(move || caller.join().expect("every answer was right")).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), u32::try_from(limits::UBUS_CALLS).expect("small"));
    served.stop().await;
}

fn notice(number: u32) -> Notice {
    let fields = vec![("mac", Field::Text("dc:a6:32:01:02:03".to_owned())), ("n", Field::Number(number))];
    Notice { what: "client", fields }
}

#[tokio::test]
async fn changes_are_told_to_subscribers_and_listeners() {
    let (_folder, socket) = site();
    let _broker = Broker::start(&socket);
    let served = Served::start(&socket, handler());
    let notices = served.notices.clone();
    blocking(move || {
        let mut caller = Caller::new(&socket);
        let own = caller.client.add_anonymous_object().expect("an object");
        caller.client.subscribe(own, caller.object).expect("subscribed");
        caller.client.register_event(own, "bramble.*").expect("listening");
        notices.tell(notice(7));
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let Some(frame) = caller.client.recv_frame().expect("connected") else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let ubus::InboundMsg::Invoke { method, data, .. } =
                ubus::InboundMsg::parse(&frame).expect("a message")
            else {
                continue;
            };
            heard.push((method.to_owned(), blobmsg_to_json(data.unwrap_or_default()).expect("a table")));
        }
        heard.sort_by(|(one, _), (other, _)| one.cmp(other));
        let data = json!({ "mac": "dc:a6:32:01:02:03", "n": 7 });
        assert_eq!(heard, [("bramble.client".to_owned(), data.clone()), ("client".to_owned(), data)]);
    })
    .await;
    served.stop().await;
}

#[tokio::test]
async fn after_a_restart_of_ubusd_the_object_is_there_again() {
    let (_folder, socket) = site();
    let served = Served::start(&socket, handler());
    for _ in 0..3 {
        let broker = Broker::start(&socket);
        let at = socket.clone();
        blocking(move || Caller::new(&at).call("status", &json!({})).expect("answered")).await;
        drop(broker);
    }
    assert_eq!(served.health.problems(), Vec::<String>::new(), "a restart is nobody's concern");
    served.stop().await;
}

#[tokio::test]
async fn a_call_that_runs_when_the_daemon_stops_is_still_answered() {
    let (_folder, socket) = site();
    let _broker = Broker::start(&socket);
    let (begun, mut begins) = tokio::sync::mpsc::channel(8);
    let slow: Handler = Arc::new(move |_, _| {
        let begun = begun.clone();
        Box::pin(async move {
            begun.send(()).await.expect("the test listens");
            tokio::time::sleep(Duration::from_millis(300)).await;
            json!({ "ok": { "done": true } })
        })
    });
    let served = Served::start(&socket, slow);
    let caller = std::thread::spawn(move || Caller::new(&socket).call("status", &json!({})));
    begins.recv().await.expect("it runs");
    served.stop().await;
    let answer = blocking(move || caller.join().expect("no panic")).await;
    assert_eq!(answer.expect("answered"), json!({ "done": true }));
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_ubus_lacks_nothing() {
    let (_folder, socket) = site();
    let served = Served::start(&socket, handler());
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(served.health.problems(), Vec::<String>::new());
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_ubusd_that_is_dead_or_hangs_is_named_with_what_still_works() {
    let (_folder, socket) = site();
    let shown = socket.display().to_string();
    // Bound, and nobody there: what a killed ubusd leaves behind.
    drop(UnixListener::bind(&socket).expect("bound"));
    let served = Served::start(&socket, handler());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(served.health.problems(), Vec::<String>::new(), "it may be a restart");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let rest = "so LuCI's pages and `ubus call bramble` do not reach Bramble. Clients and the `bramble` command work \
                as before, and Bramble registers again by itself; if ubusd stays away, `logread` says why";
    let why = "no connection: Connection refused (os error 111)";
    assert_eq!(served.health.problems(), [format!("ubusd does not answer at `{shown}` ({why}), {rest}")]);
    served.stop().await;

    std::fs::remove_file(&socket).expect("it was left behind");
    let _listener = UnixListener::bind(&socket).expect("bound");
    let served = Served::start(&socket, handler());
    tokio::time::sleep(Duration::from_secs(30)).await;
    let why = "it says nothing for 5 seconds";
    assert_eq!(served.health.problems(), [format!("ubusd does not answer at `{shown}` ({why}), {rest}")]);
    let health = Arc::clone(&served.health);
    served.stop().await;
    assert_eq!(health.problems(), Vec::<String>::new());
}

/// Files of a router, with `data` in `place`.
fn configure(folder: &Path, place: &Path, address: u8) {
    let network = format!(
        "config interface 'lan'\n\toption device 'lo'\n\toption proto 'static'\n\toption ipaddr '127.77.0.{address}'\n\
         \toption netmask '255.255.255.0'\n"
    );
    let config = format!(
        "config bramble 'main'\n\toption enabled '1'\n\toption data '{}'\n\tlist network 'lan'\n\n\
         config dhcp 'dhcp'\n\toption mode 'off'\n\nconfig tftp 'tftp'\n\toption enabled '0'\n\n\
         config nfs 'nfs'\n\toption port '20490'\n",
        place.display()
    );
    for (name, text) in [("network", network), ("dhcp", String::new()), ("bramble", config)] {
        std::fs::write(folder.join(name), text).expect("written");
    }
}

fn daemon(folder: &Path, socket: &Path, more: &[&str]) -> tokio::process::Child {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_bramble"))
        .arg("serve")
        .args(more)
        .arg("--config")
        .arg(folder.join("bramble"))
        .arg("--socket")
        .arg(folder.join("socket"))
        .arg("--ubus")
        .arg(socket)
        .kill_on_drop(true)
        .spawn()
        .expect("started")
}

/// While the disk is missing the object is there and says so, and what needs the disk is refused with the same words.
#[tokio::test]
async fn a_missing_disk_is_told_over_ubus() {
    let (folder, socket) = site();
    configure(folder.path(), Path::new("/proc/bramble"), 22);
    let _broker = Broker::start(&socket);
    let mut daemon = daemon(folder.path(), &socket, &[]);
    blocking(move || {
        let mut caller = Caller::new(&socket);
        let status = caller.call("status", &json!({})).expect("answered");
        let says = status["problems"][0].as_str().expect("a problem");
        assert!(says.starts_with("waiting for the disk: "), "{says}");
        assert_eq!(caller.call("health", &json!({})).expect("answered")["healthy"], false);
        let refused = caller.call("client_list", &json!({})).expect("answered");
        assert_eq!(
            (&refused["error"]["code"], &refused["error"]["message"]),
            (&json!("no_disk"), &json!(says))
        );
    })
    .await;
    daemon.start_kill().expect("it runs");
    daemon.wait().await.expect("it ended");
}

/// The daemon itself: a call over ubus changes its configuration, and the change is told.
#[tokio::test]
async fn the_daemon_is_on_ubus() {
    let (folder, socket) = site();
    configure(folder.path(), &folder.path().join("data"), 21);
    let _broker = Broker::start(&socket);
    let mut daemon = daemon(folder.path(), &socket, &["--any-storage"]);
    blocking(move || {
        let mut caller = Caller::new(&socket);
        let status = caller.call("status", &json!({})).expect("answered");
        assert_eq!(status["services"]["ubus"]["running"], true);
        assert_eq!(status["problems"], json!([]));
        let own = caller.client.add_anonymous_object().expect("an object");
        caller.client.register_event(own, "bramble.*").expect("listening");
        let mut heard = None;
        // What the daemon compares with is read once somebody can hear it; until then nothing is told.
        for number in 0.. {
            let client = format!("b8:27:eb:00:00:{number:02x}");
            let arguments = json!({ "client": client, "name": format!("lab-{number:02}") });
            let adopted = caller.call("client_adopt", &arguments).expect("answered");
            assert_eq!(adopted["mac"], json!(client));
            std::thread::sleep(Duration::from_secs(1));
            while let Some(frame) = caller.client.recv_frame().expect("connected") {
                if let Ok(ubus::InboundMsg::Invoke { method: "bramble.client", data, .. }) =
                    ubus::InboundMsg::parse(&frame)
                {
                    heard = Some(blobmsg_to_json(data.unwrap_or_default()).expect("a table"));
                }
            }
            if heard.is_some() || number == 30 {
                break;
            }
        }
        let heard = heard.expect("an event");
        assert_eq!(heard["state"], "off");
        assert!(heard["name"].as_str().is_some_and(|name| name.starts_with("lab-")), "{heard}");
    })
    .await;
    daemon.start_kill().expect("it runs");
    daemon.wait().await.expect("it ended");
}

/// A ubusd of ours: greets, and answers the registration.
async fn greet(listener: &UnixListener, status: u32) -> UnixStream {
    let (mut stream, _) = listener.accept().await.expect("a caller");
    stream.write_all(&[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 4]).await.expect("HELLO");
    let (kind, _) = receive(&mut stream).await;
    assert_eq!(kind, 6, "ADD_OBJECT");
    let mut answer = Vec::new();
    if status == 0 {
        answer.extend_from_slice(&[0, 2, 0, 1, 0, 0, 0, 0]);
        Writer(&mut answer).nested(0, |inner| inner.u32(3, 77));
    }
    answer.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    Writer(&mut answer).nested(0, |inner| inner.u32(1, status));
    stream.write_all(&answer).await.expect("taken");
    stream
}

/// Type and body of the next message.
async fn receive(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("a header");
    let length = usize::from(head[9]) << 16 | usize::from(head[10]) << 8 | usize::from(head[11]);
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await.expect("a body");
    (head[1], body)
}

fn invoke(seq: u8) -> Vec<u8> {
    let mut out = vec![0, 5, 0, seq, 0, 0, 0, 8];
    Writer(&mut out).nested(0, |inner| {
        inner.u32(3, 77);
        inner.text(4, "status");
    });
    out
}

#[tokio::test(start_paused = true)]
async fn an_object_that_ubusd_does_not_take_is_told() {
    let (_folder, socket) = site();
    let listener = UnixListener::bind(&socket).expect("bound");
    let served = Served::start(&socket, handler());
    for _ in 0..10 {
        drop(greet(&listener, 2).await);
    }
    assert_eq!(
        served.health.problems(),
        [
            "ubusd does not take the object `bramble` (status 2), so LuCI's pages and `ubus call bramble` do not reach this \
          Bramble: another program has registered the name (see `ubus list`), or this one runs without root's rights \
          and no file in /usr/share/acl.d lets it publish. Clients and the `bramble` command work as before"
        ]
    );
    // It is taken when the other program is gone.
    let stream = greet(&listener, 0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(served.health.problems(), Vec::<String>::new());
    drop(stream);
    served.stop().await;
}

/// A ubusd that reads nothing for a while: notices are lost, calls wait, nothing grows, and then all goes on.
#[tokio::test]
async fn a_slow_ubusd_loses_notices_and_holds_up_nobody() {
    const TOLD: u32 = 20_000;
    let (_folder, socket) = site();
    let listener = UnixListener::bind(&socket).expect("bound");
    let carried_out = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&carried_out);
    let large: Handler = Arc::new(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { json!({ "ok": { "text": "x".repeat(900_000) } }) })
    });
    let served = Served::start(&socket, large);
    let mut stream = greet(&listener, 0).await;
    // The object is registered on our side when it answers.
    stream.write_all(&invoke(1)).await.expect("taken");
    while carried_out.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for number in 0..TOLD {
        served.notices.tell(notice(number));
    }
    for seq in 2..200 {
        stream.write_all(&invoke(seq)).await.expect("taken");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let most = u32::try_from(limits::UBUS_CALLS).expect("small");
    assert!(carried_out.load(Ordering::SeqCst) <= most, "answers pile up");

    let (mut answers, mut ends, mut notifications, mut last) = (0, 0, 0, Vec::new());
    while ends < 199 {
        let (kind, body) = receive(&mut stream).await;
        match kind {
            1 => ends += 1,
            2 => answers += 1,
            10 => {
                notifications += 1;
                last = body;
            }
            _ => {}
        }
    }
    assert_eq!(answers, 199, "every call is answered, the late ones with a refusal");
    let carried_out = carried_out.load(Ordering::SeqCst);
    assert!(carried_out >= most + u32::try_from(limits::UBUS_WAITING).expect("small"), "{carried_out}");
    while last.windows(4).all(|bytes| bytes != (TOLD - 1).to_be_bytes()) {
        let (kind, body) = receive(&mut stream).await;
        if kind == 10 {
            notifications += 1;
            last = body;
        }
    }
    assert!(notifications <= limits::UBUS_NOTICES + 1, "{notifications} of {TOLD} were kept");
    served.stop().await;
}

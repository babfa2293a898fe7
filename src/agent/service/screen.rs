//! The screen of the desktop, for one who looks at it through the router.
//!
//! wayvnc, a program of the image, shows it on a socket in a folder that only its person can enter; this service carries
//! what it says over a TLS connection of its own to the server, which knows for whom. Nothing listens on the network, and
//! nobody looks who has not been announced: without a sign on the pupil's screen there is no view. It ends when either
//! side goes, and with the desktop.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::carry::{Side, carry};
use super::desktop::{self, Desktop};
use super::link::{Connection, Server};
use super::{Service, locked};
use crate::proto::agent::channel::{Label, ToAgent, ToServer};
use crate::types::chain;

/// A program of the image, found as its person would.
const WAYVNC: &str = "wayvnc";

/// Folder for the socket.
const FOLDER: &str = "/run/bramble/screen";

/// How long wayvnc may take to make its socket. Five seconds were too short for a busy machine; the server waits for twelve.
const STARTED_WITHIN: Duration = Duration::from_secs(8);

/// How long the server may take to say that somebody waits.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// How often the sign is shown anew: the first may have been closed.
const SIGN_EVERY: Duration = Duration::from_mins(2);

const SEEN: &str = "A teacher can see this screen.";
const USED: &str = "A teacher can see this screen and use its keyboard and mouse.";
const NOT_SEEN: &str = "Nobody looks at this screen any more.";

/// Begins to show the screen; what comes of it is carried on behind the caller's back.
pub fn show(service: &Arc<Service>, ticket: Label, control: bool) -> Result<(), String> {
    if service.shown.swap(true, Ordering::SeqCst) {
        return Err("somebody looks at it already".to_owned());
    }
    match Shown::begin(service, ticket, control) {
        Ok(shown) => {
            let service = Arc::clone(service);
            std::thread::spawn(move || {
                let why = shown.carry();
                service.shown.store(false, Ordering::SeqCst);
                let why = why.map_or_else(|error| error.to_string(), str::to_owned);
                locked(&service.console).note(&format!("the screen is not looked at any more: {why}"));
            });
            Ok(())
        }
        Err(why) => {
            service.shown.store(false, Ordering::SeqCst);
            Err(why)
        }
    }
}

struct Shown {
    program: Program,
    screen: UnixStream,
    server: Connection,
    sign: &'static str,
}

impl Shown {
    fn begin(service: &Service, ticket: Label, control: bool) -> Result<Self, String> {
        let desktops = desktop::all();
        let Some(desktop) = desktops.iter().find(|desktop| desktop.is_wayland()) else {
            return Err(if desktops.is_empty() {
                "nobody uses a desktop".to_owned()
            } else {
                "its desktop is X11, and only a Wayland desktop such as labwc can be shown".to_owned()
            });
        };
        let sign = if control { USED } else { SEEN };
        let (program, screen) = Program::start(desktop, control)?;
        // Before anybody can see anything.
        desktop::show(None, "Bramble", sign)
            .map_err(|error| format!("the person there cannot be told, so nobody looks: {error}"))?;
        let server = announce(&service.server, ticket).inspect_err(|_| unsee())?;
        Ok(Self { program, screen, server, sign })
    }

    /// Until either side ends; why.
    fn carry(mut self) -> io::Result<&'static str> {
        self.screen.set_nonblocking(true)?;
        let sign = self.sign;
        // From elsewhere: a picture does not wait for a notice.
        let sign = || drop(std::thread::spawn(move || drop(desktop::show(None, "Bramble", sign))));
        let ended = carry(&mut self.server, &mut self.screen, SIGN_EVERY, sign);
        drop(self.program);
        unsee();
        ended.map(|side| match side {
            Side::Server => "the server has ended it",
            Side::Here => "wayvnc has ended",
        })
    }
}

/// Takes the sign back, which stands for as long as somebody could look.
fn unsee() {
    let _ = desktop::show(None, "Bramble", NOT_SEEN);
}

/// A connection for this screen; the server waits for it.
fn announce(server: &Server, ticket: Label) -> Result<Connection, String> {
    let connection = Connection::open(server).map_err(|error| chain(&error))?;
    let taken = |message: &ToAgent| matches!(message, ToAgent::Screen);
    connection
        .becomes(&ToServer::Screen { ticket }, taken, TAKEN_WITHIN)
        .map_err(|error| format!("the server does not take the screen: {error}"))?
        .ok_or_else(|| "the server does not take the screen".to_owned())
}

/// wayvnc as the person whose screen it is; it ends with this, and its folder goes.
struct Program(Child);

impl Program {
    fn start(desktop: &Desktop, control: bool) -> Result<(Self, UnixStream), String> {
        let failed = |error: io::Error| format!("wayvnc cannot be started: {error}");
        let _ = fs::remove_dir_all(FOLDER);
        DirBuilder::new().mode(0o700).create(FOLDER).map_err(failed)?;
        let (settings, socket) = (format!("{FOLDER}/config"), format!("{FOLDER}/socket"));
        // Not what the person may have set up: that could ask for another password.
        fs::write(&settings, "").map_err(failed)?;
        for path in [FOLDER, &settings] {
            chown(path, Some(desktop.uid), Some(desktop.gid)).map_err(failed)?;
        }
        let mut command = desktop.command(WAYVNC);
        // Its control socket goes where it keeps run-time files, so that it is not in the way of one that runs already.
        if let Some(display) = desktop.wayland_socket() {
            command.env("WAYLAND_DISPLAY", display).env("XDG_RUNTIME_DIR", FOLDER);
        }
        command.args(["-C", &settings, "-f", "10", "-u"]);
        if !control {
            command.arg("-d");
        }
        let spawned = command.arg(&socket).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "the image has no `wayvnc`; install it in the image".to_owned(),
            _ => failed(error),
        });
        let mut program = Self(spawned?);
        let begin = Instant::now();
        loop {
            if let Ok(screen) = UnixStream::connect(&socket) {
                return Ok((program, screen));
            }
            if let Some(status) = program.0.try_wait().map_err(failed)? {
                return Err(format!("wayvnc has ended at once ({status})"));
            }
            if begin.elapsed() >= STARTED_WITHIN {
                return Err("wayvnc does not show the screen".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_dir_all(FOLDER);
    }
}

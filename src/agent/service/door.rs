//! The socket that helpers come to, and what is shown to somebody at a terminal.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::agent::socket::{self, Answer, Request};

/// How long a helper may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests at once, of root and of others: a person's programs must not keep the next person from logging in.
const AT_ONCE: (usize, usize) = (32, 4);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub uid: u32,
}

/// Makes the socket. Everybody may come; who comes is asked of the kernel.
pub fn open() -> io::Result<UnixListener> {
    match fs::remove_file(socket::PATH) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket::PATH)?;
    fs::set_permissions(socket::PATH, Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Answers whoever comes; does not come back.
pub fn serve(
    listener: &UnixListener,
    answer: impl Fn(Caller, Request) -> Answer + Send + Sync + 'static,
) -> ! {
    let answer = Arc::new(answer);
    let (of_root, of_others) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        let Ok(credentials) = getsockopt(&stream, PeerCredentials) else { continue };
        let caller = Caller { uid: credentials.uid() };
        let (busy, most) = if caller.uid == 0 { (&of_root, AT_ONCE.0) } else { (&of_others, AT_ONCE.1) };
        if busy.load(Ordering::Relaxed) >= most {
            continue;
        }
        busy.fetch_add(1, Ordering::Relaxed);
        let (busy, answer) = (Busy(Arc::clone(busy)), Arc::clone(&answer));
        // Without a thread the stream is dropped, and the helper says that the service is not there.
        let _ = std::thread::Builder::new().spawn(move || {
            let _busy = busy;
            let _ = converse(stream, |request| answer(caller, request));
        });
    }
}

/// Counts itself off.
struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn converse(mut stream: UnixStream, answer: impl FnOnce(Request) -> Answer) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(socket::REQUEST + 1));
    let limit = u64::try_from(socket::REQUEST + 1).unwrap_or(u64::MAX);
    (&mut stream).take(limit).read_to_end(&mut bytes)?;
    let request = if bytes.len() > socket::REQUEST {
        Err(socket::BadRequest::Impossible)
    } else {
        Request::parse(&bytes)
    };
    let answer = match request {
        Ok(request) => answer(request),
        // To a person this is a wrong name or password like any other.
        Err(socket::BadRequest::Impossible) => Answer::no(""),
        Err(error) => Answer::no(error.to_string()),
    };
    stream.write_all(&answer.encode())
}

/// Shows `message` at a text terminal; a desktop has none.
pub fn show(terminal: &str, message: &str) {
    let terminal = terminal.strip_prefix("/dev/").unwrap_or(terminal);
    let plain = !terminal.is_empty()
        && terminal
            .split('/')
            .all(|part| part.chars().all(|c| c.is_ascii_alphanumeric()) && !part.is_empty());
    if plain
        && let Ok(mut screen) = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(format!("/dev/{terminal}"))
    {
        let _ = write!(screen, "\r\n\r\n{message}\r\n\r\n");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use super::*;
    use crate::agent::socket::Wish;

    #[test]
    fn a_request_is_answered_and_nonsense_refused() {
        let say = |bytes: &[u8]| {
            let (mut own, other) = UnixStream::pair().expect("a pair");
            own.write_all(bytes).expect("sent");
            own.shutdown(Shutdown::Write).expect("shut");
            converse(other, |request| Answer {
                yes: matches!(request.wish, Wish::Account),
                text: request.name.to_string(),
            })
            .expect("answered");
            let mut answer = Vec::new();
            own.read_to_end(&mut answer).expect("read");
            Answer::decode(&answer).expect("an answer")
        };
        assert_eq!(say(&socket::request(&["account", "login", "", "anna"])), Answer::yes("anna"));
        assert_eq!(say(&vec![b'a'; socket::REQUEST + 1]), Answer::no(""));
        assert!(!say(b"hello").yes);
    }
}

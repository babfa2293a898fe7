//! The helper that `pam_exec` starts for each step of a log-in: passes the step on to the agent's service.
//!
//! It tells what it is to do by its environment (pam_exec(8)), reads a password from standard input where one is
//! exposed, and prints what the person should read. It has the effective rights of the PAM service: root's for a log-in and for
//! `su`, whoever starts that, the person's for a screen locker.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use zeroize::{Zeroize as _, Zeroizing};

use super::socket::{self, Answer};

/// Longer than the service waits for the server, shorter than a person does.
const PATIENCE: Duration = Duration::from_secs(40);

/// Said when the service itself is not there.
const NO_SERVICE: &str = "This computer cannot check passwords at the moment. Please start it again.";

pub fn run() -> ExitCode {
    let answer = step().unwrap_or_else(|_| Answer::no(NO_SERVICE));
    if !answer.text.is_empty() {
        // Each line is shown by whoever asked for the password.
        let _ = writeln!(io::stdout(), "{}", answer.text);
    }
    if answer.yes { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn step() -> io::Result<Answer> {
    let word = |name: &str| std::env::var(name).unwrap_or_default();
    let [kind, service, terminal, name] = ["PAM_TYPE", "PAM_SERVICE", "PAM_TTY", "PAM_USER"].map(word);
    let opener = nix::unistd::getppid().to_string();
    let words = [kind.as_str(), &service, &terminal, &name];
    let request = match kind.as_str() {
        "auth" => {
            let password = password()?;
            socket::request(&[&words[..], &[&*password]].concat())
        }
        "open_session" | "close_session" => socket::request(&[&words[..], &[opener.as_str()]].concat()),
        _ => socket::request(&words),
    };
    ask(&request)
}

/// What pam_exec exposes: the password without an end of line, with or without a zero byte behind it.
fn password() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(socket::REQUEST));
    let limit = u64::try_from(socket::REQUEST).unwrap_or(u64::MAX);
    io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

/// One request to the service.
pub fn ask(request: &[u8]) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket::PATH)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    let limit = u64::try_from(socket::ANSWER).unwrap_or(u64::MAX);
    stream.take(limit).read_to_end(&mut answer)?;
    Answer::decode(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

//! The command line's side of the control socket: one question, one answer.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::Refusal;

/// Where the daemon listens unless told otherwise.
pub const SOCKET: &str = "/var/run/bramble/bramble.sock";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(
        "Bramble is not running: nobody answers at `{0}`; start it with `/etc/init.d/bramble start`, or by hand with \
         `bramble serve`; if it runs with another socket, name that with `--socket PATH`"
    )]
    NotRunning(PathBuf),
    #[error("the control socket `{0}` may only be opened by root; use `sudo bramble …`")]
    NotAllowed(PathBuf),
    #[error("Bramble went away while it was asked; its log says why (`logread -e bramble`)")]
    Lost(#[source] io::Error),
    /// The daemon said no, and why.
    #[error("{}", .0.message)]
    Refused(Refusal),
    #[error("the answer of the daemon cannot be understood; it is of another version, restart it")]
    Answer(#[source] serde_json::Error),
}

/// An open connection to the daemon.
#[derive(Debug)]
pub struct Link {
    stream: BufReader<UnixStream>,
}

impl Link {
    pub fn open(socket: &Path) -> Result<Self, LinkError> {
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => LinkError::NotAllowed(socket.to_owned()),
            _ => LinkError::NotRunning(socket.to_owned()),
        })?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The answer as it came.
    pub fn ask(&mut self, method: &str, params: &Value) -> Result<Value, LinkError> {
        let mut question = json!({ "method": method, "params": params }).to_string();
        question.push('\n');
        self.stream.get_mut().write_all(question.as_bytes()).map_err(LinkError::Lost)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(LinkError::Lost)? == 0 {
            return Err(LinkError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut answer: Value = serde_json::from_str(&line).map_err(LinkError::Answer)?;
        match answer.get_mut("error") {
            Some(error) => {
                Err(LinkError::Refused(serde_json::from_value(error.take()).map_err(LinkError::Answer)?))
            }
            None => Ok(answer.get_mut("ok").map(Value::take).unwrap_or_default()),
        }
    }
}

/// An answer as the type it is.
pub fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, LinkError> {
    T::deserialize(answer).map_err(LinkError::Answer)
}

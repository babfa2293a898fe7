//! The command line's way in: a unix socket that only root may open, one JSON object a line each way.
//!
//! `{"method":"client_get","params":{"client":"lab-01"}}` is answered by `{"ok":{…}}` or
//! `{"error":{"code","message","field"}}`, in the order of the questions, until the caller hangs up. What a method does
//! is not known here: a [`Handler`] is asked.
//!
//! The socket is bound before everything else, which also tells whether another Bramble runs, and answered on after
//! everything else, so a caller that connects while the daemon starts is answered when it has started.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::supervisor::{Stop, stopped};
use crate::types::limits;

/// Asked with a method and its arguments; answers with the whole object that goes back.
pub type Handler = Arc<dyn Fn(String, Value) -> Answer + Send + Sync>;

/// What a [`Handler`] promises.
pub type Answer = Pin<Box<dyn Future<Output = Value> + Send>>;

/// How long a caller may say nothing: the command line asks again within a second while it watches a job.
const SILENCE: Duration = Duration::from_mins(1);

/// Why nobody can be answered.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(
        "another Bramble answers at `{0}`; stop it first, or give this one another socket with `--socket PATH`"
    )]
    Taken(PathBuf),
    #[error("the control socket `{path}` cannot be made; is its folder writable?")]
    Bind {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no more callers can be accepted")]
    Accept(#[source] io::Error),
}

/// The bound socket; its file goes with the last clone.
#[derive(Clone, Debug)]
pub struct Control {
    listener: Arc<Bound>,
}

#[derive(Debug)]
struct Bound {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Bound {
    fn drop(&mut self) {
        // If it is gone already, that is what was wanted.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// One question.
#[derive(Deserialize)]
struct Question {
    method: String,
    #[serde(default)]
    params: Value,
}

impl Control {
    /// Makes the socket, in the place of one that a killed daemon left behind.
    pub async fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Bind { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder).map_err(failed)?;
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(ControlError::Taken(path.to_owned()));
        }
        match fs_err::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let bound = Bound { listener, path: path.to_owned() };
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener: Arc::new(bound) })
    }

    /// Answers callers until told to stop.
    pub async fn run(self, handler: Handler, mut stop: Stop) -> Result<(), ControlError> {
        let mut callers = JoinSet::new();
        loop {
            let room = callers.len() < limits::CONTROL_CALLERS;
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = callers.join_next() => {}
                accepted = self.listener.listener.accept(), if room => {
                    let (stream, _) = accepted.map_err(ControlError::Accept)?;
                    callers.spawn(converse(stream, Arc::clone(&handler), stop.clone()));
                }
            }
        }
        while callers.join_next().await.is_some() {}
        Ok(())
    }
}

/// Answers one caller's questions. An error of the connection ends it and is nobody's concern.
async fn converse(mut stream: UnixStream, handler: Handler, mut stop: Stop) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    loop {
        let line = tokio::select! {
            () = stopped(&mut stop) => return Ok(()),
            line = tokio::time::timeout(SILENCE, line(&mut read)) => line??,
        };
        let Some(line) = line else { return Ok(()) };
        let answer = match serde_json::from_slice::<Question>(&line) {
            _ if line.len() > limits::CONTROL_LINE => refusal(&format!(
                "the request is longer than {} bytes; ask for less at once",
                limits::CONTROL_LINE
            )),
            Err(error) => {
                refusal(&format!("the request is not a JSON object with `method` and `params`: {error}"))
            }
            Ok(Question { method, params }) => handler(method, params).await,
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        if line.len() > limits::CONTROL_LINE {
            return Ok(());
        }
    }
}

/// The next line without its end, of at most one byte more than allowed; `None` when the caller has hung up.
async fn line(read: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let most = u64::try_from(limits::CONTROL_LINE).unwrap_or(u64::MAX).saturating_add(1);
    read.take(most).read_until(b'\n', &mut line).await?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(line));
    }
    Ok((!line.is_empty()).then_some(line))
}

fn refusal(message: &str) -> Value {
    json!({ "error": { "code": "bad_request", "message": message, "field": null } })
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    /// Answers with what was asked.
    fn echo() -> Handler {
        Arc::new(|method, params| {
            Box::pin(async move { json!({ "ok": { "method": method, "params": params } }) })
        })
    }

    async fn ask(stream: &mut BufReader<UnixStream>, text: &str) -> Value {
        stream.get_mut().write_all(text.as_bytes()).await.expect("sent");
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("answered");
        serde_json::from_str(&line).expect("JSON")
    }

    #[tokio::test]
    async fn questions_are_answered_in_order_and_bad_ones_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("run/bramble.sock");
        let control = Control::bind(&path).await.expect("bound");
        let mode = fs_err::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(Control::bind(&path).await, Err(ControlError::Taken(_))));

        let (stop, told) = watch::channel(false);
        let server = control.run(echo(), told);
        let talk = async {
            let mut caller = BufReader::new(UnixStream::connect(&path).await.expect("connected"));
            let mut other = BufReader::new(UnixStream::connect(&path).await.expect("connected"));
            assert_eq!(
                ask(&mut caller, "{\"method\":\"a\",\"params\":{\"x\":1}}\n").await,
                json!({"ok": {"method": "a", "params": {"x": 1}}})
            );
            assert_eq!(ask(&mut other, "{\"method\":\"b\"}\n").await["ok"]["method"], "b");
            let refused = ask(&mut caller, "no json\n").await;
            assert_eq!(refused["error"]["code"], "bad_request");
            let long = format!("{{\"method\":\"{}\"}}\n", "x".repeat(limits::CONTROL_LINE));
            assert_eq!(
                ask(&mut caller, &long).await["error"]["message"],
                "the request is longer than 2097152 bytes; ask for less at once"
            );
            stop.send_replace(true);
        };
        let (result, ()) = tokio::join!(server, talk);
        result.expect("stopped as told");
        assert!(!path.exists(), "the socket goes with the server");
    }

    #[tokio::test]
    async fn what_a_killed_daemon_left_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bramble.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        Control::bind(&path).await.expect("bound again");
    }
}

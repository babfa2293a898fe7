//! A file of the web as a stream of bytes.
//!
//! Nothing is kept on the disk: what arrives goes straight to whoever reads. When the connection breaks, or says nothing, the
//! rest is asked for from where it broke (RFC 9110 §14 *Range Requests*, §13.1.5 *If-Range*), until several tries in a row
//! have brought nothing. What comes then is the same file by its mark (an entity tag, or its date) and its length, or the
//! download has failed.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ureq::http::header::{AsHeaderName, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use super::error::FetchError;
use super::{Client, Web};
use crate::service::jobs::Task;

/// A file on a server, and how far it has been read.
pub struct Download {
    client: Client,
    task: Task,
    /// Length of the file; `None` if the server does not say.
    bytes: Option<u64>,
    /// What tells this file from another one that takes its place.
    mark: Option<String>,
    at: u64,
    body: Option<Box<dyn Read + Send>>,
    /// Tries since the last byte.
    tries: usize,
    stopped: Arc<AtomicBool>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, bytes, at, tries, .. } = self;
        f.debug_struct("Download")
            .field("client", client)
            .field("bytes", bytes)
            .field("at", at)
            .field("tries", tries)
            .finish_non_exhaustive()
    }
}

impl Web {
    /// Asks for a file and begins to receive it. `task` is heard on the way: it may be cancelled.
    pub fn download(&self, url: &str, task: &Task) -> Result<Download, FetchError> {
        let client = Client::new(url, self.settings())?;
        let response = client.agent.get(url).call().map_err(|error| client.refused(error))?;
        let response = client.only(response, &[StatusCode::OK])?;
        Ok(Download {
            bytes: number(response.headers(), CONTENT_LENGTH),
            mark: mark(response.headers()),
            body: Some(reading(response)),
            client,
            task: task.clone(),
            at: 0,
            tries: 0,
            stopped: Arc::default(),
        })
    }
}

impl Download {
    /// Length of the file; `None` if the server does not say.
    pub fn length(&self) -> Option<u64> {
        self.bytes
    }

    pub fn host(&self) -> &str {
        &self.client.host
    }

    /// What ends it from another thread, even while it waits for the server.
    pub fn stop(&self) -> Stop {
        Stop { agent: self.client.agent.clone(), stopped: Arc::clone(&self.stopped) }
    }

    /// Bytes of the file from `offset` on, asked for beside the stream; `None` if the server does not give parts.
    pub fn part(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(len as u64)?.checked_sub(1)?;
        let request =
            self.client.agent.get(&self.client.url).header("Range", format!("bytes={offset}-{end}"));
        let response = request.call().ok()?;
        if response.status() != StatusCode::PARTIAL_CONTENT || whole_length(response.headers()) != self.bytes
        {
            return None;
        }
        let mut bytes = vec![0; len];
        response.into_body().into_reader().read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Goes on where the connection broke.
    fn go_on(&mut self, mut last: Option<io::Error>) -> Result<(), FetchError> {
        self.body = None;
        loop {
            let Some(pause) = self.client.patience.pauses.get(self.tries).copied() else {
                return Err(self.broken("several tries to go on brought nothing; try again later", last));
            };
            self.tries += 1;
            self.wait(pause)?;
            tracing::info!(
                host = self.client.host,
                bytes = self.at,
                tries = self.tries,
                "download broke off and goes on"
            );
            match self.rest() {
                Ok(response) => {
                    self.body = Some(reading(response));
                    return Ok(());
                }
                Err(error) if error.may_pass() => last = Some(io::Error::other(error)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for everything from where we are.
    fn rest(&self) -> Result<Response<Body>, FetchError> {
        let host = || self.client.host.clone();
        let mut request =
            self.client.agent.get(&self.client.url).header("Range", format!("bytes={}-", self.at));
        // A weak tag does not vouch for each byte.
        if let Some(mark) = self.mark.as_ref().filter(|mark| !mark.starts_with("W/")) {
            request = request.header("If-Range", mark);
        }
        let response = request.call().map_err(|error| self.client.refused(error))?;
        let wanted = [StatusCode::PARTIAL_CONTENT, StatusCode::OK, StatusCode::RANGE_NOT_SATISFIABLE];
        let response = self.client.only(response, &wanted)?;
        let headers = response.headers();
        let is_same = mark(headers) == self.mark;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let begins = begin(headers) == Some(self.at);
                if is_same && begins && whole_length(headers) == self.bytes {
                    Ok(response)
                } else {
                    Err(FetchError::Changed { host: host() })
                }
            }
            StatusCode::OK if self.at == 0 && is_same && number(headers, CONTENT_LENGTH) == self.bytes => {
                Ok(response)
            }
            StatusCode::OK if !is_same => Err(FetchError::Changed { host: host() }),
            StatusCode::OK => Err(self
                .broken("the server can only begin anew; start again, or take it from another server", None)),
            // There is nothing behind where we are, though there should be.
            _ => match self.bytes {
                Some(said) => Err(FetchError::Length { host: host(), said, sent: self.at }),
                None => Err(FetchError::Changed { host: host() }),
            },
        }
    }

    fn broken(&self, why: &'static str, source: Option<io::Error>) -> FetchError {
        FetchError::Broken { host: self.client.host.clone(), at: self.at, of: self.bytes, why, source }
    }

    /// Sleeps, unless it is cancelled.
    fn wait(&self, pause: Duration) -> Result<(), FetchError> {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = pause;
        loop {
            if self.stopped.load(Ordering::Relaxed) || self.task.go_on().is_err() {
                return Err(FetchError::Cancelled);
            }
            if left.is_zero() {
                return Ok(());
            }
            let step = left.min(STEP);
            thread::sleep(step);
            left -= step;
        }
    }
}

impl Read for Download {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(body) = &mut self.body else { return Ok(0) };
            let because = match body.read(into) {
                Ok(0) if self.bytes.is_none_or(|bytes| self.at >= bytes) => {
                    self.body = None;
                    return Ok(0);
                }
                Ok(0) => None,
                Ok(got) => {
                    self.at += got as u64;
                    self.tries = 0;
                    return Ok(got);
                }
                Err(error) => Some(error),
            };
            self.go_on(because).map_err(io::Error::other)?;
        }
    }
}

/// Ends a download: what waits for the server fails at once.
#[derive(Clone)]
pub struct Stop {
    agent: Agent,
    stopped: Arc<AtomicBool>,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}

impl Stop {
    pub fn now(self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.agent.shutdown();
    }
}

fn reading(response: Response<Body>) -> Box<dyn Read + Send> {
    Box::new(response.into_body().into_reader())
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: impl AsHeaderName) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// `bytes 100-199/2000`: where it begins.
fn begin(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, CONTENT_RANGE)?.trim().strip_prefix("bytes")?;
    range.trim().split_once('-')?.0.parse().ok()
}

/// `bytes 100-199/2000`: how long the whole is.
fn whole_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_RANGE)?.rsplit_once('/')?.1.trim().parse().ok()
}

fn mark(headers: &HeaderMap) -> Option<String> {
    text(headers, ETAG).or_else(|| text(headers, LAST_MODIFIED)).map(str::to_owned)
}

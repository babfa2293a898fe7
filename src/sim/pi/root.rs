//! The root file system over NFSv3 as the kernel mounts and reads it: portmap, MOUNT, FSINFO, then a walk over every
//! file.
//!
//! | RFC | What is taken from it |
//! |---|---|
//! | 1833 §3 | asking the portmapper for the ports of MOUNT (UDP) and NFS (TCP) |
//! | 1813 §5 | MNT |
//! | 1813 §3.3 | FSINFO, GETATTR, LOOKUP, READDIRPLUS, READ, READLINK |

use std::net::Ipv4Addr;

use super::census::{Census, Digest};
use super::rpc::{Request, Rpc, RpcError, Tunnel, call_udp};
use crate::proto::nfs3::args::{Create, Entry, Stable};
use crate::proto::nfs3::reply::client;
use crate::proto::nfs3::types::SetAttributes;
use crate::proto::nfs3::{self, Args, Attributes, FileType, Handle, Procedure};
use crate::proto::xdr::{Reader, Writer, XdrError};
use crate::proto::{mount, portmap};
use crate::sys::netns::NetNs;

/// Bytes of one READ, as `rsize=131072` asks.
pub const READ: u32 = 131_072;
/// READs in flight, as the kernel's read-ahead has them.
const AHEAD: usize = 16;

/// Why the root cannot be mounted or read.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("{doing}")]
    Rpc {
        doing: String,
        #[source]
        source: RpcError,
    },
    #[error("the portmapper knows no port for {0}")]
    NoPort(&'static str),
    #[error("MOUNT of `{path}` was refused ({})", status(*.code))]
    Mount { path: String, code: u32 },
    #[error("{op} of `{path}` was refused ({})", status(*.code))]
    Refused { op: &'static str, path: String, code: u32 },
    #[error("the answer to {op} of `{path}` cannot be read")]
    Garbage {
        op: &'static str,
        path: String,
        #[source]
        source: XdrError,
    },
    #[error("`{path}` has {size} bytes, and READ ended after {read}")]
    Short { path: String, size: u64, read: u64 },
}

/// Names of the statuses a boot may meet (RFC 1813 §2.6).
fn status(code: u32) -> String {
    let name = match code {
        1 => "not the owner",
        2 => "no such file",
        5 => "an error of the disk",
        13 => "permission denied",
        20 => "not a directory",
        30 => "read-only file system",
        70 => "stale file handle",
        10001 => "bad file handle",
        10006 => "a fault of the server",
        _ => return format!("status {code}"),
    };
    name.to_owned()
}

/// A file that a client has open: its handle outlives connections, and must outlive the server's process.
#[derive(Clone, Debug)]
pub struct Open {
    path: String,
    handle: Handle,
}

impl Open {
    /// What the server knows it by.
    pub fn handle(&self) -> &[u8] {
        &self.handle
    }
}

/// A mounted root.
#[derive(Debug)]
pub struct Root {
    rpc: Rpc,
    top: Handle,
    /// Bytes of file contents read so far.
    pub bytes: u64,
}

impl Root {
    /// Mounts `path` of `server` from the address `from`, in the namespace `home`, which must be the calling thread's;
    /// what is mounted can be used from any thread.
    pub fn mount(home: &NetNs, from: Ipv4Addr, server: Ipv4Addr, path: &str) -> Result<Self, RootError> {
        Self::mount_through(home, from, server, path, None)
    }

    /// The same through a tunnel, if there is one.
    pub fn mount_through(
        home: &NetNs,
        from: Ipv4Addr,
        server: Ipv4Addr,
        path: &str,
        tunnel: Option<Tunnel>,
    ) -> Result<Self, RootError> {
        let ask = |request: &Request| call_udp(from, server, portmap::PORT, request);
        let port = port_of(mount::PROGRAM, "MOUNT", ask)?;
        let mut portmapper = Rpc::new(home.clone(), from, server, portmap::PORT);
        let nfs = port_of(nfs3::PROGRAM, "NFS", |request| portmapper.call(request))?;

        let mut args = Vec::new();
        Writer(&mut args).opaque(path.as_bytes());
        let request = Request { program: mount::PROGRAM, version: mount::VERSION, procedure: 1, args };
        let doing = || format!("could not ask for the mount of `{path}`");
        let result = Rpc::new(home.clone(), from, server, port)
            .through(tunnel.clone())
            .call(&request)
            .map_err(|source| RootError::Rpc { doing: doing(), source })?;
        let garbage = |source| RootError::Garbage { op: "MOUNT", path: path.to_owned(), source };
        let mut reader = Reader::new(&result);
        match reader.u32().map_err(garbage)? {
            0 => {}
            code => return Err(RootError::Mount { path: path.to_owned(), code }),
        }
        let handle = reader.opaque(64).map_err(garbage)?;
        let root = Handle::from_slice(handle)
            .map_err(|_| RootError::Mount { path: path.to_owned(), code: 10001 })?;

        let mut mounted = Self {
            rpc: Rpc::new(home.clone(), from, server, nfs).through(tunnel),
            top: root.clone(),
            bytes: 0,
        };
        // What the kernel asks before it believes in the mount.
        mounted.raw("FSINFO", "/", Procedure::FsInfo, &Args::FsInfo(&root))?;
        mounted.raw("PATHCONF", "/", Procedure::PathConf, &Args::PathConf(&root))?;
        mounted.attributes(&root, "/")?;
        Ok(mounted)
    }

    /// How often the connection to the server was lost and made again.
    pub fn reconnects(&self) -> u32 {
        self.rpc.reconnects
    }

    /// The file at `path` from the root, read whole; symbolic links are not followed.
    pub fn file(&mut self, path: &str) -> Result<Vec<u8>, RootError> {
        let open = self.open(path)?;
        self.content(&open)
    }

    /// Finds the file at `path`, as a program that opens it does; symbolic links are not followed.
    pub fn open(&mut self, path: &str) -> Result<Open, RootError> {
        let mut handle = self.top.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            handle = self.lookup(&handle, name.as_bytes(), path)?;
        }
        Ok(Open { path: path.to_owned(), handle })
    }

    /// What is in an open file now, by its handle alone.
    pub fn content(&mut self, open: &Open) -> Result<Vec<u8>, RootError> {
        let size = self.attributes(&open.handle, &open.path)?.size;
        let mut content = Vec::new();
        self.read(&open.handle, &open.path, size, |piece| content.extend(piece))?;
        Ok(content)
    }

    /// Writes a file of at most 64 KiB at the top, on the disk when this returns.
    pub fn put(&mut self, name: &str, content: &[u8]) -> Result<(), RootError> {
        let top = self.top.clone();
        let at = Entry { directory: &top, name: name.as_bytes() };
        let with = SetAttributes { mode: Some(0o644), ..SetAttributes::default() };
        let made =
            self.raw("CREATE", name, Procedure::Create, &Args::Create { at, how: Create::Unchecked(with) })?;
        succeeded("CREATE", name, &made)?;
        let file = self.lookup(&top, name.as_bytes(), name)?;
        let args = Args::Write { file: &file, offset: 0, stable: Stable::File, data: content };
        let written = self.raw("WRITE", name, Procedure::Write, &args)?;
        succeeded("WRITE", name, &written)
    }

    /// Reads every file, link and folder below the root. `tell` hears of bytes as they come.
    pub fn walk(&mut self, tell: &mut dyn FnMut(u64)) -> Result<Census, RootError> {
        let mut census = Census::default();
        let mut folders = vec![(String::new(), self.top.clone())];
        while let Some((folder, handle)) = folders.pop() {
            for (name, handle, attributes) in self.list(&handle, &folder)? {
                let path = if folder.is_empty() { name } else { [&folder, "/", &name].concat() };
                match attributes.kind {
                    FileType::Directory => {
                        census.folder(path.as_bytes());
                        folders.push((path, handle));
                    }
                    FileType::SymLink => {
                        let target = self.read_link(&handle, &path)?;
                        census.link(path.as_bytes(), &target);
                    }
                    FileType::Regular => {
                        let mut digest = Digest::new(b'f', path.as_bytes());
                        self.read(&handle, &path, attributes.size, |piece| digest.add(piece))?;
                        census.file(digest, attributes.size);
                        tell(attributes.size);
                    }
                    _ => census.other(path.as_bytes()),
                }
            }
        }
        Ok(census)
    }

    /// The entries of a folder, without `.` and `..`.
    fn list(
        &mut self,
        directory: &Handle,
        path: &str,
    ) -> Result<Vec<(String, Handle, Attributes)>, RootError> {
        let (mut cookie, mut verifier) = (0, [0; 8]);
        let mut found = Vec::new();
        loop {
            let args = Args::ReadDirPlus { directory, cookie, verifier, names: 4096, count: 32_768 };
            let result = self.raw("READDIRPLUS", path, Procedure::ReadDirPlus, &args)?;
            let listing = unwrap("READDIRPLUS", path, client::readdir(&mut Reader::new(&result), true))?;
            verifier = listing.verifier;
            for entry in listing.entries {
                cookie = entry.cookie;
                if entry.name == b"." || entry.name == b".." {
                    continue;
                }
                let name = String::from_utf8_lossy(entry.name).into_owned();
                let handle = match entry.handle {
                    Some(handle) => handle,
                    None => self.lookup(directory, entry.name, &name)?,
                };
                let attributes = match entry.attributes {
                    Some(attributes) => attributes,
                    None => self.attributes(&handle, &name)?,
                };
                found.push((name, handle, attributes));
            }
            if listing.end {
                return Ok(found);
            }
        }
    }

    fn lookup(&mut self, directory: &Handle, name: &[u8], path: &str) -> Result<Handle, RootError> {
        let result = self.raw("LOOKUP", path, Procedure::Lookup, &Args::Lookup(Entry { directory, name }))?;
        Ok(unwrap("LOOKUP", path, client::lookup(&mut Reader::new(&result)))?.0)
    }

    fn attributes(&mut self, object: &Handle, path: &str) -> Result<Attributes, RootError> {
        let result = self.raw("GETATTR", path, Procedure::GetAttr, &Args::GetAttr(object))?;
        unwrap("GETATTR", path, client::getattr(&mut Reader::new(&result)))
    }

    fn read_link(&mut self, link: &Handle, path: &str) -> Result<Vec<u8>, RootError> {
        let result = self.raw("READLINK", path, Procedure::ReadLink, &Args::ReadLink(link))?;
        Ok(unwrap("READLINK", path, client::readlink(&mut Reader::new(&result)))?.to_vec())
    }

    /// The whole of a file of `size` bytes, with READs in flight side by side.
    fn read(
        &mut self,
        file: &Handle,
        path: &str,
        size: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), RootError> {
        let offsets: Vec<u64> = (0..size.max(1)).step_by(READ as usize).collect();
        let mut read = 0;
        for window in offsets.chunks(AHEAD) {
            let requests: Vec<Request> = window
                .iter()
                .map(|offset| request(Procedure::Read, &Args::Read { file, offset: *offset, count: READ }))
                .collect();
            let results = self.rpc.calls(&requests).map_err(|source| rpc("READ", path, source))?;
            for result in results {
                let (data, end) = unwrap("READ", path, client::read(&mut Reader::new(&result)))?;
                read += data.len() as u64;
                take(data);
                if end != (read == size) {
                    return Err(RootError::Short { path: path.to_owned(), size, read });
                }
            }
        }
        self.bytes += read;
        if read == size { Ok(()) } else { Err(RootError::Short { path: path.to_owned(), size, read }) }
    }

    fn raw(
        &mut self,
        op: &'static str,
        path: &str,
        procedure: Procedure,
        args: &Args<'_>,
    ) -> Result<Vec<u8>, RootError> {
        self.rpc.call(&request(procedure, args)).map_err(|source| rpc(op, path, source))
    }
}

fn request(procedure: Procedure, asked: &Args<'_>) -> Request {
    let mut args = Vec::new();
    asked.encode(&mut args);
    Request { program: nfs3::PROGRAM, version: nfs3::VERSION, procedure: procedure as u32, args }
}

fn rpc(op: &'static str, path: &str, source: RpcError) -> RootError {
    RootError::Rpc { doing: format!("{op} of `{path}` failed"), source }
}

/// Of an answer, only whether it is a yes.
fn succeeded(op: &'static str, path: &str, answer: &[u8]) -> Result<(), RootError> {
    unwrap(op, path, Reader::new(answer).u32().map(|status| if status == 0 { Ok(()) } else { Err(status) }))
}

fn unwrap<T>(
    op: &'static str,
    path: &str,
    answer: Result<client::Outcome<T>, XdrError>,
) -> Result<T, RootError> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(code)) => Err(RootError::Refused { op, path: path.to_owned(), code }),
        Err(source) => Err(RootError::Garbage { op, path: path.to_owned(), source }),
    }
}

/// Asks the portmapper, by `ask`, for the TCP port of `program`.
fn port_of(
    program: u32,
    name: &'static str,
    mut ask: impl FnMut(&Request) -> Result<Vec<u8>, RpcError>,
) -> Result<u16, RootError> {
    let mut args = Vec::new();
    let mut writer = Writer(&mut args);
    for word in [program, 3, 6, 0] {
        writer.u32(word);
    }
    let request = Request { program: portmap::PROGRAM, version: portmap::VERSION, procedure: 3, args };
    let doing = || format!("could not ask the portmapper for {name}");
    let result = ask(&request).map_err(|source| RootError::Rpc { doing: doing(), source })?;
    let port = Reader::new(&result).u32().ok().and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port != 0).ok_or(RootError::NoPort(name))
}

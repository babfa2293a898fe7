//! The TFTP of boot ROMs: lock-step, block size as the board asks for, files tested by breaking off.
//!
//! | RFC | What is taken from it |
//! |---|---|
//! | 1350 | requests, blocks, acknowledgements, error packets |
//! | 2347–2349 | options `tsize` and `blksize`; never `windowsize`, which no Pi sends |
#![expect(clippy::disallowed_methods, reason = "this layer reads the clock so that the rest need not")]

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// How long the EEPROM tries for one file (`TFTP_FILE_TIMEOUT`).
const FILE: Duration = Duration::from_secs(30);
/// How long it waits before it repeats itself.
const REPEAT: Duration = Duration::from_secs(1);

const RRQ: u8 = 1;
const DATA: u8 = 3;
const ACK: u8 = 4;
const ERROR: u8 = 5;
const OACK: u8 = 6;

/// Why a file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TftpError {
    #[error("`{file}`: no answer from {server} in {} s", FILE.as_secs())]
    Silence { file: String, server: Ipv4Addr },
    #[error("`{file}`: the server said: {message} (error {code})")]
    Refused { file: String, code: u16, message: String },
    #[error("`{file}`: the server promised {promised} bytes and sent {sent}")]
    Length { file: String, promised: u64, sent: u64 },
    #[error("`{file}`: the server's packet makes no sense: {what}")]
    Nonsense { file: String, what: &'static str },
    #[error("`{file}`: the network failed")]
    Io {
        file: String,
        #[source]
        source: io::Error,
    },
}

/// A TFTP client of one stage of a boot.
#[derive(Clone, Copy, Debug)]
pub struct Tftp {
    /// The board's own address.
    pub from: Ipv4Addr,
    pub server: Ipv4Addr,
    /// Block size it asks for; `None` asks for no option at all, as mask ROMs do.
    pub block: Option<u16>,
}

/// What is wanted of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    All,
    Existence,
}

impl Tftp {
    /// The whole file; `None` if the server says that there is none.
    pub fn load(&self, file: &str) -> Result<Option<Vec<u8>>, TftpError> {
        self.transfer(file, Want::All, Duration::ZERO)
    }

    /// As [`Self::load`], over a link on which each block takes so long.
    pub fn load_slowly(&self, file: &str, each: Duration) -> Result<Option<Vec<u8>>, TftpError> {
        self.transfer(file, Want::All, each)
    }

    /// Whether the file exists: asks for it and breaks off at the first packet, as the boards do.
    pub fn exists(&self, file: &str) -> Result<bool, TftpError> {
        Ok(self.transfer(file, Want::Existence, Duration::ZERO)?.is_some())
    }

    /// Asks for the file and hears what comes first; then is silent.
    pub fn break_off(&self, file: &str) -> Result<(), TftpError> {
        let failed = |source| TftpError::Io { file: file.to_owned(), source };
        let socket = UdpSocket::bind((self.from, 0)).map_err(failed)?;
        socket.set_read_timeout(Some(FILE)).map_err(failed)?;
        socket.send_to(&self.request(file), SocketAddrV4::new(self.server, 69)).map_err(failed)?;
        socket.recv_from(&mut [0; 2048]).map(drop).map_err(failed)
    }

    fn transfer(&self, file: &str, want: Want, each: Duration) -> Result<Option<Vec<u8>>, TftpError> {
        let failed = |source| TftpError::Io { file: file.to_owned(), source };
        let nonsense = |what| TftpError::Nonsense { file: file.to_owned(), what };
        let socket = UdpSocket::bind((self.from, 0)).map_err(failed)?;
        let give_up = Instant::now() + FILE;
        let mut peer = SocketAddrV4::new(self.server, 69);
        let mut said = self.request(file);
        let (mut block_size, mut promised) = (512, None);
        let (mut content, mut expected) = (Vec::new(), 1u16);
        let mut packet = vec![0; 2048];
        let mut spoke = false;
        socket.send_to(&said, peer).map_err(failed)?;
        let mut repeat_at = Instant::now() + REPEAT;
        loop {
            let now = Instant::now();
            if now >= give_up {
                return Err(TftpError::Silence { file: file.to_owned(), server: self.server });
            }
            if now >= repeat_at {
                socket.send_to(&said, peer).map_err(failed)?;
                repeat_at = now + REPEAT;
                continue;
            }
            socket.set_read_timeout(Some(repeat_at - now)).map_err(failed)?;
            let (length, from) = match socket.recv_from(&mut packet) {
                Ok((length, std::net::SocketAddr::V4(from))) => (length, from),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(failed(error)),
                _ => continue,
            };
            // The answer to the request fixes the server's port; from any other address it is somebody else's.
            if *from.ip() != self.server || (spoke && from != peer) {
                continue;
            }
            (peer, spoke) = (from, true);
            let packet = packet.get(..length).unwrap_or_default();
            match packet {
                [0, ERROR, high, low, text @ ..] => {
                    let code = u16::from_be_bytes([*high, *low]);
                    if code == 1 {
                        return Ok(None);
                    }
                    let message = String::from_utf8_lossy(text).trim_end_matches('\0').to_owned();
                    return Err(TftpError::Refused { file: file.to_owned(), code, message });
                }
                [0, DATA | OACK, ..] if want == Want::Existence => {
                    let mut enough = vec![0, ERROR, 0, 0];
                    enough.extend(b"Early terminate\0");
                    socket.send_to(&enough, peer).map_err(failed)?;
                    return Ok(Some(Vec::new()));
                }
                [0, OACK, options @ ..] if expected == 1 && content.is_empty() => {
                    for (name, value) in pairs(options) {
                        match (name.to_ascii_lowercase().as_str(), value.parse::<u64>(), self.block) {
                            ("tsize", Ok(size), Some(_)) => promised = Some(size),
                            ("blksize", Ok(size), Some(most)) if (8..=u64::from(most)).contains(&size) => {
                                block_size = usize::try_from(size).expect("at most what was asked for");
                            }
                            _ => return Err(nonsense("an option that was not asked for, or a wrong value")),
                        }
                    }
                    said = vec![0, ACK, 0, 0];
                }
                [0, DATA, high, low, data @ ..] => {
                    let number = u16::from_be_bytes([*high, *low]);
                    if number != expected {
                        continue;
                    }
                    if data.len() > block_size {
                        return Err(nonsense("a block longer than agreed"));
                    }
                    content.extend(data);
                    said = vec![0, ACK, *high, *low];
                    if data.len() < block_size {
                        socket.send_to(&said, peer).map_err(failed)?;
                        let sent = content.len() as u64;
                        return match promised {
                            Some(promised) if promised != sent => {
                                Err(TftpError::Length { file: file.to_owned(), promised, sent })
                            }
                            _ => Ok(Some(content)),
                        };
                    }
                    expected = expected.wrapping_add(1);
                }
                _ => return Err(nonsense("neither data nor an option acknowledgement")),
            }
            std::thread::sleep(each);
            socket.send_to(&said, peer).map_err(failed)?;
            repeat_at = Instant::now() + REPEAT;
        }
    }

    fn request(&self, file: &str) -> Vec<u8> {
        let mut packet = vec![0, RRQ];
        let block = self.block.map(|block| block.to_string());
        let options = block.iter().flat_map(|block| ["tsize", "0", "blksize", block]);
        for text in [file, "octet"].into_iter().chain(options) {
            packet.extend(text.bytes().chain([0]));
        }
        packet
    }
}

/// The names and values of an option acknowledgement.
fn pairs(options: &[u8]) -> Vec<(String, String)> {
    let mut texts = options.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        pairs.push((name, value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_captured() {
        let client = |block| Tftp { from: Ipv4Addr::LOCALHOST, server: Ipv4Addr::LOCALHOST, block };
        assert_eq!(client(None).request("bootcode.bin"), b"\0\x01bootcode.bin\0octet\0");
        assert_eq!(
            client(Some(1024)).request("9ffefdef/start4.elf"),
            b"\0\x019ffefdef/start4.elf\0octet\0tsize\x000\0blksize\x001024\0",
            "the EEPROM of 2019, EE#74"
        );
    }
}

//! Random bytes of the kernel's, for keys, salts and nonces.

use std::io::{self, Read as _};

pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

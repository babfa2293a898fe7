//! Whether a home is about to be full, and what its person reads then.
//!
//! The server says with each question how much of the quota, or of its disk, is left; programs get the error themselves.

use nix::sys::statvfs::statvfs;

use crate::types::ByteSize;

/// A home with less than one part in this many left is almost full.
const PARTS: u64 = 20;

/// What the person of the home at `path` is to know; may wait for the server.
pub fn warning(path: &str) -> Option<String> {
    let about = statvfs(path).ok()?;
    #[allow(clippy::useless_conversion, reason = "these numbers have 32 bits on some machines")]
    let bytes = |blocks: libc::fsblkcnt_t| {
        let (blocks, each) = (u64::from(blocks), u64::from(about.fragment_size()));
        ByteSize(blocks.saturating_mul(each))
    };
    sentence(bytes(about.blocks_available()), bytes(about.blocks()))
}

fn sentence(left: ByteSize, all: ByteSize) -> Option<String> {
    (left.0 < all.0 / PARTS).then(|| {
        format!(
            "Your home is almost full: {left} of {all} are left. Remove what you no longer need, or programs cannot save your work."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_little_left_reads_it() {
        let two = ByteSize(2 << 30);
        assert_eq!(sentence(ByteSize(two.0 / 20), two), None);
        assert_eq!(
            sentence(ByteSize(3 << 19), two).as_deref(),
            Some(
                "Your home is almost full: 1.5 MiB of 2.0 GiB are left. Remove what you no longer need, or programs cannot \
                 save your work."
            )
        );
        assert_eq!(sentence(ByteSize(0), ByteSize(0)), None, "a file system that tells nothing");
        assert!(statvfs("/").is_ok());
    }
}

//! What another NFS server has to export where it has the images: lines for exports(5), as the kernel's server and most
//! storage boxes read them.
//!
//! Only images: homes and shares need a server that opens them to one machine for one session, and that is Bramble.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::{Config, NfsBackend};

/// Read-only, but all of it: the client's root reads `etc/shadow`. `no_subtree_check` is today's default, said because
/// older servers warn without it.
const OPTIONS: &str = "(ro,no_root_squash,no_subtree_check)";

/// `folder` with its versions of images, open to all networks that `config` serves.
pub fn exports(config: &Config, folder: &Path) -> String {
    let mut text = String::from(
        "# Images of Bramble: for /etc/exports, or /etc/exports.d/bramble.exports, of the machine that has this folder.\n\
         # Then `exportfs -r` there. Everybody on these networks can read the images, which hold no secrets of yours.\n",
    );
    text.push_str(&escaped(folder));
    for network in &config.networks {
        let subnets =
            std::iter::once(network.subnet).chain(network.relayed.iter().map(|relayed| relayed.subnet));
        for subnet in subnets {
            // Writing into a text cannot fail.
            let _ = write!(text, " {subnet}{OPTIONS}");
        }
    }
    text.push('\n');
    if !matches!(config.nfs.backend, NfsBackend::External(_)) {
        let folder = folder.display().to_string();
        let _ = writeln!(
            text,
            "# Here, with the other machine's address: uci set bramble.nfs.backend=external; uci set \
             bramble.nfs.url='nfs://ADDRESS{}/{{image}}/{{version}}'; uci commit bramble; /etc/init.d/bramble reload",
            folder.trim_end_matches('/')
        );
    }
    text
}

/// As exports(5) wants what would end or quote a path: three octal digits behind a backslash.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'"' | b'\\' | b'#' => {
                let _ = write!(text, "\\{byte:03o}");
            }
            0x21..=0x7e => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(escaped(Path::new("/mnt/sda1/bramble")), "/mnt/sda1/bramble");
        assert_eq!(
            escaped(Path::new("/mnt/my disk/\"a\"\\#ä")),
            r"/mnt/my\040disk/\042a\042\134\043\303\244"
        );
    }
}

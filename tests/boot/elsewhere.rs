//! Another server has the images: a machine of its own with the kernel's NFS server and Debian's `exportfs`, which reads
//! what `bramble exports` prints, word for word.

use std::path::PathBuf;

use crate::guest::Guest;
use crate::people::initrd;
use crate::room::{CLIENT, Room, SECOND, made, needs};

/// Where the other machine has the images.
const IMAGES: &str = "/srv/images";

/// Starts the other machine: a Debian system on a disk, which has a copy of itself as the image, by hard links.
fn start_storage(room: &Room, exports: &str) -> Guest {
    let tools = made().join("tools.ext4");
    let mut guest = room.boot_from_disks("storage", SECOND, &[made().join("disk.ext4"), tools]);
    guest.log_in("root", "raspberry");
    guest.output("ip link set vec0 up && ip addr add 192.168.77.9/24 dev vec0");
    guest.output(&format!("mkdir -p {IMAGES}/debian/1 /mnt/tools && mount -o ro /dev/ubdb /mnt/tools"));
    // Folders that something is mounted on stay empty.
    guest.output(&format!(
        "cd {IMAGES}/debian/1 && for one in /*; do case $one in /dev|/proc|/sys|/run|/tmp|/srv|/mnt) mkdir .$one;; \
         *) cp -al $one .;; esac; done; test -e usr/bin/perl && cd /"
    ));
    guest.type_line("mkdir -p /etc/exports.d && cat >/etc/exports.d/bramble.exports <<'THE END'");
    for line in exports.lines() {
        guest.type_line(line);
    }
    guest.type_line("THE END");
    // The system has no netbase, which brings the first of these files.
    guest.output("printf '%s\\n' 'nfs 2049/tcp' 'sunrpc 111/tcp' 'mountd 20048/tcp' >/etc/services");
    guest.output(
        "touch /etc/exports /var/lib/nfs/etab /var/lib/nfs/rmtab && mkdir -p /var/lib/nfs/v4recovery",
    );
    guest.output("modprobe nfsd && mount -t nfsd nfsd /proc/fs/nfsd && systemctl start rpcbind");
    guest.output("/mnt/tools/rpc.nfsd -N 4 -V 3 2 && /mnt/tools/rpc.mountd -N 4 -p 20048");
    guest
}

/// The root of a client that has booted, as `(where the image comes from, the room's view of it)`.
fn image_of(room: &Room, guest: &mut Guest) -> (String, String) {
    let root = guest.output("findmnt -n -o OPTIONS /");
    let from = guest.output("grep -c '^192.168.77.9:/srv/images/debian/1 ' /proc/mounts || true");
    let told = room.bramble(&["client", "show", &CLIENT.to_string()]);
    (format!("{root}; mounts of the other server: {from}"), told)
}

/// The agent comes from Bramble, the root from the other server; and from Bramble again when that is gone.
#[test]
fn the_kernels_own_server_takes_our_exports_and_has_the_images_while_it_lives() {
    needs("the_kernels_own_server_takes_our_exports_and_has_the_images_while_it_lives", || {
        let mut room = Room::open(&["lab-01", "storage"]);
        room.configure(&format!(
            "config nfs 'nfs'\n\toption backend 'external'\n\
             \toption url 'nfs://192.168.77.9{IMAGES}/{{image}}/{{version}}'\n"
        ));
        let exports = room.exports(&PathBuf::from(IMAGES));
        let mut storage = start_storage(&room, &exports);
        let told = storage.output("/mnt/tools/exportfs -rv 2>&1");
        assert_eq!(
            told.replace('\r', ""),
            format!("exporting 192.168.77.0/24:{IMAGES}"),
            "and not a warning"
        );
        let listed = storage.output("/mnt/tools/exportfs -v");
        for word in [IMAGES, "192.168.77.0/24(", "ro,", "no_root_squash", "no_subtree_check"] {
            assert!(listed.contains(word), "{word}: {listed}");
        }

        let parameters = room.parameters(CLIENT);
        let mut guest = room.boot("elsewhere", CLIENT, &initrd(), &parameters);
        guest.log_in("root", "raspberry");
        let (root, told) = image_of(&room, &mut guest);
        assert!(root.contains("lowerdir=/mnt/image,"), "{root}");
        assert!(!told.contains("the image comes from Bramble"), "{told}");
        guest.output("perl -v >/dev/null && getent shadow root | grep -q '\\$'");
        guest.type_line("systemctl poweroff");
        guest.ended();

        // The same client, and nobody there.
        storage.type_line("poweroff -f -f");
        storage.ended();
        let mut guest = room.boot("fallback", CLIENT, &initrd(), &parameters);
        guest.log_in("root", "raspberry");
        let (root, told) = image_of(&room, &mut guest);
        assert!(!root.contains("lowerdir=/mnt/image,"), "{root}");
        assert!(told.contains("the image comes from Bramble"), "{told}");
        guest.output("perl -v >/dev/null");
        guest.type_line("systemctl poweroff");
        guest.ended();
    });
}

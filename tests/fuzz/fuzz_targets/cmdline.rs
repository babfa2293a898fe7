//! Any bytes as an image's `cmdline.txt` or `config.txt`, and any text as what a person adds.
#![no_main]

use std::net::Ipv4Addr;

use bramble::proto::pi::cmdline::{self, NfsRoot};
use bramble::proto::pi::config_txt::{self, Additions};
use bramble::proto::pi::is_stub;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((split, rest)) = bytes.split_first() else { return };
    let (original, extra) = rest.split_at(rest.len().min(usize::from(*split)));
    let extra = [String::from_utf8_lossy(extra).into_owned()];
    let root = NfsRoot { server: Ipv4Addr::new(10, 0, 0, 1), port: 2049, path: "/image/x/1".to_owned(), writable: false, pin: bramble::proto::agent::channel::Pin([7; 32]) };

    let line = cmdline::compose(&String::from_utf8_lossy(original), &root, &extra);
    assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
    assert!(line.contains("root=/dev/nfs nfsroot=10.0.0.1:/image/x/1,"));
    let alone = cmdline::compose(&String::from_utf8_lossy(original), &root, &[]);
    let ours = cmdline::parameters(&alone).filter(|parameter| parameter.starts_with("root=")).count();
    assert_eq!(ours, 1, "the image's own root is gone");

    let _ = (is_stub(original), config_txt::kernels(original).count(), config_txt::cmdline_file(original));
    for initramfs in [false, true] {
        let text = config_txt::compose(original, &Additions { client: "lab-01", initramfs, extra: &extra, update: false });
        // Made comments are the only change to the image's own lines.
        let mut ours = text.split_inclusive(|b| *b == b'\n');
        for own in original.split_inclusive(|b| *b == b'\n') {
            let line = ours.next().expect("no line is lost");
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let own = own.strip_suffix(b"\n").unwrap_or(own);
            assert!(line == own || line.strip_prefix(b"#") == Some(own));
        }
    }
});

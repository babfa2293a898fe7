//! What bootloaders and kernels say over the network (netconsole): datagrams into lines.
//!
//! A bootloader of a Pi (`NETCONSOLE` in its EEPROM) and a kernel (`netconsole=` on its command line) send the same text as
//! to their serial port, in pieces that need not end where lines do. A kernel with `netconsole=+…` puts a header before
//! each record: `level,number,microseconds,flags;` (Documentation/networking/netconsole.rst).

use crate::types::limits;

/// UDP port where it is received: the usual one.
pub const PORT: u16 = 6666;

/// Makes lines of the datagrams of one machine.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// The beginning of a line whose end has not come.
    begun: String,
}

impl Lines {
    /// The lines that `datagram` completes, without empty ones. No line is longer than [`limits::CONSOLE_LINE`].
    pub fn take(&mut self, datagram: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(datagram);
        let text = record(&text);
        let mut lines = Vec::new();
        for c in text.chars() {
            if c == '\n' || c == '\r' || self.begun.len() + c.len_utf8() > limits::CONSOLE_LINE {
                self.end(&mut lines);
            }
            if !c.is_control() {
                self.begun.push(c);
            }
        }
        // A header says that the record is whole.
        if text.len() != datagram.len() && !text.is_empty() {
            self.end(&mut lines);
        }
        lines
    }

    fn end(&mut self, lines: &mut Vec<String>) {
        let line = std::mem::take(&mut self.begun);
        let line = line.trim();
        if !line.is_empty() {
            lines.push(line.to_owned());
        }
    }
}

/// The text of a record, without the header if there is one, and without the dictionary that may follow in further lines.
fn record(text: &str) -> &str {
    let Some((header, rest)) = text.split_once(';') else { return text };
    let mut fields = header.split(',');
    let numbers = fields
        .by_ref()
        .take(3)
        .filter(|field| !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit()));
    if numbers.count() == 3 && header.len() <= 80 {
        rest.split('\n').next().unwrap_or_default()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_put_together() {
        let mut lines = Lines::default();
        assert_eq!(
            lines.take(b"RPi: BOOTLOADER release VERSION:1234\r\nTFTP_GET: "),
            ["RPi: BOOTLOADER release VERSION:1234"]
        );
        assert_eq!(lines.take(b"start4.elf\x1b[0m\n\n"), ["TFTP_GET: start4.elf[0m"]);
        assert_eq!(
            lines.take(b"6,416,1758426,-;VFS: Unable to mount root fs\n SUBSYSTEM=net\n"),
            ["VFS: Unable to mount root fs"]
        );
        assert_eq!(lines.take(b"a;b\n"), ["a;b"], "a semicolon is no header");
        let long = vec![b'x'; limits::CONSOLE_LINE * 2 + 1];
        assert_eq!(lines.take(&long).iter().map(String::len).collect::<Vec<_>>(), [limits::CONSOLE_LINE; 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is sent, what comes out is short printable lines, and what is kept is bounded.
        #[test]
        fn no_datagram_panics(datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..8)) {
            let mut lines = Lines::default();
            for datagram in datagrams {
                for line in lines.take(&datagram) {
                    prop_assert!(!line.is_empty() && line.len() <= limits::CONSOLE_LINE);
                    prop_assert!(!line.chars().any(char::is_control));
                }
                prop_assert!(lines.begun.len() <= limits::CONSOLE_LINE);
            }
        }
    }
}

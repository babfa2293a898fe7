//! XDR (RFC 4506): the big-endian, four-byte-aligned encoding below ONC RPC.
//!
//! [`Reader`] is a cursor over borrowed bytes; nothing it returns is copied, and every length is checked against a bound
//! the caller names before anything is taken. [`Writer`] appends to a buffer the caller keeps.

/// Why bytes are not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XdrError {
    #[error("the data ends {missing} bytes early")]
    Short { missing: usize },
    #[error("a length of {length} where at most {most} is allowed")]
    TooLong { length: usize, most: usize },
    #[error("{0} where one of a few known values belongs")]
    Unknown(u32),
}

/// Bytes that `length` bytes of opaque data are padded with.
pub const fn padding(length: usize) -> usize {
    length.wrapping_neg() & 3
}

/// A cursor over encoded data.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes, without padding.
    fn take(&mut self, length: usize) -> Result<&'a [u8], XdrError> {
        let short = || XdrError::Short { missing: length.saturating_sub(self.rest.len()) };
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(short)?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn u32(&mut self) -> Result<u32, XdrError> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, XdrError> {
        self.fixed().map(u64::from_be_bytes)
    }

    pub fn bool(&mut self) -> Result<bool, XdrError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(XdrError::Unknown(other)),
        }
    }

    /// Opaque data of a fixed length that is a multiple of four.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], XdrError> {
        let short = || XdrError::Short { missing: N.saturating_sub(self.rest.len()) };
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(short)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Opaque data or a string with its length in front, of at most `most` bytes.
    pub fn opaque(&mut self, most: usize) -> Result<&'a [u8], XdrError> {
        let length = self.length(most)?;
        let data = self.take(length)?;
        self.take(padding(length))?;
        Ok(data)
    }

    /// The length of a list or of opaque data, of at most `most`.
    pub fn length(&mut self, most: usize) -> Result<usize, XdrError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if length > most {
            return Err(XdrError::TooLong { length, most });
        }
        Ok(length)
    }

    /// An optional value: a boolean, and what follows if it is true.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, XdrError>,
    ) -> Result<Option<T>, XdrError> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }
}

/// Appends encoded data to a buffer.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// Data whose length both sides know; the caller passes a multiple of four.
    pub fn fixed(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    /// Opaque data or a string, with its length in front and padding behind.
    pub fn opaque(&mut self, data: &[u8]) {
        self.u32(u32::try_from(data.len()).expect("nothing we send is 4 GiB long"));
        self.0.extend_from_slice(data);
        self.pad(data.len());
    }

    /// The padding behind `length` bytes that were appended by other means.
    pub fn pad(&mut self, length: usize) {
        self.0.extend([0; 3].iter().take(padding(length)));
    }

    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn opaque_data_is_bounded_before_it_is_taken() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 1, 2]);
        assert_eq!(reader.opaque(64), Err(XdrError::TooLong { length: 0xffff_ffff, most: 64 }));
        let mut reader = Reader::new(&[0, 0, 0, 5, 1, 2, 3, 4, 5]);
        assert_eq!(reader.opaque(64), Err(XdrError::Short { missing: 3 }), "the padding counts");
        let mut reader = Reader::new(&[0, 0, 0, 2]);
        assert_eq!(reader.bool(), Err(XdrError::Unknown(2)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            a: u32, b: u64, c: bool, d in proptest::collection::vec(any::<u8>(), 0..40), e: Option<u32>,
        ) {
            let mut out = Vec::new();
            let mut w = Writer(&mut out);
            w.u32(a);
            w.opaque(&d);
            w.u64(b);
            w.option(e, Writer::u32);
            w.bool(c);
            prop_assert_eq!(out.len() % 4, 0);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.u32(), Ok(a));
            prop_assert_eq!(r.opaque(40), Ok(&d[..]));
            prop_assert_eq!(r.u64(), Ok(b));
            prop_assert_eq!(r.option(Reader::u32), Ok(e));
            prop_assert_eq!(r.bool(), Ok(c));
            prop_assert!(r.rest().is_empty());
        }
    }
}

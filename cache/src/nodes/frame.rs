//! What stands under a key in Redis: a value, that there is none, a lease, or who writes it.
//!
//! | bytes | what |
//! |---|---|
//! | `A1 'V'`, codec, version, payload | a value |
//! | `A1 'N'` | the store has none |
//! | `A1 'L'`, token (16) | somebody loads it |
//! | `A1 'W'`, for each writer token (16) and end of its time in ms (16 digits) | it is being written |
//!
//! Anything else is foreign, and as good as nothing. scripts.rs reads and writes the last two.

/// The first byte: this format.
const FORMAT: u8 = 0xa1;
/// What a lease begins with.
const LEASE: [u8; 2] = [FORMAT, b'L'];
/// What a list of writers begins with.
pub(crate) const WRITERS: [u8; 2] = [FORMAT, b'W'];

/// What stands there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held<'b> {
    Value(&'b [u8]),
    Nothing,
    Leased,
    Writing,
    Foreign,
}

/// Who may hold a lease or write: no two are the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token([u8; 16]);

impl Token {
    pub(crate) fn new() -> Self {
        Self(fastrand::u128(..).to_be_bytes())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it stands under the key while its owner loads.
    pub(crate) fn lease(&self) -> Vec<u8> {
        [&LEASE[..], &self.0].concat()
    }
}

/// Which values are ours: codec and version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) codec: u8,
    pub(crate) version: u8,
}

impl Kind {
    pub(crate) fn read(self, bytes: &[u8]) -> Held<'_> {
        match bytes {
            [FORMAT, b'V', codec, version, payload @ ..]
                if (*codec, *version) == (self.codec, self.version) =>
            {
                Held::Value(payload)
            }
            [FORMAT, b'N'] => Held::Nothing,
            [FORMAT, b'L', token @ ..] if token.len() == 16 => Held::Leased,
            [FORMAT, b'W', writers @ ..] if !writers.is_empty() && writers.len() % 32 == 0 => Held::Writing,
            _ => Held::Foreign,
        }
    }

    pub(crate) fn value(self, payload: &[u8]) -> Vec<u8> {
        [&[FORMAT, b'V', self.codec, self.version], payload].concat()
    }

    pub(crate) fn nothing() -> Vec<u8> {
        vec![FORMAT, b'N']
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_read() {
        let ours = Kind { codec: 128, version: 2 };
        assert_eq!(ours.read(&ours.value(b"7")), Held::Value(b"7"));
        assert_eq!(ours.read(&Kind::nothing()), Held::Nothing);
        assert_eq!(ours.read(&Token::new().lease()), Held::Leased);
        let other_codec = Kind { codec: 129, version: 2 };
        let older = Kind { codec: 128, version: 1 };
        for foreign in
            [&other_codec.value(b"7")[..], &older.value(b"7"), b"", b"7", b"\xa1", b"\xa1L", b"\xa1W"]
        {
            assert_eq!(ours.read(foreign), Held::Foreign, "{foreign:?}");
        }
        assert_ne!(Token::new().bytes(), Token::new().bytes());
    }
}

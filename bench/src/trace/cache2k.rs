//! The traces of the cache2k benchmark: 32-bit big-endian keys and nothing else.

use std::io::BufRead;

use super::corda::records;
use super::{Request, Requests};

/// Reads the format.
pub fn read(input: Box<dyn BufRead>) -> Requests {
    Box::new(records::<4>(input).map(|record| Ok(Request::new(u32::from_be_bytes(record?).into()))))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn keys_are_big_endian() {
        let keys: Vec<u64> =
            read(Box::new(Cursor::new([0, 0, 1, 2, 0xff, 0, 0, 0]))).map(|r| r.unwrap().key).collect();
        assert_eq!(keys, [258, 0xff00_0000]);
    }
}

//! libCacheSim's `oracleGeneral`: 24-byte little-endian records of time (u32), object (u64), size (u32), next access (i64).

use std::io::BufRead;

use super::corda::records;
use super::{Request, Requests};

/// Reads the format. An object of size 0 counts as 1 byte.
pub fn read(input: Box<dyn BufRead>) -> Requests {
    Box::new(records::<24>(input).map(|record| {
        let record = record?;
        let key = u64::from_le_bytes(record[4..12].try_into().expect("eight bytes"));
        let size = u32::from_le_bytes(record[12..16].try_into().expect("four bytes"));
        Ok(Request { key, size: size.max(1) })
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn key_and_size_are_found() {
        let mut record = Vec::new();
        record.extend(1u32.to_le_bytes());
        record.extend(77u64.to_le_bytes());
        record.extend(4096u32.to_le_bytes());
        record.extend((-1i64).to_le_bytes());
        let requests: Vec<Request> = read(Box::new(Cursor::new(record))).map(Result::unwrap).collect();
        assert_eq!(requests, [Request { key: 77, size: 4096 }]);
    }
}

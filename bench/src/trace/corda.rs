//! Corda's traces: 64-bit big-endian keys and nothing else.

use std::io::BufRead;

use super::{Request, Requests};

/// Reads the format.
pub fn read(input: Box<dyn BufRead>) -> Requests {
    Box::new(records::<8>(input).map(|record| Ok(Request::new(u64::from_be_bytes(record?)))))
}

/// Records of equal length. A last one that is cut short is an error.
pub(super) fn records<const N: usize>(
    mut input: Box<dyn BufRead>,
) -> impl Iterator<Item = anyhow::Result<[u8; N]>> {
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let record = record(&mut input).transpose();
        ended = !matches!(record, Some(Ok(_)));
        record
    })
}

fn record<const N: usize>(input: &mut dyn BufRead) -> anyhow::Result<Option<[u8; N]>> {
    let mut record = [0; N];
    let mut filled = 0;
    while filled < N {
        match input.read(&mut record[filled..])? {
            0 if filled == 0 => return Ok(None),
            0 => anyhow::bail!("the last record has {filled} bytes in place of {N}"),
            count => filled += count,
        }
    }
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn keys_are_big_endian() {
        let bytes = [0, 0, 0, 0, 0, 0, 1, 2, 0xff, 0, 0, 0, 0, 0, 0, 0];
        let keys: Vec<u64> = read(Box::new(Cursor::new(bytes))).map(|r| r.unwrap().key).collect();
        assert_eq!(keys, [258, 0xff << 56]);
    }

    #[test]
    fn a_cut_record_is_an_error_and_the_end() {
        let mut requests = read(Box::new(Cursor::new([0u8; 11])));
        assert!(requests.next().unwrap().is_ok());
        assert!(requests.next().unwrap().is_err());
        assert!(requests.next().is_none());
    }
}

//! The traces of the ARC paper (N. Megiddo, D. Modha, FAST 2003): `start length ignored request` a line; each block of the
//! range is one request.

use std::io::BufRead;

use anyhow::Context as _;

use super::{Request, Requests};

/// Reads the format.
pub fn read(input: Box<dyn BufRead>) -> Requests {
    Box::new(input.lines().enumerate().flat_map(|(number, line)| match range(number, line) {
        Ok(blocks) => Blocks { blocks, error: None },
        Err(error) => Blocks { blocks: 0..0, error: Some(error) },
    }))
}

/// The requests of one line, without a box for each.
struct Blocks {
    blocks: std::ops::Range<u64>,
    error: Option<anyhow::Error>,
}

impl Iterator for Blocks {
    type Item = anyhow::Result<Request>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.error.take() {
            Some(error) => Some(Err(error)),
            None => self.blocks.next().map(|block| Ok(Request::new(block))),
        }
    }
}

fn range(number: usize, line: std::io::Result<String>) -> anyhow::Result<std::ops::Range<u64>> {
    let line = line?;
    let mut columns = line.split_ascii_whitespace();
    let Some(start) = columns.next() else { return Ok(0..0) };
    let place = || format!("line {}: not `start length …`: {line:?}", number + 1);
    let start: u64 = start.parse().with_context(place)?;
    let length: u64 = columns.next().with_context(place)?.parse().with_context(place)?;
    Ok(start..start.saturating_add(length))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_line_is_a_range() {
        let keys: Vec<u64> =
            read(Box::new(Cursor::new("10 3 0 0\n\n5 1 0 1\n7 0 0 2\n"))).map(|r| r.unwrap().key).collect();
        assert_eq!(keys, [10, 11, 12, 5]);
    }

    #[test]
    fn a_line_without_length_is_an_error() {
        let error = read(Box::new(Cursor::new("10 3 0 0\n5\n"))).nth(3).unwrap().unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}

//! The traces of the LIRS paper (S. Jiang, X. Zhang, SIGMETRICS 2002): one block number a line. Lines of
//! `*` part the phases of some; they are no requests.

use std::io::BufRead;

use anyhow::Context as _;

use super::{Request, Requests};

/// Reads the format.
pub fn read(input: Box<dyn BufRead>) -> Requests {
    Box::new(input.lines().enumerate().filter_map(|(number, line)| {
        let parse = || {
            let line = line?;
            let text = line.trim();
            if text.is_empty() || text == "*" {
                return Ok(None);
            }
            let place = || format!("line {}: not a block number: {text:?}", number + 1);
            Ok(Some(Request::new(text.parse().with_context(place)?)))
        };
        parse().transpose()
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn stars_are_skipped() {
        let keys: Vec<u64> = read(Box::new(Cursor::new("1\n\n*\n2\n*\n"))).map(|r| r.unwrap().key).collect();
        assert_eq!(keys, [1, 2]);
    }

    #[test]
    fn rubbish_is_an_error_with_its_line() {
        let error = read(Box::new(Cursor::new("1\nx\n"))).nth(1).unwrap().unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}

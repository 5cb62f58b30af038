//! Text, one key a line. Numbers stand for themselves, anything else for its hash. Empty lines are skipped.

use std::io::BufRead;

use super::{Request, Requests, key_of};

/// Reads the format.
pub fn read(input: Box<dyn BufRead>) -> Requests {
    Box::new(input.lines().filter_map(|line| match line {
        Ok(line) => {
            let key = line.trim();
            (!key.is_empty()).then(|| Ok(Request::new(key_of(key))))
        }
        Err(error) => Some(Err(error.into())),
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn numbers_and_words() {
        let keys: Vec<u64> = read(Box::new(Cursor::new("5\n\n cat \n5\r\ncat\n18446744073709551615")))
            .map(|request| request.unwrap().key)
            .collect();
        assert_eq!(keys.len(), 5);
        assert_eq!((keys[0], keys[2], keys[4]), (5, 5, u64::MAX));
        assert_eq!(keys[1], keys[3]);
    }
}

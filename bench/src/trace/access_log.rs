//! Access logs, and any other text in columns: one of them is the key.
//!
//! Columns are separated by blanks, except inside quotes and brackets, so in the common and combined log formats they are:
//! client, identity, user, time, request, status, bytes. The request (5) is the key unless told otherwise.

use std::io::BufRead;

use anyhow::Context as _;

use super::columns::{Column, Columns};
use super::{Request, Requests, hash_of, size_of};

/// Reads the format.
///
/// # Errors
/// If a column is given by name: a log has no header.
pub fn read(input: Box<dyn BufRead>, columns: &Columns) -> anyhow::Result<Requests> {
    let number = |column: &Column| match column {
        Column::Number(number) => Ok(number.get() - 1),
        Column::Name(name) => {
            anyhow::bail!("a log has no header to find {name:?} in: give the column's number")
        }
    };
    let key = columns.key.as_ref().map_or(Ok(4), number)?;
    let size = columns.size.as_ref().map(number).transpose()?;
    Ok(Box::new(input.split(b'\n').enumerate().filter_map(move |(line, bytes)| {
        let parse = || {
            // Logs hold what clients sent, which need not be UTF-8.
            let bytes = bytes?;
            let text = String::from_utf8_lossy(&bytes);
            if text.trim().is_empty() {
                return Ok(None);
            }
            let fields = fields(&text);
            let field = |index: usize| {
                fields.get(index).with_context(|| format!("line {}: no column {}", line + 1, index + 1))
            };
            let key = hash_of(*field(key)?);
            let size = match size.map(field).transpose()? {
                // Logs write `-` for no bytes.
                None | Some(&"-") => 1,
                Some(size) => size_of(size).with_context(|| format!("line {}", line + 1))?,
            };
            Ok(Some(Request { key, size }))
        };
        parse().transpose()
    })))
}

fn fields(line: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '"' => '"',
            '[' => ']',
            _ => ' ',
        };
        let (field, after) = if close == ' ' {
            rest.split_once(char::is_whitespace).unwrap_or((rest, ""))
        } else {
            rest[1..].split_once(close).unwrap_or((&rest[1..], ""))
        };
        fields.push(field);
        rest = after.trim_start();
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const LINE: &str = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "-" "Mozilla/4.08""#;

    #[test]
    fn quotes_and_brackets_hold_together() {
        let expected = [
            "127.0.0.1",
            "-",
            "frank",
            "10/Oct/2000:13:55:36 -0700",
            "GET /apache_pb.gif HTTP/1.0",
            "200",
            "2326",
        ];
        assert_eq!(fields(LINE)[..7], expected);
        assert_eq!(fields(r#"a "unclosed b"#), ["a", "unclosed b"]);
    }

    #[test]
    fn the_request_is_the_key_and_bytes_the_size() {
        let columns = Columns { size: Some("7".parse().unwrap()), ..Columns::default() };
        let text = format!("{LINE}\n\n{}\n", LINE.replace("frank", "-").replace("2326", "-"));
        let requests: anyhow::Result<Vec<Request>> =
            read(Box::new(Cursor::new(text)), &columns).unwrap().collect();
        let requests = requests.unwrap();
        assert_eq!(requests[0].key, requests[1].key);
        assert_eq!((requests[0].size, requests[1].size), (2326, 1));
    }

    #[test]
    fn what_is_no_size_is_an_error() {
        let columns = Columns { size: Some("5".parse().unwrap()), ..Columns::default() };
        let mut requests = read(Box::new(Cursor::new(LINE)), &columns).unwrap();
        let error = format!("{:#}", requests.next().unwrap().unwrap_err());
        assert!(error.contains("line 1") && error.contains("not a size: \"GET"), "{error}");
    }

    #[test]
    fn a_short_line_is_an_error() {
        let mut requests = read(Box::new(Cursor::new("a b\n")), &Columns::default()).unwrap();
        assert!(requests.next().unwrap().unwrap_err().to_string().contains("line 1: no column 5"));
    }
}

//! CSV: the key in one column, perhaps the size in another.

use std::io::BufRead;

use anyhow::Context as _;

use super::columns::{Column, Columns};
use super::{Request, Requests, key_of, size_of};

/// Reads the format. There is a header if a column is given by name.
///
/// # Errors
/// If the header can't be read or lacks a column.
pub fn read(input: Box<dyn BufRead>, columns: &Columns) -> anyhow::Result<Requests> {
    let named = |column: &Option<Column>| matches!(column, Some(Column::Name(_)));
    let headed = named(&columns.key) || named(&columns.size);
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(headed)
        .flexible(true)
        .delimiter(columns.delimiter.unwrap_or(b','))
        .from_reader(input);
    let header = if headed { reader.headers()?.clone() } else { ::csv::StringRecord::new() };
    let find = |column: &Column| match column {
        Column::Number(number) => Ok(number.get() - 1),
        Column::Name(name) => {
            let place = header.iter().position(|field| field.trim() == name);
            place.with_context(|| format!("no column is called {name:?}"))
        }
    };
    let key = columns.key.as_ref().map_or(Ok(0), find)?;
    let size = columns.size.as_ref().map(find).transpose()?;
    Ok(Box::new(reader.into_records().enumerate().map(move |(number, record)| {
        let record = record?;
        let field = |index| record.get(index).with_context(|| format!("record {}: too short", number + 1));
        let key = key_of(field(key)?.trim());
        let size = size.map_or(Ok(1), |size| -> anyhow::Result<u32> {
            size_of(field(size)?.trim()).with_context(|| format!("record {}", number + 1))
        })?;
        Ok(Request { key, size })
    })))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn requests(text: &'static str, columns: &Columns) -> anyhow::Result<Vec<Request>> {
        read(Box::new(Cursor::new(text)), columns)?.collect()
    }

    #[test]
    fn by_number_without_a_header() {
        let columns = Columns { key: Some("2".parse().unwrap()), ..Columns::default() };
        let keys: Vec<u64> = requests("a,1\nb,2\n", &columns).unwrap().iter().map(|r| r.key).collect();
        assert_eq!(keys, [1, 2]);
    }

    #[test]
    fn by_name_with_sizes() {
        let columns = Columns {
            key: Some("id".parse().unwrap()),
            size: Some("bytes".parse().unwrap()),
            delimiter: Some(b';'),
        };
        let read = requests("bytes;id\n10;7\n0;8\n", &columns).unwrap();
        assert_eq!(read, [Request { key: 7, size: 10 }, Request { key: 8, size: 1 }]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let columns = Columns { key: Some("id".parse().unwrap()), ..Columns::default() };
        assert!(requests("a,b\n1,2\n", &columns).unwrap_err().to_string().contains("\"id\""));
        let columns = Columns { key: Some("3".parse().unwrap()), ..Columns::default() };
        assert!(requests("1,2\n", &columns).unwrap_err().to_string().contains("record 1"));
    }
}

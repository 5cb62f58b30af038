//! Where a table has the key and the size.

use std::num::NonZeroUsize;
use std::str::FromStr;

/// A column of a table, by number from 1 or by name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Column {
    /// From 1.
    Number(NonZeroUsize),
    /// As in the header.
    Name(String),
}

impl FromStr for Column {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Number))
    }
}

/// Where formats with columns have what is needed.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// The key. Default: the first of a CSV, the request of a log.
    pub key: Option<Column>,
    /// The size in bytes. Default: all are 1.
    pub size: Option<Column>,
    /// Between columns of a CSV. Default: a comma.
    pub delimiter: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_numbers_from_1_or_names() {
        assert_eq!("3".parse(), Ok(Column::Number(NonZeroUsize::new(3).unwrap())));
        assert_eq!("0".parse(), Ok(Column::Name("0".into())));
        assert_eq!("id".parse(), Ok(Column::Name("id".into())));
    }
}

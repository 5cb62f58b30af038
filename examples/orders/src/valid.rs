//! What a request may say. Ids are short and of plain characters, numbers have bounds that no sum overflows.

use crate::refusal::Refusal;

/// The longest id, in bytes.
pub const LONGEST_ID: usize = 64;
/// The longest name, in characters.
pub const LONGEST_NAME: usize = 200;
/// The most units of one order.
pub const MOST_QUANTITY: i64 = 1_000_000;
/// The most units of one article.
pub const MOST_UNITS: i64 = 1_000_000_000_000;
/// The most orders on a page.
pub const MOST_ON_PAGE: i32 = 1000;

/// An id, as it is.
///
/// # Errors
/// If it is empty, too long, or has other characters.
pub fn id(field: &str, text: String) -> Result<String, Refusal> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > LONGEST_ID || !text.bytes().all(is_plain) {
        return Err(Refusal::invalid(format!(
            "{field} must be 1 to {LONGEST_ID} letters, digits, \"-\", \"_\" or \".\""
        )));
    }
    Ok(text)
}

/// A name without spaces around it.
///
/// # Errors
/// If nothing is left, or too much, or there are control characters in it.
pub fn name(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > LONGEST_NAME || text.chars().any(char::is_control) {
        return Err(Refusal::invalid(format!("name must be 1 to {LONGEST_NAME} characters")));
    }
    Ok(text.to_owned())
}

/// How many units an order is for.
///
/// # Errors
/// If it is none, negative, or too many.
pub fn quantity(number: i64) -> Result<i64, Refusal> {
    within("quantity", number, 1..=MOST_QUANTITY)
}

/// How many units there are.
///
/// # Errors
/// If it is negative or too many.
pub fn units(number: i64) -> Result<i64, Refusal> {
    within("units", number, 0..=MOST_UNITS)
}

/// How many orders a page has.
///
/// # Errors
/// If it is negative or too many.
pub fn page_size(number: i32) -> Result<i64, Refusal> {
    match within("page_size", i64::from(number), 0..=i64::from(MOST_ON_PAGE))? {
        0 => Ok(100),
        size => Ok(size),
    }
}

fn within(field: &str, number: i64, bounds: std::ops::RangeInclusive<i64>) -> Result<i64, Refusal> {
    if bounds.contains(&number) {
        return Ok(number);
    }
    Err(Refusal::invalid(format!("{field} must be from {} to {}", bounds.start(), bounds.end())))
}

//! Settings as text: `250ms`, `1m30s`, `off`.

use std::str::FromStr;
use std::time::Duration;

/// Units and their nanoseconds, the longest first.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads whole numbers with units, one after the other.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration; write it as `250ms`, `30s` or `1m30s`");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(bad)?;
        let part = u128::from(number) * u128::from(*nanos);
        let whole = u64::try_from(part / 1_000_000_000).map_err(|_| bad())?;
        let part = Duration::new(whole, u32::try_from(part % 1_000_000_000).map_err(|_| bad())?);
        total = total.checked_add(part).ok_or_else(bad)?;
        rest = tail.trim_start();
    }
    Ok(total)
}

/// Spells a span so that [`parse`] reads the same.
pub(crate) fn spell(span: Duration) -> String {
    let mut rest = span.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        let count = rest / u128::from(nanos);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest %= u128::from(nanos);
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

pub(super) fn number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number, or too large"))
}

pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither `on` nor `off`")),
    }
}

pub(super) fn optional<T>(
    text: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if matches!(text, "off" | "none") { Ok(None) } else { read(text).map(Some) }
}

#[cfg(feature = "serde")]
pub(super) mod span {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::spell(*span))
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Duration, D::Error> {
        super::parse(&Cow::<'_, str>::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(feature = "serde")]
pub(super) mod optional_span {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => to.serialize_str(&super::spell(*span)),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<Cow<'_, str>>::deserialize(from)?;
        text.map(|text| super::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelled_durations_are_read_back() {
        for span in [
            Duration::ZERO,
            Duration::from_millis(1500),
            Duration::from_secs(90_061),
            Duration::new(3, 7),
            Duration::MAX,
        ] {
            assert_eq!(parse(&spell(span)), Ok(span), "{}", spell(span));
        }
        assert_eq!(parse("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "5", "s", "5 parsecs", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

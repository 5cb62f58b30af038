//! How values and keys become bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value can't be written as bytes, or bytes are none of its.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(Box<dyn std::error::Error + Send + Sync>);

impl CodecError {
    /// An error of any kind.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// How a [`RedisTier`](super::RedisTier) writes keys and values.
///
/// ```
/// use millpond_cache::nodes::{Codec, Json, Postcard};
/// assert_eq!(Json.encode(&("KJFK", 13)).unwrap(), b"[\"KJFK\",13]");
/// assert_eq!(Postcard.encode(&("KJFK", 13u8)).unwrap(), b"\x04KJFK\x0d");
/// assert!(Json.decode::<u32>(b"[]").is_err());
/// ```
pub trait Codec: Send + Sync + 'static {
    /// Stands before each value, so that no other codec reads it. 0 to 127 are for codecs of your own.
    const ID: u8;

    /// A value as bytes.
    ///
    /// # Errors
    /// If the value has no form in this codec.
    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError>;

    /// The value that these bytes are, all of them.
    ///
    /// # Errors
    /// If they are none.
    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError>;
}

/// JSON by `serde_json`: readable in `redis-cli`, and bytes that are something else are found out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    const ID: u8 = 128;

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        serde_json::to_vec(value).map_err(CodecError::new)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(CodecError::new)
    }
}

/// `postcard`: short and fast. It can't tell that a struct has changed: give each shape a
/// [`version`](super::Tier::version).
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

impl Codec for Postcard {
    const ID: u8 = 129;

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        postcard::to_stdvec(value).map_err(CodecError::new)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let (value, rest) = postcard::take_from_bytes(bytes).map_err(CodecError::new)?;
        if rest.is_empty() { Ok(value) } else { Err(CodecError::new("bytes are left")) }
    }
}

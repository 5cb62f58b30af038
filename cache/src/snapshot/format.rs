//! What a snapshot looks like: a head, and blocks.
//!
//! ```text
//! head    "MILLPOND"  version: u16  checksum: u32
//! block   kind: u8  length: u32  bytes  checksum: u32
//! ```
//!
//! Numbers are little-endian. The first block describes the others, the last one counts the entries: a file without it was
//! cut off. A checksum (CRC-32) is that of all that was written before it but the other checksums, so that no block can be left out, changed, or
//! moved. The bytes of a block are in postcard's format.

use std::io::{self, Read, Write};

use crc32fast::Hasher;

use super::error::SnapshotError;

const MAGIC: [u8; 8] = *b"MILLPOND";
pub(super) const VERSION: u16 = 1;
/// No block is larger.
const LARGEST: usize = 256 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Meta = 1,
    Entries = 2,
    End = 3,
}

pub(super) struct Writer<W> {
    inner: W,
    checksum: Hasher,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(inner: W) -> Result<Self, SnapshotError> {
        let mut writer = Self { inner, checksum: Hasher::new() };
        writer.put(&MAGIC)?;
        writer.put(&VERSION.to_le_bytes())?;
        writer.sign()?;
        Ok(writer)
    }

    pub(super) fn block(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), SnapshotError> {
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|_| bytes.len() <= LARGEST)
            .ok_or(SnapshotError::TooLarge(bytes.len()))?;
        self.put(&[kind as u8])?;
        self.put(&length.to_le_bytes())?;
        self.put(bytes)?;
        self.sign()
    }

    pub(super) fn end(mut self, entries: u64) -> Result<(), SnapshotError> {
        self.block(Kind::End, &super::encode(&entries, Vec::new())?)?;
        Ok(self.inner.flush()?)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.checksum.update(bytes);
        Ok(self.inner.write_all(bytes)?)
    }

    fn sign(&mut self) -> Result<(), SnapshotError> {
        let checksum = self.checksum.clone().finalize();
        Ok(self.inner.write_all(&checksum.to_le_bytes())?)
    }
}

pub(super) struct Reader<R> {
    inner: R,
    checksum: Hasher,
}

impl<R: Read> Reader<R> {
    pub(super) fn begin(inner: R) -> Result<Self, SnapshotError> {
        let mut reader = Self { inner, checksum: Hasher::new() };
        if reader.take::<8>()? != MAGIC {
            return Err(SnapshotError::Foreign);
        }
        let version = u16::from_le_bytes(reader.take()?);
        reader.check()?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        Ok(reader)
    }

    /// The next block, whole and unharmed.
    pub(super) fn block(&mut self) -> Result<(Kind, Vec<u8>), SnapshotError> {
        let [kind] = self.take()?;
        let length = u32::from_le_bytes(self.take()?);
        if length as usize > LARGEST {
            return Err(SnapshotError::Damaged);
        }
        // Grows by what comes, not by what was promised.
        let mut bytes = Vec::new();
        self.inner.by_ref().take(u64::from(length)).read_to_end(&mut bytes)?;
        if bytes.len() < length as usize {
            return Err(SnapshotError::Truncated);
        }
        self.checksum.update(&bytes);
        self.check()?;
        let kind = match kind {
            1 => Kind::Meta,
            2 => Kind::Entries,
            3 => Kind::End,
            _ => return Err(SnapshotError::Decode(format!("blocks of kind {kind} are unknown"))),
        };
        Ok((kind, bytes))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let bytes = self.read()?;
        self.checksum.update(&bytes);
        Ok(bytes)
    }

    fn check(&mut self) -> Result<(), SnapshotError> {
        let checksum = u32::from_le_bytes(self.read()?);
        if checksum == self.checksum.clone().finalize() { Ok(()) } else { Err(SnapshotError::Damaged) }
    }

    fn read<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        match self.inner.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(SnapshotError::Truncated),
            Err(error) => Err(error.into()),
        }
    }
}

//! The bytes of a segment: a header, then blocks.
//!
//! ```text
//! header  magic 8 | version u32 | schema u32 | id u64 | previous end u64 | resolved u64 | crc u32
//! block   marker 4 | length u32 | count u32 | last number u64 | resolved u64 | synced u64 | crc u32 | records
//! record  number u64 | key and value, postcard
//! ```
//!
//! Little-endian. A block is what one `write` brought, so it is there as a whole or not at all. Its checksum is over the segment's id and
//! its own place too: bytes of another file or place, or of a user's value, are no block.
//!
//! *Synced* is how far the segment was known to be on the disk when the block was written; *previous end* says that of the
//! segment before. What can't be read below such a mark was damaged; what can't be read above it was never confirmed, and is a torn
//! tail.

use crc32fast::Hasher;

const MAGIC: [u8; 8] = *b"MPJOURNL";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER: usize = 44;
const MARKER: [u8; 4] = [0xb7, 0x4d, 0x50, 0x0a];
pub(super) const BLOCK_HEADER: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) schema: u32,
    pub(super) id: u64,
    pub(super) previous_end: u64,
    pub(super) resolved: u64,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// Its file was created and not yet written.
    Torn,
    Foreign,
    Corrupt,
}

impl Header {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(MAGIC);
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.schema.to_le_bytes());
        for number in [self.id, self.previous_end, self.resolved] {
            bytes.extend(number.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, NoHeader> {
        let Some(head) = bytes.get(..HEADER) else { return Err(NoHeader::Torn) };
        if bytes.iter().all(|&byte| byte == 0) {
            return Err(NoHeader::Torn);
        }
        let is_whole = crc32fast::hash(&head[..HEADER - 4]) == u32_at(head, HEADER - 4);
        match (is_whole, head[..8] == MAGIC) {
            (true, true) => Ok(Self {
                version: u32_at(head, 8),
                schema: u32_at(head, 12),
                id: u64_at(head, 16),
                previous_end: u64_at(head, 24),
                resolved: u64_at(head, 32),
            }),
            (false, true) => Err(NoHeader::Corrupt),
            (_, false) => Err(NoHeader::Foreign),
        }
    }
}

/// A block's head, and where it lies in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) count: u32,
    pub(super) last: u64,
    pub(super) resolved: u64,
    pub(super) synced: u64,
}

/// What a new block says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub(super) count: u32,
    pub(super) last: u64,
    pub(super) resolved: u64,
    pub(super) synced: u64,
}

/// Completes a block whose first `BLOCK_HEADER` bytes were left free.
pub(super) fn seal(block: &mut [u8], id: u64, start: u64, marks: Marks) {
    let length = (block.len() - BLOCK_HEADER) as u32;
    block[..4].copy_from_slice(&MARKER);
    block[4..8].copy_from_slice(&length.to_le_bytes());
    block[8..12].copy_from_slice(&marks.count.to_le_bytes());
    block[12..20].copy_from_slice(&marks.last.to_le_bytes());
    block[20..28].copy_from_slice(&marks.resolved.to_le_bytes());
    block[28..36].copy_from_slice(&marks.synced.to_le_bytes());
    let checksum = checksum(block, id, start);
    block[36..40].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(block: &[u8], id: u64, start: u64) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&id.to_le_bytes());
    hasher.update(&start.to_le_bytes());
    hasher.update(&block[..36]);
    hasher.update(&block[BLOCK_HEADER..]);
    hasher.finalize()
}

fn block_at(bytes: &[u8], id: u64, start: usize) -> Option<Block> {
    let rest = bytes.get(start..)?;
    if rest.len() < BLOCK_HEADER || rest[..4] != MARKER {
        return None;
    }
    let block = rest.get(..BLOCK_HEADER.checked_add(u32_at(rest, 4) as usize)?)?;
    (checksum(block, id, start as u64) == u32_at(block, 36)).then(|| Block {
        start,
        end: start + block.len(),
        count: u32_at(block, 8),
        last: u64_at(block, 12),
        resolved: u64_at(block, 20),
        synced: u64_at(block, 28),
    })
}

/// All blocks that can be read, in order, also behind what can't.
pub(super) fn blocks(bytes: &[u8], id: u64) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut at = HEADER;
    while at < bytes.len() {
        match block_at(bytes, id, at) {
            Some(block) => {
                at = block.end;
                blocks.push(block);
            }
            None => at += 1,
        }
    }
    blocks
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

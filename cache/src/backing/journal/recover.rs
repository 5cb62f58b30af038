//! What is in a journal's directory, and what of it can be trusted.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::format::{BLOCK_HEADER, Block, HEADER, Header, NoHeader, VERSION, blocks, u64_at};
use super::report::JournalReport;
use crate::backing::journal_error::JournalError;

/// A segment that is not written any more.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// The highest number in it.
    pub(super) last: u64,
}

#[derive(Debug)]
pub(super) struct Recovered<K, V> {
    pub(super) replay: Vec<(K, Option<V>)>,
    pub(super) sealed: Vec<Sealed>,
    pub(super) resolved: u64,
    /// The highest number that was ever used, as far as is known.
    pub(super) last: u64,
    pub(super) next_id: u64,
    /// The end of the last segment.
    pub(super) previous_end: u64,
    pub(super) report: JournalReport,
}

struct Segment {
    path: PathBuf,
    blocks: Vec<Block>,
}

pub(super) fn segment_path(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("{id:020}.journal"))
}

/// A name in a directory is as durable as the directory.
pub(super) fn sync_directory(directory: &Path) -> Result<(), JournalError> {
    if cfg!(unix) {
        let synced = File::open(directory).and_then(|opened| opened.sync_all());
        synced.map_err(JournalError::io(directory))?;
    }
    Ok(())
}

fn ids(directory: &Path) -> Result<Vec<u64>, JournalError> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(directory).map_err(JournalError::io(directory))? {
        let name = entry.map_err(JournalError::io(directory))?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".journal"));
        ids.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Reads a journal. The caller has locked it.
pub(super) fn recover<K, V>(
    directory: &Path,
    schema: u32,
    salvages: bool,
) -> Result<Recovered<K, V>, JournalError>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    let mut ids = ids(directory)?;
    let mut report = JournalReport::default();
    let mut headers = Vec::new();
    for &id in &ids {
        headers.push(read_header(directory, id, schema)?);
    }
    if let (Some(&id), Some(Err(NoHeader::Torn))) = (ids.last(), headers.last()) {
        // It was about to be created: nothing can be in it.
        let path = segment_path(directory, id);
        fs::remove_file(&path).map_err(JournalError::io(path))?;
        sync_directory(directory)?;
        ids.pop();
        headers.pop();
    }
    let (mut segments, mut resolved, mut last, mut previous_end) = (Vec::new(), 0, 0, 0);
    for (place, &id) in ids.iter().enumerate() {
        let path = segment_path(directory, id);
        if place > 0 && ids[place - 1] + 1 != id {
            report.complain(salvages, JournalError::Missing { path: segment_path(directory, id - 1) }, 0)?;
        }
        let bytes = fs::read(&path).map_err(JournalError::io(&path))?;
        match headers[place] {
            Ok(header) => resolved = resolved.max(header.resolved),
            Err(NoHeader::Foreign) => return Err(JournalError::Foreign { path }),
            Err(NoHeader::Corrupt | NoHeader::Torn) => {
                let size = HEADER.min(bytes.len()) as u64;
                report.complain(salvages, JournalError::Corrupt { path: path.clone(), offset: 0 }, size)?;
            }
        }
        let follower = headers.get(place + 1).and_then(|header| header.as_ref().ok());
        let follower = follower.filter(|_| ids[place + 1] == id + 1);
        let promised = follower.map_or(0, |header| header.previous_end);
        let (blocks, end) = trusted(&path, &bytes, id, promised, salvages, &mut report)?;
        if end < bytes.len() && !salvages {
            // Nobody is to mistake what was dropped for something later.
            let file = OpenOptions::new().write(true).open(&path).map_err(JournalError::io(&path))?;
            file.set_len(end as u64).and_then(|()| file.sync_all()).map_err(JournalError::io(&path))?;
        }
        for block in &blocks {
            resolved = resolved.max(block.resolved);
            last = last.max(block.last);
        }
        previous_end = end as u64;
        segments.push(Segment { path, blocks });
    }
    let mut replay = Vec::new();
    let mut sealed = Vec::new();
    for Segment { path, blocks } in segments {
        let bytes = fs::read(&path).map_err(JournalError::io(&path))?;
        for block in blocks.iter().filter(|block| block.last > resolved) {
            if let Err(message) = decode(&bytes[block.start..block.end], block.count, resolved, &mut replay) {
                return Err(JournalError::Decode { path, offset: block.start as u64, message });
            }
        }
        let last = blocks.iter().map(|block| block.last).max().unwrap_or(0);
        sealed.push(Sealed { path, bytes: bytes.len() as u64, last });
    }
    report.replayed = replay.len() as u64;
    let next_id = ids.last().map_or(1, |id| id + 1);
    let last = last.max(resolved);
    Ok(Recovered { replay, sealed, resolved, last, next_id, previous_end, report })
}

type MaybeHeader = Result<Header, NoHeader>;

fn read_header(directory: &Path, id: u64, schema: u32) -> Result<MaybeHeader, JournalError> {
    let path = segment_path(directory, id);
    let bytes = fs::read(&path).map_err(JournalError::io(&path))?;
    let header = Header::parse(&bytes);
    match header {
        Ok(header) if header.version != VERSION => {
            Err(JournalError::Version { path, version: header.version })
        }
        Ok(header) if header.schema != schema => {
            Err(JournalError::OtherSchema { path, found: header.schema, expected: schema })
        }
        Ok(header) if header.id != id => Ok(Err(NoHeader::Corrupt)),
        _ => Ok(header),
    }
}

/// The blocks up to the first that was never confirmed, and where they end. Complains of what was, and can't be read.
fn trusted(
    path: &Path,
    bytes: &[u8],
    id: u64,
    promised: u64,
    salvages: bool,
    report: &mut JournalReport,
) -> Result<(Vec<Block>, usize), JournalError> {
    let mut found = blocks(bytes, id);
    let confirmed = found.iter().map(|block| block.synced).fold(promised, u64::max);
    let mut end = HEADER.min(bytes.len());
    let mut keeps = 0;
    for block in &found {
        if block.start > end {
            if end as u64 >= confirmed {
                break;
            }
            let lost = (block.start - end) as u64;
            report.complain(
                salvages,
                JournalError::Corrupt { path: path.to_owned(), offset: end as u64 },
                lost,
            )?;
        }
        end = block.end;
        keeps += 1;
    }
    found.truncate(keeps);
    if (end as u64) < confirmed {
        let error = JournalError::Corrupt { path: path.to_owned(), offset: end as u64 };
        report.complain(salvages, error, confirmed - end as u64)?;
    } else {
        report.torn_bytes += (bytes.len() - end) as u64;
    }
    Ok((found, end))
}

fn decode<K, V>(
    block: &[u8],
    count: u32,
    resolved: u64,
    replay: &mut Vec<(K, Option<V>)>,
) -> Result<(), String>
where
    K: DeserializeOwned,
    V: DeserializeOwned,
{
    let mut rest = &block[BLOCK_HEADER..];
    for _ in 0..count {
        if rest.len() < 8 {
            return Err(String::from("a record is cut off"));
        }
        let number = u64_at(rest, 0);
        let (write, behind) =
            postcard::take_from_bytes::<(K, Option<V>)>(&rest[8..]).map_err(|error| error.to_string())?;
        rest = behind;
        if number > resolved {
            replay.push(write);
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("{} bytes are left over", rest.len())) }
}

//! Any bytes as a snapshot: an error or entries, never more than the cache holds, and what was loaded can be saved and loaded again.
//! With a good checksum put in where the input asks for it, so that what lies behind is reached.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use millpond_cache::{Cache, EvictionPolicy};

#[derive(Arbitrary, Debug)]
struct Case<'b> {
    /// The blocks of a file, signed as they should be; or the file as it is.
    signed: bool,
    blocks: Vec<(u8, &'b [u8])>,
    raw: &'b [u8],
    weighted: bool,
    lru: bool,
}

type Texts = Cache<String, Option<Vec<u16>>>;

fn cache(weighted: bool, lru: bool) -> Texts {
    let policy = if lru { EvictionPolicy::Lru } else { EvictionPolicy::default() };
    let builder = Cache::builder().eviction_policy(policy);
    let builder = if weighted {
        builder.max_weight(50).weigher(|key: &String, _| key.len() as u32)
    } else {
        builder.max_capacity(20)
    };
    builder.build().unwrap()
}

/// The head and the description of a snapshot of such a cache, then the blocks, each with its checksum.
fn signed(blocks: &[(u8, &[u8])]) -> Vec<u8> {
    let mut whole = Vec::new();
    cache(false, false).save_snapshot(&mut whole).unwrap();
    let length = u32::from_le_bytes(whole[15..19].try_into().unwrap()) as usize;
    let described = 14 + 9 + length;
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&whole[..10]);
    checksum.update(&whole[14..described - 4]);
    let mut bytes = whole[..described].to_vec();
    for (kind, block) in blocks {
        let from = bytes.len();
        bytes.push(kind % 4);
        bytes.extend((block.len() as u32).to_le_bytes());
        bytes.extend_from_slice(block);
        checksum.update(&bytes[from..]);
        bytes.extend(checksum.clone().finalize().to_le_bytes());
    }
    bytes
}

fuzz_target!(|case: Case<'_>| {
    let bytes = if case.signed { signed(&case.blocks) } else { case.raw.to_vec() };
    let loaded = cache(case.weighted, case.lru);
    let result = loaded.load_snapshot(&bytes[..]);
    loaded.check_invariants();
    let Ok(report) = result else {
        assert_eq!(loaded.entry_count(), 0, "an error changes nothing");
        return;
    };
    assert_eq!(report.entries, loaded.entry_count());
    let mut again = Vec::new();
    let saved = loaded.save_snapshot(&mut again).unwrap();
    let second = cache(case.weighted, case.lru);
    assert_eq!(second.load_snapshot(&again[..]).unwrap().entries, saved.entries);
    second.check_invariants();
    for n in 0..50 {
        second.insert(n.to_string(), None);
    }
    second.check_invariants();
});

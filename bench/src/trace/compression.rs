//! Unpacks gzip, xz and zstd on the way, recognized by their first bytes: a name may lie.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;

const GZIP: &[u8] = &[0x1f, 0x8b];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Opens a file that may be compressed.
///
/// # Errors
/// If it can't be opened or its first bytes can't be read.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    unpack(file).with_context(|| format!("cannot read {}", path.display()))
}

fn unpack(input: impl Read + 'static) -> std::io::Result<Box<dyn BufRead>> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    // The buffer is far longer than the magic, so one fill shows it unless the file is shorter.
    let start = input.fill_buf()?;
    Ok(if start.starts_with(GZIP) {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(input)))
    } else if start.starts_with(XZ) {
        Box::new(BufReader::new(liblzma::bufread::XzDecoder::new_multi_decoder(input)))
    } else if start.starts_with(ZSTD) {
        Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(input)?))
    } else {
        Box::new(input)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    fn read(packed: Vec<u8>) -> String {
        let mut text = String::new();
        unpack(Cursor::new(packed)).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn reads_plain_and_packed() {
        let text = "some requests\n".repeat(10_000);
        assert_eq!(read(text.clone().into_bytes()), text);
        assert_eq!(read(Vec::new()), "");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        assert_eq!(read(gzip.finish().unwrap()), text);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(text.as_bytes()).unwrap();
        assert_eq!(read(xz.finish().unwrap()), text);
        assert_eq!(read(zstd::encode_all(text.as_bytes(), 1).unwrap()), text);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = open(Path::new("no/such/file")).err().unwrap();
        assert!(format!("{error:#}").contains("no/such/file"));
    }
}

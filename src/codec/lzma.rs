//! LZMA as Python's module `lzma` writes it, which numcodecs calls: a stream of .xz, or of the older .lzma.

use anyhow::{Context, Result, bail, ensure};
use liblzma::stream::{Action, Status, Stream};

/// Bytes that the dictionary of a stream may take: as much as the highest preset has, and a few more.
/// Each thread that decodes takes what its stream asks for: 8 MiB at Python's default, 64 MiB at the highest preset.
const MEMORY: u64 = 128 << 20;

/// Returns the bytes written to `dst`; more than fit is an error.
pub fn decode(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let mut stream = Stream::new_auto_decoder(MEMORY, 0).context("Corrupt lzma data")?;
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = stream.process(
            &src[read as usize..],
            &mut dst[written as usize..],
            Action::Finish,
        );
        match status.context("Corrupt lzma data")? {
            Status::StreamEnd => return Ok(stream.total_out() as usize),
            // Nothing moves any more: the data are used up, or `dst` is full, and the end did not come.
            _ if (stream.total_in(), stream.total_out()) == (read, written) => {
                bail!("Corrupt lzma data: it is cut short, or longer than its chunk")
            }
            _ => {}
        }
    }
}

/// As [`decode`], of data whose length is not known and is at most `most`.
pub fn decode_alone(src: &[u8], most: u64) -> Result<Vec<u8>> {
    let mut stream = Stream::new_auto_decoder(MEMORY, 0).context("Corrupt lzma data")?;
    let mut dst = Vec::with_capacity(4096);
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let rest = &src[read as usize..];
        let status = stream.process_vec(rest, &mut dst, Action::Finish);
        if status.context("Corrupt lzma data")? == Status::StreamEnd {
            return Ok(dst);
        }
        let is_full = dst.len() == dst.capacity();
        let moved = (stream.total_in(), stream.total_out()) != (read, written);
        ensure!(moved || is_full, "Corrupt lzma data: it is cut short");
        ensure!(stream.total_out() <= most, "It has more than {most} bytes");
        if is_full {
            dst.try_reserve(dst.len())?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use liblzma::read::XzEncoder;

    use super::*;

    #[test]
    fn streams_are_decoded_and_bounded() {
        let values: Vec<u8> = (0..100_000u32)
            .flat_map(|i| (i % 777).to_le_bytes())
            .collect();
        let mut encoded = vec![];
        let mut encoder = XzEncoder::new(&values[..], 1);
        encoder.read_to_end(&mut encoded).unwrap();
        let mut dst = vec![0; values.len()];
        assert_eq!(decode(&encoded, &mut dst).unwrap(), values.len());
        assert_eq!(dst, values);
        assert_eq!(decode_alone(&encoded, 1 << 20).unwrap(), values);
        assert!(decode_alone(&encoded, 1 << 16).is_err());
        assert!(decode(&encoded, &mut dst[..1000]).is_err());
        for cut in [0, 5, encoded.len() / 2, encoded.len() - 1] {
            assert!(decode(&encoded[..cut], &mut dst).is_err(), "{cut}");
            assert!(decode_alone(&encoded[..cut], 1 << 20).is_err(), "{cut}");
        }
    }
}

//! HDF5 filter 3, fletcher32: the data followed by four bytes of checksum.

use anyhow::{Result, bail, ensure};

/// Checks the sum and copies the data. Returns the bytes written to `dst`; more than fit is an error.
pub fn decode(src: &[u8], dst: &mut [u8]) -> Result<usize> {
    let Some((data, stored)) = src.split_last_chunk::<4>() else {
        bail!("Corrupt chunk: no room for its fletcher32 checksum");
    };
    let sum = checksum(data);
    // Before HDF5 1.6.3 little-endian machines swapped the bytes of each half; the library takes both.
    let old = (sum & 0x00ff_00ff) << 8 | sum >> 8 & 0x00ff_00ff;
    ensure!(
        [sum, old].contains(&u32::from_le_bytes(*stored)),
        "Corrupt chunk: its fletcher32 checksum does not agree"
    );
    let Some(out) = dst.get_mut(..data.len()) else {
        bail!("Corrupt chunk: more data than its shape allows");
    };
    out.copy_from_slice(data);
    Ok(data.len())
}

/// Fletcher's sum over big-endian 16-bit words, an odd byte being the high one of a last word, with ends
/// carried around (`H5_checksum_fletcher32`).
fn checksum(data: &[u8]) -> u32 {
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut first, mut second) = (0u32, 0u32);
    let (words, odd) = data.as_chunks::<2>();
    // 360 words are the most whose sums stay within 32 bits.
    for run in words.chunks(360) {
        for &word in run {
            first += u32::from(u16::from_be_bytes(word));
            second += first;
        }
        (first, second) = (fold(first), fold(second));
    }
    if let &[byte] = odd {
        first += u32::from(byte) << 8;
        second += first;
        (first, second) = (fold(first), fold(second));
    }
    fold(second) << 16 | fold(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by HDF5.
    const ODD: &[u8] = b"abcde\xc7\x29\xf0\x4f";
    const FULL: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\x00\xff\x00\xff";

    #[test]
    fn sums_are_those_of_hdf5() {
        let mut out = [0; 7];
        assert_eq!(decode(ODD, &mut out).unwrap(), 5);
        assert_eq!(&out[..5], b"abcde");
        assert_eq!(decode(FULL, &mut out).unwrap(), 7);
    }

    #[test]
    fn sums_of_the_oldest_versions_are_taken() {
        assert!(decode(b"abcde\x29\xc7\x4f\xf0", &mut [0; 5]).is_ok());
    }

    #[test]
    fn any_other_sum_is_refused() {
        let error = decode(b"abcdf\xc7\x29\xf0\x4f", &mut [0; 5]).unwrap_err();
        assert!(error.to_string().contains("checksum"));
    }
}

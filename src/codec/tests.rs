//! All filters at once: bytes of other writers, damage, and what is encoded decodes.

use super::*;
use proptest::prelude::*;

/// A pipeline, and what h5py and hdf5plugin made with it of `sample` (hexadecimal).
type Known = (&'static [(u32, &'static [u32])], &'static str);

const KNOWN: &[Known] = &[
    (
        &[(1, &[4])],
        "785e5dc3c70d00201000a0b3d7fde7f52d2444fc12330b2b1b3b072717370f2f1f54800139",
    ),
    (
        &[(2, &[4]), (1, &[4]), (3, &[])],
        "785ecdc1890180200004a033cdb7fde795318224293c541a2f9dc164b1397ce4c72ed3dc01392b0b626e",
    ),
    (
        &[(32000, &[4, 261, 208])],
        "010000e005000001200ee003030002200fe003030003200fe003030004200fe003030005200fe0030300\
        06200fe003030007200fe003030008200fe003030009200fe00303000a200fe00303000b200fe0030300\
        0c200fe00103010000",
    ),
    (
        &[(2, &[4]), (32000, &[4, 261, 208])],
        "04000000000120000002200000032000000420000005200000062000000720000008200000092000000a\
        2000000b2000000c20002032e08e00010000",
    ),
    (
        &[(32001, &[2, 2, 4, 208, 5, 1, 0])],
        "02011104d0000000d000000055000000140000003d0000003f0000000001010101020202020303030304\
        0404040505050506060606070707071408080808090909090a0a0a0a0b0b0b0b0c0c0c0c00e090000100\
        00",
    ),
    (
        &[(32001, &[2, 2, 4, 208, 5, 2, 5])],
        "02019404d0000000d000000040000000140000002800000028b52ffd20d0fd0000700000010203040506\
        0708090a0b0c0da810f00ee0c50110fec807c08b00ec",
    ),
    (
        &[(32004, &[80])],
        "00000000000000d0000000500000001a1b0001001b0104001b0204001b03040016040400500004000000\
        0000001d480500000004001b0604001b0704001b0804001609040050000900000000000015480a000000\
        04001b0b0400160c040050000c000000",
    ),
    (
        &[(32008, &[0, 4, 4, 16, 0])],
        "f0f000ff0000000000000000000000000000000000000000000000000000000000000000000000000000\
        00000000000000000000000000000000000000000000f0f000ffffff0000000000000000000000000000\
        000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
        0000f0f000ff0000ffff0000000000000000000000000000000000000000000000000000000000000000\
        0000000000000000000000000000000000000000000000000c0000000c0000000c0000000c000000",
    ),
    (
        &[(32008, &[0, 4, 4, 32, 2])],
        "00000000000000d00000008000000017dff0f0f0f000ff00ff0000ffff0001005b500000000000000000\
        139ff0f000ff0000ffff0001001f5000000000000c0000000c0000000c0000000c000000",
    ),
    (
        &[(32008, &[0, 4, 4, 0, 3, 3])],
        "00000000000000d0000020000000002028b52ffd20c0bd000048f0f000ff00ffff000005001f40618500\
        089d3b6c012c0c0000000c0000000c0000000c000000",
    ),
    (
        &[(32015, &[3])],
        "28b52ffd20d05d01007000000102030405060708090a0b0c0d00a013d01de818e80474073a063a01dd81\
        8e814e4077bb8ec9a00d",
    ),
];

/// 52 little-endian 32-bit integers: 0, 0, 0, 0, 1, 1, 1, 1, ... 12.
fn sample() -> Vec<u8> {
    (0..52u32).flat_map(|i| (i / 4).to_le_bytes()).collect()
}

fn pipeline(known: Known) -> (Vec<Filter>, Vec<u8>) {
    let filters = known.0.iter();
    let digits = known.1.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    (
        filters
            .map(|(id, data)| Filter::from_hdf5(*id, data, 4).unwrap())
            .collect(),
        digits.map(byte).collect(),
    )
}

#[test]
fn chunks_of_other_writers_decode() {
    for &known in KNOWN {
        let (filters, chunk) = pipeline(known);
        let mut out = [0; 208];
        decode(&filters, 0, &chunk, &mut out).unwrap();
        assert_eq!(out.as_slice(), sample(), "{filters:?}");
    }
}

#[test]
fn any_other_length_is_an_error() {
    for &known in KNOWN {
        let (filters, chunk) = pipeline(known);
        for len in [0, 207, 209] {
            let decoded = decode(&filters, 0, &chunk, &mut vec![0; len]);
            assert!(decoded.is_err(), "{filters:?}");
        }
    }
}

#[test]
fn skipped_filters_are_not_undone() {
    let filters = [Filter::Shuffle(4), Filter::Deflate(4), Filter::Fletcher32];
    let mut out = [0; 8];
    decode(&filters, 0b111, b"abcd", &mut out[..4]).unwrap();
    assert_eq!(&out[..4], b"abcd");
    decode(&filters, 0b110, b"aebfcgdh", &mut out).unwrap();
    assert_eq!(&out, b"abcdefgh");
}

#[test]
fn lzf_declines_what_does_not_shrink() {
    let filters = [Filter::Shuffle(2), Filter::Lzf];
    let mut out = Vec::new();
    assert_eq!(encode(&filters, b"abcd", &mut out).unwrap(), 0b10);
    assert_eq!(out, b"acbd");
}

#[test]
fn properties_round_trip() {
    for filter in [
        Filter::Deflate(4),
        Filter::Shuffle(8),
        Filter::Lzf,
        Filter::Zstd(-1),
    ] {
        let (id, data) = filter.to_hdf5(4096).unwrap();
        assert_eq!(Filter::from_hdf5(id, &data, 1).unwrap(), filter);
    }
    assert_eq!(Filter::Lzf.to_hdf5(4096).unwrap().1, [4, 0x0105, 4096]);
    assert!(Filter::Blosc.to_hdf5(4096).is_err());
}

#[test]
fn unknown_filters_are_named() {
    let message = |id| Filter::from_hdf5(id, &[], 4).unwrap_err().to_string();
    assert_eq!(message(4), "HDF5 filter szip (4) is not supported");
    assert_eq!(message(60000), "HDF5 filter 60000 is not supported");
}

/// Bytes of the longer of the buffers that a thread keeps.
fn held() -> usize {
    BETWEEN.with_borrow(|(from, to)| from.capacity().max(to.capacity()))
}

fn written_by_us() -> impl Strategy<Value = Vec<Filter>> {
    let one = prop_oneof![
        (0..=9u32).prop_map(Filter::Deflate),
        (1..=17usize).prop_map(Filter::Shuffle),
        Just(Filter::Lzf),
        (1..=5i32).prop_map(Filter::Zstd),
    ];
    prop::collection::vec(one, 0..4)
}

fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let runs = prop::collection::vec((any::<u8>(), 1..400usize), 0..40);
    prop_oneof![
        any::<Vec<u8>>(),
        prop::collection::vec(0..4u8, 0..5000),
        runs.prop_map(|runs| runs.iter().flat_map(|&(byte, n)| vec![byte; n]).collect()),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(filters in written_by_us(), src in chunk()) {
        let (mut packed, mut out) = (vec![7; 9], vec![7; src.len()]);
        let mask = encode(&filters, &src, &mut packed).unwrap();
        decode(&filters, mask, &packed, &mut out).unwrap();
        prop_assert_eq!(out, src);
    }

    /// And memory that no header can make grow.
    #[test]
    fn garbage_ends(
        which in 0..KNOWN.len(), mask in 0..8u32, src: Vec<u8>, len in 0..3000usize,
    ) {
        let filters = pipeline(KNOWN[which]).0;
        let _ = decode(&filters, mask, &src, &mut vec![0; len]);
        prop_assert!(held() < 3 * 3000 + 4096);
    }

    #[test]
    fn damage_ends(
        which in 0..KNOWN.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let (filters, mut src) = pipeline(KNOWN[which]);
        for (at, byte) in damage {
            let at = at.index(src.len());
            src[at] = byte;
        }
        for end in [src.len(), cut.index(src.len())] {
            let _ = decode(&filters, 0, &src[..end], &mut [0; 208]);
            prop_assert!(held() < 3 * 3000 + 4096);
        }
    }
}

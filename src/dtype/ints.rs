//! Integers of any width and byte order as u64 and back: indptr, column indices, codes.
//!
//! A negative number becomes one that no index reaches, so one comparison finds both.
//!
//! anndata writes indptr as int32 or int64 and indices as int32, but other writers use every width, unsigned and
//! big-endian ones too. Here they become u64, a block at a time, and go back into the type that the output has.
//!
//! What depends on the type is a function of one block, chosen once per call; all else is compiled for u64 alone.
//! A block and its integers as u64 stay in the cache of a core between the two.

use std::cell::RefCell;

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

use crate::store::spec::{ByteOrder, Dtype, Kind};

/// Integers of one block: 16 KiB as u64.
const BLOCK: usize = 1 << 11;
/// Blocks of one task at the least.
/// Fewer integers than 16,384 are not worth a second thread.
const BLOCKS: usize = 8;

/// Fills the second slice with the integers in the bytes of the first.
type Reader = fn(&[u8], &mut [u64]);
/// Fills the second slice with the bytes of the integers in the first, which fit.
type Writer = fn(&[u64], &mut [u8]);

/// The function for integers of a type; an error for floats, complex numbers and all that is no number. Bools are
/// integers here.
fn reader(dtype: &Dtype) -> Result<Reader> {
    macro_rules! of {
        ($t:ty, $from:ident) => {
            |bytes, values| {
                for (value, b) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *value = <$t>::$from(*b) as u64; // of a negative number, the bits above are 1
                }
            }
        };
    }
    use ByteOrder::{Big, Little};
    use Kind::{Bool, Int, Uint};
    let Dtype::Number { kind, size, order } = dtype else {
        bail!("{dtype} where integers are expected");
    };
    Ok(match (kind, size, order) {
        (Int, 1, _) => of!(i8, from_le_bytes),
        (Int, 2, Little) => of!(i16, from_le_bytes),
        (Int, 2, Big) => of!(i16, from_be_bytes),
        (Int, 4, Little) => of!(i32, from_le_bytes),
        (Int, 4, Big) => of!(i32, from_be_bytes),
        (Int, 8, Little) => of!(i64, from_le_bytes),
        (Int, 8, Big) => of!(i64, from_be_bytes),
        (Uint | Bool, 1, _) => of!(u8, from_le_bytes),
        (Uint, 2, Little) => of!(u16, from_le_bytes),
        (Uint, 2, Big) => of!(u16, from_be_bytes),
        (Uint, 4, Little) => of!(u32, from_le_bytes),
        (Uint, 4, Big) => of!(u32, from_be_bytes),
        (Uint, 8, Little) => of!(u64, from_le_bytes),
        (Uint, 8, Big) => of!(u64, from_be_bytes),
        _ => bail!("{dtype} where integers are expected"),
    })
}

/// The function for integers of a size and byte order: with or without a sign, their bytes are the same. It cuts off
/// the bits above without a look at them, so each caller asks [`fit`] of the largest.
fn writer(dtype: &Dtype) -> Result<Writer> {
    macro_rules! of {
        ($t:ty, $to:ident) => {
            |values, bytes| {
                for (value, b) in values.iter().zip(bytes.as_chunks_mut().0) {
                    *b = (*value as $t).$to();
                }
            }
        };
    }
    use ByteOrder::{Big, Little};
    let Dtype::Number { size, order, .. } = dtype else {
        bail!("{dtype} where integers are expected");
    };
    Ok(match (size, order) {
        (1, _) => of!(u8, to_le_bytes),
        (2, Little) => of!(u16, to_le_bytes),
        (2, Big) => of!(u16, to_be_bytes),
        (4, Little) => of!(u32, to_le_bytes),
        (4, Big) => of!(u32, to_be_bytes),
        (8, Little) => of!(u64, to_le_bytes),
        (8, Big) => of!(u64, to_be_bytes),
        _ => bail!("{dtype} where integers are expected"),
    })
}

/// The integers in `bytes`; negative ones wrap around.
pub fn read(bytes: &[u8], dtype: &Dtype) -> Result<Vec<u64>> {
    let (reader, size) = (reader(dtype)?, dtype.size());
    let mut values = vec![0; bytes.len() / size];
    let blocks = values.par_chunks_mut(BLOCK).with_min_len(BLOCKS);
    blocks
        .zip(bytes.par_chunks(BLOCK * size))
        .for_each(|(values, bytes)| reader(bytes, values));
    Ok(values)
}

/// Makes `values` the integers in the bytes of a block, in memory that it may have from another.
fn fill(values: &mut Vec<u64>, reader: Reader, bytes: &[u8], size: usize) {
    values.resize(bytes.len() / size, 0);
    reader(bytes, values);
}

/// What `of` returns for each block of integers in `bytes`, in parallel.
fn blocks<'a, T: Send>(
    bytes: &'a [u8],
    dtype: &Dtype,
    of: impl Fn(&[u64]) -> T + Sync + Send + 'a,
) -> Result<impl ParallelIterator<Item = T> + 'a> {
    let (reader, size) = (reader(dtype)?, dtype.size());
    let blocks = bytes.par_chunks(BLOCK * size).with_min_len(BLOCKS);
    Ok(blocks.map_init(Vec::new, move |values, bytes| {
        fill(values, reader, bytes, size);
        of(values)
    }))
}

/// The largest integer in `bytes`, 0 if there is none; a negative one counts as larger than every other.
pub fn largest(bytes: &[u8], dtype: &Dtype) -> Result<u64> {
    if let Dtype::Number {
        kind: Kind::Int,
        size: 4,
        order: ByteOrder::Little,
    } = dtype
    {
        // int32, which scipy gives to the indices of all but the largest matrices.
        // As u32 the loop is a vector instruction; a negative number is at least 2^31 there.
        let most = bytes.par_chunks(1 << 18).map(|part| {
            part.as_chunks::<4>()
                .0
                .iter()
                .fold(0u32, |most, b| most.max(u32::from_le_bytes(*b)))
        });
        let most = most.max().unwrap_or(0);
        return Ok(i64::from(most as i32) as u64);
    }
    let largest = blocks(bytes, dtype, |values| values.iter().copied().max())?;
    Ok(largest.max().flatten().unwrap_or(0))
}

/// Whether all integers are -1 or less than `categories`.
/// pandas stores -1 for a missing value; types without a sign have no code for it.
pub fn are_codes(bytes: &[u8], dtype: &Dtype, categories: u64) -> Result<bool> {
    let is_signed = dtype.kind() == Some(Kind::Int);
    let is_code = |code: &u64| *code < categories || is_signed && *code == u64::MAX;
    let right = blocks(bytes, dtype, |codes| codes.iter().all(is_code))?;
    Ok(right.all(|right| right))
}

/// Makes -1 of what R stores for a missing integer, -2^31, and of the same as other programs widen it, -2^63. Says
/// whether there was any.
///
/// Only integers of 4 and 8 bytes hold such a number; others are left as they are.
pub fn mark_missing(bytes: &mut [u8], dtype: &Dtype) -> Result<bool> {
    const FOREIGN: [u64; 2] = [i32::MIN as i64 as u64, i64::MIN as u64];
    if dtype.kind() != Some(Kind::Int) || dtype.size() < 4 {
        return Ok(false);
    }
    let (reader, size) = (reader(dtype)?, dtype.size());
    let blocks = bytes.par_chunks_mut(BLOCK * size).with_min_len(BLOCKS);
    let found = blocks.map_init(Vec::new, |values, codes| {
        fill(values, reader, codes, size);
        let mut found = false;
        for (value, code) in values.iter().zip(codes.chunks_exact_mut(size)) {
            if FOREIGN.contains(value) {
                // -1 in every width and byte order.
                code.fill(0xff);
                found = true;
            }
        }
        found
    });
    Ok(found.reduce(|| false, |a, b| a | b))
}

/// A byte for each number of a mask, 0 or 1; an error for other numbers.
/// anndata writes masks as bools; other writers store integers.
pub fn mask(bytes: Vec<u8>, dtype: &Dtype) -> Result<Vec<u8>> {
    if dtype.kind() == Some(Kind::Bool) {
        return Ok(bytes);
    }
    let flags = read(&bytes, dtype)?.into_par_iter().map(|value| {
        ensure!(value < 2, "{} where 0 or 1 is expected", value as i64);
        Ok(value as u8)
    });
    flags.collect()
}

/// The largest value that an integer type holds.
/// Not to be asked of floats and complex numbers; of what is no number it is 0.
pub fn capacity(dtype: &Dtype) -> u64 {
    match dtype {
        Dtype::Number {
            kind: Kind::Int,
            size,
            ..
        } => (1 << (8 * size - 1)) - 1,
        Dtype::Number { size: 8, .. } => u64::MAX,
        Dtype::Number { size, .. } => (1 << (8 * size)) - 1,
        _ => 0,
    }
}

/// `dtype`, or int64 where it cannot hold `most`.
/// `most` is what the output needs: its number of non-zeros, for offsets, or its last index.
pub fn holding(dtype: &Dtype, most: u64) -> Dtype {
    if most <= capacity(dtype) {
        dtype.clone()
    } else {
        Dtype::INT64
    }
}

/// The narrowest unsigned type that holds the indices of so many places, as anndata chooses it.
/// The number of places must fit, not only the last index: 255 of them take one byte, 256 two.
pub fn narrowest(places: u64) -> Dtype {
    let fits = |size: &usize| places <= u64::MAX >> (64 - 8 * size);
    let size = [1, 2, 4].into_iter().find(fits).unwrap_or(8);
    Dtype::native(Kind::Uint, size)
}

/// The bytes of `values`; an error where one does not fit.
/// A negative number, as [`read`] returns it, fits no type but uint64.
pub fn write(values: &[u64], dtype: &Dtype) -> Result<Vec<u8>> {
    let (writer, size) = (writer(dtype)?, dtype.size());
    let mut bytes = vec![0; values.len() * size];
    let blocks = bytes.par_chunks_mut(BLOCK * size).with_min_len(BLOCKS);
    let largest = blocks.zip(values.par_chunks(BLOCK)).map(|(bytes, values)| {
        writer(values, bytes);
        values.iter().copied().max()
    });
    fit(largest.max().flatten().unwrap_or(0), dtype)?;
    Ok(bytes)
}

/// The integers in `bytes` through `new`, as those of another type; `None` where one of them has no new value, an
/// error where a new value does not fit.
///
/// So columns move to those of other genes. Where `new` says 0 -> 5 and 2 -> 1, `[2, 0]` becomes `[1, 5]`; of `[2, 3]`
/// nothing becomes, as the caller must drop a non-zero there. The order of values stays, so a row may come out
/// unsorted.
pub fn map(
    bytes: &[u8],
    from: &Dtype,
    to: &Dtype,
    new: impl Fn(u64) -> Option<u64> + Sync,
) -> Result<Option<Vec<u8>>> {
    let (reader, writer) = (reader(from)?, writer(to)?);
    let mut mapped = vec![0; bytes.len() / from.size() * to.size()];
    let blocks = mapped.par_chunks_mut(BLOCK * to.size());
    let blocks = blocks.zip(bytes.par_chunks(BLOCK * from.size()));
    let largest = blocks
        .with_min_len(BLOCKS)
        .map_init(Vec::new, |values, (mapped, bytes)| {
            fill(values, reader, bytes, from.size());
            let mut most = 0;
            for value in &mut *values {
                *value = new(*value)?;
                most = most.max(*value);
            }
            writer(values, mapped);
            Some(most)
        });
    // A block without a new value ends the work on the others.
    let Some(most) = largest.try_reduce(|| 0, |a, b| Some(a.max(b))) else {
        return Ok(None);
    };
    fit(most, to)?;
    Ok(Some(mapped))
}

fn fit(most: u64, dtype: &Dtype) -> Result<()> {
    ensure!(most <= capacity(dtype), "{most} does not fit {dtype}");
    Ok(())
}

/// Where the integers in `bytes`, each below 2^32, stand in their order; equal ones stay as they are. True, and
/// nothing else, where they are sorted.
///
/// Of `[3, 5, 4]`, `order` is `[0, 2, 1]`: the integer at 0 comes first, then that at 2. It is called for each row of a
/// matrix, so every thread keeps the memory of its keys.
pub fn sorting(bytes: &[u8], dtype: &Dtype, order: &mut Vec<u32>) -> Result<bool> {
    thread_local! {
        /// An integer above its place.
        static KEYS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    KEYS.with_borrow_mut(|keys| {
        fill(keys, reader(dtype)?, bytes, dtype.size());
        if keys.is_sorted() {
            return Ok(true);
        }
        for (at, key) in keys.iter_mut().enumerate() {
            // No two keys are equal, as each has its place in its lower half: so equal integers keep their order.
            ensure!(*key <= u64::from(u32::MAX), "{key} is no column");
            *key = *key << 32 | at as u64;
        }
        // In linear time where they are a few runs, as where the names of genes were put in another order.
        keys.sort();
        order.clear();
        order.extend(keys.iter().map(|key| *key as u32));
        Ok(false)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_narrowest_type_holds_all_places() {
        for (places, size) in [
            (0, 1),
            (255, 1),
            (256, 2),
            (65535, 2),
            (65536, 4),
            (1 << 32, 8),
        ] {
            assert_eq!(super::narrowest(places), Dtype::native(Kind::Uint, size));
        }
    }

    use proptest::prelude::*;

    use super::*;

    fn types() -> impl Strategy<Value = Dtype> {
        let kind = prop_oneof![Just(Kind::Int), Just(Kind::Uint)];
        let size = prop_oneof![Just(1usize), Just(2), Just(4), Just(8)];
        let order = prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)];
        (kind, size, order).prop_map(|(kind, size, order)| Dtype::Number { kind, size, order })
    }

    proptest! {
        #[test]
        fn written_integers_are_read_again(dtype in types(), values in prop::collection::vec(any::<u64>(), 0..50)) {
            let values: Vec<u64> = values.iter().map(|v| v & capacity(&dtype)).collect();
            let bytes = write(&values, &dtype).unwrap();
            prop_assert_eq!(&read(&bytes, &dtype).unwrap(), &values);
            prop_assert_eq!(largest(&bytes, &dtype).unwrap(), values.iter().copied().max().unwrap_or(0));
        }
    }

    #[test]
    fn a_negative_index_is_larger_than_all() {
        for size in [1, 2, 4, 8] {
            let dtype = Dtype::native(Kind::Int, size);
            let mut bytes = write(&[3, 5], &dtype).unwrap();
            bytes[..size].fill(0xff);
            assert_eq!(largest(&bytes, &dtype).unwrap(), u64::MAX);
        }
    }

    #[test]
    fn codes_are_missing_or_of_a_category() {
        for size in [1, 2, 4, 8] {
            let dtype = Dtype::native(Kind::Int, size);
            let mut bytes = write(&[0, 2, 1], &dtype).unwrap();
            assert!(are_codes(&bytes, &dtype, 3).unwrap());
            assert!(!are_codes(&bytes, &dtype, 2).unwrap());
            bytes[..size].fill(0xff);
            assert!(are_codes(&bytes, &dtype, 3).unwrap());
            bytes[0] = 0xfe;
            assert!(!are_codes(&bytes, &dtype, 3).unwrap());
        }
    }

    #[test]
    fn what_r_calls_missing_is_missing() {
        for (code, size) in [
            (i64::from(i32::MIN), 4),
            (i64::from(i32::MIN), 8),
            (i64::MIN, 8),
        ] {
            for order in [ByteOrder::Little, ByteOrder::Big] {
                let dtype = Dtype::Number {
                    kind: Kind::Int,
                    size,
                    order,
                };
                let mut bytes = write(&[0, 2, 1], &dtype).unwrap();
                assert!(!mark_missing(&mut bytes, &dtype).unwrap());
                match order {
                    ByteOrder::Little => bytes[..size].copy_from_slice(&code.to_le_bytes()[..size]),
                    ByteOrder::Big => {
                        bytes[..size].copy_from_slice(&code.to_be_bytes()[8 - size..])
                    }
                }
                assert!(mark_missing(&mut bytes, &dtype).unwrap());
                assert_eq!(read(&bytes, &dtype).unwrap(), [u64::MAX, 2, 1]);
            }
        }
        let unsigned = Dtype::native(Kind::Uint, 8);
        let mut bytes = write(&[i64::MIN as u64], &unsigned).unwrap();
        assert!(!mark_missing(&mut bytes, &unsigned).unwrap());
    }

    #[test]
    fn a_mask_is_of_0_and_1() {
        let of = |values: &[u64], dtype: &Dtype| mask(write(values, dtype).unwrap(), dtype);
        for dtype in [Dtype::native(Kind::Int, 1), Dtype::native(Kind::Uint, 4)] {
            assert_eq!(of(&[0, 1, 1], &dtype).unwrap(), [0, 1, 1]);
            assert!(of(&[0, 2], &dtype).is_err());
        }
        assert_eq!(mask(vec![1, 0], &Dtype::BOOL).unwrap(), [1, 0]);
    }

    #[test]
    fn two_to_the_31_needs_int64() {
        let int32 = Dtype::native(Kind::Int, 4);
        assert_eq!(holding(&int32, i32::MAX as u64), int32);
        assert_eq!(holding(&int32, 1 << 31), Dtype::INT64);
        assert!(write(&[1 << 31], &int32).is_err());
        let offsets = [0, (1u64 << 31) - 1, 1 << 31, 5 << 31];
        let bytes = write(&offsets, &holding(&int32, offsets[3])).unwrap();
        assert_eq!(read(&bytes, &Dtype::INT64).unwrap(), offsets);
    }
}

//! Integers of any width and byte order as u64 and back: indptr, column indices, codes.
//!
//! A negative number becomes one that no index reaches, so one comparison finds both.
//!
//! anndata writes indptr as int32 or int64 and indices as int32, but other writers use every width, unsigned and
//! big-endian ones too. Here they become u64, a block at a time, and go back into the type that the output has.

use std::cell::RefCell;

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

use crate::store::spec::{ByteOrder, Dtype, Kind};

/// Runs `$body` with `$read`, a function from the bytes of one integer of type `$dtype` to u64.
macro_rules! with_reader {
    ($dtype:expr, $size:ident, $read:ident => $body:expr) => {{
        macro_rules! arm {
            ($t:ty, $wide:ty, $from:ident) => {{
                const $size: usize = size_of::<$t>();
                let $read = |b: &[u8]| {
                    let mut whole = [0; $size];
                    whole.copy_from_slice(b);
                    <$t>::$from(whole) as $wide as u64
                };
                $body
            }};
        }
        use ByteOrder::{Big, Little};
        use Kind::{Bool, Int, Uint};
        match $dtype {
            Dtype::Number { kind, size, order } => match (kind, size, order) {
                (Int, 1, _) => arm!(i8, i64, from_le_bytes),
                (Int, 2, Little) => arm!(i16, i64, from_le_bytes),
                (Int, 2, Big) => arm!(i16, i64, from_be_bytes),
                (Int, 4, Little) => arm!(i32, i64, from_le_bytes),
                (Int, 4, Big) => arm!(i32, i64, from_be_bytes),
                (Int, 8, Little) => arm!(i64, i64, from_le_bytes),
                (Int, 8, Big) => arm!(i64, i64, from_be_bytes),
                (Uint | Bool, 1, _) => arm!(u8, u64, from_le_bytes),
                (Uint, 2, Little) => arm!(u16, u64, from_le_bytes),
                (Uint, 2, Big) => arm!(u16, u64, from_be_bytes),
                (Uint, 4, Little) => arm!(u32, u64, from_le_bytes),
                (Uint, 4, Big) => arm!(u32, u64, from_be_bytes),
                (Uint, 8, Little) => arm!(u64, u64, from_le_bytes),
                (Uint, 8, Big) => arm!(u64, u64, from_be_bytes),
                _ => bail!("{} where integers are expected", $dtype),
            },
            _ => bail!("{} where integers are expected", $dtype),
        }
    }};
}

/// The integers in `bytes`; negative ones wrap around.
pub fn read(bytes: &[u8], dtype: &Dtype) -> Result<Vec<u64>> {
    Ok(with_reader!(dtype, SIZE, read => bytes.par_chunks_exact(SIZE).map(read).collect()))
}

/// The largest integer in `bytes`, 0 if there is none; a negative one counts as larger than every other.
pub fn largest(bytes: &[u8], dtype: &Dtype) -> Result<u64> {
    /// Bytes of one task; every width divides it.
    const BLOCK: usize = 1 << 18;
    if let Dtype::Number {
        kind: Kind::Int,
        size: 4,
        order: ByteOrder::Little,
    } = dtype
    {
        // As u32 the loop is a vector instruction; a negative number is at least 2^31 there.
        let most = bytes.par_chunks(BLOCK).map(|part| {
            part.as_chunks::<4>()
                .0
                .iter()
                .fold(0u32, |most, b| most.max(u32::from_le_bytes(*b)))
        });
        let most = most.max().unwrap_or(0);
        return Ok(i64::from(most as i32) as u64);
    }
    Ok(with_reader!(dtype, SIZE, read => {
        bytes
            .par_chunks(BLOCK)
            .map(|part| part.chunks_exact(SIZE).fold(0, |most, b| most.max(read(b))))
            .max()
            .unwrap_or(0)
    }))
}

/// Whether all integers are -1 or less than `categories`.
pub fn are_codes(bytes: &[u8], dtype: &Dtype, categories: u64) -> Result<bool> {
    let is_signed = dtype.kind() == Some(Kind::Int);
    Ok(with_reader!(dtype, SIZE, read => {
        bytes.par_chunks_exact(SIZE).with_min_len(1 << 14).all(|b| {
            let code = read(b);
            code < categories || is_signed && code == u64::MAX
        })
    }))
}

/// Makes -1 of what R stores for a missing integer, -2^31, and of the same as other programs widen it, -2^63. Says
/// whether there was any.
pub fn mark_missing(bytes: &mut [u8], dtype: &Dtype) -> Result<bool> {
    const FOREIGN: [u64; 2] = [i32::MIN as i64 as u64, i64::MIN as u64];
    if dtype.kind() != Some(Kind::Int) || dtype.size() < 4 {
        return Ok(false);
    }
    Ok(with_reader!(dtype, SIZE, read => {
        let codes = bytes.par_chunks_exact_mut(SIZE).with_min_len(1 << 14);
        codes
            .map(|code| {
                let foreign = FOREIGN.contains(&read(code));
                if foreign {
                    code.fill(0xff);
                }
                foreign
            })
            .reduce(|| false, |a, b| a | b)
    }))
}

/// A byte for each number of a mask, 0 or 1; an error for other numbers.
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
pub fn holding(dtype: &Dtype, most: u64) -> Dtype {
    if most <= capacity(dtype) {
        dtype.clone()
    } else {
        Dtype::INT64
    }
}

/// The narrowest unsigned type that holds the indices of so many places, as anndata chooses it.
pub fn narrowest(places: u64) -> Dtype {
    let fits = |size: &usize| places <= u64::MAX >> (64 - 8 * size);
    let size = [1, 2, 4].into_iter().find(fits).unwrap_or(8);
    Dtype::native(Kind::Uint, size)
}

/// The bytes of `values`; an error where one does not fit.
pub fn write(values: &[u64], dtype: &Dtype) -> Result<Vec<u8>> {
    Ok(put(values.len(), dtype, |i| Some(values[i]))?.unwrap_or_default())
}

/// The integers in `bytes` through `new`, as those of another type; `None` where one of them has no new value.
pub fn map(
    bytes: &[u8],
    from: &Dtype,
    to: &Dtype,
    new: impl Fn(u64) -> Option<u64> + Sync,
) -> Result<Option<Vec<u8>>> {
    with_reader!(from, SIZE, read => {
        put(bytes.len() / SIZE, to, |i| new(read(&bytes[i * SIZE..][..SIZE])))
    })
}

/// The bytes of `count` integers; `None` where `value` gives none, an error where one does not fit.
fn put(
    count: usize,
    dtype: &Dtype,
    value: impl Fn(usize) -> Option<u64> + Sync,
) -> Result<Option<Vec<u8>>> {
    let Dtype::Number { size, order, .. } = dtype else {
        bail!("{dtype} where integers are expected");
    };
    let mut bytes = vec![0; count * size];
    let most = match size {
        1 => put_sized::<1>(&mut bytes, *order, value),
        2 => put_sized::<2>(&mut bytes, *order, value),
        4 => put_sized::<4>(&mut bytes, *order, value),
        8 => put_sized::<8>(&mut bytes, *order, value),
        _ => bail!("{dtype} where integers are expected"),
    };
    let Some(most) = most else { return Ok(None) };
    ensure!(most <= capacity(dtype), "{most} does not fit {dtype}");
    Ok(Some(bytes))
}

/// Returns the largest value.
fn put_sized<const N: usize>(
    bytes: &mut [u8],
    order: ByteOrder,
    value: impl Fn(usize) -> Option<u64> + Sync,
) -> Option<u64> {
    /// Integers of one task.
    const TASK: usize = 1 << 14;
    let tasks = bytes.as_chunks_mut::<N>().0.par_chunks_mut(TASK);
    let largest = tasks.enumerate().map(|(task, part)| {
        let (mut most, first) = (0, task * TASK);
        for (i, out) in part.iter_mut().enumerate() {
            let value = value(first + i)?;
            most = most.max(value);
            match order {
                ByteOrder::Little => out.copy_from_slice(&value.to_le_bytes()[..N]),
                ByteOrder::Big => out.copy_from_slice(&value.to_be_bytes()[8 - N..]),
            }
        }
        Some(most)
    });
    largest.try_reduce(|| 0, |a, b| Some(a.max(b)))
}

/// Where the integers in `bytes`, each below 2^32, stand in their order; equal ones stay as they are. True, and
/// nothing else, where they are sorted.
pub fn sorting(bytes: &[u8], dtype: &Dtype, order: &mut Vec<u32>) -> Result<bool> {
    thread_local! {
        /// An integer above its place.
        static KEYS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    KEYS.with_borrow_mut(|keys| {
        keys.clear();
        with_reader!(dtype, SIZE, read => keys.extend(bytes.chunks_exact(SIZE).map(read)));
        if keys.is_sorted() {
            return Ok(true);
        }
        for (at, key) in keys.iter_mut().enumerate() {
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

//! Numbers that are equal as bytes that are equal.
//!
//! [`numbers`] is for arrays, whose type is compared beside their values: they keep it. [`by_value`] is for scalars and
//! sparse matrices, where 1, 1.0 and True are equal: they all become a [`Number`].

use anyhow::Result;

use crate::dtype::promote;
use crate::store::spec::{ByteOrder, Dtype, Kind};

/// Makes all NaN of an array the same, and -0 of floats 0. Integers, bools and floats of other widths stay as they are.
/// NaN becomes bytes of 0xff, which are a NaN too.
pub fn numbers(bytes: &mut [u8], dtype: &Dtype) {
    let Dtype::Number { kind, size, order } = *dtype else {
        return;
    };
    match kind {
        _ if !matches!(
            (kind, size),
            (Kind::Float, 2 | 4 | 8) | (Kind::Complex, 4 | 8 | 16)
        ) => {}
        Kind::Float => bytes.chunks_exact_mut(size).for_each(|v| float(v, order)),
        Kind::Complex => {
            for value in bytes.chunks_exact_mut(size) {
                value
                    .chunks_exact_mut(size / 2)
                    .for_each(|v| float(v, order));
                // A complex number is NaN if one part is, whatever the other is.
                let nan = value
                    .chunks_exact(size / 2)
                    .any(|v| v.iter().all(|b| *b == 0xff));
                if nan {
                    value.fill(0xff);
                }
            }
        }
        _ => {}
    }
}

/// One float of 2, 4 or 8 bytes. Without its sign, the bits of a float are an integer: 0 is zero, and what is larger
/// than the bits of infinity is NaN.
fn float(bytes: &mut [u8], order: ByteOrder) {
    let mut word = [0; 8];
    let size = bytes.len();
    match order {
        ByteOrder::Little => word[..size].copy_from_slice(bytes),
        ByteOrder::Big => bytes.iter().rev().zip(&mut word).for_each(|(b, w)| *w = *b),
    }
    let magnitude = u64::from_le_bytes(word) & (u64::MAX >> (65 - 8 * size));
    let infinity = match size {
        2 => 0x7c00,
        4 => 0x7f80_0000,
        _ => 0x7ff0_0000_0000_0000,
    };
    match magnitude {
        0 => bytes.fill(0),
        m if m > infinity => bytes.fill(0xff),
        _ => {}
    }
}

/// A number whatever its type: two float64 after a 0, or 16 bytes of an integer that no float64 holds after a 1.
pub type Number = [u8; 17];

pub fn is_nan(value: &Number) -> bool {
    value[0] == 0 && value[1..].iter().all(|b| *b == 0xff)
}

pub fn is_zero(value: &Number) -> bool {
    *value == [0; 17]
}

/// The sum of two numbers; of integers that no float64 holds it is rounded. Both parts of complex numbers are added.
pub fn sum(a: &Number, b: &Number) -> Number {
    let parts = |n: &Number| -> [f64; 2] {
        let (low, high) = (eight(&n[1..9]), eight(&n[9..17]));
        match n[0] {
            0 => [f64::from_bits(low), f64::from_bits(high)],
            _ => [(i128::from(high) << 64 | i128::from(low)) as f64, 0.0],
        }
    };
    let (a, b) = (parts(a), parts(b));
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(a[0] + b[0]).to_le_bytes());
    bytes[8..].copy_from_slice(&(a[1] + b[1]).to_le_bytes());
    tagged(bytes)
}

fn eight(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

/// The real and the imaginary part, with the 0 before them.
fn tagged(mut parts: [u8; 16]) -> Number {
    numbers(&mut parts, &COMPLEX);
    let mut number = [0; 17];
    number[1..].copy_from_slice(&parts);
    number
}

/// What every number is converted to, if it can be without loss.
const COMPLEX: Dtype = Dtype::Number {
    kind: Kind::Complex,
    size: 16,
    order: ByteOrder::Little,
};

/// Numbers of any type by their value alone. An error for what are no numbers.
pub fn by_value(bytes: &[u8], dtype: &Dtype) -> Result<Vec<Number>> {
    if let Ok(parts) = promote::convert(bytes, dtype, &COMPLEX) {
        return Ok(parts.as_chunks().0.iter().map(|p| tagged(*p)).collect());
    }
    // Some value is an integer beyond 2^53: each goes by itself, so that 5 is the same number here and in an array of
    // small ones.
    let one = |value: &[u8]| -> Result<Number> {
        if let Ok(parts) = promote::convert(value, dtype, &COMPLEX) {
            return Ok(parts.as_chunks().0.first().map_or([0; 17], |p| tagged(*p)));
        }
        let wide = match dtype.kind() {
            Some(Kind::Uint) => Kind::Uint,
            _ => Kind::Int,
        };
        let order = ByteOrder::Little;
        let wide = Dtype::Number {
            kind: wide,
            size: 8,
            order,
        };
        let mut number = [0; 17];
        number[0] = 1;
        let value = promote::convert(value, dtype, &wide)?;
        number[1..9].copy_from_slice(&value);
        let negative = wide.kind() == Some(Kind::Int) && value.last().is_some_and(|b| b >> 7 == 1);
        number[9..].fill(if negative { 0xff } else { 0 });
        Ok(number)
    };
    bytes.chunks_exact(dtype.size().max(1)).map(one).collect()
}

//! The number type that holds the values of several, as numpy promotes, and the conversion to it.
//!
//! A conversion changes no value: what the new type cannot hold exactly is an error (an integer beyond 2^53 that would
//! become a float). Only byte order, width and, on the way to floats and complex numbers, the kind change.
//!
//! [`result_type`] chooses by the types alone, before a value is read. [`convert`] goes through the values, and finds
//! those that numpy would round: float64, the common type of int64 and uint64, does not hold all values of either.

use anyhow::{Result, bail, ensure};
use half::f16;
use rayon::prelude::*;

use crate::store::spec::{ByteOrder, Dtype, Field, Kind};

/// `numpy.result_type` of all `dtypes`; the very same type, byte order included, where they agree. Of text it is the
/// widest, of records with the same fields one with the common type of each. `None` where there is none.
///
/// `int16, uint16 -> int32`; `int64, uint64 -> float64`; `int8, float16 -> float16`; `int32, float32 -> float64`;
/// `float64, complex64 -> complex128`.
pub fn result_type(dtypes: &[Dtype]) -> Option<Dtype> {
    let (first, others) = dtypes.split_first()?;
    if let Dtype::FixedString { .. } | Dtype::Record { .. } = first {
        return not_numbers(first, dtypes);
    }
    first.kind()?;
    if others.iter().all(|d| d == first) {
        return Some(first.clone());
    }
    // The widest of each kind in bytes, 0 where there is none. A complex number counts as the floats that it is of.
    let (mut int, mut uint, mut float, mut complex) = (0, 0, 0, false);
    for dtype in dtypes {
        let size = dtype.size();
        match dtype.kind()? {
            Kind::Bool => {}
            Kind::Int => int = int.max(size),
            Kind::Uint => uint = uint.max(size),
            Kind::Float => float = float.max(size),
            Kind::Complex => (float, complex) = (float.max(size / 2), true),
        }
    }
    let (kind, size) = match (float, int, uint) {
        (0, 0, 0) => (Kind::Bool, 1),
        (0, 0, _) => (Kind::Uint, uint),
        (0, _, _) if uint < int => (Kind::Int, int),
        // No integer has both a sign and 64 bits beside it: numpy takes float64.
        (0, _, 8) => (Kind::Float, 8),
        // The sign needs a bit more than the unsigned type has, so the next width.
        (0, _, _) => (Kind::Int, 2 * uint),
        // A float of twice the width holds every integer of up to 32 bits.
        _ => (Kind::Float, float.max((2 * int.max(uint)).min(8))),
    };
    Some(if complex {
        Dtype::native(Kind::Complex, 2 * size)
    } else {
        Dtype::native(kind, size)
    })
}

/// That of text of a fixed width, or of records. The fields of records are matched by their place, and agree in name
/// and shape; in the common type they lie one after another, whatever lies between them in the inputs.
fn not_numbers(first: &Dtype, dtypes: &[Dtype]) -> Option<Dtype> {
    let Dtype::Record { fields, .. } = first else {
        let mut widths = dtypes.iter().map(|dtype| match dtype {
            // Such values have no bytes by which `padded` could tell one from the next.
            Dtype::FixedString { size: 0 } => None,
            Dtype::FixedString { size } => Some(*size),
            _ => None,
        });
        let size = widths.try_fold(0, |most, width| Some(most.max(width?)))?;
        return Some(Dtype::FixedString { size });
    };
    let (mut common, mut size) = (vec![], 0);
    for (at, field) in fields.iter().enumerate() {
        let mut parts = vec![];
        for dtype in dtypes {
            let Dtype::Record { fields: other, .. } = dtype else {
                return None;
            };
            let found = other.get(at).filter(|_| other.len() == fields.len())?;
            if found.name != field.name || found.shape != field.shape {
                return None;
            }
            parts.push(found.dtype.clone());
        }
        let dtype = result_type(&parts)?;
        let offset = size;
        let field = Field {
            offset,
            dtype,
            ..field.clone()
        };
        size = size.checked_add(field.bytes())?;
        common.push(field);
    }
    let fields = common;
    Some(Dtype::Record { size, fields })
}

/// Whether every value of type `from` is one of type `to`.
///
/// Where it is false, the values that are there may fit all the same: [`convert`] finds out. An integer needs a float
/// of twice its width: a float32 has 24 bits of precision, a float64 53.
pub fn is_exact(from: &Dtype, to: &Dtype) -> bool {
    use Kind::{Bool, Complex, Float, Int, Uint};
    let (Some(kind), Some(target)) = (from.kind(), to.kind()) else {
        return false;
    };
    let (size, wide) = (from.size(), to.size());
    match (kind, target) {
        (Bool, _) => true,
        (Int, Int) | (Uint, Uint) | (Float, Float) | (Complex, Complex) => size <= wide,
        (Uint, Int) => size < wide,
        (Int | Uint, Float) => size < wide,
        (Int | Uint, Complex) => 2 * size < wide,
        (Float, Complex) => 2 * size <= wide,
        _ => false,
    }
}

/// The values in `bytes` as those of type `to`, which is a [`result_type`] of `from`; an error where a number cannot
/// be kept exactly.
pub fn convert(bytes: &[u8], from: &Dtype, to: &Dtype) -> Result<Vec<u8>> {
    /// Values converted at a time: small enough for the cache of a core.
    const BLOCK: usize = 1 << 14;
    if from == to {
        return Ok(bytes.to_vec());
    }
    match (from, to) {
        (Dtype::FixedString { size }, Dtype::FixedString { size: wide }) if size <= wide => {
            return Ok(padded(bytes, *size, *wide));
        }
        (Dtype::Record { .. }, Dtype::Record { .. }) => return records(bytes, from, to),
        _ => {}
    }
    let (from, to) = (Number::of(from)?, Number::of(to)?);
    // Below, a complex number is two floats, one after the other.
    let parts = from.parts();
    ensure!(
        to.kind == Kind::Complex || from.kind != Kind::Complex,
        "Complex numbers cannot become {to}",
    );
    let mut out = vec![0; bytes.len() / (from.size * parts) * to.size * to.parts()];
    // Each real number is followed by an imaginary part of 0.
    let stride = to.size * to.parts() / parts;
    out.par_chunks_mut(BLOCK * stride)
        .zip(bytes.par_chunks(BLOCK * from.size))
        .try_for_each(|(out, bytes)| {
            let mut bits = from.read(bytes);
            from.change(to, &mut bits)?;
            to.write(&bits, stride, out);
            anyhow::Ok(())
        })?;
    Ok(out)
}

/// Text of a fixed width with NUL bytes after it.
fn padded(bytes: &[u8], size: usize, wide: usize) -> Vec<u8> {
    let mut out = vec![0; bytes.len() / size * wide];
    let texts = out.chunks_exact_mut(wide).zip(bytes.chunks_exact(size));
    texts.for_each(|(out, text)| out[..size].copy_from_slice(text));
    out
}

/// One field after another: its bytes in all records are put together, converted, and put at its new offset. Bytes
/// between fields become 0.
fn records(bytes: &[u8], from: &Dtype, to: &Dtype) -> Result<Vec<u8>> {
    let (
        Dtype::Record { size, fields },
        Dtype::Record {
            size: wide,
            fields: new,
        },
    ) = (from, to)
    else {
        bail!("{from} where records are expected");
    };
    let mut out = vec![0; bytes.len() / size * wide];
    for (old, new) in fields.iter().zip(new) {
        let (narrow, width) = (old.bytes(), new.bytes());
        let held = bytes.chunks_exact(*size);
        let held: Vec<u8> = held
            .flat_map(|r| &r[old.offset..][..narrow])
            .copied()
            .collect();
        let values = convert(&held, &old.dtype, &new.dtype)?;
        // A field of shape `[0]` has no bytes, and `chunks_exact` takes no width of 0.
        let records = out
            .chunks_exact_mut(*wide)
            .zip(values.chunks_exact(width.max(1)));
        records.for_each(|(record, value)| record[new.offset..][..width].copy_from_slice(value));
    }
    Ok(out)
}

/// The numbers in `bytes` as float64; an error where one is complex or cannot be kept exactly.
pub fn floats(bytes: &[u8], dtype: &Dtype) -> Result<Vec<f64>> {
    let bytes = convert(bytes, dtype, &Dtype::FLOAT64)?;
    Ok(bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| f64::from_ne_bytes(*b))
        .collect())
}

/// NaN in a type of floats or complex numbers (whose imaginary part is 0 then, as in numpy); an error for others.
pub fn nan(dtype: &Dtype) -> Result<Vec<u8>> {
    let number = Number::of(dtype)?;
    ensure!(number.is_float(), "{dtype} has no missing value");
    let bits = match number.size {
        2 => 0x7e00,
        4 => u64::from(f32::NAN.to_bits()),
        _ => f64::NAN.to_bits(),
    };
    let mut bytes = vec![0; dtype.size()];
    number.write(&[bits], dtype.size(), &mut bytes);
    Ok(bytes)
}

/// A number type: what [`Dtype::Number`] holds, but of a complex number each part.
#[derive(Clone, Copy, PartialEq)]
struct Number {
    kind: Kind,
    size: usize,
    order: ByteOrder,
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Dtype::native(self.kind, self.size * self.parts()).fmt(f)
    }
}

impl Number {
    fn of(dtype: &Dtype) -> Result<Number> {
        let Dtype::Number { kind, size, order } = *dtype else {
            bail!("{dtype} where numbers are expected");
        };
        let size = if kind == Kind::Complex {
            size / 2
        } else {
            size
        };
        ensure!(
            matches!(size, 1 | 2 | 4 | 8),
            "{dtype} is no number that annslicer knows"
        );
        Ok(Number { kind, size, order })
    }

    fn parts(self) -> usize {
        if self.kind == Kind::Complex { 2 } else { 1 }
    }

    fn is_float(self) -> bool {
        matches!(self.kind, Kind::Float | Kind::Complex)
    }

    /// The bits of each number, in the low end of a word.
    fn read(self, bytes: &[u8]) -> Vec<u64> {
        fn read<const N: usize>(bytes: &[u8], order: ByteOrder) -> Vec<u64> {
            let numbers = bytes.as_chunks::<N>().0.iter();
            // Each number overwrites the same N bytes of it; the others stay 0.
            let mut word = [0; 8];
            match order {
                ByteOrder::Little => numbers
                    .map(|b| {
                        word[..N].copy_from_slice(b);
                        u64::from_le_bytes(word)
                    })
                    .collect(),
                ByteOrder::Big => numbers
                    .map(|b| {
                        word[8 - N..].copy_from_slice(b);
                        u64::from_be_bytes(word)
                    })
                    .collect(),
            }
        }
        match self.size {
            1 => read::<1>(bytes, self.order),
            2 => read::<2>(bytes, self.order),
            4 => read::<4>(bytes, self.order),
            _ => read::<8>(bytes, self.order),
        }
    }

    /// Writes one number every `stride` bytes.
    /// What lies between is left as it is: 0, the imaginary part of a real number.
    fn write(self, bits: &[u64], stride: usize, out: &mut [u8]) {
        fn write<const N: usize>(bits: &[u64], order: ByteOrder, stride: usize, out: &mut [u8]) {
            for (out, bits) in out.chunks_exact_mut(stride).zip(bits) {
                match order {
                    ByteOrder::Little => out[..N].copy_from_slice(&bits.to_le_bytes()[..N]),
                    ByteOrder::Big => out[..N].copy_from_slice(&bits.to_be_bytes()[8 - N..]),
                }
            }
        }
        match self.size {
            1 => write::<1>(bits, self.order, stride, out),
            2 => write::<2>(bits, self.order, stride, out),
            4 => write::<4>(bits, self.order, stride, out),
            _ => write::<8>(bits, self.order, stride, out),
        }
    }

    /// Turns the bits of each number into those of the same number of type `to`.
    ///
    /// A wider float holds every value. What becomes a float32 from a float64, a float from an integer, or an integer
    /// of another width or sign is looked at value by value. No float becomes an integer, and no number a bool.
    fn change(self, to: Number, bits: &mut [u64]) -> Result<()> {
        match (self.is_float(), to.is_float()) {
            (true, true) if self.size == to.size => {}
            (true, true) if self.size < to.size => {
                bits.iter_mut()
                    .for_each(|b| *b = to.float_bits(self.float(*b)));
            }
            (true, true) if to.size == 4 => {
                for b in bits {
                    let value = self.float(*b);
                    let exact = value.is_nan() || f64::from(value as f32) == value;
                    ensure!(exact, "{value} cannot be kept exactly as {to}");
                    *b = to.float_bits(value);
                }
            }
            (false, true) => {
                // Bits of precision of float16, float32 and float64.
                let mantissa = [11, 24, 53][to.size.trailing_zeros() as usize - 1];
                for b in bits {
                    let value = self.integer(*b);
                    let size = value.unsigned_abs();
                    // From the highest bit that is set to the lowest: 2^60 has one digit, and fits where 2^53 + 1 does
                    // not.
                    let digits = 128
                        - size
                            .leading_zeros()
                            .saturating_add(size.trailing_zeros())
                            .min(128);
                    ensure!(digits <= mantissa, "{value} cannot be kept exactly as {to}");
                    *b = to.float_bits(value as f64);
                }
            }
            (false, false) if to.kind != Kind::Bool || self.kind == Kind::Bool => {
                for b in bits {
                    let value = self.integer(*b);
                    ensure!(to.holds(value), "{value} does not fit {to}");
                    *b = value as u64;
                }
            }
            _ => bail!("{self} cannot become {to}"),
        }
        Ok(())
    }

    /// The integer whose bits [`Number::read`] returned: its sign is spread over the bits above.
    fn integer(self, bits: u64) -> i128 {
        let unused = 64 - 8 * self.size as u32;
        match self.kind {
            Kind::Int => i128::from(((bits << unused) as i64) >> unused),
            _ => i128::from(bits),
        }
    }

    fn holds(self, value: i128) -> bool {
        let bits = 8 * self.size as u32;
        match self.kind {
            Kind::Int => (-(1 << (bits - 1))..1 << (bits - 1)).contains(&value),
            _ => (0..1 << bits).contains(&value),
        }
    }

    fn float(self, bits: u64) -> f64 {
        match self.size {
            2 => f16::from_bits(bits as u16).to_f64_const(),
            4 => f64::from(f32::from_bits(bits as u32)),
            _ => f64::from_bits(bits),
        }
    }

    /// `value` is one that the type holds exactly; a float16 comes from an integer here.
    fn float_bits(self, value: f64) -> u64 {
        let bits = value.to_bits();
        match self.size {
            2 => u64::from(f16::from_f64_const(value).to_bits()),
            4 => u64::from((value as f32).to_bits()),
            _ => bits,
        }
    }
}

#[cfg(test)]
mod tests;

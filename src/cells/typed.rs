//! Values of columns in the few types that comparisons know: integers of any width become i128, floats f64.

use std::cmp::Ordering;

use anyhow::{Result, bail};

use crate::dtype::{ints, promote};
use crate::frame::values::{Data, Values};
use crate::store::spec::{Kind, Strings};

/// The values of a block of cells, or the categories of a column.
pub struct Typed {
    values: TypedValues,
    /// Which of them are missing; empty where none is.
    missing: Vec<bool>,
}

/// Integers of 64 bits, with and without sign, are compared as 128 bits.
enum TypedValues {
    Bools(Vec<u8>),
    Ints(Vec<i128>),
    Floats(Vec<f64>),
    Texts(Strings),
}

/// One value; a bool counts as 0 or 1.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Int(i128),
    Float(f64),
    Text(&'a [u8]),
}

impl Typed {
    pub fn of(values: Values) -> Result<Typed> {
        let typed = match values.data {
            Data::Text(strings) => TypedValues::Texts(strings),
            Data::Numbers { dtype, bytes } => match dtype.kind() {
                Some(Kind::Bool) => TypedValues::Bools(bytes),
                Some(Kind::Float) => TypedValues::Floats(promote::floats(&bytes, &dtype)?),
                Some(Kind::Int) => {
                    let ints = ints::read(&bytes, &dtype)?.into_iter();
                    TypedValues::Ints(ints.map(|v| i128::from(v as i64)).collect())
                }
                Some(Kind::Uint) => {
                    let ints = ints::read(&bytes, &dtype)?.into_iter();
                    TypedValues::Ints(ints.map(i128::from).collect())
                }
                _ => bail!("Its values, {dtype}, cannot be compared"),
            },
        };
        Ok(Typed {
            values: typed,
            missing: values.missing,
        })
    }

    /// The texts that are there; none where they are no texts.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let all = match &self.values {
            TypedValues::Texts(texts) => texts.len(),
            _ => 0,
        };
        (0..all).filter_map(|i| match self.get(i)? {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    /// `None` where it is missing.
    pub fn get(&self, i: usize) -> Option<Value<'_>> {
        if self.missing.get(i).is_some_and(|m| *m) {
            return None;
        }
        Some(match &self.values {
            TypedValues::Bools(v) => Value::Int(i128::from(*v.get(i)? != 0)),
            TypedValues::Ints(v) => Value::Int(*v.get(i)?),
            TypedValues::Floats(v) => Value::Float(*v.get(i).filter(|v| !v.is_nan())?),
            TypedValues::Texts(v) => Value::Text((i < v.len()).then(|| v.get(i))?),
        })
    }
}

/// The float16 that is nearest, ties to even (IEEE 754, binary16: 11 bits from 2^-14 on, below it steps of 2^-24). Crate
/// `half` looks at the upper bits of a float64 alone, so what lies just beside a tie would go the wrong way.
pub fn rounded_to_half(value: f64) -> f64 {
    const OVERFLOW: f64 = 65520.0;
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let step = 2f64.powi(exponent.max(-14) - 10);
    if value.abs() < OVERFLOW {
        (value / step).round_ties_even() * step
    } else {
        f64::INFINITY.copysign(value)
    }
}

/// By value, exactly; text by code point. `None` for text and a number.
pub fn compare(a: Value, b: Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(&b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(&b),
        (Value::Int(a), Value::Float(b)) => int_to_float(a, b),
        (Value::Float(a), Value::Int(b)) => int_to_float(b, a).map(Ordering::reverse),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// An integer beside a float, exactly: as floats, 2^53 and 2^53 + 1 would be equal. The integer is compared with the
/// float rounded down; where these are equal, a fraction makes the float larger: 3 is less than 3.5. `as` gives the
/// nearest `i128` of infinity.
fn int_to_float(int: i128, float: f64) -> Option<Ordering> {
    let whole = float.floor();
    let fraction = if float > whole {
        Ordering::Less
    } else {
        Ordering::Equal
    };
    (!float.is_nan()).then(|| int.cmp(&(whole as i128)).then(fraction))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_those_of_ieee() {
        // As numpy's float16 has them.
        let known = [
            (0.1, 0.0999755859375),
            (2049.0, 2048.0),
            (2051.0, 2052.0),
            (65519.0, 65504.0),
            (65520.0, f64::INFINITY),
            (-1e-7, -1.1920928955078125e-07),
            (2e-8, 0.0),
            (0.0, 0.0),
        ];
        for (value, half) in known {
            assert_eq!(rounded_to_half(value), half, "{value}");
        }
    }

    #[test]
    fn integers_and_floats_compare_exactly() {
        let big = (1i128 << 53) + 1;
        assert_eq!(int_to_float(big, 2f64.powi(53)), Some(Ordering::Greater));
        assert_eq!(int_to_float(-1, -0.5), Some(Ordering::Less));
        assert_eq!(int_to_float(0, -0.5), Some(Ordering::Greater));
        assert_eq!(int_to_float(5, f64::INFINITY), Some(Ordering::Less));
        assert_eq!(int_to_float(5, f64::NEG_INFINITY), Some(Ordering::Greater));
        assert_eq!(int_to_float(5, f64::NAN), None);
    }

    proptest! {
        #[test]
        fn small_integers_compare_as_floats(int in -1000i32..1000, float in -1000f64..1000.0) {
            let expected = f64::from(int).partial_cmp(&float);
            prop_assert_eq!(int_to_float(i128::from(int), float), expected);
        }
    }
}

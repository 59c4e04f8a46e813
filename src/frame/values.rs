//! Values of a column in memory: numbers of any type or text, some of them missing; and numbers as text.
//!
//! There are two ways to say that a value is missing: its mark in [`Values::missing`], and NaN. Both are kept as they
//! were read. What compares values makes marks of NaN ([`Values::comparable`]), and so does text ([`Values::cast`]);
//! what writes a column of floats makes NaN of marks.

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

use crate::dtype::promote;
use crate::store::spec::{Dtype, Kind, Strings};

/// Some values of a column, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    pub data: Data,
    /// Which of them are missing; empty where none is.
    pub missing: Vec<bool>,
}

/// The values themselves; what is under a missing one has no meaning. Bytes of numbers are as they are stored, in the
/// byte order of their type.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Numbers { dtype: Dtype, bytes: Vec<u8> },
    Text(Strings),
}

impl Data {
    /// No values, of the type `dtype`.
    pub fn empty(dtype: &Dtype) -> Data {
        if dtype.is_string() {
            Data::Text(Strings::default())
        } else {
            Data::Numbers {
                dtype: dtype.clone(),
                bytes: vec![],
            }
        }
    }

    /// So many values that are 0, or empty text.
    pub fn nothing(dtype: &Dtype, rows: usize) -> Data {
        if dtype.is_string() {
            Data::Text(Strings {
                ends: vec![0; rows],
                bytes: vec![],
            })
        } else {
            Data::Numbers {
                dtype: dtype.clone(),
                bytes: vec![0; rows * dtype.size()],
            }
        }
    }

    /// The type of the values, whatever width text had on disk.
    pub fn dtype(&self) -> Dtype {
        match self {
            Data::Numbers { dtype, .. } => dtype.clone(),
            Data::Text(_) => Dtype::String,
        }
    }

    /// How many values there are, missing ones included.
    pub fn len(&self) -> usize {
        match self {
            Data::Numbers { dtype, bytes } => bytes.len() / dtype.size().max(1),
            Data::Text(strings) => strings.len(),
        }
    }

    /// The bytes of value `i`.
    pub fn get(&self, i: usize) -> &[u8] {
        match self {
            Data::Numbers { dtype, bytes } => &bytes[i * dtype.size()..][..dtype.size()],
            Data::Text(strings) => strings.get(i),
        }
    }

    /// Appends the bytes of one value, which are those of its type.
    pub fn push(&mut self, value: &[u8]) {
        match self {
            Data::Numbers { bytes, .. } => bytes.extend_from_slice(value),
            Data::Text(strings) => strings.push(value),
        }
    }
}

impl From<Data> for Values {
    fn from(data: Data) -> Values {
        Values {
            data,
            missing: vec![],
        }
    }
}

impl Values {
    /// Appends value `i` of others of the same type.
    pub fn push(&mut self, from: &Values, i: usize) {
        // It is empty as long as nothing was missing.
        self.missing.resize(self.data.len(), false);
        self.data.push(from.data.get(i));
        self.missing.push(from.is_missing(i));
    }

    /// The values at these places, in their order; missing where there is no place, an error for one beyond the last.
    /// Of `[a, b, c]`, those at `[2, none, 0]` are `[c, missing, a]`.
    pub fn at(&self, places: impl IntoIterator<Item = Option<usize>>) -> Result<Values> {
        let mut taken = Values::from(Data::empty(&self.data.dtype()));
        let blank = match &self.data {
            Data::Numbers { dtype, .. } => vec![0; dtype.size()],
            Data::Text(_) => vec![],
        };
        for place in places {
            match place {
                Some(at) if at < self.data.len() => taken.data.push(self.data.get(at)),
                Some(at) => bail!("It has no value {at}, but {}", self.data.len()),
                None => taken.data.push(&blank),
            }
            taken
                .missing
                .push(place.is_none_or(|at| self.is_missing(at)));
        }
        Ok(taken)
    }

    /// The values of cells with these codes, where these are the categories. An error for a code beyond them, which is
    /// not -1 either.
    pub fn of_codes(&self, codes: &[u64]) -> Result<Values> {
        let known = self.data.len() as u64;
        let beyond = codes
            .iter()
            .find(|code| **code >= known && **code != u64::MAX);
        ensure!(
            beyond.is_none(),
            "It has code {}, but {known} categories",
            beyond.map_or(-1, |code| *code as i64)
        );
        let place = |code: &u64| (*code < known).then_some(*code as usize);
        self.at(codes.iter().map(place))
    }

    /// Whether value `i` is missing. NaN is not: a float column has no other mark.
    pub fn is_missing(&self, i: usize) -> bool {
        self.missing.get(i).is_some_and(|m| *m)
    }

    /// Whether no value is there: all are missing, or NaN. So it is where there are no values, too.
    pub fn is_void(&self) -> bool {
        let nan = |i| match &self.data {
            Data::Numbers { dtype, .. } if dtype.kind() == Some(Kind::Float) => {
                promote::floats(self.data.get(i), dtype).is_ok_and(|v| v[0].is_nan())
            }
            _ => false,
        };
        (0..self.data.len()).all(|i| self.is_missing(i) || nan(i))
    }

    /// Equal values get equal bytes: NaN becomes missing, and the negative zero of floats the positive one. Only floats
    /// change; the bytes under a missing value do not become equal.
    pub fn comparable(mut self) -> Result<Values> {
        if let Data::Numbers { dtype, bytes } = &mut self.data
            && dtype.kind() == Some(Kind::Float)
        {
            let floats = promote::floats(bytes, dtype)?;
            self.missing.resize(floats.len(), false);
            let stored = bytes.chunks_exact_mut(dtype.size());
            for ((value, stored), missing) in floats.iter().zip(stored).zip(&mut self.missing) {
                *missing |= value.is_nan();
                if *value == 0.0 {
                    stored.fill(0);
                }
            }
        }
        Ok(self)
    }

    /// The same values in type `dtype`; an error where a number cannot be kept exactly. In text, integers are decimal,
    /// floats are as Python's `repr`, bools `True` and `False`, and NaN is missing. What is missing keeps its mark
    /// and becomes zero, or an empty text.
    pub fn cast(mut self, dtype: &Dtype) -> Result<Values> {
        let width = dtype.size();
        // In pandas a column of NaN alone is float64, whatever other inputs have in it.
        if self.data.dtype() != *dtype && width > 0 && self.is_void() {
            // A type of another kind holds them too.
            let count = self.data.len();
            self.missing = vec![true; count];
            self.data = Data::Numbers {
                dtype: dtype.clone(),
                bytes: vec![0; count * width],
            };
            return Ok(self);
        }
        match &mut self.data {
            Data::Numbers { dtype: from, bytes } if !dtype.is_string() => {
                // What is under a mask may be any number, also one that the new type does not hold.
                let values = bytes.chunks_exact_mut(from.size().max(1));
                let masked = values.zip(&self.missing).filter(|(_, missing)| **missing);
                masked.for_each(|(value, _)| value.fill(0));
                if from != dtype {
                    *bytes = promote::convert(bytes, from, dtype)?;
                    *from = dtype.clone();
                }
            }
            Data::Numbers { dtype: from, bytes } => {
                let mut texts = texts(bytes, from)?;
                let masked = texts
                    .iter_mut()
                    .zip(&self.missing)
                    .filter(|(_, missing)| **missing);
                masked.for_each(|(text, _)| *text = None);
                self.missing = texts.iter().map(Option::is_none).collect();
                let texts = texts
                    .iter()
                    .map(|t| t.as_deref().unwrap_or_default().as_bytes());
                self.data = Data::Text(texts.collect());
            }
            Data::Text(_) if !dtype.is_string() => bail!("Text where {dtype} is expected"),
            Data::Text(strings) if self.missing.contains(&true) => {
                let texts = strings.iter().zip(&self.missing);
                *strings = texts
                    .map(|(t, missing)| if *missing { &[] } else { t })
                    .collect();
            }
            Data::Text(_) => {}
        }
        Ok(self)
    }
}

/// Numbers as text, as Python prints them; `None` for NaN.
fn texts(bytes: &[u8], dtype: &Dtype) -> Result<Vec<Option<String>>> {
    let Dtype::Number { kind, size, order } = *dtype else {
        bail!("{dtype} where numbers are expected");
    };
    Ok(match (kind, size) {
        (Kind::Bool, _) => bytes
            .par_iter()
            .map(|b| Some(if *b == 0 { "False" } else { "True" }.into()))
            .collect(),
        (Kind::Complex, _) => {
            let part = Dtype::Number {
                kind: Kind::Float,
                size: size / 2,
                order,
            };
            let parts = texts(bytes, &part)?;
            parts.as_chunks().0.iter().map(complex).collect()
        }
        (Kind::Float, 8) => promote::floats(bytes, dtype)?
            .par_iter()
            .map(|v| (!v.is_nan()).then(|| repr(&format!("{v:e}"))))
            .collect(),
        // The digits that tell a float32 from its neighbours: 0.1, where as a float64 it is 0.10000000149011612.
        // float16 is printed as a float32.
        (Kind::Float, _) => promote::floats(bytes, dtype)?
            .par_iter()
            .map(|v| (!v.is_nan()).then(|| repr(&format!("{:e}", *v as f32))))
            .collect(),
        (Kind::Int, _) => promote::convert(bytes, dtype, &Dtype::INT64)?
            .as_chunks()
            .0
            .par_iter()
            .map(|b| Some(i64::from_ne_bytes(*b).to_string()))
            .collect(),
        (Kind::Uint, _) => promote::convert(bytes, dtype, &Dtype::native(Kind::Uint, 8))?
            .as_chunks()
            .0
            .par_iter()
            .map(|b| Some(u64::from_ne_bytes(*b).to_string()))
            .collect(),
    })
}

/// A float as Python's `repr` has it, from Rust's shortest digits in scientific notation: plain from 1e-4 to 1e16.
/// `1.5e-7` -> `1.5e-07`, `1e2` -> `100.0`, `1.2e-4` -> `0.00012`, `inf` -> `inf`.
fn repr(scientific: &str) -> String {
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific.to_string(); // inf
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let digits = digits.replace('.', "");
    if exponent < 0 {
        return format!(
            "{sign}0.{}{digits}",
            "0".repeat(exponent.unsigned_abs() as usize - 1)
        );
    }
    let whole = exponent as usize + 1;
    let digits = format!("{digits:0<width$}", width = whole + 1);
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

/// A complex number as Python prints it, from its parts. Python leaves out `.0` in both parts, and a real part of 0.
/// `None` where a part is NaN.
fn complex([real, imaginary]: &[Option<String>; 2]) -> Option<String> {
    let real = real.as_deref()?.trim_end_matches(".0");
    let imaginary = imaginary.as_deref()?.trim_end_matches(".0");
    let plus = if imaginary.starts_with('-') { "" } else { "+" };
    Some(match real {
        "0" => format!("{imaginary}j"),
        _ => format!("({real}{plus}{imaginary}j)"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(dtype: Dtype, bytes: &[u8]) -> Values {
        let bytes = bytes.to_vec();
        Data::Numbers { dtype, bytes }.into()
    }

    fn as_texts(values: Values) -> Vec<Option<String>> {
        let text = values.cast(&Dtype::String).unwrap();
        (0..text.data.len())
            .map(|i| {
                (!text.is_missing(i)).then(|| String::from_utf8(text.data.get(i).to_vec()).unwrap())
            })
            .collect()
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        // Each is what `repr` gives in Python 3.
        let cases = [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (-123.456, "-123.456"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (1e15, "1000000000000000.0"),
            (1234567890123456.7, "1234567890123456.8"),
            (1e16, "1e+16"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (100.0, "100.0"),
        ];
        for (value, text) in cases {
            let found = as_texts(numbers(Dtype::FLOAT64, &value.to_ne_bytes()));
            assert_eq!(found, [Some(text.to_string())]);
        }
        let single = numbers(Dtype::native(Kind::Float, 4), &0.1f32.to_ne_bytes());
        assert_eq!(as_texts(single), [Some("0.1".into())]);
        let nan = numbers(Dtype::FLOAT64, &f64::NAN.to_ne_bytes());
        assert_eq!(as_texts(nan), [None]);
    }

    #[test]
    fn complex_numbers_and_bools_too() {
        let parts = [1.0, 2.0, 0.0, -0.5, 1e20, f64::INFINITY, f64::NAN, 0.0];
        let bytes: Vec<u8> = parts.iter().flat_map(|v: &f64| v.to_ne_bytes()).collect();
        let found = as_texts(numbers(Dtype::native(Kind::Complex, 16), &bytes));
        let expected = ["(1+2j)", "-0.5j", "(1e+20+infj)"].map(|t| Some(t.to_string()));
        assert_eq!(found[..3], expected);
        assert_eq!(found[3], None);
        let bools = as_texts(numbers(Dtype::BOOL, &[1, 0]));
        assert_eq!(bools, [Some("True".into()), Some("False".into())]);
    }

    proptest! {
        #[test]
        fn floats_come_back_from_their_text(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let found = as_texts(numbers(Dtype::FLOAT64, &value.to_ne_bytes()));
            match &found[0] {
                None => prop_assert!(value.is_nan()),
                Some(text) => prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits),
            }
        }

        #[test]
        fn integers_are_decimal(value in any::<i64>()) {
            let found = as_texts(numbers(Dtype::INT64, &value.to_ne_bytes()));
            prop_assert_eq!(&found, &[Some(value.to_string())]);
            let unsigned = as_texts(numbers(Dtype::native(Kind::Uint, 8), &value.to_ne_bytes()));
            prop_assert_eq!(&unsigned, &[Some((value as u64).to_string())]);
        }
    }

    #[test]
    fn a_masked_number_is_neither_converted_nor_shown() {
        let odd = (1i64 << 53) + 1;
        let bytes: Vec<u8> = [odd, 7].iter().flat_map(|v| v.to_ne_bytes()).collect();
        let mut values = numbers(Dtype::INT64, &bytes);
        assert!(values.clone().cast(&Dtype::FLOAT64).is_err());
        values.missing = vec![true, false];
        let floats = values.clone().cast(&Dtype::FLOAT64).unwrap();
        assert_eq!(floats.data.get(0), 0f64.to_ne_bytes());
        assert_eq!(floats.missing, [true, false]);
        assert_eq!(as_texts(values), [None, Some("7".into())]);
    }
}

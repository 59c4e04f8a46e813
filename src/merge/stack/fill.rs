//! The value of what no input holds: rows and columns that an outer join adds.
//!
//! A type that does not hold the value becomes a wider one, by numpy's promotion. In a sparse matrix 0 takes no place,
//! and any other value becomes a non-zero of each row that lacks the column: such a matrix may grow to the size of a
//! dense one.

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::dtype::{ints, promote};
use crate::rows::csr::CsrBlock;
use crate::store::spec::{Dtype, Kind};

/// Gives `value` a place among values of type `dtype`: the type that holds both, and the bytes of `value` in it. The
/// type stays where that is possible; floats round `value` to their own width, as pandas does.
pub fn among(dtype: &Dtype, value: f64) -> Result<(Dtype, Vec<u8>)> {
    if let Some(bytes) = stored(dtype, value) {
        return Ok((dtype.clone(), bytes));
    }
    let integers = [Dtype::INT64, Dtype::native(Kind::Uint, 8)];
    let wanted = integers.into_iter().find(|d| stored(d, value).is_some());
    let wanted = wanted.unwrap_or(Dtype::FLOAT64);
    let wider = promote::result_type(&[dtype.clone(), wanted])
        .with_context(|| format!("{dtype} cannot be missing"))?;
    let bytes = stored(&wider, value).with_context(|| format!("{wider} cannot hold {value}"))?;
    Ok((wider, bytes))
}

/// The bytes of `value` in a type of numbers; `None` where the type does not hold it. float16 takes integers of up to
/// 2048 and NaN alone, though it holds fractions too: 0.5 among float16 makes float64.
fn stored(dtype: &Dtype, value: f64) -> Option<Vec<u8>> {
    /// Integers up to here are float16 exactly.
    const HALF: f64 = 2048.0;
    let single = value as f32;
    let (from, bytes) = match (dtype.kind()?, dtype.size()) {
        (Kind::Bool, _) => return (value == 0.0 || value == 1.0).then(|| vec![value as u8]),
        (Kind::Float, 2) if value.is_nan() => return promote::nan(dtype).ok(),
        (Kind::Float, 2) if value.abs() > HALF => return None,
        (Kind::Float, 4) | (Kind::Complex, 8) => {
            if single.is_infinite() && value.is_finite() {
                return None;
            }
            (Dtype::native(Kind::Float, 4), single.to_ne_bytes().to_vec())
        }
        (Kind::Float, 8) | (Kind::Complex, 16) => (Dtype::FLOAT64, value.to_ne_bytes().to_vec()),
        // The conversions saturate: 2^63 becomes the largest integer, which as a float is 2^63 again.
        _ if value as i64 as f64 == value && value < i64::MAX as f64 => {
            (Dtype::INT64, (value as i64).to_ne_bytes().to_vec())
        }
        _ if value as u64 as f64 == value && value < u64::MAX as f64 => (
            Dtype::native(Kind::Uint, 8),
            (value as u64).to_ne_bytes().to_vec(),
        ),
        _ => return None,
    };
    promote::convert(&bytes, &from, dtype).ok()
}

/// Gives every row `value` in each of `columns`, where it has nothing yet; rows come out sorted by column.
pub fn columns(block: &CsrBlock, columns: &[u64], value: &[u8]) -> Result<CsrBlock> {
    let old = ints::read(&block.indices, &block.index)?;
    let rows: Vec<Vec<(u64, Option<usize>)>> = block
        .ptr
        .par_windows(2)
        .map(|span| {
            let held = (span[0] as usize..span[1] as usize).map(|i| (old[i], Some(i)));
            let mut row: Vec<_> = held.chain(columns.iter().map(|c| (*c, None))).collect();
            row.sort_by_key(|nonzero| nonzero.0);
            row
        })
        .collect();
    let mut ptr = vec![0];
    let (mut indices, mut data) = (vec![], vec![]);
    for row in rows {
        for (column, from) in row {
            indices.push(column);
            data.extend_from_slice(match from {
                Some(i) => &block.data[i * block.item..][..block.item],
                None => value,
            });
        }
        ptr.push(indices.len() as u64);
    }
    Ok(CsrBlock {
        ptr,
        indices: ints::write(&indices, &block.index)?.into(),
        index: block.index.clone(),
        data: data.into(),
        item: block.item,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_stays_where_it_holds_the_value() {
        let number = |kind, size| Dtype::native(kind, size);
        for (from, value, to) in [
            (number(Kind::Int, 4), 0.0, number(Kind::Int, 4)),
            (number(Kind::Uint, 1), 255.0, number(Kind::Uint, 1)),
            (number(Kind::Uint, 1), -1.0, Dtype::INT64),
            (number(Kind::Int, 1), 0.5, Dtype::FLOAT64),
            (number(Kind::Int, 8), f64::NAN, Dtype::FLOAT64),
            (number(Kind::Uint, 4), 9.2e18, Dtype::INT64),
            (number(Kind::Uint, 4), 1.8e19, number(Kind::Uint, 8)),
            (number(Kind::Float, 4), 0.1, number(Kind::Float, 4)),
            (number(Kind::Float, 4), 1e300, Dtype::FLOAT64),
            (number(Kind::Float, 2), 7.0, number(Kind::Float, 2)),
            (number(Kind::Float, 2), f64::NAN, number(Kind::Float, 2)),
            (number(Kind::Complex, 8), 0.5, number(Kind::Complex, 8)),
            (Dtype::BOOL, 1.0, Dtype::BOOL),
            (Dtype::BOOL, 2.0, Dtype::INT64),
            (Dtype::BOOL, f64::NAN, Dtype::FLOAT64),
        ] {
            let (found, bytes) = among(&from, value).unwrap();
            assert_eq!(found, to, "{value} among {from}");
            assert_eq!(bytes.len(), to.size());
        }
        assert!(among(&Dtype::String, 0.0).is_err());
        let (_, bytes) = among(&number(Kind::Float, 4), 0.1).unwrap();
        assert_eq!(bytes, 0.1f32.to_ne_bytes());
    }

    #[test]
    fn filled_columns_stand_in_their_place() {
        let index = Dtype::native(Kind::Int, 4);
        let block = CsrBlock {
            ptr: vec![0, 2, 2],
            indices: ints::write(&[3, 1], &index).unwrap().into(),
            index: index.clone(),
            data: vec![30, 10].into(),
            item: 1,
        };
        let filled = columns(&block, &[0, 2], &[7]).unwrap();
        assert_eq!(filled.ptr, [0, 4, 6]);
        assert_eq!(
            ints::read(&filled.indices, &index).unwrap(),
            [0, 1, 2, 3, 0, 2]
        );
        assert_eq!(filled.data[..], [7, 10, 7, 30, 7, 7]);
    }
}

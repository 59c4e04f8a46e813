//! Yes or no from a column of any type: which cells `filter --obs-column` keeps.
//!
//! `commands/filter.rs` calls it with a mask of all cells. Each value becomes an answer; of a categorical column each
//! category does, and a cell finds its answer by its code.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use tracing::warn;

use super::listed;
use crate::dtype::promote;
use crate::frame::column::{Column, ColumnKind};
use crate::frame::values::{Data, Values};
use crate::report::failure::Failure;
use crate::report::words::clause;
use crate::store::spec::Kind;

/// Takes from `mask` the cells that `column` does not keep. Bools are what they are, numbers yes unless zero, text is
/// true, false, 1 or 0 in any case, and the values of a categorical column are its categories. What is missing is no;
/// NaN is yes, as in numpy.
///
/// # Errors
/// Other text, with a list of it.
pub fn keep(column: &Column, name: &str, mask: &mut [bool]) -> Result<()> {
    let mut bad = BTreeSet::new();
    let (mut missing, mut nan) = (0u64, 0u64);
    let categories = match &column.kind {
        ColumnKind::Categorical { categories, .. } => Some(categories.read_all()?),
        _ => None,
    };
    let of_category = categories.as_ref().map(truths).transpose()?;
    for rows in column.blocks()? {
        let mask = &mut mask[rows.start as usize..rows.end as usize];
        let (values, codes, answers);
        let (values, answers, codes) = match (&categories, &of_category) {
            (Some(values), Some(answers)) => {
                codes = column.codes(rows)?;
                (values, answers, Some(&codes))
            }
            _ => {
                values = column.read(rows)?;
                answers = truths(&values)?;
                (&values, &answers, None)
            }
        };
        for (i, keep) in mask.iter_mut().enumerate() {
            // The code of a cell without a category (-1) is beyond all answers, and so is missing.
            let at = codes.map_or(i, |codes| usize::try_from(codes[i]).unwrap_or(usize::MAX));
            *keep &= match answers.get(at) {
                None | Some(Answer::Missing) => {
                    missing += 1;
                    false
                }
                Some(Answer::No) => false,
                Some(Answer::Yes) => true,
                Some(Answer::Nan) => {
                    nan += 1;
                    true
                }
                Some(Answer::Neither) => {
                    bad.insert(String::from_utf8_lossy(values.data.get(at)).into_owned());
                    false
                }
            };
        }
    }
    // Only what cells have is refused: an unused category such as `unknown` does no harm.
    if !bad.is_empty() {
        let bad = listed(bad.iter().map(String::as_str), bad.len());
        bail!(Failure::value(format!(
            "Column '{name}' says neither yes nor no: {bad}; it takes true, false, 1 and 0 in any case. To choose by \
             its values, give --where, as in --where '{name} == \"value\"'"
        )));
    }
    if missing > 0 {
        let cells = clause(missing, "cell", ("has", "have"));
        warn!("{cells} no value in '{name}', which counts as false");
    }
    if nan > 0 {
        let cells = clause(nan, "cell", ("is", "are"));
        warn!("{cells} NaN in '{name}', which is not zero and so counts as true");
    }
    Ok(())
}

/// What one value says. `Nan` and `Missing` are told apart for the warnings: the former keeps its cell, the latter does
/// not. `Neither` is text such as `maybe`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    No,
    Yes,
    Nan,
    Missing,
    Neither,
}

/// An answer for each value. Any byte that is not 0 makes an integer or bool yes, whatever its width and byte order.
fn truths(values: &Values) -> Result<Vec<Answer>> {
    let yes = |yes| if yes { Answer::Yes } else { Answer::No };
    let mut answers: Vec<Answer> = match &values.data {
        Data::Text(strings) => strings.iter().map(word).collect(),
        Data::Numbers { dtype, bytes } => match dtype.kind() {
            Some(Kind::Float) => promote::floats(bytes, dtype)?
                .iter()
                .map(|v| {
                    if v.is_nan() {
                        Answer::Nan
                    } else {
                        yes(*v != 0.0)
                    }
                })
                .collect(),
            Some(Kind::Complex) => bail!("Complex numbers say neither yes nor no"),
            _ => bytes
                .chunks_exact(dtype.size().max(1))
                .map(|v| yes(v.iter().any(|b| *b != 0)))
                .collect(),
        },
    };
    let masked = answers.iter_mut().zip(&values.missing);
    masked
        .filter(|(_, missing)| **missing)
        .for_each(|(answer, _)| *answer = Answer::Missing);
    Ok(answers)
}

fn word(text: &[u8]) -> Answer {
    match text {
        b"1" => Answer::Yes,
        b"0" => Answer::No,
        text if text.eq_ignore_ascii_case(b"true") => Answer::Yes,
        text if text.eq_ignore_ascii_case(b"false") => Answer::No,
        _ => Answer::Neither,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::spec::Dtype;

    #[test]
    fn numbers_and_words_say_yes_or_no() {
        use Answer::{Missing, Nan, Neither, No, Yes};
        let floats = [0.0, -0.0, 0.5, f64::NAN, 1.0];
        let values = Values {
            data: Data::Numbers {
                dtype: Dtype::FLOAT64,
                bytes: floats.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            },
            missing: vec![false, false, false, false, true],
        };
        assert_eq!(truths(&values).unwrap(), [No, No, Yes, Nan, Missing]);
        let words: [&[u8]; 7] = [b"TRUE", b"false", b"1", b"0", b"yes", b"", b" true"];
        let values: Values = Data::Text(words.into_iter().collect()).into();
        let expected = [Yes, No, Yes, No, Neither, Neither, Neither];
        assert_eq!(truths(&values).unwrap(), expected);
    }
}

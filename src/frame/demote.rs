//! A categorical column that has too many categories, as plain values: numbers where all categories are numbers (text
//! that reads as such too), else text. What is missing stays missing.
//!
//! Neither the categories nor the rows are held whole: for some rows at a time, those categories that they have are
//! read in the order of the file.
//!
//! [`Demoted`] is the column of one file (slice, filter), [`United`] what the columns of several come to (merge), whose
//! categories are in memory already. Both choose a type in two steps: that of the categories, in which text counts as
//! numbers if each reads as one and no two become equal; then the first of [`candidates`] that holds all of them (in
//! one file, all that some row has).

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use tracing::info;

use super::categories::Categories;
use super::column::Column;
use super::distinct;
use super::plain::ValuesPlan;
use super::values::{Data, Values};
use crate::anndata::elements::MissingText;
use crate::anndata::encoding::extras;
use crate::dtype::{ints, number};
use crate::store::Group;
use crate::store::spec::{Attrs, Dtype, Kind};

/// Bytes of rows that are put together at a time.
const BLOCK: u64 = 48 << 20;

/// What becomes of a categorical column.
pub struct Demoted<'a> {
    column: &'a Column,
    /// The type of its categories, of text that is numbers that of the numbers. int64 or float64 where they are text
    /// that reads as numbers.
    of_categories: Dtype,
    plan: ValuesPlan,
}

impl Demoted<'_> {
    /// Looks at all categories and codes; an error where a code has no category.
    pub fn of(column: &Column) -> Result<Demoted<'_>> {
        let categories = column.values_or_categories();
        let (used, missing) = used(column)?;
        let of_categories = type_of(categories, missing)?;
        let plans = candidates(&of_categories, missing);
        let mut fits = vec![true; plans.len()];
        for rows in categories.blocks()? {
            let mut values = values(categories, rows.clone(), &of_categories)?;
            let unused = rows.map(|c| !is_set(&used, c as usize));
            // A category that no row has need not fit: what is missing is not converted.
            values.missing = unused.collect();
            for (plan, fits) in plans.iter().zip(&mut fits) {
                *fits = *fits && values.clone().cast(&plan.dtype()).is_ok();
            }
        }
        let mut plans = plans.into_iter().zip(fits);
        let plan = plans.find(|(_, fits)| *fits).map(|(plan, _)| plan);
        Ok(Demoted {
            column,
            plan: plan.context("No type holds its categories")?,
            of_categories,
        })
    }

    /// As [`ValuesPlan::plain`], for the column `name` of obs.
    pub fn plain(self, texts: Option<&MissingText>, name: &str) -> Result<Self> {
        let plan = self.plan.plain(texts, &format!("obs/{name}"))?;
        Ok(Demoted { plan, ..self })
    }

    /// Says what becomes of the column `name` of obs, which has more than `most` categories.
    pub fn tell(&self, name: &str, most: u64) {
        let count = self.column.values_or_categories().rows();
        tell(name, count, most, &self.plan);
    }

    /// Writes the values as column `path`.
    pub fn write(&self, out: &Group, path: &str) -> Result<()> {
        let mut writer = self.plan.create(out, path, self.column.rows())?;
        let value = self.column.values_or_categories().row_bytes()?;
        // A row takes its code, the pair by which it is sorted, its place (32 bytes), and its value about three times.
        let step = usize::try_from(BLOCK / (32 + 3 * value))?.max(1);
        for start in (0..self.column.rows()).step_by(step) {
            let rows = start..self.column.rows().min(start + step as u64);
            writer.append(&self.plan.convert(self.read(rows)?)?)?;
        }
        writer.finish()?;
        out.set_attrs(path, &extras(&self.column.attrs))
    }

    /// Codes `[7, 2, -1, 7]`: in the order of codes the rows are 1, 0, 3, 2, so the categories are gone through once,
    /// and each of these rows finds its value in the block that has its category. Then the values go back to their
    /// rows.
    fn read(&self, rows: Range<u64>) -> Result<Values> {
        let (categories, dtype) = (self.column.values_or_categories(), self.plan.dtype());
        let codes = self.column.codes(rows)?;
        let mut order: Vec<(u64, u32)> = codes.iter().copied().zip(0..).collect();
        order.par_sort_unstable();
        // What is missing has the largest code, so it comes last, and has no value here.
        let mut sorted = Data::empty(&dtype);
        let mut left = order.as_slice();
        for block in categories.blocks()? {
            let here = left.partition_point(|(code, _)| *code < block.end);
            if here == 0 {
                continue;
            }
            let data = values(categories, block.clone(), &self.of_categories)?;
            let read = data.cast(&dtype)?.data;
            let (now, later) = left.split_at(here);
            now.iter()
                .for_each(|(code, _)| sorted.push(read.get((code - block.start) as usize)));
            left = later;
        }
        let mut places = vec![usize::MAX; codes.len()];
        let present = &order[..sorted.len()];
        present
            .iter()
            .enumerate()
            .for_each(|(at, (_, row))| places[*row as usize] = at);
        let place = |at: usize| (at != usize::MAX).then_some(at);
        Values::from(sorted).at(places.into_iter().map(place))
    }
}

/// The categories that the columns of many inputs unite to, as plain values. All categories are in `values`, in the
/// order of their codes. Those that no row has count here, as it is not known which these are.
pub struct United {
    categories: Categories,
    /// Of each category.
    values: Values,
    pub plan: ValuesPlan,
}

impl United {
    /// `missing` says that rows will be missing; `name` and `most` are for the message.
    pub fn of(categories: Categories, missing: bool, name: &str, most: u64) -> Result<United> {
        let all = categories.values();
        let mut numbers = Numbers::of(&all.dtype());
        numbers.add(all);
        let mut parsed = parsed(all.clone().into(), &numbers.dtype())?;
        let count = all.len() as u64;
        // Then they stay text.
        if all.dtype().is_string() && clash(count, missing, |see| see(parsed.clone()))? {
            parsed = all.clone().into();
        }
        let mut plans = candidates(&parsed.data.dtype(), missing).into_iter();
        let fits = plans.find_map(|plan| {
            let values = parsed.clone().cast(&plan.dtype()).ok()?;
            Some((plan, values))
        });
        let (plan, values) = fits.context("No type holds its categories")?;
        tell(name, all.len() as u64, most, &plan);
        Ok(United {
            categories,
            values,
            plan,
        })
    }

    /// As [`ValuesPlan::plain`].
    pub fn plain(self, texts: Option<&MissingText>, name: &str) -> Result<United> {
        let plan = self.plan.plain(texts, name)?;
        Ok(United { plan, ..self })
    }

    /// The categories, to encode columns by.
    pub fn categories(&self) -> &Categories {
        &self.categories
    }

    /// The values of what was encoded.
    pub fn decode(&self, codes: &Values) -> Result<Values> {
        let Data::Numbers { dtype, bytes } = &codes.data else {
            bail!("Its codes are text");
        };
        self.plan
            .convert(self.values.of_codes(&ints::read(bytes, dtype)?)?)
    }
}

/// As the Python tool says it.
fn tell(name: &str, categories: u64, most: u64, plan: &ValuesPlan) {
    let kind = match plan.dtype() {
        dtype if dtype.is_string() => "string".into(),
        dtype => format!("numeric ({dtype})"),
    };
    info!(
        "obs column '{name}' has {categories} categories (more than {most}): treating it as {kind}, not categorical."
    );
}

/// In what a column may be stored, best first. int32 and float32 come first; a value that these do not hold exactly
/// asks for the next.
fn candidates(dtype: &Dtype, missing: bool) -> Vec<ValuesPlan> {
    let nullable = |dtype, kind| ValuesPlan::Nullable(dtype, Attrs::encoding(kind, "0.1.0"));
    let (int32, float32) = (Dtype::native(Kind::Int, 4), Dtype::native(Kind::Float, 4));
    match (dtype.kind(), missing) {
        (Some(Kind::Float), _) => {
            vec![ValuesPlan::Plain(float32), ValuesPlan::Plain(dtype.clone())]
        }
        (Some(_), false) => vec![ValuesPlan::Plain(int32), ValuesPlan::Plain(dtype.clone())],
        (Some(_), true) => vec![
            ValuesPlan::Plain(float32),
            ValuesPlan::Plain(Dtype::FLOAT64),
            nullable(dtype.clone(), "nullable-integer"),
        ],
        (None, false) => vec![ValuesPlan::Plain(Dtype::String)],
        (None, true) => vec![nullable(Dtype::String, "nullable-string-array")],
    }
}

/// The type of the numbers that all categories are, else text. `missing` says whether rows have none.
fn type_of(categories: &Column, missing: bool) -> Result<Dtype> {
    let mut numbers = Numbers::of(&categories.dtype());
    for rows in categories.blocks()? {
        if numbers.decided() {
            break;
        }
        numbers.add(&categories.read(rows)?.data);
    }
    let dtype = numbers.dtype();
    // Only texts of floats may be equal as numbers: an integer is written in one way (`number::integer`).
    let is_text = categories.dtype().is_string() && dtype.kind() == Some(Kind::Float);
    let clash = is_text
        && clash(categories.rows(), missing, |see| {
            let mut blocks = categories.blocks()?;
            blocks.try_for_each(|rows| see(values(categories, rows, &dtype)?))
        })?;
    Ok(if clash { Dtype::String } else { dtype })
}

/// Whether as numbers texts are told apart no more: `1` and `1.0`, or `nan` where rows are `missing` too. `each` hands
/// on the numbers, about `count` of them.
fn clash(
    count: u64,
    missing: bool,
    each: impl Fn(&mut dyn FnMut(Values) -> Result<()>) -> Result<()>,
) -> Result<bool> {
    let mut nan = false;
    let repeats = distinct::repeats(count, BLOCK, |see| {
        each(&mut |numbers| {
            let numbers = numbers.comparable()?;
            // `comparable` makes missing values of NaN.
            nan |= numbers.missing.contains(&true);
            see(distinct::keys(&numbers));
            Ok(())
        })
    })?;
    Ok(repeats.count > 0 || missing && nan)
}

/// Which numbers categories are that were looked at. All integers, or all floats, as far as they were added; false once
/// is false for good.
struct Numbers {
    stored: Dtype,
    ints: bool,
    floats: bool,
}

impl Numbers {
    fn of(stored: &Dtype) -> Numbers {
        Numbers {
            stored: stored.clone(),
            ints: stored.is_string(),
            floats: stored.is_string(),
        }
    }

    fn decided(&self) -> bool {
        !self.ints && !self.floats
    }

    fn add(&mut self, categories: &Data) {
        let Data::Text(strings) = categories else {
            return;
        };
        let all = |is: fn(&str) -> bool| {
            let texts = (0..strings.len()).into_par_iter();
            texts.all(|i| std::str::from_utf8(strings.get(i)).is_ok_and(is))
        };
        self.ints = self.ints && all(|text| number::integer(text).is_some());
        self.floats = self.floats && all(|text| number::float(text).is_some());
    }

    fn dtype(self) -> Dtype {
        match (self.stored.kind(), self.ints, self.floats) {
            (Some(Kind::Int | Kind::Uint | Kind::Float), ..) => self.stored,
            (_, true, _) => Dtype::INT64,
            (_, _, true) => Dtype::FLOAT64,
            _ => Dtype::String,
        }
    }
}

/// Some categories as values of the type that [`type_of`] gave.
fn values(categories: &Column, rows: Range<u64>, dtype: &Dtype) -> Result<Values> {
    parsed(categories.read(rows)?, dtype)
}

/// Text is parsed, numbers are converted where they are not of that type.
fn parsed(values: Values, dtype: &Dtype) -> Result<Values> {
    ensure!(
        !values.missing.contains(&true),
        "One of its categories is missing"
    );
    let Data::Text(strings) = &values.data else {
        return values.cast(dtype);
    };
    if dtype.is_string() {
        return Ok(values);
    }
    let texts = (0..strings.len()).into_par_iter().map(|i| strings.get(i));
    let texts = texts.map(|text| std::str::from_utf8(text).unwrap_or_default());
    let numbers: Option<Vec<[u8; 8]>> = if dtype.is_integer() {
        texts
            .map(|t| number::integer(t).map(i64::to_ne_bytes))
            .collect()
    } else {
        texts
            .map(|t| number::float(t).map(f64::to_ne_bytes))
            .collect()
    };
    let numbers = numbers.context("A category is no number any more")?;
    Ok(Data::Numbers {
        dtype: dtype.clone(),
        bytes: numbers.into_flattened(),
    }
    .into())
}

/// Which categories some row has, as bits, and whether a row has none. One bit for each category: 12 MB for 100
/// million.
fn used(column: &Column) -> Result<(Vec<u64>, bool)> {
    let categories = column.values_or_categories().rows();
    let mut used = vec![0u64; usize::try_from(categories.div_ceil(64))?];
    let mut missing = false;
    for rows in column.blocks()? {
        for code in column.codes(rows)? {
            ensure!(
                code < categories || code == u64::MAX,
                "It has code {}, but {categories} categories",
                code as i64
            );
            match code {
                u64::MAX => missing = true,
                code => used[(code / 64) as usize] |= 1 << (code % 64),
            }
        }
    }
    Ok((used, missing))
}

fn is_set(bits: &[u64], at: usize) -> bool {
    bits[at / 64] >> (at % 64) & 1 == 1
}

//! What is known of the columns of one name in many inputs, each told once: all that [`unify`](super::unify) needs to
//! decide what they become together.
//!
//! Types, categories and lengths tell it nearly always. Where they do not, the columns are told once more, and their
//! values are looked at.

use anyhow::Result;

use super::categories::Union;
use super::column::{Column, ColumnKind};
use super::values::Values;
use crate::dtype::promote;
use crate::store::spec::{Attr, Dtype, Kind};

/// The columns of one name, of all inputs that have one.
#[derive(Default)]
pub struct Survey {
    /// The types of values or categories, each once, in order of appearance.
    dtypes: Vec<Dtype>,
    /// The same of those that have any rows.
    used: Vec<Dtype>,
    /// Rows of all columns together, and of those without categories.
    pub rows: u64,
    plain_rows: u64,
    pub categorical: bool,
    pub nullable: bool,
    pub ordered: bool,
    /// Which of pandas's two missing values it is, where all columns agree.
    mark: Option<Option<Attr>>,
    pub union: Union,
    /// The types of columns in which some value is there, as far as they were looked at.
    present: Vec<Dtype>,
    looked: bool,
    /// Types that do not hold some value exactly.
    unfit: Vec<Dtype>,
    pub nan: bool,
    /// How many categories a column may have, where there is a limit.
    pub most_categories: Option<u64>,
    /// Whether a row has no category, where there are more than that.
    pub without: bool,
}

impl Survey {
    /// Of a column that may have so many categories.
    pub fn with_limit(most_categories: Option<u64>) -> Survey {
        Survey {
            most_categories,
            ..Survey::default()
        }
    }

    /// Tells of the column of the next input that has one.
    pub fn add(&mut self, column: &Column) -> Result<()> {
        let dtype = column.dtype();
        let mark = column.attrs.get("na-value").cloned();
        let values = column.values_or_categories().rows();
        if values > 0 && !self.used.contains(&dtype) {
            self.used.push(dtype.clone());
        }
        if !self.dtypes.contains(&dtype) {
            self.dtypes.push(dtype);
        }
        match &mut self.mark {
            None => self.mark = Some(mark),
            Some(agreed) if *agreed != mark => *agreed = None,
            Some(_) => {}
        }
        self.rows += column.rows();
        self.ordered |= column.is_ordered();
        self.nullable |= matches!(column.kind, ColumnKind::Nullable(_));
        match column.kind {
            ColumnKind::Categorical { .. } => {
                self.categorical = true;
                self.union.add(column)
            }
            _ => {
                self.plain_rows += column.rows();
                self.union.lose_order();
                Ok(())
            }
        }
    }

    /// Whether values must be looked at; `absent` says that rows will be missing. If so, every column is to be told
    /// to [`Survey::look`] in the same order.
    pub fn reopen(&mut self, absent: bool) -> bool {
        let open = self.is_open(absent);
        // All columns are added to it once more, plain ones with their values.
        if open {
            self.union = Union::default();
        }
        open
    }

    fn is_open(&self, absent: bool) -> bool {
        if self.categorical {
            return self.plain_rows > 0 || self.has_too_many();
        }
        let missing = absent || self.nullable;
        let inexact = |to: &Dtype| self.dtypes.iter().any(|from| !promote::is_exact(from, to));
        match self.candidates().first() {
            // A column without a value says nothing of the type.
            None => self.nullable || self.dtypes.iter().any(may_be_nan),
            Some(Dtype::String) => false,
            Some(dtype) if inexact(dtype) => true,
            Some(dtype) => {
                missing && !self.nullable && dtype.is_integer() && inexact(&Dtype::FLOAT64)
            }
        }
    }

    fn has_too_many(&self) -> bool {
        self.most_categories
            .is_some_and(|most| self.union.at_most() > most)
    }

    /// Looks at the values of a column.
    pub fn look(&mut self, column: &Column) -> Result<()> {
        if self.categorical {
            self.union.add(column)?;
            self.without = self.without || has_missing(column)?;
            return Ok(());
        }
        for rows in column.blocks()? {
            self.look_at(&column.read(rows)?)?;
        }
        Ok(())
    }

    /// Looks at values of a column that is not categorical.
    pub fn look_at(&mut self, values: &Values) -> Result<()> {
        if self.categorical {
            return self.union.add_plain(values.clone());
        }
        let dtype = values.data.dtype();
        self.looked = true;
        if !self.present.contains(&dtype) && !values.is_void() {
            self.present.push(dtype.clone());
        }
        let numbers = self.dtypes.iter().filter(|dtype| is_number(dtype));
        let numbers = candidates(&numbers.cloned().collect::<Vec<_>>());
        let all = self.candidates().into_iter().chain(numbers);
        for to in all.chain([Dtype::FLOAT64]) {
            let known = promote::is_exact(&dtype, &to) || self.unfit.contains(&to);
            if !known && values.clone().cast(&to).is_err() {
                self.unfit.push(to);
            }
        }
        if may_be_nan(&dtype) && !self.nan {
            let texts = values.clone().cast(&Dtype::String)?;
            self.nan = texts.missing.contains(&true);
        }
        Ok(())
    }

    /// The type that holds all values, none of them categorical; `None` where only text does.
    pub fn common(&self) -> Option<Dtype> {
        let mut candidates = self.candidates().into_iter();
        candidates.find(|dtype| self.fits(dtype))
    }

    /// The type that holds all categories, and all values of columns without; `None` where only text does.
    pub fn common_category(&self) -> Option<Dtype> {
        let mut candidates = candidates(&self.category_dtypes()).into_iter();
        candidates.find(|dtype| dtype.is_string() || self.union.fits(dtype))
    }

    /// Whether a type of numbers holds all values, as far as they were looked at.
    pub fn fits(&self, dtype: &Dtype) -> bool {
        !self.unfit.contains(dtype)
    }

    /// The types that have a say: of columns in which a value is there, where that was looked at.
    pub fn dtypes(&self) -> &[Dtype] {
        if self.looked && !self.present.is_empty() {
            &self.present
        } else {
            &self.dtypes
        }
    }

    /// Whether some column has rows and no value at all, so that its type has no say.
    pub fn is_partly_void(&self) -> bool {
        self.looked && self.used.iter().any(|dtype| !self.dtypes().contains(dtype))
    }

    /// The types of what has values, or of all where nothing has.
    pub fn category_dtypes(&self) -> Vec<Dtype> {
        let used = self.union.dtypes();
        if used.is_empty() {
            self.dtypes.clone()
        } else {
            used
        }
    }

    /// The attribute `na-value` that all columns have.
    pub fn mark(&self) -> Option<&Attr> {
        self.mark.as_ref()?.as_ref()
    }

    fn candidates(&self) -> Vec<Dtype> {
        candidates(self.dtypes())
    }
}

/// The types that may hold the values of columns of `dtypes`, the best first; none where only text does.
fn candidates(dtypes: &[Dtype]) -> Vec<Dtype> {
    let is_bool = |d: &Dtype| d.kind() == Some(Kind::Bool);
    if dtypes.iter().all(Dtype::is_string) {
        return vec![Dtype::String];
    }
    if dtypes.iter().any(is_bool) && !dtypes.iter().all(is_bool) {
        return vec![];
    }
    // What no other type holds stays as it is, or is not put together.
    match dtypes {
        [only] if only.is_bytes() => return vec![only.clone()],
        _ => {}
    }
    let Some(numpy) = promote::result_type(dtypes) else {
        return vec![];
    };
    let mut candidates = vec![numpy];
    if dtypes.iter().all(Dtype::is_integer) {
        candidates.extend([Dtype::INT64, Dtype::native(Kind::Uint, 8)]);
    }
    candidates
}

/// Whether a row of a categorical column has no category, or of a nullable one no value, or NaN.
fn has_missing(column: &Column) -> Result<bool> {
    let categorical = matches!(column.kind, ColumnKind::Categorical { .. });
    for rows in column.blocks()? {
        if if categorical {
            column.codes(rows)?.contains(&u64::MAX)
        } else {
            column.read(rows)?.comparable()?.missing.contains(&true)
        } {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_number(dtype: &Dtype) -> bool {
    !matches!(dtype.kind(), None | Some(Kind::Bool))
}

fn may_be_nan(dtype: &Dtype) -> bool {
    matches!(dtype.kind(), Some(Kind::Float | Kind::Complex))
}

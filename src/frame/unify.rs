//! What the columns of one name become in a merged frame: the rules, and the values under them.
//!
//! - The same type everywhere stays; numbers promote as numpy does; a categorical column makes all categorical.
//! - Where numpy would round an integer, the values become int64 or uint64 if these hold them all, else text.
//! - What is missing is -1 in codes and NaN in floats; integers become float64 if that holds them all, and are
//!   nullable otherwise, as bools and text are.
//! - Bools, numbers and text mixed become text.

use std::ops::Range;

use anyhow::{Result, bail};
use tracing::info;

use super::categories::{Categories, Union};
use super::column::Column;
use super::demote::United;
use super::survey::Survey;
use super::values::{Data, Values};
use crate::anndata::elements::MissingText;
use crate::dtype::promote;
use crate::report::failure::Failure;
use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype, Kind, Strings};
use crate::store::{Appender, Group, Rows};

/// What a merged column is.
pub enum ColumnPlan {
    /// Numbers or text; what is missing is NaN.
    Plain(Dtype),
    /// Integers, bools or text with a mask, and the attributes of their group.
    Nullable(Dtype, Attrs),
    /// Text, with this in the place of what is missing.
    Filled(String),
    Categorical(Categories),
    /// What would be categorical, but has too many categories.
    United(United),
}

impl ColumnPlan {
    /// What the columns of `survey` become; `absent` says that rows will be missing. `name` is for messages.
    pub fn of(survey: Survey, absent: bool, name: &str) -> Result<ColumnPlan> {
        if survey.categorical {
            return ColumnPlan::categorical(survey, absent, name);
        }
        let missing = absent || survey.nullable || survey.is_partly_void();
        let Some(dtype) = survey.common() else {
            refuse_bytes(survey.dtypes())?;
            log_text(survey.dtypes(), name);
            return Ok(if missing || survey.nan {
                ColumnPlan::nullable(Dtype::String, &survey)
            } else {
                ColumnPlan::Plain(Dtype::String)
            });
        };
        let holds_nan = matches!(dtype.kind(), Some(Kind::Float | Kind::Complex));
        if holds_nan || !missing {
            return Ok(ColumnPlan::Plain(dtype));
        }
        refuse_bytes(std::slice::from_ref(&dtype))?;
        if dtype.is_integer() && !survey.nullable && survey.fits(&Dtype::FLOAT64) {
            return Ok(ColumnPlan::Plain(Dtype::FLOAT64));
        }
        Ok(ColumnPlan::nullable(dtype, &survey))
    }

    fn categorical(survey: Survey, absent: bool, name: &str) -> Result<ColumnPlan> {
        let dtype = match survey.common_category() {
            // pandas has no index of float16.
            Some(dtype) if dtype.kind() == Some(Kind::Float) && dtype.size() == 2 => {
                Dtype::native(Kind::Float, 4)
            }
            Some(dtype) if dtype.kind() != Some(Kind::Complex) => dtype,
            _ => {
                log_text(survey.category_dtypes(), name);
                Dtype::String
            }
        };
        let categories = survey.union.unite(&dtype)?;
        let most = survey.most_categories.unwrap_or(u64::MAX);
        if categories.values().len() as u64 > most {
            let column = name.strip_prefix("obs/").unwrap_or(name);
            let united = United::of(categories, absent || survey.without, column, most)?;
            return Ok(ColumnPlan::United(united));
        }
        if !categories.ordered && survey.ordered {
            info!(
                "Categories of '{name}' are not the same, in one order, in all inputs: they come out without order"
            );
        }
        Ok(ColumnPlan::Categorical(categories))
    }

    fn nullable(dtype: Dtype, survey: &Survey) -> ColumnPlan {
        let kind = match dtype.kind() {
            None => "nullable-string-array",
            Some(Kind::Bool) => "nullable-boolean",
            Some(_) => "nullable-integer",
        };
        let mut attrs = Attrs::encoding(kind, "0.1.0");
        if let Some(mark) = survey.mark() {
            attrs.set("na-value", mark.clone());
        }
        ColumnPlan::Nullable(dtype, attrs)
    }

    /// Text without a mask where `texts` asks for that; `name` is for messages.
    ///
    /// # Errors
    /// Text with a mask, where nothing is to be written in the place of what is missing.
    pub fn plain(self, texts: Option<&MissingText>, name: &str) -> Result<ColumnPlan> {
        let Some(missing) = texts else {
            return Ok(self);
        };
        match self {
            ColumnPlan::Nullable(dtype, _) if dtype.is_string() => match missing {
                Some(text) => Ok(ColumnPlan::Filled(text.clone())),
                None => bail!(Failure::value(format!(
                    "'{name}' will have missing values, for which plain strings have no form; give --missing-as TEXT, \
                     or --drop {name}"
                ))),
            },
            ColumnPlan::United(mut united) => {
                united.plan = Box::new(united.plan.plain(texts, name)?);
                Ok(ColumnPlan::United(united))
            }
            other => Ok(other),
        }
    }

    /// A categorical column of the texts `keys`, each once.
    pub fn of_keys(keys: &[String]) -> Result<ColumnPlan> {
        let texts = keys.iter().map(|key| key.as_bytes()).collect();
        let mut union = Union::default();
        union.add_plain(Data::Text(texts).into())?;
        Ok(ColumnPlan::Categorical(union.unite(&Dtype::String)?))
    }

    /// As many rows of category `code`.
    pub fn repeat(&self, code: usize, rows: usize) -> Result<Values> {
        match self {
            ColumnPlan::Categorical(categories) => {
                Ok(categories.repeat(i32::try_from(code)?, rows))
            }
            _ => bail!("It has no categories"),
        }
    }

    /// How the column of one input turns into this one.
    pub fn conversion<'a>(&'a self, column: &'a Column) -> Result<Conversion<'a>> {
        let codes = match self {
            ColumnPlan::Categorical(categories) => categories.map(column)?,
            ColumnPlan::United(united) => united.categories().map(column)?,
            _ => None,
        };
        Ok(Conversion {
            plan: self,
            column,
            codes,
        })
    }

    /// Values of a column that is not categorical, as they are to be written.
    pub fn convert(&self, values: Values) -> Result<Values> {
        match self {
            ColumnPlan::Categorical(categories) => categories.encode_values(values),
            ColumnPlan::United(united) => {
                united.decode(&united.categories().encode_values(values)?)
            }
            ColumnPlan::Plain(dtype) => with_nan(values.cast(dtype)?),
            ColumnPlan::Filled(text) => filled(&values.cast(&Dtype::String)?, text),
            ColumnPlan::Nullable(dtype, _) => {
                let mut values = values.cast(dtype)?;
                values.missing.resize(values.data.len(), false);
                Ok(values)
            }
        }
    }

    /// As many missing values.
    pub fn missing(&self, rows: usize) -> Result<Values> {
        let (dtype, byte) = match self {
            ColumnPlan::Plain(dtype) | ColumnPlan::Nullable(dtype, _) => (dtype.clone(), 0),
            ColumnPlan::Categorical(categories) => (categories.code_dtype(), 0xff),
            ColumnPlan::United(united) => return united.plan.missing(rows),
            ColumnPlan::Filled(text) => {
                let texts = std::iter::repeat_n(text.as_bytes(), rows);
                return Ok(Data::Text(texts.collect()).into());
            }
        };
        let data = if dtype.is_string() {
            Data::Text(Strings {
                ends: vec![0; rows],
                bytes: vec![],
            })
        } else {
            Data::Numbers {
                bytes: vec![byte; rows * dtype.size()],
                dtype,
            }
        };
        let missing = vec![true; rows];
        match self {
            ColumnPlan::Plain(_) => with_nan(Values { data, missing }),
            ColumnPlan::Nullable(..) => Ok(Values { data, missing }),
            ColumnPlan::Categorical(_) | ColumnPlan::United(_) | ColumnPlan::Filled(_) => {
                Ok(data.into())
            }
        }
    }

    /// Creates the column for `rows` rows.
    pub fn create(&self, out: &Group, path: &str, rows: u64) -> Result<Writer> {
        let (values, mask) = match self {
            ColumnPlan::Plain(dtype) => (array(out, path, rows, dtype)?, None),
            ColumnPlan::Filled(_) => (array(out, path, rows, &Dtype::String)?, None),
            ColumnPlan::Nullable(dtype, attrs) => {
                out.create_group(path, attrs)?;
                let values = array(out, &format!("{path}/values"), rows, dtype)?;
                let mask = array(out, &format!("{path}/mask"), rows, &Dtype::BOOL)?;
                (values, Some(mask))
            }
            ColumnPlan::United(united) => return united.plan.create(out, path, rows),
            ColumnPlan::Categorical(categories) => {
                let attrs = Attrs::encoding("categorical", "0.2.0");
                out.create_group(path, &attrs.with("ordered", Attr::bool(categories.ordered)))?;
                let all = categories.values();
                let to = format!("{path}/categories");
                let mut writer = array(out, &to, all.len() as u64, &all.dtype())?;
                append(&mut writer, all)?;
                writer.finish()?;
                let codes = array(
                    out,
                    &format!("{path}/codes"),
                    rows,
                    &categories.code_dtype(),
                )?;
                (codes, None)
            }
        };
        Ok(Writer { values, mask })
    }
}

/// The column of one input on its way into the merged one.
pub struct Conversion<'a> {
    plan: &'a ColumnPlan,
    column: &'a Column,
    /// Where the merged column is categorical and this one too, the new code of each category.
    codes: Option<Vec<i32>>,
}

impl Conversion<'_> {
    /// Some rows, as they are to be written.
    pub fn read(&self, rows: Range<u64>) -> Result<Values> {
        match self.plan {
            ColumnPlan::Categorical(to) => to.encode(self.codes.as_deref(), self.column, rows),
            ColumnPlan::United(to) => {
                let codes = self.codes.as_deref();
                to.decode(&to.categories().encode(codes, self.column, rows)?)
            }
            _ => self.plan.convert(self.column.read(rows)?),
        }
    }
}

/// A merged column that is being written.
pub struct Writer {
    values: Appender,
    mask: Option<Appender>,
}

impl Writer {
    /// Appends what [`Conversion::read`], [`ColumnPlan::convert`] and [`ColumnPlan::missing`] give.
    pub fn append(&mut self, values: &Values) -> Result<()> {
        append(&mut self.values, &values.data)?;
        let Some(mask) = &mut self.mask else {
            return Ok(());
        };
        let bytes: Vec<u8> = values.missing.iter().map(|m| *m as u8).collect();
        mask.append(&bytes)
    }

    pub fn finish(self) -> Result<()> {
        self.values.finish()?;
        self.mask.map_or(Ok(0), Appender::finish).map(drop)
    }
}

/// Creates an array of one axis.
pub fn array(out: &Group, path: &str, rows: u64, dtype: &Dtype) -> Result<Appender> {
    let kind = if dtype.is_string() {
        "string-array"
    } else {
        "array"
    };
    let spec = ArraySpec::new(vec![rows], dtype.clone());
    out.create_array(path, &spec, Rows::Known, &Attrs::encoding(kind, "0.2.0"))
}

fn append(writer: &mut Appender, data: &Data) -> Result<()> {
    match data {
        Data::Numbers { bytes, .. } => writer.append(bytes),
        Data::Text(strings) => writer.append_strings(strings),
    }
}

/// Puts NaN where a value is missing. In a type without NaN nothing may be missing.
fn with_nan(mut values: Values) -> Result<Values> {
    if !values.missing.contains(&true) {
        values.missing.clear();
        return Ok(values);
    }
    match &mut values.data {
        Data::Numbers { dtype, bytes } => {
            let nan = promote::nan(dtype)?;
            let stored = bytes.chunks_exact_mut(nan.len()).zip(&values.missing);
            let masked = stored.filter(|(_, missing)| **missing);
            masked.for_each(|(value, _)| value.copy_from_slice(&nan));
        }
        Data::Text(_) => bail!("Text is missing where none was when it was read first"),
    }
    values.missing.clear();
    Ok(values)
}

/// Texts with `text` in the place of those that are missing.
fn filled(values: &Values, text: &str) -> Result<Values> {
    let Data::Text(texts) = &values.data else {
        bail!("Numbers where text is expected");
    };
    let each = texts.iter().enumerate();
    let filled = each.map(|(row, own)| {
        if values.is_missing(row) {
            text.as_bytes()
        } else {
            own
        }
    });
    Ok(Data::Text(filled.collect()).into())
}

/// An error where values that only HDF5 can express would have to become others, or be missing.
fn refuse_bytes(dtypes: &[Dtype]) -> Result<()> {
    if let Some(dtype) = dtypes.iter().find(|d| matches!(d, Dtype::Hdf5 { .. })) {
        bail!(
            "Values of {dtype} merge only where every input has the same; remove the column first"
        );
    }
    Ok(())
}

fn log_text(dtypes: &[Dtype], name: &str) {
    let mut kinds: Vec<String> = dtypes.iter().map(Dtype::to_string).collect();
    kinds.sort();
    let kinds = kinds.join(" and ");
    info!("'{name}' becomes text: no other type holds its values of {kinds} exactly");
}

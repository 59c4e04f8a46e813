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
use super::plain::{self, ValuesPlan, Writer};
use super::survey::Survey;
use super::values::{Data, Values};
use crate::anndata::elements::MissingText;
use crate::store::Group;
use crate::store::spec::{Attr, Attrs, Dtype, Kind};

/// The code of what is missing.
const MISSING: i32 = -1;

/// What a merged column is.
pub enum ColumnPlan {
    Values(ValuesPlan),
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
        // A column without any value has no say in the type, so its NaN become missing values of another one.
        let missing = absent || survey.nullable || survey.is_partly_void();
        // Only text holds what is left: text or bools beside numbers, or integers of which no type holds all.
        let Some(dtype) = survey.common() else {
            refuse_bytes(survey.dtypes())?;
            log_text(survey.dtypes(), name);
            return Ok(if missing || survey.nan {
                ColumnPlan::nullable(Dtype::String, &survey)
            } else {
                ColumnPlan::of_type(Dtype::String)
            });
        };
        let holds_nan = matches!(dtype.kind(), Some(Kind::Float | Kind::Complex));
        if holds_nan || !missing {
            return Ok(ColumnPlan::of_type(dtype));
        }
        refuse_bytes(std::slice::from_ref(&dtype))?;
        if dtype.is_integer() && !survey.nullable && survey.fits(&Dtype::FLOAT64) {
            return Ok(ColumnPlan::of_type(Dtype::FLOAT64));
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
                log_text(&survey.category_dtypes(), name);
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

    /// `na-value` says whether pandas reads missing text as NaN or as NA; it is kept where all columns agree.
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
        ColumnPlan::Values(ValuesPlan::Nullable(dtype, attrs))
    }

    /// Values of this type, none of which is missing where it has no NaN.
    pub fn of_type(dtype: Dtype) -> ColumnPlan {
        ColumnPlan::Values(ValuesPlan::Plain(dtype))
    }

    /// As [`ValuesPlan::plain`].
    pub fn plain(self, texts: Option<&MissingText>, name: &str) -> Result<ColumnPlan> {
        Ok(match self {
            ColumnPlan::Values(plan) => ColumnPlan::Values(plan.plain(texts, name)?),
            ColumnPlan::United(united) => ColumnPlan::United(united.plain(texts, name)?),
            // Codes have -1 for what is missing, so no text has to be put there.
            categorical => categorical,
        })
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
            ColumnPlan::Values(plan) => plan.convert(values),
        }
    }

    /// As many missing values.
    pub fn missing(&self, rows: usize) -> Result<Values> {
        match self {
            ColumnPlan::Values(plan) => plan.missing(rows),
            ColumnPlan::United(united) => united.plan.missing(rows),
            ColumnPlan::Categorical(categories) => Ok(categories.repeat(MISSING, rows)),
        }
    }

    /// Creates the column for `rows` rows.
    pub fn create(&self, out: &Group, path: &str, rows: u64) -> Result<Writer> {
        let categories = match self {
            ColumnPlan::Values(plan) => return plan.create(out, path, rows),
            ColumnPlan::United(united) => return united.plan.create(out, path, rows),
            ColumnPlan::Categorical(categories) => categories,
        };
        let attrs = Attrs::encoding("categorical", "0.2.0");
        out.create_group(path, &attrs.with("ordered", Attr::bool(categories.ordered)))?;
        let all = categories.values();
        let to = format!("{path}/categories");
        let mut writer = plain::array(out, &to, all.len() as u64, &all.dtype())?;
        plain::append(&mut writer, all)?;
        writer.finish()?;
        let (codes, dtype) = (format!("{path}/codes"), categories.code_dtype());
        Ok(Writer::of(plain::array(out, &codes, rows, &dtype)?))
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

/// An error where values that no other type holds would have to become others, or be missing.
fn refuse_bytes(dtypes: &[Dtype]) -> Result<()> {
    if let Some(dtype) = dtypes.iter().find(|d| d.is_bytes()) {
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

//! A column of values, without categories, that is written: as they are, with a mask, or with a text in the place of those
//! that are missing.

use anyhow::{Result, bail};

use super::values::{Data, Values};
use crate::anndata::elements::MissingText;
use crate::dtype::promote;
use crate::report::failure::Failure;
use crate::store::spec::{ArraySpec, Attrs, Dtype};
use crate::store::{Appender, Group, Rows};

/// How the values of a column are stored.
pub enum ValuesPlan {
    /// Numbers or text; what is missing is NaN.
    Plain(Dtype),
    /// Integers, bools or text with a mask, and the attributes of their group.
    Nullable(Dtype, Attrs),
    /// Text, with this in the place of what is missing.
    Filled(String),
}

impl ValuesPlan {
    /// Text without a mask where `texts` asks for that; `name` is for messages.
    ///
    /// # Errors
    /// Text with a mask, where nothing is to be written in the place of what is missing.
    pub fn plain(self, texts: Option<&MissingText>, name: &str) -> Result<ValuesPlan> {
        match (texts, self) {
            (Some(missing), ValuesPlan::Nullable(dtype, _)) if dtype.is_string() => match missing {
                Some(text) => Ok(ValuesPlan::Filled(text.clone())),
                None => bail!(Failure::value(format!(
                    "'{name}' will have missing values, for which plain strings have no form; give --missing-as TEXT, \
                     or --drop {name}"
                ))),
            },
            (_, plan) => Ok(plan),
        }
    }

    /// The type of the values.
    pub fn dtype(&self) -> Dtype {
        match self {
            ValuesPlan::Plain(dtype) | ValuesPlan::Nullable(dtype, _) => dtype.clone(),
            ValuesPlan::Filled(_) => Dtype::String,
        }
    }

    /// Values as they are to be written. An error where a value does not fit the type, or is missing in a type without
    /// NaN: the plan was made for other values.
    pub fn convert(&self, values: Values) -> Result<Values> {
        match self {
            ValuesPlan::Plain(dtype) => with_nan(values.cast(dtype)?),
            ValuesPlan::Filled(text) => filled(&values.cast(&Dtype::String)?, text),
            ValuesPlan::Nullable(dtype, _) => {
                let mut values = values.cast(dtype)?;
                values.missing.resize(values.data.len(), false);
                Ok(values)
            }
        }
    }

    /// As many missing values.
    pub fn missing(&self, rows: usize) -> Result<Values> {
        let (ValuesPlan::Plain(dtype) | ValuesPlan::Nullable(dtype, _)) = self else {
            return self.convert(Values {
                data: Data::nothing(&Dtype::String, rows),
                missing: vec![true; rows],
            });
        };
        let values = Values {
            data: Data::nothing(dtype, rows),
            missing: vec![true; rows],
        };
        match self {
            ValuesPlan::Plain(_) => with_nan(values),
            _ => Ok(values),
        }
    }

    /// Creates the column for `rows` rows.
    pub fn create(&self, out: &Group, path: &str, rows: u64) -> Result<Writer> {
        let dtype = self.dtype();
        let ValuesPlan::Nullable(_, attrs) = self else {
            return Ok(Writer::of(array(out, path, rows, &dtype)?));
        };
        out.create_group(path, attrs)?;
        let values = array(out, &format!("{path}/values"), rows, &dtype)?;
        let mask = array(out, &format!("{path}/mask"), rows, &Dtype::BOOL)?;
        Ok(Writer {
            values,
            mask: Some(mask),
        })
    }
}

/// A column that is being written.
pub struct Writer {
    values: Appender,
    mask: Option<Appender>,
}

impl Writer {
    /// Of a column without a mask.
    pub fn of(values: Appender) -> Writer {
        Writer { values, mask: None }
    }

    /// Appends values as they are to be written.
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

/// Appends values to an array of their type.
pub fn append(writer: &mut Appender, data: &Data) -> Result<()> {
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

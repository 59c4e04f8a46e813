//! A digest of what an element holds, so that elements can be compared whose files are not open together.
//!
//! Merge compares uns, varm, varp and the columns of var by it, and `check` the files of a set. Arrays and sparse
//! matrices are read block by block; a column is in memory as a whole.
//!
//! Equal means what `anndata.concat` means by it: arrays of the same type and shape, NaN equal to NaN and 0 to -0;
//! sparse matrices and scalars by value, whatever their type and layout; text and categories by text; dataframes with
//! their columns in order. What anndata does not know is equal where it is stored alike.

mod canonical;
mod nonzeros;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

pub use self::nonzeros::Nonzeros;
use crate::anndata::encoding::Encoding;
use crate::anndata::older;
use crate::frame::column::{Column, ColumnKind};
use crate::frame::dataframe::Frame;
use crate::frame::values::{Data, Values};
use crate::rows::ranges::blocks;
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::store::spec::{Dtype, Field, Strings};
use crate::store::{Array, Group, Node};

/// A SHA-256.
pub type Digest = [u8; 32];

/// What a text is reckoned to take.
const TEXT: u64 = 64;

/// Rows of `row` bytes each that are looked at of `rows`, where `limit` bytes are enough.
pub fn looked_at(rows: u64, row: u64, limit: u64) -> u64 {
    rows.min((limit / row.max(1)).saturating_add(1))
}

/// The digest of node `name`, of each array no more than about the first `limit` bytes. `None` is equal to nothing: a
/// NaN that stands alone, as in anndata, and what cannot be read value by value. Columns and dataframes are read whole,
/// whatever the limit. A folder is equal to another if its attributes and all nodes in it are.
pub fn of(parent: &Group, name: &str, limit: u64) -> Result<Option<Digest>> {
    let digest = || -> Result<Option<Digest>> {
        if let Some(field) = older::field(parent, name)? {
            return array(&field, limit);
        }
        let node = parent.get(name)?.context("It is missing")?;
        match (Encoding::of(&node)?, node) {
            (Encoding::Scalar, Node::Array(scalar)) => self::scalar(&scalar),
            (_, Node::Array(array)) => self::array(&array, limit),
            (Encoding::Csr, Node::Group(group)) => {
                sparse(&Sparse::open(&group, SparseFormat::Csr)?, limit).map(Some)
            }
            (Encoding::Csc, Node::Group(group)) => {
                sparse(&Sparse::open(&group, SparseFormat::Csc)?, limit).map(Some)
            }
            (Encoding::Categorical | Encoding::Nullable, node) => {
                let mut hasher = Hasher::new("array");
                hasher.values(&decoded(&Column::open(node)?)?)?;
                Ok(Some(hasher.finish()))
            }
            (Encoding::DataFrame, _) => frame(&Frame::open(parent, name)?, None).map(Some),
            (_, Node::Group(group)) => self::group(&group, limit),
        }
    };
    digest().with_context(|| format!("Compare '{name}' in '{}'", parent.path()))
}

/// A digest that is being made of parts. Each text has its length before it, so `[ab, c]` and `[a, bc]` differ; numbers
/// follow their shape and type.
pub struct Hasher(Sha256);

impl Hasher {
    /// `kind` keeps apart what may have the same parts, such as a text and a list of one text.
    pub fn new(kind: &str) -> Hasher {
        let mut hasher = Hasher(Sha256::new());
        hasher.text(kind.as_bytes());
        hasher
    }

    /// Of an array of numbers; its values are to follow in order.
    pub fn array(dtype: &Dtype, shape: &[u64]) -> Hasher {
        let mut hasher = Hasher::new("array");
        hasher.shape(shape);
        hasher.text(dtype.to_string().as_bytes());
        hasher
    }

    /// Of an array of text; its values are to follow in order.
    pub fn texts(shape: &[u64]) -> Hasher {
        let mut hasher = Hasher::new("array");
        hasher.shape(shape);
        hasher.text(b"text");
        hasher
    }

    /// May be called for one block of an array after another.
    pub fn numbers(&mut self, mut bytes: Vec<u8>, dtype: &Dtype) {
        canonical::numbers(&mut bytes, dtype);
        self.0.update(&bytes);
    }

    pub fn strings(&mut self, strings: &Strings) {
        strings.iter().for_each(|text| self.text(text));
    }

    pub fn finish(self) -> Digest {
        self.0.finalize().into()
    }

    fn text(&mut self, text: &[u8]) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    fn shape(&mut self, shape: &[u64]) {
        self.0.update((shape.len() as u64).to_le_bytes());
        shape.iter().for_each(|n| self.0.update(n.to_le_bytes()));
    }

    /// A list of values, some of them missing; text as a text array has it.
    fn values(&mut self, values: &Values) -> Result<()> {
        self.shape(&[values.data.len() as u64]);
        let values = values.clone().comparable()?;
        match &values.data {
            Data::Text(texts) => {
                self.text(b"text");
                for (i, text) in texts.iter().enumerate() {
                    if values.is_missing(i) {
                        // A length that no text has.
                        self.0.update(u64::MAX.to_le_bytes())
                    } else {
                        self.text(text)
                    }
                }
            }
            Data::Numbers { dtype, .. } => {
                self.text(dtype.to_string().as_bytes());
                for i in 0..values.data.len() {
                    let missing = values.is_missing(i);
                    self.0.update([missing as u8]);
                    if !missing {
                        self.0.update(values.data.get(i));
                    }
                }
            }
        }
        Ok(())
    }
}

/// As numpy compares scalars: 1, 1.0 and True are equal. None (a null dataspace) is equal to None.
fn scalar(scalar: &Array) -> Result<Option<Digest>> {
    let mut hasher = Hasher::new("scalar");
    let spec = scalar.spec();
    if spec.null {
        return Ok(Some(Hasher::new("null").finish()));
    }
    if spec.dtype.is_string() {
        hasher.strings(&scalar.read_strings(std::slice::from_ref(&(0..1)))?);
        // To Python bytes are no text.
        if label(scalar)?.as_deref() == Some("bytes") {
            hasher.text(b"bytes");
        }
    } else if spec.dtype.kind().is_some() {
        let bytes = scalar.read(std::slice::from_ref(&(0..1)))?;
        for value in canonical::by_value(&bytes, &spec.dtype)? {
            if canonical::is_nan(&value) {
                return Ok(None);
            }
            hasher.0.update(value);
        }
    } else {
        return array(scalar, u64::MAX);
    }
    Ok(Some(hasher.finish()))
}

fn array(array: &Array, limit: u64) -> Result<Option<Digest>> {
    let spec = array.spec();
    let dtype = &spec.dtype;
    // A shape that claims terabytes of which nothing is stored would be gone through for days.
    if limit == u64::MAX {
        array.check_declared()?;
    }
    match dtype {
        Dtype::Unsupported(_) => return Ok(None),
        Dtype::Record { .. } => return records(array, limit).map(Some),
        // So old files keep a text.
        Dtype::FixedString { .. } if spec.shape == [1] && label(array)?.is_none() => {
            return scalar(array);
        }
        _ => {}
    }
    let (mut hasher, row) = if dtype.is_string() {
        (
            Hasher::texts(&spec.shape),
            spec.row_items().saturating_mul(TEXT),
        )
    } else {
        (Hasher::array(dtype, &spec.shape), spec.row_bytes())
    };
    for rows in blocks(looked_at(spec.rows(), row, limit), row) {
        let rows = std::slice::from_ref(&rows);
        if dtype.is_string() {
            hasher.strings(&array.read_strings(rows)?)
        } else {
            hasher.numbers(array.read(rows)?, dtype)
        }
    }
    Ok(Some(hasher.finish()))
}

fn label(array: &Array) -> Result<Option<String>> {
    Ok(array.attrs()?.text("encoding-type").map(str::to_owned))
}

/// Field by field; text is text, whatever its width. A record as it lies in the file has gaps, and text of any length
/// as references, so fields are taken one by one.
fn records(array: &Array, limit: u64) -> Result<Digest> {
    let spec = array.spec();
    let Dtype::Record { size, fields } = &spec.dtype else {
        bail!("{} where records are expected", spec.dtype);
    };
    let mut hasher = Hasher::array(&spec.dtype, &spec.shape);
    let row = if fields.iter().any(|field| field.dtype.is_string()) {
        TEXT * fields.len() as u64
    } else {
        spec.row_bytes()
    };
    let rows = looked_at(spec.rows(), row, limit);
    // Text of any length: then no record can be read as bytes.
    let long = spec.dtype.is_record_with_text();
    for field in fields {
        hasher.text(field.name.as_bytes());
        if field.dtype.is_string() {
            hasher.text(b"text")
        } else {
            hasher.text(field.dtype.to_string().as_bytes())
        }
        hasher.shape(&field.shape);
        for rows in blocks(rows, row) {
            let rows = std::slice::from_ref(&rows);
            match &field.dtype {
                dtype if long && dtype.is_string() => {
                    hasher.strings(&array.read_field_strings(field, rows)?);
                }
                dtype if long => hasher.numbers(array.read_field(field, rows)?, dtype),
                Dtype::FixedString { size: width } => {
                    let texts = field_of(&array.read(rows)?, *size, field);
                    let texts = texts.chunks_exact(*width);
                    hasher.strings(&texts.map(unpadded).collect());
                }
                dtype => hasher.numbers(field_of(&array.read(rows)?, *size, field), dtype),
            }
        }
    }
    Ok(hasher.finish())
}

/// Text of a fixed width without the NUL bytes at its end.
fn unpadded(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != 0);
    &text[..end.map_or(0, |last| last + 1)]
}

/// The values of one field: what lies between fields is no value.
fn field_of(records: &[u8], size: usize, field: &Field) -> Vec<u8> {
    let bytes = field.bytes();
    let records = records.chunks_exact(size.max(1));
    records
        .filter_map(|record| record.get(field.offset..)?.get(..bytes))
        .flatten()
        .copied()
        .collect()
}

/// CSR, CSC, unsorted rows and stored zeros of the same matrix are equal. Where a limit ends the reading, the first
/// rows of a CSR matrix are compared with the first columns of a CSC one, so these differ.
fn sparse(matrix: &Sparse, limit: u64) -> Result<Digest> {
    /// Bytes that are read at a time.
    const BLOCK: u64 = 16 << 20;
    let mut nonzeros = Nonzeros::new(matrix.shape, matrix.layout);
    let mut seen = 0;
    for rows in matrix.blocks(0..matrix.rows(), BLOCK.min(limit.saturating_add(1)))? {
        let block = matrix.read(std::slice::from_ref(&rows))?;
        seen += block.nnz() * matrix.nonzero_bytes();
        nonzeros.add(&block, &matrix.data.spec().dtype, rows.start)?;
        if seen > limit {
            break;
        }
    }
    Ok(nonzeros.finish())
}

/// The digest of a dataframe; `sources` gives each row of it a row of the stored one, `None` where it is missing.
pub fn frame(frame: &Frame, sources: Option<&[Option<u32>]>) -> Result<Digest> {
    let mut hasher = Hasher::new("frame");
    if sources.is_none() {
        hasher.strings(&frame.index()?);
    }
    for name in &frame.columns {
        let column = frame.find(name)?.context("It is missing")?;
        hasher.text(name.as_bytes());
        hasher.0.update(series(&column, sources)?);
    }
    Ok(hasher.finish())
}

/// The digest of one column, in which the type counts; `sources` as in [`frame`]. For pandas, Int64 (with a mask) is
/// not int64, and categories are part of the type: in any order, unless they are ordered. Text is the same with and
/// without a mask.
pub fn series(column: &Column, sources: Option<&[Option<u32>]>) -> Result<Digest> {
    let mut hasher = Hasher::new("series");
    match &column.kind {
        ColumnKind::Categorical {
            categories,
            ordered,
        } => {
            let all = categories.read_all()?;
            let mut named: Vec<&[u8]> = (0..all.data.len()).map(|i| all.data.get(i)).collect();
            if !ordered {
                named.sort_unstable();
            }
            hasher.text(if *ordered { b"ordered" } else { b"category" });
            named.iter().for_each(|name| hasher.text(name));
        }
        ColumnKind::Nullable(_) if !column.dtype().is_string() => hasher.text(b"nullable"),
        _ => {}
    }
    let values = decoded(column)?;
    match sources {
        Some(sources) => {
            let plain = matches!(column.kind, ColumnKind::Plain);
            hasher.values(&taken(values, sources, plain)?)?
        }
        None => hasher.values(&values)?,
    }
    Ok(hasher.finish())
}

/// Values by row. `plain` integers become floats, as in pandas, where some are missing; under a mask, and as categories,
/// they stay integers.
fn taken(values: Values, sources: &[Option<u32>], plain: bool) -> Result<Values> {
    let taken = values.at(sources.iter().map(|row| row.map(|row| row as usize)))?;
    if plain && values.data.dtype().is_integer() && sources.contains(&None) {
        taken.clone().cast(&Dtype::FLOAT64).or(Ok(taken))
    } else {
        Ok(taken)
    }
}

/// The values of a column, categories in place of their codes.
fn decoded(column: &Column) -> Result<Values> {
    let ColumnKind::Categorical { categories, .. } = &column.kind else {
        return column.read_all();
    };
    categories
        .read_all()?
        .of_codes(&column.codes(0..column.rows())?)
}

/// A folder, and what has no meaning here: by what is in it and how it is labelled.
fn group(group: &Group, limit: u64) -> Result<Option<Digest>> {
    let mut hasher = Hasher::new("group");
    for (name, value) in group.attrs()?.sorted() {
        hasher.text(format!("{name}: {value:?}").as_bytes());
    }
    for name in group.names()? {
        hasher.text(name.as_bytes());
        match of(group, &name, limit)? {
            Some(digest) => hasher.0.update(digest),
            None => return Ok(None),
        }
    }
    Ok(Some(hasher.finish()))
}

#[cfg(test)]
mod tests;

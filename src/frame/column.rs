//! One column of a dataframe, on disk: plain values, values with a mask, or codes and their categories.
//!
//! In the current format a plain column is an array of one axis, the others are groups: `values` and `mask` (true where
//! a value is missing), or `codes` (-1 where it is missing) and `categories`, which are a column themselves. Columns of
//! old frames come out as the same. A column is opened without reading it; only categories are read whole, rows come by
//! ranges.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::values::{Data, Values};
use crate::anndata::encoding::Encoding;
use crate::anndata::older::{self, ColumnLayout};
use crate::anndata::{columns, heal};
use crate::dtype::ints;
use crate::report::once::warn_once;
use crate::rows::block::Block;
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::ranges::blocks;
use crate::store::spec::{Attrs, Dtype};
use crate::store::{Array, Group, Node};

/// One column, or the index, of a frame. One value for each row: what has more is not a column but belongs in obsm.
pub struct Column {
    /// Of the group, where there is one. Such as `na-value`; those of a plain column are not read.
    pub attrs: Attrs,
    /// The values, or the codes of a categorical column.
    values: Leaf,
    pub kind: ColumnKind,
}

/// How values are stored; the encodings `array` and `string-array`, `nullable-*`, and `categorical`.
pub enum ColumnKind {
    Plain,
    /// Values some of which a mask takes away. The mask has as many rows as there are values: bools, or numbers that
    /// are all 0 or 1.
    Nullable(Box<Leaf>),
    Categorical {
        categories: Box<Column>,
        ordered: bool,
    },
}

impl Column {
    /// An error for what is no column, or one whose values cannot be read one by one.
    pub fn open(node: Node) -> Result<Column> {
        let group = match node {
            Node::Array(array) => {
                return Column::plain(array);
            }
            Node::Group(group) => group,
        };
        let (part, kind) = match Encoding::of_group(&group)? {
            Encoding::Categorical => {
                let categories = group.get("categories")?.context("It has no 'categories'")?;
                let attrs = group.attrs()?;
                let ordered = attrs.get("ordered").context("It has no 'ordered'")?;
                let kind = ColumnKind::Categorical {
                    categories: Box::new(Column::open(categories)?),
                    ordered: columns::is_ordered(Some(ordered))?,
                };
                ("codes", kind)
            }
            Encoding::Nullable => ("values", ColumnKind::Nullable(Box::new(mask_of(&group)?))),
            Encoding::Unknown(name) => {
                bail!("Its encoding '{name}' cannot be merged; remove the column first")
            }
            other => bail!("It is {other}, which cannot be merged as a column; remove it first"),
        };
        let column = Column {
            attrs: group.attrs()?,
            kind,
            ..array_of(&group, part)?
        };
        column.checked()
    }

    /// A column of a frame of an old layout. Its categories may be anywhere in the file: `older` has found them.
    pub fn open_old(column: older::OldColumn) -> Result<Column> {
        let (values, categories) = match column.layout {
            ColumnLayout::Old(values, categories) => (values, categories),
            ColumnLayout::Current(parent) => {
                let node = parent.get(&column.name)?;
                return Column::open(node.context("It is missing")?);
            }
        };
        let plain = Column::plain(values)?;
        let Some(older::OldCategories {
            parent,
            name,
            ordered,
        }) = categories
        else {
            return Ok(plain);
        };
        let categories = parent
            .get(&name)?
            .with_context(|| format!("'{name}' is missing"))?;
        let kind = ColumnKind::Categorical {
            categories: Box::new(Column::open(categories)?),
            ordered,
        };
        Column { kind, ..plain }.checked()
    }

    fn plain(array: Array) -> Result<Column> {
        let dtype = &array.spec().dtype;
        // An enumeration of HDF5 that is no bool.
        if dtype != dtype.as_read() {
            let path = array.path();
            warn_once(format!(
                "'{path}' is {dtype}; its codes are taken, as anndata does"
            ));
        }
        let column = Column {
            attrs: Attrs::default(),
            values: Leaf {
                path: String::new(),
                attrs: Attrs::default(),
                kind: LeafKind::of_array(array),
            },
            kind: ColumnKind::Plain,
        };
        column.checked()
    }

    /// What every column keeps to, however it was opened: one value a row, of a type that is read one by one, a mask as
    /// long as the values, and integers as codes.
    fn checked(self) -> Result<Column> {
        let dtype = self.stored();
        let of_bytes = dtype.is_bytes() && matches!(self.kind, ColumnKind::Plain);
        ensure!(
            dtype.is_string() || dtype.kind().is_some() || of_bytes,
            "Its values, {dtype}, cannot be merged; remove the column first"
        );
        let items = match &self.values.kind {
            LeafKind::Fixed(array) | LeafKind::Text(array) => array.spec().row_items(),
            _ => 0,
        };
        ensure!(
            items == 1,
            "Its rows of {items} values each are no column; move it to obsm"
        );
        match &self.kind {
            ColumnKind::Plain => {}
            ColumnKind::Nullable(mask) => {
                let (rows, found) = (self.rows(), mask.rows());
                ensure!(
                    found == rows,
                    "Its mask has {found} rows, its values {rows}"
                );
                let is_mask = matches!(&mask.kind, LeafKind::Fixed(_) | LeafKind::Mask(_));
                ensure!(is_mask, "Its mask does not hold bools");
            }
            ColumnKind::Categorical { .. } => {
                ensure!(dtype.is_integer(), "Its codes are {dtype}, not integers")
            }
        }
        Ok(self)
    }

    /// Rows, whether they hold values or codes.
    pub fn rows(&self) -> u64 {
        self.values.rows()
    }

    /// The type of its values: of the categories, where it has such.
    pub fn dtype(&self) -> Dtype {
        match self.values_or_categories().stored() {
            Dtype::FixedString { .. } => Dtype::String,
            dtype => dtype.clone(),
        }
    }

    /// Whether it is categorical and its categories have an order.
    pub fn is_ordered(&self) -> bool {
        matches!(self.kind, ColumnKind::Categorical { ordered: true, .. })
    }

    /// The categories of a categorical column, any other itself.
    pub fn values_or_categories(&self) -> &Column {
        match &self.kind {
            ColumnKind::Categorical { categories, .. } => categories,
            _ => self,
        }
    }

    /// The type of values or codes as they are read, text of a fixed width with its width.
    fn stored(&self) -> &Dtype {
        match &self.values.kind {
            LeafKind::Fixed(array) | LeafKind::Text(array) => array.spec().dtype.as_read(),
            _ => &Dtype::String,
        }
    }

    /// Row ranges that are worked on at a time.
    pub fn blocks(&self) -> Result<impl Iterator<Item = Range<u64>> + use<>> {
        Ok(blocks(self.rows(), self.row_bytes()?))
    }

    /// What a row takes in memory. A number counts for what it may take as text on its way. Text is sampled for that.
    pub fn row_bytes(&self) -> Result<u64> {
        Ok(self.values.cost()?.fixed.max(64))
    }

    /// Values of a column that is not categorical.
    pub fn read(&self, rows: Range<u64>) -> Result<Values> {
        let data = self.data(rows.clone())?;
        let missing = match &self.kind {
            ColumnKind::Nullable(mask) => match mask.read(std::slice::from_ref(&rows))? {
                Block::Fixed { bytes, .. } => bytes.iter().map(|b| *b != 0).collect(),
                _ => bail!("Its mask is text"),
            },
            _ => vec![],
        };
        Ok(Values { data, missing })
    }

    /// All values, for what is small: categories.
    pub fn read_all(&self) -> Result<Values> {
        self.read(0..self.rows())
    }

    /// The first values, `most` of them, as text, for people.
    pub fn first(&self, most: u64) -> Result<Vec<String>> {
        let values = self.read(0..self.rows().min(most))?;
        let text = values.cast(&Dtype::String)?.data;
        let texts = (0..text.len()).map(|i| String::from_utf8_lossy(text.get(i)).into_owned());
        Ok(texts.collect())
    }

    /// The code of each row; `u64::MAX` where it is missing. Negative codes wrap around. What R stores for a missing
    /// integer, -2^31, is missing too. A code beyond the categories comes through: who uses it has to look.
    pub fn codes(&self, rows: Range<u64>) -> Result<Vec<u64>> {
        match self.data(rows)? {
            Data::Numbers { dtype, mut bytes } => {
                ints::mark_missing(&mut bytes, &dtype)?;
                ints::read(&bytes, &dtype)
            }
            Data::Text(_) => bail!("Its codes are text"),
        }
    }

    /// An error where a code of a categorical column is beyond its categories. For `check`, to which the mark of R is
    /// an error as well: pandas refuses it.
    pub fn check_codes(&self, rows: Range<u64>) -> Result<()> {
        let count = self.values_or_categories().rows();
        let within = match self.data(rows)? {
            Data::Numbers { dtype, bytes } => ints::are_codes(&bytes, &dtype, count)?,
            Data::Text(_) => bail!("Its codes are text"),
        };
        ensure!(within, "A code is beyond its {count} categories");
        Ok(())
    }

    fn data(&self, rows: Range<u64>) -> Result<Data> {
        Ok(match self.values.read(std::slice::from_ref(&rows))? {
            Block::Text { strings, .. } => Data::Text(strings),
            Block::Fixed { bytes, .. } => Data::Numbers {
                dtype: self.stored().clone(),
                bytes: bytes.to_vec(),
            },
            _ => bail!("It is no column"),
        })
    }
}

/// An array of a group, as a plain column.
fn array_of(group: &Group, name: &str) -> Result<Column> {
    match group.get(name)? {
        Some(node @ Node::Array(_)) => Column::open(node),
        _ => bail!("It has no array '{name}'"),
    }
}

/// The mask of a nullable column.
fn mask_of(group: &Group) -> Result<Leaf> {
    let Some(Node::Array(mask)) = group.get("mask")? else {
        bail!("It has no array 'mask'");
    };
    let kind = if heal::is_mask(&mask) {
        LeafKind::Fixed(mask)
    } else {
        LeafKind::Mask(mask)
    };
    Ok(Leaf {
        path: String::new(),
        attrs: Attrs::default(),
        kind,
    })
}

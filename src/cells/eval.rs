//! The expressions of `--where` over obs: columns with their types, read in blocks of cells.
//!
//! What is missing (NaN too) makes every comparison false, `!=` and `not in` as well. A categorical column is compared
//! by the values of its categories. A number compared with text for equality stands for the text as it was typed; no
//! other comparison mixes types. A decimal fraction compared with float32 is rounded to it first, as numpy does.
//!
//! An expression is compiled once, with the columns at hand, to a function of a cell in a block: what does not fit the
//! types of columns is an error before any cell is read. Then all columns are read block by block, and each block is
//! tested on all cores. A mask of a byte a cell is held, a block of each column, and all categories.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use tracing::warn;

use super::expr::{Comparison, Expr, Literal, Operand};
use super::sought::Sought;
use super::typed::{Typed, Value, compare, rounded_to_half};
use super::{Obs, near, with_quotes};
use crate::frame::column::{Column, ColumnKind};
use crate::store::spec::Kind;

/// Takes from `mask` the cells for which `expr` is not true.
pub fn keep(obs: &Obs, expr: &Expr, mask: &mut [bool]) -> Result<()> {
    let mut columns = Columns {
        obs,
        opened: vec![],
        sought: vec![],
    };
    let test = columns.compile(expr)?;
    let rows = columns.opened.iter().map(|c| c.column.blocks());
    let blocks = rows.collect::<Result<Vec<_>>>()?.into_iter();
    // All columns are read in the same ranges of cells, so that place `i` is the same cell in each.
    // The column whose rows are widest sets the pace.
    let Some(blocks) = blocks.max_by_key(|b| b.size_hint().0) else {
        bail!("The expression names no column");
    };
    for rows in blocks {
        let cells = |c: &Opened| {
            c.cells(rows.clone())
                .with_context(|| format!("Column '{}'", c.name))
        };
        let cells = columns.opened.iter().map(cells);
        let cells = cells.collect::<Result<Vec<_>>>()?;
        for sought in &mut columns.sought {
            sought.look(&cells[sought.column].values);
        }
        mask[rows.start as usize..rows.end as usize]
            .par_iter_mut()
            .enumerate()
            .for_each(|(i, keep)| *keep &= test(&cells, i));
    }
    columns.sought.iter().for_each(Sought::warn);
    Ok(())
}

/// Whether an expression is true of a cell, by its place in a block.
type Test = Box<dyn Fn(&[Cells], usize) -> bool + Send + Sync>;

/// The columns that an expression names.
struct Columns<'a> {
    obs: &'a Obs,
    /// Each once; tests know a column by its place here.
    opened: Vec<Opened>,
    /// Texts that columns without categories are compared with.
    sought: Vec<Sought>,
}

struct Opened {
    name: String,
    column: Column,
    /// Of a categorical column.
    categories: Option<Arc<Typed>>,
    /// Whether it has no value at all, whatever the type.
    empty: bool,
}

/// A block of one column.
struct Cells {
    /// Of a categorical column: for each cell of the block the place of its value, which is beyond all where it is
    /// missing.
    codes: Option<Vec<u64>>,
    /// The values of the cells, or the categories, which all blocks share.
    values: Arc<Typed>,
}

impl Columns<'_> {
    fn compile_all(&mut self, exprs: &[Expr]) -> Result<Vec<Test>> {
        exprs.iter().map(|expr| self.compile(expr)).collect()
    }

    /// The test that an expression comes to. It opens the columns that are named.
    fn compile(&mut self, expr: &Expr) -> Result<Test> {
        Ok(match expr {
            Expr::Or(parts) => {
                let parts = self.compile_all(parts)?;
                Box::new(move |cells, i| parts.iter().any(|part| part(cells, i)))
            }
            Expr::And(parts) => {
                let parts = self.compile_all(parts)?;
                Box::new(move |cells, i| parts.iter().all(|part| part(cells, i)))
            }
            Expr::Not(a) => {
                let a = self.compile(a)?;
                Box::new(move |cells, i| !a(cells, i))
            }
            Expr::Column(name) => {
                let at = self.open(name)?;
                let opened = &self.opened[at];
                if !opened.is_bool() && !opened.empty {
                    bail!(
                        "Column '{name}' holds {}, not bools; compare it with a value",
                        opened.what()
                    );
                }
                Box::new(move |cells, i| matches!(cells[at].get(i), Some(Value::Int(1))))
            }
            Expr::Compare(Operand::Column(a), how, Operand::Column(b)) => {
                self.columns(a, *how, b)?
            }
            Expr::Compare(Operand::Column(name), how, Operand::Literal(value)) => {
                self.literal(name, *how, value)?
            }
            Expr::Compare(Operand::Literal(value), how, Operand::Column(name)) => {
                self.literal(name, how.mirrored(), value)?
            }
            Expr::Compare(..) => bail!("A comparison names no column"),
            Expr::In {
                column,
                list,
                negated,
            } => {
                let at = self.open(column)?;
                // `in` is `==` with any of the list; `not in` is also false where the cell has no value.
                let equal = list
                    .iter()
                    .map(|v| self.literal(column, Comparison::Equal, v));
                let equal = equal.collect::<Result<Vec<_>>>()?;
                let negated = *negated;
                Box::new(move |cells, i| {
                    cells[at].get(i).is_some() && negated != equal.iter().any(|e| e(cells, i))
                })
            }
        })
    }

    /// Compares two columns, cell by cell. Two categorical ones are compared by their values even if they are ordered:
    /// the same code may be another category in the other.
    fn columns(&mut self, a: &str, how: Comparison, b: &str) -> Result<Test> {
        let (left, right) = (self.open(a)?, self.open(b)?);
        let (l, r) = (&self.opened[left], &self.opened[right]);
        if l.is_text() != r.is_text() && !l.empty && !r.empty {
            bail!(
                "Columns '{a}' ({}) and '{b}' ({}) cannot be compared",
                l.what(),
                r.what()
            );
        }
        Ok(Box::new(move |cells, i| {
            let pair = cells[left].get(i).zip(cells[right].get(i));
            pair.is_some_and(|(a, b)| how.holds(compare(a, b)))
        }))
    }

    fn literal(&mut self, name: &str, how: Comparison, literal: &Literal) -> Result<Test> {
        let at = self.open(name)?;
        let opened = &self.opened[at];
        let constant = opened.constant(how, literal)?;
        if how.is_equality() {
            opened.warn_of_no_category(&constant);
        }
        if let (true, None, Constant::Text(text)) =
            (how.is_equality(), &opened.categories, &constant)
        {
            self.sought.push(Sought::new(at, name, text));
        }
        if opened.column.is_ordered() && !how.is_equality() {
            // In the order of the categories, as in pandas, which takes no other value either.
            let place = opened.category(&constant).with_context(|| {
                format!("Column '{name}' is ordered, and {literal} is none of its categories")
            })?;
            return Ok(Box::new(move |cells, i| {
                cells[at]
                    .code(i)
                    .is_some_and(|code| how.holds(Some(code.cmp(&place))))
            }));
        }
        Ok(Box::new(move |cells, i| {
            let value = cells[at].get(i);
            value.is_some_and(|value| how.holds(compare(value, constant.value())))
        }))
    }

    /// The place of a column in `opened`, where it is put first if it is new. Categories are read here, all of them.
    fn open(&mut self, name: &str) -> Result<usize> {
        if let Some(at) = self.opened.iter().position(|c| c.name == name) {
            return Ok(at);
        }
        let column = self.obs.column(name);
        let column = column.map_err(|e| with_quotes(e, name, !self.opened.is_empty()))?;
        let categories = match &column.kind {
            ColumnKind::Categorical { categories, .. } => Some(Arc::new(
                Typed::of(categories.read_all()?)
                    .with_context(|| format!("Categories of '{name}'"))?,
            )),
            _ => None,
        };
        self.opened.push(Opened {
            name: name.into(),
            empty: categories.is_some() && column.values_or_categories().rows() == 0,
            column,
            categories,
        });
        Ok(self.opened.len() - 1)
    }
}

/// A literal in the type of the column that it is compared with.
enum Constant {
    Int(i128),
    Float(f64),
    Text(String),
}

impl Constant {
    fn value(&self) -> Value<'_> {
        match self {
            Constant::Int(v) => Value::Int(*v),
            Constant::Float(v) => Value::Float(*v),
            Constant::Text(v) => Value::Text(v.as_bytes()),
        }
    }
}

impl Opened {
    /// Of a categorical column these ask for the type of the categories.
    fn is_text(&self) -> bool {
        self.column.dtype().is_string()
    }

    fn is_bool(&self) -> bool {
        self.column.dtype().kind() == Some(Kind::Bool)
    }

    fn what(&self) -> String {
        let dtype = self.column.dtype();
        if dtype.is_string() {
            "text".into()
        } else if self.is_bool() {
            "bools".into()
        } else {
            format!("numbers ({dtype})")
        }
    }

    /// What was typed, as a value of the column's type. `cluster == 5` compares with the text `5` where the column is
    /// text (only `==` and `!=` do), and `n < "5"` with the number 5 where it is of numbers; other mixtures are an
    /// error. A column without any category takes all.
    fn constant(&self, how: Comparison, literal: &Literal) -> Result<Constant> {
        Ok(match (literal, self.is_text()) {
            (Literal::Text(text), true) => Constant::Text(text.clone()),
            (Literal::Number(text), true) if how.is_equality() => Constant::Text(text.clone()),
            (Literal::Number(text), false) => self.number(text)?,
            (Literal::Bool(value), false) => Constant::Int(i128::from(*value)),
            (Literal::Text(text), false) if text.parse::<f64>().is_ok() => self.number(text)?,
            _ if self.empty => Constant::Int(0),
            (literal, _) => {
                let hint = self.is_bool().then(|| literal.without_quotes());
                let (name, what, hint) = (&self.name, self.what(), hint.unwrap_or_default());
                bail!("Column '{name}' holds {what} and cannot be compared with {literal}{hint}")
            }
        })
    }

    /// An integer stays exact; a fraction is rounded to the type of the column, so that `x == 0.1` finds the float32
    /// that stands for 0.1.
    fn number(&self, text: &str) -> Result<Constant> {
        if let Ok(int) = text.parse::<i128>() {
            return Ok(Constant::Int(int));
        }
        let float: f64 = text.parse()?;
        let dtype = self.column.dtype();
        Ok(Constant::Float(match (dtype.kind(), dtype.size()) {
            (Some(Kind::Float), 4) => f64::from(float as f32),
            (Some(Kind::Float), 2) => rounded_to_half(float),
            _ => float,
        }))
    }

    /// Warns of text that is none of the categories, and says what is like it.
    fn warn_of_no_category(&self, constant: &Constant) {
        let Some(categories) = &self.categories else {
            return;
        };
        if let (Constant::Text(text), None) = (constant, self.category(constant)) {
            let known: Vec<_> = categories.texts().map(String::from_utf8_lossy).collect();
            warn!(
                "No cell has '{text}' in column '{}'{}",
                self.name,
                near(text, &known)
            );
        }
    }

    /// The code of the category that equals a constant.
    fn category(&self, constant: &Constant) -> Option<u64> {
        let categories = self.categories.as_ref()?;
        let equal = |i: &u64| {
            let value = categories.get(*i as usize);
            value.is_some_and(|value| compare(value, constant.value()) == Some(Ordering::Equal))
        };
        (0..self.column.values_or_categories().rows()).find(equal)
    }

    fn cells(&self, rows: Range<u64>) -> Result<Cells> {
        Ok(match &self.categories {
            Some(categories) => Cells {
                codes: Some(self.column.codes(rows)?),
                values: categories.clone(),
            },
            None => Cells {
                codes: None,
                values: Arc::new(Typed::of(self.column.read(rows)?)?),
            },
        })
    }
}

impl Cells {
    /// The value of cell `i` of the block; `None` where it is missing.
    fn get(&self, i: usize) -> Option<Value<'_>> {
        match &self.codes {
            None => self.values.get(i),
            Some(codes) => self.values.get(usize::try_from(codes[i]).ok()?),
        }
    }

    /// The code of a cell that has a category.
    fn code(&self, i: usize) -> Option<u64> {
        self.get(i)?;
        Some(self.codes.as_ref()?[i])
    }
}

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
use super::{Obs, near, with_quotes};
use crate::dtype::{ints, promote};
use crate::frame::column::{Column, ColumnKind};
use crate::frame::values::{Data, Values};
use crate::store::spec::{Kind, Strings};

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
            if let TypedValues::Texts(texts) = &cells[sought.column].values.values {
                sought.look(texts);
            }
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

/// Values in one of the types that comparisons know; `missing` is empty where none is.
struct Typed {
    values: TypedValues,
    missing: Vec<bool>,
}

/// Integers of 64 bits, with and without sign, are compared as 128 bits.
enum TypedValues {
    Bools(Vec<u8>),
    Ints(Vec<i128>),
    Floats(Vec<f64>),
    Texts(Strings),
}

/// One value; a bool counts as 0 or 1.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Int(i128),
    Float(f64),
    Text(&'a [u8]),
}

impl Columns<'_> {
    /// The test that an expression comes to. It opens the columns that are named.
    fn compile(&mut self, expr: &Expr) -> Result<Test> {
        Ok(match expr {
            Expr::Or(a, b) => {
                let (a, b) = (self.compile(a)?, self.compile(b)?);
                Box::new(move |cells, i| a(cells, i) || b(cells, i))
            }
            Expr::And(a, b) => {
                let (a, b) = (self.compile(a)?, self.compile(b)?);
                Box::new(move |cells, i| a(cells, i) && b(cells, i))
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
        let Some(TypedValues::Texts(known)) = self.categories.as_ref().map(|c| &c.values) else {
            return;
        };
        if let (Constant::Text(text), None) = (constant, self.category(constant)) {
            let known: Vec<_> = known.iter().map(String::from_utf8_lossy).collect();
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

/// The float16 that is nearest, ties to even (IEEE 754, binary16: 11 bits from 2^-14 on, below it steps of 2^-24). Crate
/// `half` looks at the upper bits of a float64 alone, so what lies just beside a tie would go the wrong way.
fn rounded_to_half(value: f64) -> f64 {
    const OVERFLOW: f64 = 65520.0;
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let step = 2f64.powi(exponent.max(-14) - 10);
    if value.abs() < OVERFLOW {
        (value / step).round_ties_even() * step
    } else {
        f64::INFINITY.copysign(value)
    }
}

impl Typed {
    fn of(values: Values) -> Result<Typed> {
        let typed = match values.data {
            Data::Text(strings) => TypedValues::Texts(strings),
            Data::Numbers { dtype, bytes } => match dtype.kind() {
                Some(Kind::Bool) => TypedValues::Bools(bytes),
                Some(Kind::Float) => TypedValues::Floats(promote::floats(&bytes, &dtype)?),
                Some(Kind::Int) => {
                    let ints = ints::read(&bytes, &dtype)?.into_iter();
                    TypedValues::Ints(ints.map(|v| i128::from(v as i64)).collect())
                }
                Some(Kind::Uint) => {
                    let ints = ints::read(&bytes, &dtype)?.into_iter();
                    TypedValues::Ints(ints.map(i128::from).collect())
                }
                _ => bail!("Its values, {dtype}, cannot be compared"),
            },
        };
        Ok(Typed {
            values: typed,
            missing: values.missing,
        })
    }

    /// `None` where it is missing.
    fn get(&self, i: usize) -> Option<Value<'_>> {
        if self.missing.get(i).is_some_and(|m| *m) {
            return None;
        }
        Some(match &self.values {
            TypedValues::Bools(v) => Value::Int(i128::from(*v.get(i)? != 0)),
            TypedValues::Ints(v) => Value::Int(*v.get(i)?),
            TypedValues::Floats(v) => Value::Float(*v.get(i).filter(|v| !v.is_nan())?),
            TypedValues::Texts(v) => Value::Text((i < v.len()).then(|| v.get(i))?),
        })
    }
}

impl Comparison {
    /// The comparison with its sides swapped.
    fn mirrored(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::AtMost => Comparison::AtLeast,
            Comparison::Greater => Comparison::Less,
            Comparison::AtLeast => Comparison::AtMost,
            same => same,
        }
    }

    /// Whether two values in this order are as the comparison wants them; no order (a missing value, NaN) is always no.
    fn holds(self, order: Option<Ordering>) -> bool {
        let Some(order) = order else { return false };
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
        }
    }
}

/// By value, exactly; text by code point. `None` for text and a number.
fn compare(a: Value, b: Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(&b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(&b),
        (Value::Int(a), Value::Float(b)) => int_to_float(a, b),
        (Value::Float(a), Value::Int(b)) => int_to_float(b, a).map(Ordering::reverse),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// An integer beside a float, exactly: as floats, 2^53 and 2^53 + 1 would be equal. The integer is compared with the
/// float rounded down; where these are equal, a fraction makes the float larger: 3 is less than 3.5. `as` gives the
/// nearest `i128` of infinity.
fn int_to_float(int: i128, float: f64) -> Option<Ordering> {
    let whole = float.floor();
    let fraction = if float > whole {
        Ordering::Less
    } else {
        Ordering::Equal
    };
    (!float.is_nan()).then(|| int.cmp(&(whole as i128)).then(fraction))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_those_of_ieee() {
        // As numpy's float16 has them.
        let known = [
            (0.1, 0.0999755859375),
            (2049.0, 2048.0),
            (2051.0, 2052.0),
            (65519.0, 65504.0),
            (65520.0, f64::INFINITY),
            (-1e-7, -1.1920928955078125e-07),
            (2e-8, 0.0),
            (0.0, 0.0),
        ];
        for (value, half) in known {
            assert_eq!(rounded_to_half(value), half, "{value}");
        }
    }

    #[test]
    fn integers_and_floats_compare_exactly() {
        let big = (1i128 << 53) + 1;
        assert_eq!(int_to_float(big, 2f64.powi(53)), Some(Ordering::Greater));
        assert_eq!(int_to_float(-1, -0.5), Some(Ordering::Less));
        assert_eq!(int_to_float(0, -0.5), Some(Ordering::Greater));
        assert_eq!(int_to_float(5, f64::INFINITY), Some(Ordering::Less));
        assert_eq!(int_to_float(5, f64::NEG_INFINITY), Some(Ordering::Greater));
        assert_eq!(int_to_float(5, f64::NAN), None);
    }

    proptest! {
        #[test]
        fn small_integers_compare_as_floats(int in -1000i32..1000, float in -1000f64..1000.0) {
            let expected = f64::from(int).partial_cmp(&float);
            prop_assert_eq!(int_to_float(i128::from(int), float), expected);
        }

        #[test]
        fn a_mirrored_comparison_is_the_same(a in 0i128..3, b in 0i128..3) {
            use Comparison::{AtLeast, AtMost, Equal, Greater, Less, Unequal};
            for how in [Equal, Unequal, Less, AtMost, Greater, AtLeast] {
                prop_assert_eq!(how.holds(Some(a.cmp(&b))), how.mirrored().holds(Some(b.cmp(&a))));
            }
        }
    }
}

//! A column that a table adds to obs: one column of a `.csv` or `.tsv` file, `.gz` too, matched to the names of cells.
//!
//! The table is streamed. What is held is the names of the cells and a code for each. The column is written to a
//! scratch file as a categorical one, and from there it is as if the input had it. A line of the table is looked up
//! among the names of cells, so its lines may be in any order, and may be of cells that the file does not have.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use tracing::{info, warn};

use super::names::Names;
use super::table::Lines;
use super::{Obs, added, cut, listed, near, trimmed, trimmed_name};
use crate::dtype::number;
use crate::frame::values::Data;
use crate::output::Scratch;
use crate::report::failure::Failure;
use crate::report::words::clause;
use crate::resources::format_size;
use crate::store::Group;
use crate::store::spec::Dtype;

/// The table and the columns of it that count.
pub struct Table<'a> {
    /// As it was typed.
    pub path: &'a Path,
    /// Where it is read, once for each column: see [`readable`].
    pub bytes: &'a Path,
    pub column: &'a str,
    /// The column that holds the names of cells; the first where none is given.
    pub join: Option<&'a str>,
    /// Bytes that names and values may take.
    pub memory: u64,
}

/// What pandas reads as a missing value (`pandas.read_csv`, `na_values`).
const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];
/// In place of the number of a value: the table has the name, with a missing value.
const NO_VALUE: u32 = u32::MAX;
/// The table does not have the name (so far).
const NOT_FOUND: u32 = u32::MAX - 1;

/// Where a table can be read more than once: a pipe, as of `<(zcat t.csv.gz)`, is copied to scratch.
pub fn readable<'a>(path: &'a Path, scratch: &Scratch) -> Result<Cow<'a, Path>> {
    let copy = || -> Result<Cow<'a, Path>> {
        let mut pipe = File::open(path)?;
        if pipe.metadata()?.is_file() {
            return Ok(path.into());
        }
        let kept = scratch.folder()?.join("table");
        io::copy(&mut pipe, &mut File::create(&kept)?)?;
        Ok(kept.into())
    };
    copy().with_context(|| format!("Cannot read --csv-file {}", path.display()))
}

/// Those of `columns` that the table has beside the names of cells; where it has none, the first, for which there is an
/// error then.
pub fn columns_of<'c>(
    (path, bytes): (&Path, &Path),
    join: Option<&str>,
    columns: &[&'c str],
) -> Result<Vec<&'c str>> {
    let context = || format!("Cannot read --csv-file {}", path.display());
    let mut lines = Lines::open(bytes).with_context(context)?;
    lines.advance().with_context(context)?;
    let fields = (0..lines.count()).map(|at| lines.field(at).map(<[u8]>::to_vec));
    let fields = fields.collect::<Result<Vec<_>>>().with_context(context)?;
    let key = join
        .map(str::as_bytes)
        .or(fields.first().map(Vec::as_slice));
    let mut found = vec![];
    for &column in columns {
        let has = fields.iter().any(|field| field == column.as_bytes());
        if has && key != Some(column.as_bytes()) && !found.contains(&column) {
            found.push(column);
        }
    }
    // So that `join` names the column that is not there, and those that are.
    if found.is_empty() {
        found.extend(columns.first());
    }
    Ok(found)
}

/// Adds the column to `obs`; returns where it lies.
///
/// # Errors
/// A cell that the table does not have, or has with two values.
pub fn join(obs: &mut Obs, table: &Table, scratch: &Scratch) -> Result<Group> {
    let column = table.column;
    added::check_name(obs, column)?;
    let context = || format!("Cannot read --csv-file {}", table.path.display());
    let group = table
        .read(obs)
        .and_then(|read| read.write(&scratch.folder()?.join(format!("{}.h5ad", obs.added()))))
        .with_context(context)?;
    if obs.frame.has(column) {
        info!(
            "Column '{column}' of obs is replaced by that of {}",
            table.path.display()
        );
    }
    obs.join(column, group.clone());
    Ok(group)
}

/// The column for each cell of a file.
struct Joined {
    /// For each cell, the number of its name.
    cells: Vec<u32>,
    /// For each name, the number of its value.
    found: Vec<u32>,
    values: Names,
    kinds: Kinds,
}

/// What all values of the column can be read as, those of no cell of the file too.
#[derive(Clone, Copy)]
struct Kinds {
    bools: bool,
    ints: bool,
    floats: bool,
}

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds {
            bools: true,
            ints: true,
            floats: true,
        }
    }
}

impl Kinds {
    fn see(&mut self, value: &str) {
        self.bools = self.bools && boolean(value).is_some();
        self.ints = self.ints && number::integer(value).is_some();
        self.floats = self.floats && number::float(value).is_some();
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "True" | "TRUE" | "true" => Some(true),
        "False" | "FALSE" | "false" => Some(false),
        _ => None,
    }
}

impl Table<'_> {
    /// Reads the names of the cells, then the table, line by line. Several cells may have one name: they get one value.
    fn read(&self, obs: &Obs) -> Result<Joined> {
        let mut lines = Lines::open(self.bytes)?;
        let (key, at) = self.places(&mut lines)?;
        let (mut names, mut cells) = (Names::default(), Vec::new());
        for rows in obs.frame.index_blocks()? {
            for name in obs.frame.index_rows(rows)?.iter() {
                cells.push(names.insert(trimmed_name(name))?);
            }
            self.ensure_memory(&cells, &names, &Names::default())?;
        }
        let (mut values, mut kinds) = (Names::default(), Kinds::default());
        let mut found = vec![NOT_FOUND; names.len()];
        while lines.advance()? {
            let line = || format!("Line {}", lines.line());
            let value = std::str::from_utf8(lines.field(at)?).with_context(line)?;
            let name = trimmed(lines.field(key)?).with_context(line)?;
            let is_missing = MISSING.contains(&value);
            if !is_missing {
                // Also of lines of other cells: the type of a column does not depend on which file it is joined to.
                kinds.see(value);
            }
            let Some(cell) = names.find(name.as_bytes()) else {
                continue;
            };
            let number = if is_missing {
                NO_VALUE
            } else {
                values.insert(value.as_bytes())?
            };
            let found = &mut found[cell as usize];
            ensure!(
                *found == NOT_FOUND || *found == number,
                Failure::value(format!(
                    "{}: cell '{}' is there twice, with different values of '{}'",
                    line(),
                    cut(name),
                    self.column
                ))
            );
            *found = number;
            self.ensure_memory(&cells, &names, &values)?;
        }
        self.tell_absent(&cells, &names, &found)?;
        Ok(Joined {
            cells,
            found,
            values,
            kinds,
        })
    }

    /// An error where what is held takes more than there is.
    fn ensure_memory(&self, cells: &[u32], names: &Names, values: &Names) -> Result<()> {
        /// Of a cell: the number of its name and that of its value.
        const CELL: u64 = 8;
        /// Of a value, while the values are sorted.
        const VALUE: u64 = 64;
        let bytes = names.bytes() + values.bytes();
        let bytes = bytes + CELL * cells.len() as u64 + VALUE * values.len() as u64;
        ensure!(
            bytes <= self.memory,
            Failure::memory(format!(
                "Its names and values take more than --memory-limit {}; give more",
                format_size(self.memory)
            ))
        );
        Ok(())
    }

    /// An error where the table lacks cells, and a warning where it has no value for some.
    fn tell_absent(&self, cells: &[u32], names: &Names, found: &[u32]) -> Result<()> {
        let having = |what: u32| cells.iter().filter(move |n| found[**n as usize] == what);
        let absent = having(NOT_FOUND).count();
        let texts = having(NOT_FOUND)
            .map(|n| std::str::from_utf8(names.get(*n as usize)).unwrap_or_default());
        ensure!(
            absent == 0,
            Failure::value(format!(
                "{absent} of {} cells are not in it: {}",
                cells.len(),
                listed(texts, absent)
            ))
        );
        let without = having(NO_VALUE).count();
        if without > 0 {
            warn!(
                "{} no value in '{}' of {}",
                clause(without as u64, "cell", ("has", "have")),
                self.column,
                self.path.display()
            );
        }
        Ok(())
    }

    /// Where the names and the values are in a line, from the first one.
    fn places(&self, lines: &mut Lines) -> Result<(usize, usize)> {
        lines.advance()?;
        let known = (0..lines.count()).map(|at| Ok(String::from_utf8_lossy(lines.field(at)?)));
        let known: Vec<_> = known.collect::<Result<_>>()?;
        let find = |name: &str| {
            let at = known.iter().position(|k| k == name);
            let what = || format!("It has no column '{name}'{}", near(name, &known));
            at.ok_or_else(|| Failure::key(what()))
        };
        let key = self.join.map_or(Ok(0), find)?;
        let at = find(self.column)?;
        ensure!(
            key != at,
            "Its column '{}' holds the names of cells; give another with --obs-column or --join-column",
            self.column
        );
        Ok((key, at))
    }
}

impl Joined {
    /// Writes the column to the file at `path`.
    fn write(&self, path: &Path) -> Result<Group> {
        let (categories, rank) = categories(&self.values, self.kinds);
        let code = |name: &u32| match self.found[*name as usize] {
            // Each cell has a number by now (`tell_absent`).
            NO_VALUE => super::NONE,
            number => rank[number as usize],
        };
        added::categorical(path, &categories, self.cells.iter().map(code))
    }
}

/// The values as sorted categories, and the place of each value among them. As pandas has it they are integers, floats
/// or bools where all of them are, but text where a number would not come back as it was written. `rank[n]` is the
/// place of value `n`: of 10, 9 and -3 they are 2, 1 and 0.
fn categories(values: &Names, kinds: Kinds) -> (Data, Vec<u32>) {
    let texts: Vec<&str> = (0..values.len())
        .map(|n| std::str::from_utf8(values.get(n)).unwrap_or_default())
        .collect();
    let numbers = |dtype, bytes| Data::Numbers { dtype, bytes };
    if let Some(bools) = parsed(&texts, kinds.bools, boolean) {
        return ranked(
            &bools,
            |a, b| a.cmp(b),
            |all| numbers(Dtype::BOOL, all.iter().map(|v| **v as u8).collect()),
        );
    }
    if let Some(ints) = parsed(&texts, kinds.ints, number::integer) {
        return ranked(
            &ints,
            |a, b| a.cmp(b),
            |all| {
                numbers(
                    Dtype::INT64,
                    all.iter().flat_map(|v| v.to_ne_bytes()).collect(),
                )
            },
        );
    }
    if let Some(floats) = parsed(&texts, kinds.floats, number::float) {
        return ranked(&floats, f64_order, |all| {
            numbers(
                Dtype::FLOAT64,
                all.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            )
        });
    }
    ranked(
        &texts,
        |a, b| a.cmp(b),
        |all| Data::Text(all.iter().map(|t| t.as_bytes()).collect()),
    )
}

/// None is NaN, which is a missing value, so any two have an order.
fn f64_order(a: &f64, b: &f64) -> std::cmp::Ordering {
    a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)
}

/// The values, where all that were seen can be read so.
fn parsed<'a, T: Send>(
    texts: &[&'a str],
    all: bool,
    parse: impl Fn(&'a str) -> Option<T> + Sync,
) -> Option<Vec<T>> {
    (all && !texts.is_empty())
        .then(|| texts.par_iter().map(|t| parse(t)).collect())
        .flatten()
}

/// Equal values (`1` and `1.0`) become one category. `data` makes the categories of the distinct values, which come
/// sorted.
fn ranked<T>(
    values: &[T],
    order: impl Fn(&T, &T) -> std::cmp::Ordering,
    data: impl Fn(&[&T]) -> Data,
) -> (Data, Vec<u32>) {
    let mut sorted: Vec<usize> = (0..values.len()).collect();
    sorted.sort_by(|&a, &b| order(&values[a], &values[b]));
    let (mut rank, mut distinct) = (vec![0; values.len()], Vec::<&T>::new());
    for at in sorted {
        let value = &values[at];
        if distinct
            .last()
            .is_none_or(|last| order(last, value).is_ne())
        {
            distinct.push(value);
        }
        rank[at] = distinct.len() as u32 - 1;
    }
    (data(&distinct), rank)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype};
    use crate::store::{self, Container, Node, Rows};

    /// A store with two cells, c1 and c2.
    fn cells(path: &Path) -> Group {
        let root = store::create(path, Container::ZARR).unwrap();
        let none = Attr::Texts {
            shape: vec![0],
            values: vec![],
        };
        let frame = Attrs::encoding("dataframe", "0.2.0");
        let frame = frame.with("_index", Attr::Text("_index".into()));
        root.create_group("obs", &frame.with("column-order", none))
            .unwrap();
        let spec = ArraySpec::new(vec![2], Dtype::String);
        let text = Attrs::encoding("string-array", "0.2.0");
        let mut index = root
            .create_array("obs/_index", &spec, Rows::Known, &text)
            .unwrap();
        index
            .append_strings(&["c1", "c2"].iter().map(|t| t.as_bytes()).collect())
            .unwrap();
        index.finish().unwrap();
        root
    }

    proptest! {
        #[test]
        fn any_table_ends_in_an_error_or_a_column(
            parts in prop::collection::vec(prop_oneof![
                3 => prop::sample::select(vec!["c1", "c2", ",", ",", "\n", "\n", "\r\n", "\"", "\t", "id", "kind", "1",
                    "0.5", "1e999", "True", "NA", "\0", "é", "\u{feff}", " ", "\"\""]).prop_map(|t| t.as_bytes().to_vec()),
                1 => prop::collection::vec(any::<u8>(), 0..6),
            ], 0..40),
            whole: bool,
            ending in prop::sample::select(vec!["csv", "tsv", "csv.gz"]),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let root = cells(&dir.path().join("a.zarr"));
            let mut bytes = parts.concat();
            if whole {
                bytes.splice(..0, *b"id,kind\nc1,a\nc2,b\n");
            }
            let path = dir.path().join(format!("t.{ending}"));
            std::fs::write(&path, bytes).unwrap();
            let table = Table { path: &path, bytes: &path, column: "kind", join: None, memory: 1 << 20 };
            let mut obs = Obs::open(&root).unwrap();
            if let Ok(column) = join(&mut obs, &table, &Scratch::below(dir.path().into())) {
                let Some(Node::Array(codes)) = column.get("codes").unwrap() else {
                    panic!("no codes");
                };
                prop_assert_eq!(codes.spec().rows(), 2);
            }
        }
    }

    fn kinds(texts: &[&str]) -> (String, Vec<u32>) {
        let mut names = Names::default();
        for text in texts {
            names.insert(text.as_bytes()).unwrap();
        }
        let (data, rank) = categories(&names, Kinds::default());
        (data.dtype().to_string(), rank)
    }

    #[test]
    fn values_get_the_type_that_pandas_gives_them_unless_it_changes_them() {
        let cases = [
            (&["10", "9", "-3"][..], "int64", &[2, 1, 0][..]),
            (&["1", "1.0", "0.5"], "float64", &[1, 1, 0]),
            (&["True", "FALSE"], "bool", &[1, 0]),
            (&["b", "a", "10"], "string", &[2, 1, 0]),
            (&["01", "2"], "string", &[0, 1]),
            (&["00.5", "2"], "string", &[0, 1]),
            (&["99999999999999999999", "1"], "string", &[1, 0]),
            (&["inf", "1.5", "-inf"], "float64", &[2, 1, 0]),
            (&[], "string", &[]),
        ];
        for (texts, dtype, rank) in cases {
            assert_eq!(
                kinds(texts),
                (dtype.to_string(), rank.to_vec()),
                "{texts:?}"
            );
        }
    }
}

//! Which cells: those that a column of obs, an expression over its columns or a list of names tells, or chance; and which
//! of them go together, in which order ([`choice`]).
//!
//! Columns are read in blocks of cells; a column that a table adds ([`csv`]) is read like one of the file's own. What
//! all steps pass on is a mask (a bool for each cell of the file) or codes (a `u32` for each cell). A cell is called by
//! its row in the file, in 32 bits.

pub mod added;
pub mod choice;
pub mod column;
pub mod csv;
pub mod eval;
pub mod expr;
mod groups;
pub mod key;
pub mod limit;
pub mod names;
mod random;
pub mod sample;
pub mod shares;
mod sort;
mod sought;
pub mod split;
pub mod subsets;
mod table;
mod tokens;
mod typed;

use std::io::{BufRead, BufReader};

use anyhow::{Context, Error, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;

use crate::frame::column::Column;
use crate::frame::dataframe::Frame;
use crate::report::failure::{Failure, Kind};
use crate::report::near::{cut, listed, near};
use crate::store::{Group, Node};

/// The code of a cell without a value. As an `i32` it is -1, the code that anndata stores for it.
const NONE: u32 = u32::MAX;

/// The obs of a file, whose columns are opened one at a time. A name that is in both is that of `joined`.
pub struct Obs {
    pub frame: Frame,
    /// What a message calls it.
    name: &'static str,
    /// Columns that the file does not have, or others than the file has.
    joined: Vec<(String, Group)>,
}

impl Obs {
    /// The obs of a file; an error where it has more cells than can be numbered in 32 bits.
    pub fn open(root: &Group) -> Result<Obs> {
        let frame = Frame::open(root, "obs")?;
        ensure!(
            u32::try_from(frame.rows()).is_ok(),
            "It has {} cells, and more than 2^32 cannot be chosen from",
            frame.rows()
        );
        Ok(Obs {
            frame,
            name: "obs",
            joined: vec![],
        })
    }

    /// The var of a file: genes are chosen as cells are.
    pub fn of_genes(frame: Frame) -> Obs {
        Obs {
            frame,
            name: "var",
            joined: vec![],
        }
    }

    /// From now on the column `name` is the one in `group`.
    pub fn join(&mut self, name: &str, group: Group) {
        self.joined.push((name.into(), group));
    }

    /// Whether there is a column `name`.
    pub fn has(&self, name: &str) -> bool {
        let added = self.joined.iter().any(|(joined, _)| joined == name);
        added || self.frame.has(name)
    }

    /// How many columns are added.
    pub fn added(&self) -> usize {
        self.joined.len()
    }

    /// Opens the column `name`; an error that lists near matches where there is none.
    pub fn column(&self, name: &str) -> Result<Column> {
        let axis = self.name;
        if let Some((_, group)) = self.joined.iter().find(|(joined, _)| joined == name) {
            return Column::open(Node::Group(group.clone()));
        }
        if let Some(column) = self.frame.find(name)? {
            ensure!(
                column.rows() == self.frame.rows(),
                "Column '{axis}/{name}' has {} rows, the index of {axis} has {}",
                column.rows(),
                self.frame.rows()
            );
            return Ok(column);
        }
        if name == self.frame.index_name {
            bail!(Failure::key(format!(
                "'{name}' is the index of {axis}, not a column of it"
            )));
        }
        // `obs.n_counts` is how pandas has it; here a point is a part of the name.
        let dotted = name.strip_prefix(axis).and_then(|n| n.strip_prefix('.'));
        if let Some(column) = dotted.filter(|n| self.frame.has(n)) {
            bail!(Failure::key(format!(
                "{axis} has no column '{name}'; write {column}, without '{axis}.'"
            )));
        }
        let near = near(name, &self.frame.columns);
        bail!(Failure::key(format!("{axis} has no column '{name}'{near}")))
    }
}

/// The error of a column that is not there, which may be text where it is `compared` with a column that is. In
/// `cell_type == T` the bare `T` is a column for the grammar.
fn with_quotes(error: Error, name: &str, compared: bool) -> Error {
    match error.downcast_ref() {
        Some(Failure(Kind::Key, what)) if compared => Failure::key(format!(
            "{what}; a value that is text needs quotes: \"{name}\""
        ))
        .into(),
        _ => error,
    }
}

/// What `input` holds, decompressed where it is gzip. Its first two bytes tell (RFC 1952), not its name. bgzip and `cat
/// a.gz b.gz` make files of several members, all of which are read.
fn unpacked<'a>(mut input: impl BufRead + 'a) -> Result<Box<dyn BufRead + 'a>> {
    if input.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(input))));
    }
    Ok(Box::new(input))
}

/// A name as it is compared: without white space around it. Bytes that are no text stay as they are.
fn trimmed_name(name: &[u8]) -> &[u8] {
    trimmed(name).map_or(name, str::as_bytes)
}

/// UTF-8 text without white space around it.
fn trimmed(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).context("It is not UTF-8 text")?;
    Ok(text.trim())
}

//! Dataframes in merge: the rows of many frames one after another, and many frames over genes as one.
//!
//! The columns are those of all frames in order of first appearance; [`unify`](super::unify) says what each becomes.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};

use super::column::Column;
use super::frame::Frame;
use super::unify::{self, Plan};
use super::values::{Data, Values};
use crate::store::Group;
use crate::store::spec::{Attr, Attrs, Dtype, Strings};

/// The index name and the columns of a merged frame.
struct Head {
    index: String,
    columns: Vec<String>,
}

impl Head {
    /// The index keeps its name where all frames agree and no column has it. An index that is a column too, in all
    /// frames, stays both.
    fn of(frames: &[&Frame]) -> Result<Head> {
        /// As anndata calls an index without a name.
        const UNNAMED: &str = "_index";
        let mut columns: Vec<String> = vec![];
        let mut seen = HashSet::new();
        for frame in frames {
            columns.extend(
                frame
                    .columns
                    .iter()
                    .filter(|name| seen.insert(*name))
                    .cloned(),
            );
        }
        let first = frames.first().context("No input has it")?;
        let agreed = frames.iter().all(|f| f.index_name == first.index_name);
        let shared = agreed && frames.iter().all(|f| f.lists_index());
        let index = match agreed && (shared || !seen.contains(&first.index_name)) {
            true => first.index_name.as_str(),
            false => UNNAMED,
        };
        ensure!(
            shared || !seen.contains(&index.to_string()),
            "A column has the name '{UNNAMED}', which is kept for the index; rename it"
        );
        Ok(Head {
            index: index.into(),
            columns,
        })
    }

    /// Creates the group of the frame.
    fn create(&self, out: &Group, path: &str) -> Result<()> {
        let attrs = Attrs::encoding("dataframe", "0.2.0")
            .with("_index", Attr::Text(self.index.clone()))
            .with("column-order", Attr::texts(self.columns.clone()));
        out.create_group(path, &attrs).map(drop)
    }

    /// The columns that are to be written beside the index.
    fn others(&self) -> impl Iterator<Item = &String> {
        self.columns.iter().filter(|name| **name != self.index)
    }
}

/// Writes one frame whose rows are those of `parts`, one after another. `None` is an input that lacks the frame: its
/// rows are missing in every column. The index is that of `obs`; `files` are names for messages.
pub fn rows(
    parts: &[Option<&Frame>],
    obs: &[Frame],
    files: &[String],
    out: &Group,
    path: &str,
) -> Result<()> {
    for ((part, obs), file) in parts.iter().zip(obs).zip(files) {
        let (found, cells) = (part.map_or(obs.rows(), Frame::rows), obs.rows());
        ensure!(
            found == cells,
            "'{path}' of {file} has {found} rows, obs has {cells}"
        );
    }
    let frames: Vec<&Frame> = parts.iter().flatten().copied().collect();
    let head = Head::of(&frames).with_context(|| format!("'{path}'"))?;
    head.create(out, path)?;
    let total = obs.iter().map(|o| o.rows()).sum();
    let names: Vec<&Frame> = obs.iter().collect();
    let mut index = Index::create(&names, out, &format!("{path}/{}", head.index), total)?;
    for (frame, file) in obs.iter().zip(files) {
        for rows in frame.index_blocks()? {
            let names = frame
                .index_rows(rows)
                .with_context(|| format!("Read {file}"))?;
            index.append(names)?;
        }
    }
    index.0.finish()?;
    for name in head.others() {
        let to = format!("{path}/{name}");
        let columns = parts.iter().zip(files).map(|(part, file)| match part {
            Some(frame) => frame.find(name).with_context(|| format!("Read {file}")),
            None => Ok(None),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let lengths: Vec<u64> = obs.iter().map(|o| o.rows()).collect();
        column(&columns, &lengths, files, out, &to)?;
    }
    Ok(())
}

/// The index of a merged frame: text, with a mask where every input has one (as pandas 3 makes it).
struct Index(unify::Writer);

impl Index {
    fn create(frames: &[&Frame], out: &Group, path: &str, rows: u64) -> Result<Index> {
        let columns: Vec<Option<&Column>> = frames.iter().map(|f| Some(f.index_column())).collect();
        let plan = match frames.iter().all(|f| f.has_masked_index()) {
            true => Plan::of(&columns, false, path)?,
            false => Plan::Plain(Dtype::String),
        };
        Ok(Index(plan.create(out, path, rows)?))
    }

    fn append(&mut self, names: Strings) -> Result<()> {
        self.0.append(&Values {
            missing: vec![false; names.len()],
            data: Data::Text(names),
        })
    }
}

/// Writes one column, block by block.
fn column(
    columns: &[Option<Column>],
    lengths: &[u64],
    files: &[String],
    out: &Group,
    to: &str,
) -> Result<()> {
    /// Missing values written at a time.
    const BLOCK: u64 = 1 << 20;
    let known: Vec<Option<&Column>> = columns.iter().map(Option::as_ref).collect();
    let absent = known
        .iter()
        .zip(lengths)
        .any(|(column, rows)| column.is_none() && *rows > 0);
    let plan = Plan::of(&known, absent, to).with_context(|| format!("Merge '{to}'"))?;
    let mut writer = plan.create(out, to, lengths.iter().sum())?;
    for (input, (column, rows)) in known.iter().zip(lengths).enumerate() {
        match column {
            Some(column) => {
                for rows in column.blocks()? {
                    let values = plan.convert(input, column, rows);
                    let values =
                        values.with_context(|| format!("Read '{to}' of {}", files[input]))?;
                    writer.append(&values)?;
                }
            }
            None => {
                for start in (0..*rows).step_by(BLOCK as usize) {
                    writer.append(&plan.missing((rows - start).min(BLOCK) as usize)?)?;
                }
            }
        }
    }
    writer.finish()
}

/// Writes one frame over the genes of `index`: what a gene has in a column comes from the first of `frames` that has
/// both. `places[i][j]` is where row j of frame i goes, `None` where it is dropped; `files` are names for messages.
pub fn genes(
    frames: &[Frame],
    places: &[Vec<Option<u32>>],
    index: &Strings,
    files: &[String],
    out: &Group,
    path: &str,
) -> Result<()> {
    let all: Vec<&Frame> = frames.iter().collect();
    let head = Head::of(&all)?;
    head.create(out, path)?;
    let rows = index.len() as u64;
    let mut names = Index::create(&all, out, &format!("{path}/{}", head.index), rows)?;
    names.append(index.clone())?;
    names.0.finish()?;
    for name in head.others() {
        let to = format!("{path}/{name}");
        let mut picked = Picked::new(index.len());
        for ((frame, places), file) in frames.iter().zip(places).zip(files) {
            if picked.is_full() {
                break;
            }
            let column = frame.find(name).with_context(|| format!("Read {file}"))?;
            picked.add(column, places);
        }
        picked.write(files, out, &to)?;
    }
    Ok(())
}

/// Where the genes get their values of one column from.
struct Picked {
    columns: Vec<Option<Column>>,
    /// Input and row.
    sources: Vec<Option<(usize, usize)>>,
    found: usize,
}

impl Picked {
    fn new(genes: usize) -> Picked {
        Picked {
            columns: vec![],
            sources: vec![None; genes],
            found: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.found == self.sources.len() && self.columns.iter().any(Option::is_some)
    }

    /// Adds the next input. A column that no gene needs does not count, but where there is no other.
    fn add(&mut self, column: Option<Column>, places: &[Option<u32>]) {
        let (input, before) = (self.columns.len(), self.found);
        if column.is_some() {
            for (row, place) in places.iter().enumerate() {
                let source = place.and_then(|p| self.sources.get_mut(p as usize));
                if let Some(source @ None) = source {
                    *source = Some((input, row));
                    self.found += 1;
                }
            }
        }
        let is_first = self.columns.iter().all(Option::is_none);
        self.columns
            .push(column.filter(|_| is_first || self.found > before));
    }

    fn write(&self, files: &[String], out: &Group, to: &str) -> Result<()> {
        let columns: Vec<Option<&Column>> = self.columns.iter().map(Option::as_ref).collect();
        let absent = self.found < self.sources.len();
        let plan = Plan::of(&columns, absent, to)?;
        let mut values = vec![];
        for (input, column) in columns.iter().enumerate() {
            values.push(match column {
                Some(column) => plan
                    .convert(input, column, 0..column.rows())
                    .with_context(|| format!("Read '{to}' of {}", files[input]))?,
                None => plan.missing(0)?,
            });
        }
        let mut writer = plan.create(out, to, self.sources.len() as u64)?;
        writer.append(&self.gather(&values, plan.missing(usize::from(absent))?))?;
        writer.finish()
    }

    /// The value of each gene; `blank` is a missing one.
    fn gather(&self, values: &[Values], blank: Values) -> Values {
        let mut data = Data::empty(&blank.data.dtype());
        let mut missing = vec![];
        for source in &self.sources {
            let (from, row) = match source {
                Some((input, row)) => (&values[*input], *row),
                None => (&blank, 0),
            };
            data.push(from.data.get(row));
            missing.push(from.is_missing(row));
        }
        Values { data, missing }
    }
}

#[cfg(test)]
mod tests;

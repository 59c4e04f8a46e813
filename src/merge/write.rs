//! The second pass of a merge: all arrays of the result are open, and take the rows of one input after another.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tracing::warn;

use super::agree::Given;
use super::decide::Outline;
use super::extras::Extras;
use super::frames::{self, Origin};
use super::input::Input;
use super::join::{ColumnMap, Joined};
use super::names::Names;
use super::reindex::Reindexed;
use super::sources::Sources;
use super::stack::{Shape, Stack};
use super::{folder_of, genes_of, is_merged};
use crate::anndata::copy::{self, Copy};
use crate::report::progress::Progress;
use crate::store::spec::{Attrs, Strings};
use crate::store::{Group, Node};

/// Bytes that all columns of dataframes together hold back for chunks that are not full, and the least for one.
const COLUMNS: u64 = 48 << 20;
const LEAST: u64 = 16 << 10;

/// The result, as far as it is written.
pub struct Writer<'a> {
    frames: Vec<(String, frames::MergedRows)>,
    arrays: Vec<Merged>,
    genes: Joined,
    raw_genes: Option<Joined>,
    sources: &'a Sources,
    names: Names,
    extras: Extras,
    /// Cells of each input when it was scanned.
    cells: Vec<u64>,
    /// Inputs that were appended.
    inputs: usize,
    /// A folder of this run's own.
    scratch: PathBuf,
}

struct Merged {
    path: String,
    stack: Stack,
    /// Bytes of a row in the mean, and 1: what it counts in the progress.
    weight: u64,
    /// What each input had when it was scanned.
    shapes: Vec<Option<Shape>>,
}

impl<'a> Writer<'a> {
    /// Writes what is not along the cells, and creates what is. `first` is the first input, `open` opens
    /// any.
    pub fn create(
        mut outline: Outline,
        first: &Input,
        open: &dyn Fn(usize) -> Result<Input>,
        out: &Group,
        sources: &'a Sources,
        names: Names,
        scratch: PathBuf,
    ) -> Result<Writer<'a>> {
        let cells = outline.cells();
        out.set_attrs("", &Attrs::encoding("anndata", "0.1.0"))?;
        let of_first = |path: &str| {
            let top = path.split('/').next().unwrap_or_default();
            !matches!(top, "" | "uns") && !is_merged(top)
        };
        let of = || format!("Read {}", first.name);
        first.selection.write_part(out, of_first).with_context(of)?;
        outline.shared.keep_columns(&mut outline.genes);
        let genes = outline.genes.write(out, "var").context("Merge 'var'")?;
        let raw_genes = match outline.raw_genes {
            None => None,
            Some(genes) => {
                out.create_group("raw", &Attrs::encoding("raw", "0.1.0"))?;
                Some(genes.write(out, "raw/var").context("Merge 'raw/var'")?)
            }
        };
        for path in &outline.gene_arrays {
            let copy = Copy::new(&first.root, path, &folder_of(path));
            copy::run(&copy, out).with_context(of)?;
        }
        for (at, given) in outline.shared.given() {
            match at {
                0 => write_given(&given, first, &genes, out)?,
                at => write_given(&given, &open(at)?, &genes, out)?,
            }
        }
        make_folders(out, raw_genes.is_some())?;
        let mut writer = Writer {
            frames: vec![],
            arrays: vec![],
            genes,
            raw_genes,
            sources,
            names,
            extras: outline.extras,
            cells: outline.inputs.iter().map(|input| input.cells).collect(),
            inputs: 0,
            scratch,
        };
        if let Some(labels) = &writer.sources.labels {
            writer.extras.forget(&format!("obs/{}", labels.column));
        }
        let columns: usize = outline.frames.values().map(frames::FrameScan::width).sum();
        let each = COLUMNS / (columns as u64 + 1);
        let small = out.with_chunks_of(each.max(LEAST));
        for (path, mut frame) in outline.frames {
            if writer.sources.rename() {
                frame.rename();
            }
            let labels = writer.sources.labels.as_ref();
            let rows = frame
                .create(&small, &path, cells, labels.filter(|_| path == "obs"))
                .with_context(|| format!("Merge '{path}'"))?;
            writer.frames.push((path, rows));
        }
        for (path, (plan, shapes)) in outline.arrays {
            writer.arrays.push(Merged {
                weight: plan.least_bytes(cells) / cells.max(1) + 1,
                stack: Stack::create(out, &path, plan, cells)?,
                path,
                shapes,
            });
        }
        Ok(writer)
    }

    /// What all arrays are, in the units of the progress.
    pub fn work(&self) -> u64 {
        let cells: u64 = self.cells.iter().sum();
        let weights = self.arrays.iter().map(|array| array.weight);
        weights.sum::<u64>().saturating_mul(cells)
    }

    /// Appends the rows of the next input.
    pub fn append(&mut self, input: &Input, progress: &Progress) -> Result<()> {
        let at = self.inputs;
        self.inputs += 1;
        ensure!(
            self.cells.get(at) == Some(&input.cells()),
            "{} has changed since it was first read",
            input.name
        );
        let (obs, has) = (input.frame("obs")?, input.frames());
        let origin = Origin {
            obs: &obs,
            input: at,
            suffix: self.sources.suffix(at),
        };
        for (path, rows) in &mut self.frames {
            let frame = if path == "obs" || has.contains(path) {
                Some(input.frame(path)?)
            } else {
                None
            };
            let told = |names: &Strings| {
                if path == "obs" {
                    self.names.add(names)
                } else {
                    Ok(())
                }
            };
            rows.append(frame.as_ref(), &origin, told)
                .with_context(|| format!("Read {}", input.name))?;
        }
        let map = map_of(&self.genes, "var", input)?;
        let raw_map = match &self.raw_genes {
            Some(genes) => map_of(genes, "raw/var", input)?,
            None => ColumnMap::Identity,
        };
        for array in &mut self.arrays {
            let map = match genes_of(&array.path) {
                Some("raw/var") => &raw_map,
                Some(_) => &map,
                None => &ColumnMap::Identity,
            };
            let path = &array.path;
            ensure!(
                array.shapes.get(at) == Some(&input.shape(path)?),
                "'{path}' of {} has changed since it was first read",
                input.name
            );
            let (rows, units) = (input.rows_of(path), array.weight * input.cells());
            progress.begin(units, (units as f64 * rows.moved_per_byte()) as u64);
            array
                .stack
                .append(rows, map, &self.scratch)
                .with_context(|| format!("Read {}", input.name))?;
            progress.end();
        }
        Ok(())
    }

    /// Returns the number of cells whose name is that of another one too. `out` is the result.
    pub fn finish(self, out: &Group) -> Result<u64> {
        for (path, rows) in self.frames {
            rows.finish().with_context(|| format!("Merge '{path}'"))?;
        }
        let mut arrays = self.arrays.into_iter();
        arrays.try_for_each(|array| array.stack.finish())?;
        self.extras.write(out)?;
        self.names.doubled()
    }
}

/// Where the columns of an input go.
fn map_of(genes: &Joined, path: &str, input: &Input) -> Result<ColumnMap> {
    if genes.identical {
        return Ok(ColumnMap::Identity);
    }
    genes
        .map(&input.gene_frame(path)?.index()?)
        .with_context(|| format!("Read '{path}' of {}", input.name))
}

/// Writes what one input gives of uns, varm and varp.
fn write_given(given: &[Given], input: &Input, genes: &Joined, out: &Group) -> Result<()> {
    let map = map_of(genes, "var", input)?;
    let mut lost = vec![];
    for Given { path, whole, .. } in given {
        let write = || -> Result<bool> {
            if let Some((folder @ ("varm" | "varp"), _)) = path.split_once('/') {
                let element = Reindexed {
                    parent: &input.root,
                    name: path,
                    square: folder == "varp",
                    map: &map,
                    joined: genes,
                };
                return element.write(out, path);
            }
            match input.root.get(path)? {
                Some(Node::Group(folder)) if !whole => copy::folder(&folder, out, path)?,
                _ => copy::run(&Copy::new(&input.root, path, path), out)?,
            }
            Ok(true)
        };
        if !write().with_context(|| format!("Read '{path}' of {}", input.name))? {
            lost.push(format!("'{path}' of {}", input.name));
        }
    }
    if !lost.is_empty() {
        warn!(
            "Left out: {}, which cannot be put on other genes",
            lost.join(", ")
        );
    }
    Ok(())
}

/// The folders that anndata writes, empty or not.
fn make_folders(out: &Group, raw: bool) -> Result<()> {
    let raw = raw.then_some("raw/varm");
    let folders = ["layers", "obsm", "obsp", "varm", "varp", "uns"];
    for folder in folders.into_iter().chain(raw) {
        let dict = Attrs::encoding("dict", "0.1.0");
        match out.get(folder)? {
            None => drop(out.create_group(folder, &dict)?),
            // Made on the way to what was copied into it.
            Some(Node::Group(group)) if group.attrs()?.get("encoding-type").is_none() => {
                out.set_attrs(folder, &dict)?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

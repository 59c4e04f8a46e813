//! The result of a merge, as far as it is written: frames, text and awkward arrays, to which the rows of one input after
//! another are appended. Its matrices are read by the engine.
//!
//! Frames hold a block of each column and what does not fill its chunks, 48 MiB together; arrays, a block. An input is
//! open from [`Reader::opened`] until a few others have been.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::extras::Extras;
use super::frames::{FrameScan, MergedRows, Origin};
use super::input_keys::InputKeys;
use super::names::CellNames;
use super::reader::{Opened, Reader};
use super::stack::{ArrayPlan, Shape, Stack};
use crate::anndata::elements::MissingText;
use crate::output;
use crate::report::words::clause;
use crate::store::Group;
use crate::store::spec::Strings;

/// Bytes that all columns of dataframes together hold back for chunks that are not full, and the least for one.
const COLUMNS: u64 = 48 << 20;
const LEAST: u64 = 16 << 10;

/// The result, as far as it is written.
pub struct JoinedRows<'a> {
    pub reader: Arc<Reader>,
    pub extras: Extras,
    /// obs and the dataframes in obsm, by path.
    frames: Vec<(String, MergedRows)>,
    /// Text, awkward arrays, and obsp where it is kept.
    arrays: Vec<MergedArray>,
    names: CellNames,
    paths: &'a [PathBuf],
    keys: &'a InputKeys,
    /// A folder of this run's own.
    scratch: PathBuf,
}

/// An array that is no matrix of numbers.
struct MergedArray {
    path: String,
    stack: Stack,
    /// What each input had when it was scanned.
    shapes: Vec<Option<Shape>>,
}

impl<'a> JoinedRows<'a> {
    /// The rows that `reader` opens, none of which is written yet.
    pub fn new(
        reader: Reader,
        extras: Extras,
        names: CellNames,
        (paths, keys): (&'a [PathBuf], &'a InputKeys),
        scratch: PathBuf,
    ) -> JoinedRows<'a> {
        JoinedRows {
            reader: Arc::new(reader),
            extras,
            frames: vec![],
            arrays: vec![],
            names,
            paths,
            keys,
            scratch,
        }
    }

    /// Creates the dataframes in `out`.
    pub fn create_frames(
        &mut self,
        frames: BTreeMap<String, FrameScan>,
        out: &Group,
        texts: Option<&MissingText>,
    ) -> Result<()> {
        let labels = self.keys.labels.as_ref();
        if let Some(labels) = labels {
            // The labels take its place, and what was noted of it is not true of them.
            self.extras.forget(&format!("obs/{}", labels.column));
        }
        let columns: usize = frames.values().map(FrameScan::width).sum();
        let each = COLUMNS / (columns as u64 + 1);
        // Each column holds back what does not fill its chunk: the more columns, the smaller their chunks.
        let small = out.with_chunks_of(each.max(LEAST));
        let cells = self.cells();
        for (path, mut frame) in frames {
            if self.keys.rename() {
                frame.rename();
            }
            let labels = labels.filter(|_| path == "obs");
            let merged = frame.create(&small, &path, cells, labels, texts);
            let merged = merged.with_context(|| format!("Merge '{path}'"))?;
            self.frames.push((path, merged));
        }
        Ok(())
    }

    /// Creates arrays in `out`; beside each stands what every input has of it.
    pub fn create_arrays(
        &mut self,
        arrays: BTreeMap<String, (ArrayPlan, Vec<Option<Shape>>)>,
        out: &Group,
    ) -> Result<()> {
        let cells = self.cells();
        for (path, (plan, shapes)) in arrays {
            let stack = Stack::create(out, &path, plan, cells)?;
            self.arrays.push(MergedArray {
                path,
                stack,
                shapes,
            });
        }
        Ok(())
    }

    /// Cells of all inputs.
    pub fn cells(&self) -> u64 {
        self.reader.starts().last().copied().unwrap_or(0)
    }

    /// The rows of each input, one input after another.
    pub fn inputs(&self) -> Vec<Range<u64>> {
        let starts = self.reader.starts();
        starts.windows(2).map(|ends| ends[0]..ends[1]).collect()
    }

    /// Appends the rows of the next input, which is number `at`. Inputs come in their order, each once, as rows are
    /// only appended.
    pub fn append(&mut self, at: usize) -> Result<Arc<Opened>> {
        let opened = self.reader.opened(at)?;
        let read = || format!("Read {}", opened.input.name);
        self.append_frames(at, &opened).with_context(read)?;
        for array in &mut self.arrays {
            let path = &array.path;
            ensure!(
                array.shapes.get(at) == Some(&opened.input.shape(path)?),
                "'{path}' of {} has changed since it was first read",
                opened.input.name
            );
            array
                .stack
                .append(opened.input.rows_of(path), opened.map(path), &self.scratch)
                .with_context(read)?;
        }
        Ok(opened)
    }

    fn append_frames(&mut self, at: usize, opened: &Opened) -> Result<()> {
        let input = &opened.input;
        let (obs, has) = (input.frame("obs")?, input.frames());
        let origin = Origin {
            obs: &obs,
            input: at,
            suffix: self.keys.suffix(at),
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
            rows.append(frame.as_ref(), &origin, told)?;
        }
        Ok(())
    }

    /// Makes all of it whole in `out`. Returns a warning for when the result stands, where cells have the name of another
    /// one.
    pub fn finish(self, out: &Group) -> Result<Option<String>> {
        for (path, rows) in self.frames {
            rows.finish().with_context(|| format!("Merge '{path}'"))?;
        }
        let mut arrays = self.arrays.into_iter();
        arrays.try_for_each(|array| array.stack.finish())?;
        self.extras.write(out)?;
        let doubled = self.names.doubled()?;
        let mut seen = HashSet::new();
        let twice = self.paths.iter().find(|path| !seen.insert(*path));
        let advice = if let Some(path) = twice {
            &format!("{} is given twice", path.display())
        } else if output::are_shards(self.paths) {
            "is a shard given twice, or are shards of an earlier run among them?"
        } else if self.keys.rename() {
            "call obs_names_make_unique() on the result or on the inputs"
        } else {
            "if that is meant, --index-unique - adds the file's name to each; if not, is a file given twice?"
        };
        let cells = clause(doubled, "cell", ("has", "have"));
        Ok((doubled > 0).then(|| format!("{cells} the name of another cell; {advice}")))
    }
}

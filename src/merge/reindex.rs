//! One element over the genes of one input, put in the order of the joined genes, as `pandas.reindex` does it: genes
//! that the input lacks are missing, 0 in sparse matrices.
//!
//! Genes of the input `[b, a]`, joined ones `[a, b, c]`: the map says where each goes (places, `[1, 0]`), its inverse
//! which row each joined gene takes (sources, `[1, 0, none]`). The result is put together in its own order, a block at
//! a time: the rows of a block are read in the order of the file, then picked. In varp the columns move too.
//!
//! There are two ends: [`Reindexed::write`], for the input that gives an element, and [`Reindexed::digest`], by which
//! `--var-merge same` and `unique` compare those of all inputs. Both see the same values.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::genes;
use super::join::{ColumnMap, Joined};
use super::stack::{ArrayPlan, Converter, Part, Shape, Stack};
use crate::anndata::elements::MissingText;
use crate::anndata::encoding::Encoding;
use crate::anndata::{copy, older};
use crate::dtype::ints;
use crate::frame::dataframe::Frame;
use crate::frame::digest::{self, Digest, Hasher, Nonzeros};
use crate::rows::block::Block;
use crate::rows::leaf::{Leaf, LeafKind};
use crate::rows::nnz::Nnz;
use crate::rows::sparse::{Sparse, SparseFormat};
use crate::rows::sparse_writer::SparseWriter;
use crate::store::spec::{Attrs, Dtype};
use crate::store::{Group, Node};

/// The element of one input.
pub struct Reindexed<'a> {
    /// The root of the input, and the path below it: `varm/PCs`.
    pub parent: &'a Group,
    pub name: &'a str,
    /// Whether its columns are genes too. That is varp.
    pub square: bool,
    /// Where the genes of the input go.
    pub map: &'a ColumnMap,
    pub joined: &'a Joined,
}

/// What an element is made of.
enum ReadAs {
    /// Numbers or text, one or more for each gene, and what they become.
    Rows(Leaf, ArrayPlan),
    Sparse(Sparse),
    Frame(Box<Frame>),
}

/// Bytes that are held at a time.
const BLOCK: u64 = 16 << 20;

impl Reindexed<'_> {
    /// Writes it at `to`; `texts` as for [`genes::reindexed`]. False, and nothing written, where that is not known of its
    /// kind.
    pub fn write(&self, out: &Group, to: &str, texts: Option<&MissingText>) -> Result<bool> {
        if *self.map == ColumnMap::Identity {
            copy::element(self.parent, self.name, out, to)?;
            return Ok(true);
        }
        let genes = self.joined.index.len() as u64;
        let Some(parts) = self.open()? else {
            return Ok(false);
        };
        match parts {
            ReadAs::Frame(frame) => genes::reindexed(&frame, self.joined, out, to, texts)?,
            ReadAs::Rows(leaf, plan) => {
                let mut stack = Stack::create(out, to, plan.clone(), genes)?;
                self.rows(&leaf, &plan, |block| stack.push(&block))?;
                stack.finish()?;
            }
            ReadAs::Sparse(matrix) => {
                let mut spec = matrix.like(self.shape(&matrix));
                // An index is a column that stays, or a gene of the result.
                let indices = [genes, matrix.width()].into_iter().max().unwrap_or(0);
                spec.indices = ints::holding(&spec.indices, indices);
                // Genes that are dropped take their non-zeros along.
                let nnz = Nnz::AtMost(matrix.nnz());
                let mut writer = SparseWriter::create(out, to, &spec, nnz)?;
                self.nonzeros(&matrix, |block, _| match block {
                    Block::Sparse(block) => writer.append(&block),
                    _ => bail!("A block that is not sparse"),
                })?;
                writer.finish()?;
            }
        }
        Ok(true)
    }

    /// The digest of what [`Reindexed::write`] writes; `None` is equal to nothing.
    pub fn digest(&self) -> Result<Option<Digest>> {
        // Of a frame the index is no part of the digest, whether its genes move or not: it is that of the joined genes.
        let is_frame = match self.parent.get(self.name)? {
            Some(node) => matches!(Encoding::of(&node)?, Encoding::DataFrame),
            None => false,
        };
        if *self.map == ColumnMap::Identity && !is_frame {
            return digest::of(self.parent, self.name, u64::MAX);
        }
        let genes = self.joined.index.len() as u64;
        let shape = |row: &[u64]| [&[genes], row].concat();
        let Some(parts) = self.open()? else {
            return Ok(None);
        };
        match parts {
            ReadAs::Frame(frame) => digest::frame(&frame, Some(&self.sources())).map(Some),
            ReadAs::Rows(leaf, plan) => {
                let (mut hasher, dtype) = match &plan {
                    ArrayPlan::Dense { dtype, row, .. } => {
                        (Hasher::array(dtype, &shape(row)), dtype.clone())
                    }
                    ArrayPlan::Text { row } => (Hasher::texts(&shape(row)), Dtype::String),
                    _ => return Ok(None),
                };
                self.rows(&leaf, &plan, |block| {
                    match block {
                        Block::Fixed { bytes, .. } => hasher.numbers(bytes.to_vec(), &dtype),
                        Block::Text { strings, .. } => hasher.strings(&strings),
                        _ => bail!("A block of another kind"),
                    }
                    Ok(())
                })?;
                Ok(Some(hasher.finish()))
            }
            ReadAs::Sparse(matrix) => {
                let dtype = matrix.data.spec().dtype.clone();
                let mut nonzeros = Nonzeros::new(self.shape(&matrix), matrix.layout);
                self.nonzeros(&matrix, |block, first| match block {
                    Block::Sparse(block) => nonzeros.add(&block, &dtype, first),
                    _ => bail!("A block that is not sparse"),
                })?;
                Ok(Some(nonzeros.finish()))
            }
        }
    }

    fn open(&self) -> Result<Option<ReadAs>> {
        // varm as one compound dataset, of which each field is an element.
        if let Some(field) = older::field(self.parent, self.name)? {
            return self.leaf(older::leaf(field, self.name)?);
        }
        let node = self.parent.get(self.name)?.context("It is missing")?;
        let kind = match (Encoding::of(&node)?, node) {
            (Encoding::Array, Node::Array(array)) if array.spec().dtype.kind().is_some() => {
                LeafKind::Fixed(array)
            }
            (Encoding::StringArray, Node::Array(array)) => LeafKind::Text(array),
            (Encoding::Csr, Node::Group(group)) => return self.sparse(&group, SparseFormat::Csr),
            (Encoding::Csc, Node::Group(group)) => return self.sparse(&group, SparseFormat::Csc),
            (Encoding::DataFrame, _) => {
                let frame = Frame::open(self.parent, self.name)?;
                self.check(frame.rows())?;
                return Ok(Some(ReadAs::Frame(Box::new(frame))));
            }
            _ => return Ok(None),
        };
        self.leaf(Leaf {
            path: self.name.into(),
            attrs: Attrs::default(),
            kind,
        })
    }

    fn leaf(&self, leaf: Leaf) -> Result<Option<ReadAs>> {
        let plan = self.plan(&leaf)?;
        Ok(plan.map(|plan| ReadAs::Rows(leaf, plan)))
    }

    fn sparse(&self, group: &Group, layout: SparseFormat) -> Result<Option<ReadAs>> {
        let matrix = Sparse::open(group, layout)?;
        self.check(matrix.shape[0])?;
        if self.square {
            self.check(matrix.shape[1])?;
        }
        Ok(Some(ReadAs::Sparse(matrix)))
    }

    /// What the rows become: the type changes where some are missing. `None` for text of which some would be.
    fn plan(&self, leaf: &Leaf) -> Result<Option<ArrayPlan>> {
        self.check(leaf.rows())?;
        let shape = Shape::of_leaf(leaf)?;
        if self.square {
            self.check(shape.width())?;
        }
        let genes = self.joined.index.len() as u64;
        let missing = self.sources().contains(&None);
        if !matches!(shape, Shape::Dense { .. }) && (missing || self.square) {
            return Ok(None);
        }
        let part = Part {
            rows: genes,
            shape: Some(shape),
        };
        let width = self.square.then_some(genes);
        // Without a fill value what is missing is NaN, so integers become floats, as in pandas.
        ArrayPlan::new(&[part], width, missing, true, None).map(Some)
    }

    fn check(&self, rows: u64) -> Result<()> {
        let genes = self.places().len() as u64;
        ensure!(rows == genes, "It has {rows} rows for {genes} genes");
        Ok(())
    }

    fn places(&self) -> Vec<Option<u32>> {
        self.map.places(self.joined.index.len() as u64)
    }

    /// The row of each joined gene.
    fn sources(&self) -> Vec<Option<u32>> {
        self.map.sources(self.joined.index.len())
    }

    fn shape(&self, matrix: &Sparse) -> [u64; 2] {
        let genes = self.joined.index.len() as u64;
        [genes, if self.square { genes } else { matrix.shape[1] }]
    }

    /// The rows of an array in order of the joined genes.
    fn rows(
        &self,
        leaf: &Leaf,
        plan: &ArrayPlan,
        mut each: impl FnMut(Block) -> Result<()>,
    ) -> Result<()> {
        // The columns move in the converter, the rows by picking.
        let map = if self.square {
            self.map
        } else {
            &ColumnMap::Identity
        };
        let converter = Converter::new(plan, map, Shape::of_leaf(leaf)?, 0);
        let row = leaf.cost()?.fixed.max(converter.row_bytes());
        let sources = self.sources();
        for sources in sources.chunks((BLOCK / row.max(1)).max(1) as usize) {
            let (ranges, picks) = picked(sources);
            let mut block = converter.convert(leaf.read(&ranges)?)?;
            // The row that stands for missing ones comes last.
            if let (ArrayPlan::Dense { fill, .. }, Block::Fixed { row, bytes }) = (plan, &mut block)
                && !fill.is_empty()
            {
                *bytes = [&bytes[..], &fill.repeat(*row / fill.len())]
                    .concat()
                    .into();
            }
            each(block.pick(&picks))?;
        }
        Ok(())
    }

    /// The rows of a CSR matrix in order of the joined genes, or the columns of a CSC one; and the first of them.
    fn nonzeros(
        &self,
        matrix: &Sparse,
        mut each: impl FnMut(Block, u64) -> Result<()>,
    ) -> Result<()> {
        let csr = matrix.layout == SparseFormat::Csr;
        // The rows of a CSR matrix are genes, and so are the columns of a CSC one in varp. In varm the columns of a CSC
        // matrix are not: they stay, and genes are its indices.
        let sources = if csr || self.square {
            self.sources()
        } else {
            (0..matrix.rows() as u32).map(Some).collect()
        };
        let places = (!csr || self.square).then(|| self.places());
        let wide = Dtype::INT64;
        let mean = matrix.nnz() * matrix.nonzero_bytes() / matrix.rows().max(1) + 16;
        let step = (BLOCK / mean).max(1) as usize;
        for (at, sources) in sources.chunks(step).enumerate() {
            let (ranges, picks) = picked(sources);
            let mut block = matrix.read(&ranges)?;
            if let Some(places) = &places {
                block = block.map_indices(&wide, true, |index| {
                    let place = places.get(index as usize).copied().flatten();
                    place.map(u64::from)
                })?;
            }
            // An empty row behind all others, for genes that are missing.
            block.ptr.push(block.nnz());
            each(Block::Sparse(block.pick(&picks)), (at * step) as u64)?;
        }
        Ok(())
    }
}

/// What is to be read for rows in the order of `sources`, and where each of them is then; what is missing is behind.
/// `[5, none, 4]` -> ranges `[4..6]` and picks `[1, 2, 0]`, where 2 is the row behind the two that are read.
fn picked(sources: &[Option<u32>]) -> (Vec<Range<u64>>, Vec<u32>) {
    let mut rows: Vec<u32> = sources.iter().flatten().copied().collect();
    rows.sort_unstable();
    let mut ranges: Vec<Range<u64>> = vec![];
    for row in rows.iter().map(|row| u64::from(*row)) {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    let place = |source: &Option<u32>| match source {
        Some(row) => rows.partition_point(|r| r < row) as u32,
        None => rows.len() as u32,
    };
    let picks = sources.iter().map(place).collect();
    (ranges, picks)
}

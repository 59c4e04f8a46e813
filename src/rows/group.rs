//! Leaves that are read and written together: sparse matrices that may share a sparsity, matrices of several files, each
//! of which is opened once for all of them, or one leaf of any kind.
//!
//! Groups are made of the leaves alone, before a row is read: they say which matrices may be alike. What is alike is
//! seen chunk by chunk as rows are read or written ([`sparsity`](super::sparsity)); what is not is read by itself.

use std::ops::Range;

use anyhow::{Context, Result};
use tracing::debug;

use super::block::{Block, CellColumns};
use super::cost::RowCost;
use super::csr::CsrBlock;
use super::leaf::Leaf;
use super::same_files::{self, of_files};
use super::sparse_writer::SparseWriter;
use super::sparsity::{Sharing, Sparsity};
use super::writer::LeafWriter;
use crate::report::failure::in_element;

/// One leaf or more, by their numbers.
pub struct LeafGroup<'a> {
    /// The numbers of its leaves among all, rising; the others are compared with the first.
    pub members: Vec<usize>,
    /// Of more than one leaf, where they may share it.
    sparsity: Option<Sparsity<'a>>,
    /// For matrices of the same files.
    sharing: Sharing,
}

/// All leaves in groups.
pub fn groups(leaves: &[Leaf], sharing: Sharing) -> Vec<LeafGroup<'_>> {
    let mut groups: Vec<LeafGroup> = vec![];
    for (number, leaf) in leaves.iter().enumerate() {
        let matrix = leaf.matrix();
        let may_join =
            of_files(leaf).is_some() || matrix.is_some_and(|matrix| sharing.is_worth(matrix));
        let joins = may_join && groups.iter_mut().any(|group| group.takes(number, leaves));
        if !joins {
            groups.push(LeafGroup {
                members: vec![number],
                sparsity: matrix.map(Sparsity::of),
                sharing,
            });
        }
    }
    groups
}

impl<'a> LeafGroup<'a> {
    /// Takes a leaf in where it is of the same files, or may share the sparsity.
    fn takes(&mut self, number: usize, leaves: &'a [Leaf]) -> bool {
        let (first, leaf) = (&leaves[self.members[0]], &leaves[number]);
        // The stacked matrices of a selection are all made for the same inputs, so they are one group.
        let of_same_files = of_files(first).and(of_files(leaf)).is_some();
        let joins = of_same_files || self.may_share(&first.path, leaf);
        if joins {
            self.members.push(number);
        }
        joins
    }

    /// Adds the matrix of a leaf to the sparsity, if it is like that of `first`.
    fn may_share(&mut self, first: &str, leaf: &'a Leaf) -> bool {
        let (Some(sparsity), Some(matrix)) = (&mut self.sparsity, leaf.matrix()) else {
            return false;
        };
        let (path, added) = (&leaf.path, sparsity.add(matrix));
        match &added {
            Ok(()) => debug!("'{path}': offsets and indices of '{first}', where bytes are equal"),
            Err(why) => debug!("'{path}': not those of '{first}': {why:#}"),
        }
        added.is_ok()
    }

    /// The sparsity of more than one leaf.
    fn shared(&self) -> Option<&Sparsity<'a>> {
        self.sparsity.as_ref().filter(|_| self.members.len() > 1)
    }

    /// As [`Leaf::read_over`], of each of its leaves.
    pub fn read_over(
        &self,
        leaves: &[Leaf],
        ranges: &[Range<u64>],
        mut old: Vec<Block>,
    ) -> Result<Vec<Block>> {
        if let Some((_, files, _)) = of_files(&leaves[self.members[0]]) {
            let members = self.members.iter().filter_map(|at| of_files(&leaves[*at]));
            let members: Vec<_> = members
                .map(|(matrix, _, number)| (matrix, number))
                .collect();
            return same_files::read_together(files, &members, ranges, self.sharing);
        }
        let Some(sparsity) = self.shared() else {
            let leaf = &leaves[self.members[0]];
            return Ok(vec![leaf.read_over(ranges, old.pop())?]);
        };
        // The input says which matrices may be alike, but rows come from buckets, and are compared once they are read.
        if self.members.iter().any(|at| leaves[*at].is_scattered()) {
            return self.read_each(leaves, ranges);
        }
        let old = old.into_iter().filter_map(|block| match block {
            Block::Sparse(block) => Some(block),
            _ => None,
        });
        let blocks = sparsity.read_over(ranges, old.collect())?.into_iter();
        Ok(blocks.map(Block::Sparse).collect())
    }

    /// Reads each leaf by itself; those whose indices are found to be those of the first hold them together.
    fn read_each(&self, leaves: &[Leaf], ranges: &[Range<u64>]) -> Result<Vec<Block>> {
        let mut blocks: Vec<Block> = vec![];
        for at in &self.members {
            let mut block = leaves[*at].read(ranges)?;
            if let (Some(Block::Sparse(first)), Block::Sparse(block)) = (blocks.first(), &mut block)
            {
                block.hold_with(first);
            }
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// As [`LeafWriter::append_from`], to a writer for each of its leaves.
    pub fn append_from(
        &self,
        leaves: &[Leaf],
        writers: &mut [&mut LeafWriter],
        rows: Range<u64>,
        columns: Option<&CellColumns>,
        costs: &[RowCost],
    ) -> Result<()> {
        if let Some(sparsity) = self.shared() {
            let writers = writers.iter_mut().map(|writer| writer.sparse());
            let mut writers = writers.collect::<Result<Vec<_>>>()?;
            return SparseWriter::append_shared(&mut writers, sparsity, rows)
                .with_context(|| in_element("Write", &leaves[self.members[0]].path));
        }
        if let Some((_, files, _)) = of_files(&leaves[self.members[0]]) {
            let members = self.members.iter().map(|at| (&leaves[*at], costs[*at]));
            let members: Vec<_> = members.collect();
            return same_files::append_together(files, &members, writers, rows, self.sharing);
        }
        for (writer, at) in writers.iter_mut().zip(&self.members) {
            let leaf = &leaves[*at];
            let columns = columns.filter(|_| leaf.is_square());
            writer
                .append_from(leaf, rows.clone(), columns, costs[*at])
                .with_context(|| in_element("Write", &leaf.path))?;
        }
        Ok(())
    }

    /// As [`LeafWriter::append_picked`], of a block of each of all leaves, to a writer for each of its own.
    pub fn append_picked(
        &self,
        leaves: &[Leaf],
        writers: &mut [&mut LeafWriter],
        blocks: &[Block],
        picks: &[u32],
        columns: Option<&CellColumns>,
    ) -> Result<()> {
        let first = self.members[0];
        let (mut together, mut held) = (vec![], vec![]);
        for (writer, at) in writers.iter_mut().zip(&self.members) {
            let columns = columns.filter(|_| leaves[*at].is_square());
            let block = &blocks[*at];
            // Those that hold the indices of the first go together, the first with them; the others one by one.
            if self.members.len() > 1
                && let Some(block) = alike(writer, &blocks[first], block)
            {
                together.push(writer.sparse()?);
                held.push(block);
                continue;
            }
            writer
                .append_picked(block, picks, columns)
                .with_context(|| in_element("Write", &leaves[*at].path))?;
        }
        if together.is_empty() {
            return Ok(());
        }
        SparseWriter::append_picked_to(&mut together, &held, picks)
            .with_context(|| in_element("Write", &leaves[first].path))
    }
}

/// The block, if it holds its indices together with `first`, and the matrix stores them as they are.
fn alike<'a>(writer: &LeafWriter, first: &Block, block: &'a Block) -> Option<&'a CsrBlock> {
    match (writer, first, block) {
        (LeafWriter::Sparse(writer), Block::Sparse(first), Block::Sparse(block)) => {
            // A collection stores indices as a narrower type, so each matrix maps its own.
            (block.holds_with(first) && writer.takes(&block.index)).then_some(block)
        }
        _ => None,
    }
}

/// Of each leaf, one before it that has the very same indices: compares all of them.
pub fn same_indices(leaves: &[Leaf]) -> Result<Vec<Option<usize>>> {
    let mut same = vec![None; leaves.len()];
    for group in groups(leaves, Sharing::Decoding) {
        let Some(sparsity) = group.shared() else {
            continue;
        };
        for (member, is_same) in group.members.iter().skip(1).zip(sparsity.are_same()?) {
            same[*member] = is_same.then_some(group.members[0]);
        }
    }
    Ok(same)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::slice::from_ref;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::compression::Compression;
    use crate::dtype::ints;
    use crate::rows::leaf::LeafKind;
    use crate::rows::nnz::Nnz;
    use crate::rows::sparse::{Sparse, SparseFormat, SparseSpec};
    use crate::store::spec::{Attrs, Dtype, Kind};
    use crate::store::{self, Access, Container, Node};

    const NAMES: [&str; 3] = ["A", "B", "C"];

    /// Offsets, indices and values.
    type Nonzeros = (Vec<u64>, Vec<u64>, Vec<u8>);

    fn block((ptr, indices, data): &Nonzeros) -> CsrBlock {
        let index = Dtype::native(Kind::Int, 4);
        CsrBlock {
            ptr: ptr.clone(),
            indices: ints::write(indices, &index).unwrap().into(),
            index,
            data: data.clone().into(),
            item: 1,
        }
    }

    const GZIP: Compression = Compression::Gzip(1);

    fn create(path: &Path, container: Container) -> store::Group {
        let root = store::create(path, container).unwrap();
        root.with_chunks_of(64)
    }

    /// Writes matrices of these non-zeros and opens them as leaves.
    fn leaves(path: &Path, container: Container, all: &[Nonzeros]) -> Vec<Leaf> {
        let root = create(path, container);
        for (name, nonzeros) in NAMES.iter().zip(all) {
            let rows = nonzeros.0.len() as u64 - 1;
            let spec = SparseSpec {
                layout: SparseFormat::Csr,
                shape: [rows, 1000],
                attrs: Attrs::encoding("csr_matrix", "0.1.0"),
                part_attrs: Box::default(),
                data: Dtype::native(Kind::Uint, 1),
                indices: Dtype::native(Kind::Int, 4),
                indptr: Dtype::INT64,
            };
            let nnz = Nnz::Exactly(nonzeros.1.len() as u64);
            let mut writer = SparseWriter::create(&root, name, &spec, nnz).unwrap();
            writer.append(&block(nonzeros)).unwrap();
            writer.finish().unwrap();
        }
        root.finish().unwrap();
        let root = store::open(path, &Access::default()).unwrap();
        let leaf = |name: &&str| {
            let Some(Node::Group(group)) = root.get(name).unwrap() else {
                panic!()
            };
            Leaf {
                path: (*name).into(),
                attrs: Attrs::default(),
                kind: LeafKind::Sparse(Sparse::open(&group, SparseFormat::Csr).unwrap()),
            }
        };
        NAMES.iter().map(leaf).collect()
    }

    /// The rows at `picks`.
    fn picked((ptr, indices, data): &Nonzeros, picks: &[u32]) -> Nonzeros {
        let mut picked: Nonzeros = (vec![0], vec![], vec![]);
        for &row in picks {
            let row = ptr[row as usize] as usize..ptr[row as usize + 1] as usize;
            picked.1.extend(&indices[row.clone()]);
            picked.2.extend(&data[row]);
            picked.0.push(picked.1.len() as u64);
        }
        picked
    }

    /// All rows of the matrices in a file.
    fn all_of(path: &Path) -> Vec<CsrBlock> {
        let root = store::open(path, &Access::default()).unwrap();
        let read = |name: &&str| {
            let Some(Node::Group(group)) = root.get(name).unwrap() else {
                panic!()
            };
            let matrix = Sparse::open(&group, SparseFormat::Csr).unwrap();
            matrix.read(from_ref(&(0..matrix.rows()))).unwrap()
        };
        NAMES.iter().map(read).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        /// Whatever they share, and in whatever parts they are written.
        #[test]
        fn matrices_written_together_are_those_matrices(
            lengths in prop::collection::vec(0u64..60, 1..60),
            changes in prop::collection::vec((1usize..3, any::<prop::sample::Index>()), 0..3),
            moved in any::<Option<prop::sample::Index>>(),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 1..80),
            cut in any::<prop::sample::Index>(),
            from in prop_oneof![Just(Container::H5AD), Just(Container::H5AD.compressed(GZIP)), Just(Container::ZARR)],
            to in prop_oneof![Just(Container::H5AD), Just(Container::H5AD.compressed(GZIP)), Just(Container::ZARR)],
        ) {
            let mut ptr = vec![0];
            lengths.iter().for_each(|len| ptr.push(ptr[ptr.len() - 1] + len));
            let nnz = ptr[lengths.len()];
            let indices: Vec<u64> = (0..nnz).map(|i| (i * i) % 1000).collect();
            let values = |seed: u64| (0..nnz).map(|i| (i * seed) as u8).collect::<Vec<u8>>();
            let mut all: Vec<Nonzeros> = [3, 5, 7].map(|seed| (ptr.clone(), indices.clone(), values(seed))).into();
            for (matrix, at) in changes.iter().filter(|_| nnz > 0) {
                let index = &mut all[*matrix].1[at.index(nnz as usize)];
                *index = (*index + 1) % 1000;
            }
            if let Some(at) = moved {
                let row = at.index(lengths.len());
                all[2].0[row + 1] = all[2].0[row];
                all[2].0[lengths.len()] = nnz;
            }
            let folder = tempfile::tempdir().unwrap();
            let leaves = leaves(&folder.path().join("in"), from, &all);
            let groups = groups(&leaves, Sharing::Encoding);
            let rows = lengths.len() as u64;
            let picks: Vec<u32> = picks.iter().map(|pick| pick.index(lengths.len()) as u32).collect();

            // As they come, in two parts, and picked, in two parts.
            for pick in [false, true] {
                let order: Vec<u32> = if pick { picks.clone() } else { (0..rows as u32).collect() };
                let wanted: Vec<Nonzeros> = all.iter().map(|all| picked(all, &order)).collect();
                let path = folder.path().join(format!("out{pick}"));
                let root = create(&path, to);
                let mut writers: Vec<LeafWriter> = leaves.iter().zip(&wanted).map(|(leaf, wanted)| {
                    LeafWriter::create(leaf, &root, order.len() as u64, wanted.1.len() as u64).unwrap()
                }).collect();
                let costs: Vec<RowCost> = leaves.iter().map(|leaf| leaf.cost().unwrap()).collect();
                let cut = cut.index(order.len() + 1);
                for part in [0..cut, cut..order.len()] {
                    let mut taken: Vec<_> = writers.iter_mut().map(Some).collect();
                    for group in &groups {
                        let mut writers: Vec<_> = group.members.iter().filter_map(|at| taken[*at].take()).collect();
                        if pick {
                            let read = group.read_over(&leaves, from_ref(&(0..rows)), vec![]).unwrap();
                            let mut blocks: Vec<Block> = leaves.iter().map(|leaf| leaf.read(&[]).unwrap()).collect();
                            group.members.iter().zip(read).for_each(|(at, block)| blocks[*at] = block);
                            group.append_picked(&leaves, &mut writers, &blocks, &order[part.clone()], None).unwrap();
                        } else {
                            let part = part.start as u64..part.end as u64;
                            group.append_from(&leaves, &mut writers, part, None, &costs).unwrap();
                        }
                    }
                }
                writers.into_iter().for_each(|writer| writer.finish().unwrap());
                root.finish().unwrap();
                let wanted: Vec<CsrBlock> = wanted.iter().map(block).collect();
                prop_assert_eq!(all_of(&path), wanted);
            }
        }
    }
}

//! The input: AnnData files as anndata 0.12 lays them out, the same at each call.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use hdf5::types::VarLenUnicode;
use hdf5::{Dataset, Group, H5Type, Location};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub const GENES: usize = 10_000;
/// Mean non-zero values of a cell; `cell_nnz` varies about it.
pub const NNZ: usize = 500;
const COMPONENTS: usize = 20;
/// Elements of a compressed chunk: 128 KiB, about what h5py chooses.
const CHUNK: usize = 32_768;

fn cell_nnz(cell: usize) -> usize {
    NNZ / 2 + cell * 7919 % (NNZ + 1)
}

/// What a file has of its own.
#[derive(Default)]
pub struct Traits {
    /// Of gzip.
    pub level: Option<u8>,
    /// The number of the first gene. Then there is no obsm: without dask anndata cannot merge one on disk.
    pub other_genes: Option<usize>,
    /// Whether the layer has values at other places than X.
    pub other_pattern: bool,
}

/// An AnnData file as anndata 0.12 lays it out: CSR in X and a layer, a categorical column, obsm and uns.
pub fn write_anndata(path: &Path, cells: usize, traits: &Traits) -> Result<()> {
    let Traits {
        level,
        other_genes,
        other_pattern,
    } = *traits;
    let file = hdf5::File::create(path)?;
    encode(&file, "anndata", "0.1.0")?;
    for folder in ["layers", "obsm", "obsp", "uns", "varm", "varp"] {
        encode(&*file.create_group(folder)?, "dict", "0.1.0")?;
    }
    frame(&file, "obs", "cell", 0..cells, &["cell_type"])?;
    let first = other_genes.unwrap_or(0);
    frame(&file, "var", "gene", first..first + GENES, &[])?;
    let column = file.create_group("obs/cell_type")?;
    encode(&column, "categorical", "0.2.0")?;
    let ordered = column.new_attr::<bool>().create("ordered")?;
    ordered.write_scalar(&false)?;
    let codes: Vec<i8> = (0..cells).map(|cell| (cell % 37) as i8).collect();
    let stored = array::<i8>(&column, "codes", &[cells], level)?;
    stored.write_raw(&codes)?;
    encode(&stored, "array", "0.2.0")?;
    strings(&column, "categories", (0..37).map(|i| format!("type {i}")))?;
    let names = (0..3).map(|i| format!("name {i}"));
    strings(&file.group("uns")?, "names", names)?;
    if other_genes.is_none() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let random = (0..cells * COMPONENTS).map(|_| rng.next_u32() as f32 / 4e9);
        let pca = array::<f32>(&file, "obsm/X_pca", &[cells, COMPONENTS], None)?;
        pca.write_raw(&random.collect::<Vec<_>>())?;
        encode(&pca, "array", "0.2.0")?;
    }
    let log: fn(u32) -> f32 = |count| (count as f32).ln_1p();
    sparse(&file.create_group("X")?, cells, level, 1, log)?;
    let counts = file.create_group("layers/counts")?;
    let seed = if other_pattern { 2 } else { 1 };
    sparse(&counts, cells, level, seed, |count| count as f32)
}

fn frame(file: &Group, name: &str, stem: &str, rows: Range<usize>, columns: &[&str]) -> Result<()> {
    let group = file.create_group(name)?;
    encode(&group, "dataframe", "0.2.0")?;
    let order: Vec<_> = columns.iter().map(|name| text(name)).collect();
    let order = group.new_attr_builder().with_data(&order);
    order.create("column-order")?;
    attr(&group, "_index", "_index")?;
    strings(&group, "_index", rows.map(|i| format!("{stem}_{i}")))
}

/// The same cells at each call of a seed; values are counts that fall off by half, through `value`.
fn sparse(
    group: &Group,
    cells: usize,
    level: Option<u8>,
    seed: u64,
    value: fn(u32) -> f32,
) -> Result<()> {
    encode(group, "csr_matrix", "0.1.0")?;
    let shape = [cells as i64, GENES as i64];
    let shape = group.new_attr_builder().with_data(&shape);
    shape.create("shape")?;
    let mut indptr = vec![0i64];
    indptr.extend((0..cells).scan(0, |end, cell| {
        *end += cell_nnz(cell) as i64;
        Some(*end)
    }));
    let nnz = indptr[cells] as usize;
    array::<i64>(group, "indptr", &[cells + 1], level)?.write_raw(&indptr)?;
    let data = array::<f32>(group, "data", &[nnz], level)?;
    let indices = array::<i32>(group, "indices", &[nnz], level)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for start in (0..cells).step_by(5000) {
        let (mut values, mut genes) = (vec![], vec![]);
        for cell in start..cells.min(start + 5000) {
            let step = GENES / cell_nnz(cell);
            for place in 0..cell_nnz(cell) {
                let random = rng.next_u32();
                genes.push((place * step + random as usize % step) as i32);
                values.push(value(1 + (random >> 8).trailing_zeros()));
            }
        }
        let at = indptr[start] as usize..indptr[cells.min(start + 5000)] as usize;
        data.write_slice(&values, at.clone())?;
        indices.write_slice(&genes, at)?;
    }
    Ok(())
}

fn array<T: H5Type>(at: &Group, name: &str, shape: &[usize], level: Option<u8>) -> Result<Dataset> {
    let mut builder = at.new_dataset::<T>();
    if let Some(level) = level {
        builder = builder.chunk(CHUNK.min(shape[0])).deflate(level);
    }
    Ok(builder.shape(shape).create(name)?)
}

fn strings(at: &Group, name: &str, values: impl Iterator<Item = String>) -> Result<()> {
    let values: Vec<_> = values.map(|value| text(&value)).collect();
    let builder = at.new_dataset_builder().with_data(&values);
    encode(&*builder.create(name)?, "string-array", "0.2.0")
}

fn encode(node: &Location, kind: &str, version: &str) -> Result<()> {
    attr(node, "encoding-type", kind)?;
    attr(node, "encoding-version", version)
}

fn attr(node: &Location, name: &str, value: &str) -> Result<()> {
    let attr = node.new_attr::<VarLenUnicode>().create(name)?;
    Ok(attr.write_scalar(&text(value))?)
}

fn text(value: &str) -> VarLenUnicode {
    value.parse().expect("text without NUL")
}

//! The whole program against `cp`, `cat` and the Python annslicer: time and peak memory of the process tree.
//!
//! `cargo bench` makes its input once under `target`, runs each job and its references in turn, and prints one
//! table; `cargo bench -- merge` only the jobs that hold the word. `ANNSLICER_BENCH_CELLS` sets the size, and
//! `ANNSLICER_PYTHON_TOOL` names the Python program where it is not on the path.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdf5::types::VarLenUnicode;
use hdf5::{Dataset, Group, H5Type, Location};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const ROUNDS: usize = 5;
const GENES: usize = 10_000;
/// Mean non-zero values of a cell; `cell_nnz` varies about it.
const NNZ: usize = 500;
const COMPONENTS: usize = 20;
/// Elements of a compressed chunk: 128 KiB, about what h5py chooses.
const CHUNK: usize = 32_768;
const PROGRAM: &str = env!("CARGO_BIN_EXE_annslicer");
const CP_PLAIN: &str = "cp plain.h5ad out/c";
const CP_GZIP: &str = "cp gzip.h5ad out/c";
const CAT: &str = "cat plain_shard_*.h5ad > out/c";

/// Arguments of both tools, and what moves the bytes of the result. Words in capitals stand for options.
const JOBS: [(&str, &str); 8] = [
    ("slice plain.h5ad out/p SIZE", CP_PLAIN),
    ("slice plain.h5ad out/p SIZE SHUFFLE", CP_PLAIN),
    ("slice gzip.h5ad out/p SIZE", CP_PLAIN),
    ("slice gzip.h5ad out/p SIZE SHUFFLE", CP_PLAIN),
    ("slice gzip.h5ad out/p SIZE GZIP", CP_GZIP),
    ("slice gzip.h5ad out/p SIZE GZIP SHUFFLE", CP_GZIP),
    ("merge out/m.h5ad plain_shard_*.h5ad", CAT),
    ("merge out/m.h5ad gzip_shard_*.h5ad", CAT),
];

/// Seconds, and bytes of memory at most.
type Run = (f64, u64);

fn main() -> Result<()> {
    let cells = env::var("ANNSLICER_BENCH_CELLS").map_or(Ok(60_000), |cells| cells.parse())?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{cells}"));
    fs::create_dir_all(&folder)?;
    prepare(&folder, cells)?;
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let cpus = thread::available_parallelism()?;
    println!("{cells} cells, {GENES} genes, 2 x {NNZ} values a cell, {cpus} CPUs, {ROUNDS} rounds");
    println!("| job | seconds | peak MiB | against | seconds | peak MiB | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for (args, copy) in JOBS {
        if words.is_empty() || words.iter().any(|word| args.contains(word.as_str())) {
            measure(args, copy, cells, &folder)?;
        }
    }
    Ok(())
}

/// Runs a job and what it is compared with in turn, and prints the medians.
fn measure(args: &str, copy: &str, cells: usize, folder: &Path) -> Result<()> {
    let size = format!("--size {}", cells.div_ceil(6));
    let args = args
        .replace("SIZE", &size)
        .replace("GZIP", "--compression gzip");
    let args = args.replace("SHUFFLE", "--shuffle --seed 0");
    let mut commands = vec![format!("'{PROGRAM}' -q {args}"), copy.to_owned()];
    commands.extend(python_tool().map(|tool| format!("'{}' {args}", tool.display())));
    let mut runs = vec![vec![]; commands.len()];
    for _ in 0..ROUNDS {
        for (command, runs) in commands.iter().zip(&mut runs) {
            runs.push(run(command, folder)?);
        }
    }
    let medians: Vec<Run> = runs.into_iter().map(median).collect();
    let (ours, peak) = medians[0];
    for ((theirs, their_peak), name) in medians[1..].iter().zip([&copy[..3], "Python"]) {
        println!(
            "| `{args}` | {ours:.2} | {} | {} | {theirs:.2} | {} | {:.2} |",
            peak >> 20,
            name.trim(),
            their_peak >> 20,
            ours / theirs
        );
    }
    Ok(())
}

/// The median of the times, and of the peaks.
fn median(runs: Vec<Run>) -> Run {
    let (mut seconds, mut peaks): (Vec<f64>, Vec<u64>) = runs.into_iter().unzip();
    seconds.sort_by(f64::total_cmp);
    peaks.sort_unstable();
    (seconds[seconds.len() / 2], peaks[peaks.len() / 2])
}

/// Runs a shell command with an empty folder `out`, after what earlier ones wrote has reached the disk.
fn run(command: &str, folder: &Path) -> Result<Run> {
    let ready = "rm -rf out && mkdir out && sync";
    let mut shell = Command::new("sh");
    let status = shell.args(["-c", ready]).current_dir(folder).status()?;
    ensure!(status.success(), "{ready}: {status}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]);
    shell
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let began = Instant::now();
    let mut child = shell.spawn()?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak = peak.max(resident(child.id()));
        thread::sleep(Duration::from_millis(2));
    };
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.success(), "{command}: {status}");
    Ok((seconds, peak))
}

/// Bytes in memory of a process and those that it started; of one alone, the most it ever had.
fn resident(pid: u32) -> u64 {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let children = read(&format!("task/{pid}/children"));
    let children = children.split(' ').filter_map(|pid| pid.parse().ok());
    let children: u64 = children.map(resident).sum();
    let field = if children == 0 { "VmHWM:" } else { "VmRSS:" };
    let status = read("status");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024 + children
}

/// As given, or a script on the path: this program may be there too.
fn python_tool() -> Option<PathBuf> {
    let given = env::var_os("ANNSLICER_PYTHON_TOOL").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found = env::split_paths(&path).map(|folder| folder.join("annslicer"));
    let is_script = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"#!"));
    given.or_else(|| found.find(is_script))
}

/// Writes what is not there: the input plain and compressed, and the shards of both.
fn prepare(folder: &Path, cells: usize) -> Result<()> {
    for (name, level, filter) in [("plain", None, ""), ("gzip", Some(4), "--compression gzip")] {
        let path = folder.join(format!("{name}.h5ad"));
        if !path.exists() {
            let part = folder.join("part");
            write_anndata(&part, cells, level).context("Write the input")?;
            fs::rename(part, path)?;
        }
        let size = cells.div_ceil(6);
        let args = format!("-q slice {name}.h5ad {name} --size {size} {filter}");
        let mut slice = Command::new(PROGRAM);
        slice.args(args.split_whitespace()).current_dir(folder);
        ensure!(slice.status()?.success(), "{args} failed");
    }
    Ok(())
}

fn cell_nnz(cell: usize) -> usize {
    NNZ / 2 + cell * 7919 % (NNZ + 1)
}

/// An AnnData file as anndata 0.12 lays it out: CSR in X and a layer, a categorical column, obsm and uns.
fn write_anndata(path: &Path, cells: usize, level: Option<u8>) -> Result<()> {
    let file = hdf5::File::create(path)?;
    encode(&file, "anndata", "0.1.0")?;
    for folder in ["layers", "obsm", "obsp", "uns", "varm", "varp"] {
        encode(&*file.create_group(folder)?, "dict", "0.1.0")?;
    }
    frame(&file, "obs", "cell", cells, &["cell_type"])?;
    frame(&file, "var", "gene", GENES, &[])?;
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
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let random = (0..cells * COMPONENTS).map(|_| rng.next_u32() as f32 / 4e9);
    let pca = array::<f32>(&file, "obsm/X_pca", &[cells, COMPONENTS], None)?;
    pca.write_raw(&random.collect::<Vec<_>>())?;
    encode(&pca, "array", "0.2.0")?;
    let log: fn(u32) -> f32 = |count| (count as f32).ln_1p();
    sparse(&file.create_group("X")?, cells, level, log)?;
    let counts = file.create_group("layers/counts")?;
    sparse(&counts, cells, level, |count| count as f32)
}

fn frame(file: &Group, name: &str, stem: &str, rows: usize, columns: &[&str]) -> Result<()> {
    let group = file.create_group(name)?;
    encode(&group, "dataframe", "0.2.0")?;
    let order: Vec<_> = columns.iter().map(|name| text(name)).collect();
    let order = group.new_attr_builder().with_data(&order);
    order.create("column-order")?;
    attr(&group, "_index", "_index")?;
    strings(&group, "_index", (0..rows).map(|i| format!("{stem}_{i}")))
}

/// The same cells at each call; values are counts that fall off by half, through `value`.
fn sparse(group: &Group, cells: usize, level: Option<u8>, value: fn(u32) -> f32) -> Result<()> {
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
    let mut rng = ChaCha8Rng::seed_from_u64(1);
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

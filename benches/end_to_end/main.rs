//! The whole program against `cp`, `cat` and the Python tools: time and peak memory of the process tree.
//!
//! `cargo bench` makes its inputs once under `target`, runs each job and its references in turn, and prints one table
//! of medians; `cargo bench -- merge` only the jobs that hold the word. `ANNSLICER_BENCH_CELLS` sets the size and
//! `ANNSLICER_BENCH_ROUNDS` the repeats. `ANNSLICER_PYTHON` names an interpreter that has anndata, and
//! `ANNSLICER_PYTHON_TOOL` the Python annslicer where it is neither beside that nor on the path; without them their
//! rows are left out.

mod input;
mod measure;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::thread;

use anyhow::{Context, Result, ensure};

use input::{GENES, NNZ, Traits, write_anndata};
use measure::{median, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_annslicer");

/// What a job is compared with.
enum Against {
    /// A command of the shell that moves the bytes of the result.
    Shell(&'static str),
    /// The same arguments for the Python annslicer; where it has processes, the better of one and two.
    Tool,
    /// The Python annslicer: the merge of all inputs into one file, and the same slice of that.
    MergeFirst,
    /// anndata's merge of the two files with differing genes.
    Concat,
    /// anndata's choice of genes of a file that it does not load.
    Backed,
    /// This program with other arguments.
    Itself(&'static str),
}
use Against::{Backed, Concat, Itself, MergeFirst, Shell, Tool};

const COPY: Against = Shell("cp plain.h5ad out/c");
const COPY_FLUSHED: Against = Shell("cp plain.h5ad out/c && sync out/c");
const COPY_GZIP: Against = Shell("cp gzip.h5ad out/c");
const CAT: Against = Shell("cat plain_shard_*.h5ad > out/c");
const CAT_FLUSHED: Against = Shell("cat plain_shard_*.h5ad > out/c && sync out/c");
const SPLIT_FLUSHED: Against = Shell("split -a 4 -n 1000 plain.h5ad out/c && sync out/*");
/// What the shuffle costs.
const PLAIN_SLICE: Against = Itself("slice plain.h5ad out/p SIZE");
const GZIP_SLICE: Against = Itself("slice gzip.h5ad out/p SIZE GZIP");
/// What it would take if X and its layer shared no pattern.
const OTHER_PATTERN: Against = Itself("slice other_pattern.h5ad out/p SIZE");
const OTHER_PATTERN_GZIP: Against = Itself("slice other_pattern.h5ad out/p SIZE GZIP");

/// Arguments of the program, words in capitals standing for options, and what each job is compared with.
const JOBS: [(&str, &[Against]); 23] = [
    ("slice plain.h5ad out/p SIZE", &[COPY, COPY_FLUSHED, Tool]),
    (
        "slice plain.h5ad out/p SIZE SHUFFLE",
        &[COPY, COPY_FLUSHED, PLAIN_SLICE, Tool],
    ),
    ("slice gzip.h5ad out/p SIZE", &[COPY, OTHER_PATTERN, Tool]),
    ("slice gzip.h5ad out/p SIZE SHUFFLE", &[COPY, Tool]),
    (
        "slice gzip.h5ad out/p SIZE GZIP",
        &[COPY_GZIP, OTHER_PATTERN_GZIP, Tool],
    ),
    (
        "slice gzip.h5ad out/p SIZE GZIP SHUFFLE",
        &[COPY_GZIP, GZIP_SLICE, Tool],
    ),
    ("slice v2.zarr out/p SIZE", &[Tool]),
    ("slice v2.zarr out/p SIZE SHUFFLE", &[Tool]),
    ("slice v3.zarr out/p SIZE", &[Tool]),
    ("slice v3.zarr out/p SIZE SHUFFLE", &[Tool]),
    ("slice sharded.zarr out/p SIZE", &[Tool]),
    ("slice sharded.zarr out/p SIZE SHUFFLE", &[Tool]),
    (
        "merge out/m.h5ad plain_shard_*.h5ad",
        &[CAT, CAT_FLUSHED, Tool],
    ),
    ("merge out/m.h5ad gzip_shard_*.h5ad", &[CAT, Tool]),
    ("merge out/m.h5ad genes_0.h5ad genes_1.h5ad", &[Concat]),
    ("merge out/m.zarr gzip_shard_*.h5ad", &[Tool]),
    (
        "slice gzip_shard_*.h5ad out/p SIZE SHUFFLE",
        &[COPY_FLUSHED, MergeFirst],
    ),
    ("filter gzip.h5ad out/f.h5ad --genes genes.txt", &[Backed]),
    // Four times the cells.
    (
        "slice plain.h5ad out/p SIZE",
        &[Itself("slice quarter.h5ad out/p SIZE")],
    ),
    ("slice plain.h5ad out/p MANY", &[SPLIT_FLUSHED]),
    // What starts and ends any run.
    ("slice EXAMPLE out/p --size 100", &[Tool]),
    ("info plain.h5ad", &[]),
    ("--help", &[Tool]),
];

/// A small file of this repository.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pbmc.h5ad");

/// Writes a file as Zarr: its arguments are the version, whether matrices are sharded, source and target.
const ZARR: &str = "
import anndata, sys, warnings, zarr
warnings.filterwarnings('ignore')
version, sharded, source, target = int(sys.argv[1]), sys.argv[2] == '1', *sys.argv[3:]
anndata.settings.zarr_write_format = version
def write(write_elem, store, name, elem, *, dataset_kwargs, **_):
    options = dict(dataset_kwargs)
    if sharded and getattr(elem, 'nnz', 0) > 1 << 21:
        options |= {'chunks': (1 << 17,), 'shards': (1 << 21,)}
    write_elem(store, name, elem, dataset_kwargs=options)
anndata.experimental.write_dispatched(zarr.open_group(target, mode='w', zarr_format=version), '/', anndata.read_h5ad(source), write)
zarr.consolidate_metadata(target)
";
const CONCAT: &str = "
import warnings
warnings.filterwarnings('ignore')
from anndata.experimental import concat_on_disk
concat_on_disk(['genes_0.h5ad', 'genes_1.h5ad'], 'out/c.h5ad', join='outer')
";
const BACKED: &str = "
import anndata, warnings
warnings.filterwarnings('ignore')
genes = open('genes.txt').read().split()
anndata.read_h5ad('gzip.h5ad', backed='r')[:, genes].to_memory().write_h5ad('out/c.h5ad')
";

/// Where everything is, and how often it is run.
struct Bench {
    folder: PathBuf,
    cells: usize,
    rounds: usize,
    python: Option<PathBuf>,
    tool: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cells = setting("ANNSLICER_BENCH_CELLS", 60_000)?;
    let bench = Bench {
        folder: Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{cells}")),
        cells,
        rounds: setting("ANNSLICER_BENCH_ROUNDS", 5)?,
        python: env::var_os("ANNSLICER_PYTHON").map(PathBuf::from),
        tool: python_tool(),
    };
    fs::create_dir_all(&bench.folder)?;
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let wanted = |args: &str| words.is_empty() || words.iter().any(|word| args.contains(word));
    let jobs: Vec<_> = JOBS.iter().filter(|(args, _)| wanted(args)).collect();
    for (args, _) in &jobs {
        bench.prepare(args)?;
    }
    let (cpus, rounds) = (thread::available_parallelism()?, bench.rounds);
    println!("{cells} cells, {GENES} genes, 2 x {NNZ} values a cell, {cpus} CPUs, {rounds} rounds");
    println!("| job | seconds | peak MiB | against | seconds | peak MiB | ratio |");
    println!("|---|---|---|---|---|---|---|");
    jobs.iter()
        .try_for_each(|(args, against)| bench.measure(args, against))
}

fn setting<T: FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    env::var(name).map_or(Ok(default), |text| text.parse().context(name.to_owned()))
}

impl Bench {
    /// Runs a job and what it is compared with in turn, and prints the medians.
    fn measure(&self, args: &str, against: &[Against]) -> Result<()> {
        let inputs = args.split(' ').filter(|word| word.ends_with(".zarr"));
        let mut inputs = inputs.filter(|word| !word.starts_with("out/"));
        if inputs.any(|input| !self.folder.join(input).exists()) {
            println!("| `{args}` | | | no Python to make its input | | | |");
            return Ok(());
        }
        let args = self.options(args);
        let ours = format!("'{PROGRAM}' -q {args}");
        let against: Vec<(String, Vec<String>)> = against
            .iter()
            .filter_map(|a| self.commands(a, &args))
            .collect();
        let commands: Vec<&String> = against.iter().flat_map(|(_, c)| c).collect();
        let mut runs = vec![vec![]; 1 + commands.len()];
        for _ in 0..self.rounds {
            for (command, runs) in [&ours].into_iter().chain(commands.clone()).zip(&mut runs) {
                runs.push(run(command, &self.folder)?);
            }
        }
        let mut medians = runs.into_iter().map(median);
        let (seconds, peak) = medians.next().context("Nothing was run")?;
        for (name, commands) in &against {
            let best = medians.by_ref().take(commands.len());
            let (theirs, their_peak) = best.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
            println!(
                "| `{args}` | {seconds:.3} | {} | {name} | {theirs:.3} | {} | {:.2} |",
                peak >> 20,
                their_peak >> 20,
                seconds / theirs
            );
        }
        if against.is_empty() {
            println!("| `{args}` | {seconds:.3} | {} | | | | |", peak >> 20);
        }
        Ok(())
    }

    fn options(&self, args: &str) -> String {
        args.replace("SIZE", &format!("--size {}", self.cells.div_ceil(6)))
            .replace("MANY", &format!("--size {}", self.cells.div_ceil(1000)))
            .replace("EXAMPLE", EXAMPLE)
            .replace("GZIP", "--compression gzip")
            .replace("SHUFFLE", "--shuffle --seed 0")
    }

    /// A name for the table, and the commands of which the fastest counts; `None` where a tool is missing.
    fn commands(&self, against: &Against, args: &str) -> Option<(String, Vec<String>)> {
        Some(match against {
            Shell(command) => {
                let name = command
                    .replace(" plain.h5ad out/c", "")
                    .replace(" gzip.h5ad out/c", "");
                let name = name.replace(" plain_shard_*.h5ad > out/c", "");
                let name = name.replace(" out/*", "");
                (name.replace(" out/c", ""), vec![(*command).into()])
            }
            Itself(other) => {
                let other = self.options(other);
                (
                    format!("`{other}`"),
                    vec![format!("'{PROGRAM}' -q {other}")],
                )
            }
            Concat => {
                let python = self.python.as_ref()?.display();
                (
                    "concat_on_disk".into(),
                    vec![format!("'{python}' -c \"{CONCAT}\"")],
                )
            }
            Backed => {
                let python = self.python.as_ref()?.display();
                let command = format!("'{python}' -c \"{BACKED}\"");
                ("anndata, backed".into(), vec![command])
            }
            MergeFirst => {
                let tool = self.tool.as_ref()?.display();
                let (inputs, slice) = args.strip_prefix("slice ")?.split_once(' ')?;
                let merge = format!("'{tool}' merge out/all.h5ad {inputs}");
                let slice = format!("'{tool}' slice out/all.h5ad {slice}");
                let commands = [1, 2].map(|jobs| format!("{merge} && {slice} -j {jobs}"));
                ("Python, merged first".into(), commands.into())
            }
            Tool => {
                let tool = self.tool.as_ref()?.display();
                let jobs: &[&str] = if args.starts_with("slice") {
                    &[" -j 1", " -j 2"]
                } else {
                    &[""]
                };
                let commands = jobs.iter().map(|jobs| format!("'{tool}' {args}{jobs}"));
                ("Python".into(), commands.collect())
            }
        })
    }

    /// Writes those inputs of a job that are not there.
    fn prepare(&self, args: &str) -> Result<()> {
        if args.contains("genes_") {
            for (name, first) in [("genes_0", 0), ("genes_1", GENES / 2)] {
                let traits = Traits {
                    other_genes: Some(first),
                    ..Traits::default()
                };
                self.write(name, self.cells / 2, &traits)?;
            }
        }
        for (name, level, filter) in [("plain", None, ""), ("gzip", Some(4), "--compression gzip")]
        {
            if args.starts_with("--") || !(args.contains(name) || args.contains(".zarr")) {
                continue;
            }
            let traits = Traits {
                level,
                ..Traits::default()
            };
            self.write(name, self.cells, &traits)?;
            if !self.folder.join(format!("{name}_shard_5.h5ad")).exists() {
                let size = self.cells.div_ceil(6);
                self.ours(&format!("slice {name}.h5ad {name} --size {size} {filter}"))?;
            }
        }
        if args.contains("gzip.h5ad") {
            let traits = Traits {
                level: Some(4),
                other_pattern: true,
                ..Traits::default()
            };
            self.write("other_pattern", self.cells, &traits)?;
        }
        if args.contains("plain.h5ad") && !self.folder.join("quarter.h5ad").exists() {
            let size = self.cells.div_ceil(4);
            self.ours(&format!("slice plain.h5ad q --size {size}"))?;
            fs::rename(
                self.folder.join("q_shard_0.h5ad"),
                self.folder.join("quarter.h5ad"),
            )?;
        }
        if args.contains("genes.txt") {
            let fifth = (0..GENES).rev().step_by(5);
            let names = fifth.map(|gene| format!("gene_{gene}\n"));
            fs::write(self.folder.join("genes.txt"), names.collect::<String>())?;
        }
        for (name, version, sharded) in [("v2", 2, 0), ("v3", 3, 0), ("sharded", 3, 1)] {
            let path = self.folder.join(format!("{name}.zarr"));
            if let Some(python) = &self.python
                && args.contains(&format!(" {name}.zarr"))
                && !path.exists()
            {
                let part = self.folder.join("part.zarr");
                let mut write = Command::new(python);
                write
                    .args(["-c", ZARR])
                    .arg(version.to_string())
                    .arg(sharded.to_string());
                write.arg(self.folder.join("plain.h5ad")).arg(&part);
                ensure!(write.status()?.success(), "Cannot write {}", path.display());
                fs::rename(part, path)?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, cells: usize, traits: &Traits) -> Result<()> {
        let path = self.folder.join(format!("{name}.h5ad"));
        if !path.exists() {
            let part = self.folder.join("part");
            write_anndata(&part, cells, traits)
                .with_context(|| format!("Write {}", path.display()))?;
            fs::rename(part, path)?;
        }
        Ok(())
    }

    fn ours(&self, args: &str) -> Result<()> {
        let mut command = Command::new(PROGRAM);
        command
            .args(args.split_whitespace())
            .arg("-q")
            .current_dir(&self.folder);
        ensure!(command.status()?.success(), "{args} failed");
        Ok(())
    }
}

/// As given, or beside the interpreter, or a script on the path: this program may be there too.
fn python_tool() -> Option<PathBuf> {
    if let Some(given) = env::var_os("ANNSLICER_PYTHON_TOOL") {
        return Some(given.into());
    }
    let python = env::var_os("ANNSLICER_PYTHON").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let beside = python.as_deref().and_then(Path::parent).map(Path::to_owned);
    let folders = beside.into_iter().chain(env::split_paths(&path));
    let is_script = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"#!"));
    folders
        .map(|folder| folder.join("annslicer"))
        .find(is_script)
}

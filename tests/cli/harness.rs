//! The program in a folder of its own, and what is in the folder afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hdf5::types::VarLenUnicode;
use tempfile::TempDir;

pub const PBMC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pbmc.h5ad");
/// Cells of [`PBMC`].
pub const CELLS: usize = 700;

/// `annslicer ARGS` in `folder`; arguments are split at blanks.
pub fn annslicer(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annslicer"));
    command.current_dir(folder).args(args.split_whitespace());
    command
}

pub fn run(folder: &Path, args: &str) -> Output {
    annslicer(folder, args).output().unwrap()
}

/// A folder that holds `pbmc.h5ad` and nothing else.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(PBMC, folder.path().join("pbmc.h5ad")).unwrap();
    folder
}

/// Runs what must succeed; returns what it printed.
pub fn stdout(folder: &Path, args: &str) -> String {
    let output = run(folder, args);
    assert!(output.status.success(), "{args}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs what must succeed; returns its messages.
pub fn done(folder: &Path, args: &str) -> String {
    let output = run(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args}: {said}");
    said
}

/// All names in a folder, hidden ones too.
pub fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

pub fn shards(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let shard = |i| folder.join(format!("{prefix}_shard_{i}.h5ad"));
    (0..).map(shard).take_while(|path| path.exists()).collect()
}

/// The names of the cells of a file.
pub fn cells(path: &Path) -> Vec<String> {
    index(path, "obs")
}

/// The index of a dataframe of a file.
pub fn index(path: &Path, frame: &str) -> Vec<String> {
    let frame = hdf5::File::open(path).unwrap().group(frame).unwrap();
    let index: VarLenUnicode = frame.attr("_index").unwrap().read_scalar().unwrap();
    let names = frame.dataset(&index).unwrap();
    let names = names.read_1d::<VarLenUnicode>().unwrap();
    names.iter().map(ToString::to_string).collect()
}

pub fn sizes(paths: &[PathBuf]) -> u64 {
    paths.iter().map(|p| p.metadata().unwrap().len()).sum()
}

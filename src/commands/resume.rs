//! What makes two runs of `slice` the same, so that one may go on where the other ended.

use serde_json::{Value, json};

use crate::cli::{OrderArgs, SliceArgs};
use crate::output;
use crate::permutation::Seed;

/// Everything that decides what is in the shards: the version, the inputs by path, sizes and times, the options. Those
/// that change neither (threads, memory, folders) are left out by name, so that a new option is thought of. The inputs
/// are `seen` as they were before they were opened: what is kept of a run under which they changed is of no use.
pub fn identity(args: &SliceArgs, seen: &[u64], seed: Option<&Seed>) -> Value {
    let SliceArgs {
        input,
        prefix: _,
        order,
        by,
        output,
        read,
        machine: _,
        scratch: _,
        resume: _,
    } = args;
    let OrderArgs {
        size: _,
        shards,
        max_bytes,
        shuffle,
        seed: _,
    } = order;
    let files = [input].into_iter().chain(&by.table.csv_file);
    let places = files.map(|path| output::resolve(path).unwrap_or_else(|_| path.clone()));
    let places: Vec<String> = places.map(|p| p.to_string_lossy().into_owned()).collect();
    let size = order.cells_per_shard();
    let options = format!("{:?}", (size, shards, max_bytes, shuffle, by, output, read));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "files": places,
        "seen": seen,
        "options": options,
        "seed": seed.map(ToString::to_string),
    })
}

/// The seed of the run that `recorded` describes, where it is this one but for the seed that neither was given.
pub fn seed(args: &SliceArgs, seen: &[u64], recorded: Option<&Value>) -> Option<Seed> {
    let recorded = recorded?;
    let seed = recorded.get("seed")?.as_str()?.parse().ok()?;
    (identity(args, seen, Some(&seed)) == *recorded).then_some(seed)
}

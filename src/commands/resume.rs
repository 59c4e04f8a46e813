//! What makes two runs the same, so that one may go on where the other ended, or finish what others have begun.
//!
//! The identity is JSON with named fields, so that another build of the same version reads it alike.
//!
//! It is the first line of the record of kept outputs (`output/kept.rs`) and is compared as a whole: `{"version":
//! "0.1.0", "inputs": [{"path": "/d/a.h5ad", "fingerprint": 1}], ..., "shards": {"cut": {"size": 5000}, "shuffle":
//! true, ...}, "seed": "7", "parts": null}`. A field that is new, or missing, makes another run of it, which is safe:
//! all is written anew. The functions at the end find what differs, for a message.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cells::shares::Share;
use crate::cells::split::Unit;
use crate::cli::{Cut, Deal, MergeRequest, Options, SliceRequest, Split, TableArgs};
use crate::output;
use crate::permutation::Seed;
use crate::store::Container;

/// Everything that decides what is in the shards: the version, the inputs by path and by `fingerprints` that were taken
/// before they were opened, the options. What changes no shard (threads, memory, folders) is left out by name, so that
/// a new option is thought of. A run with --verify takes no shards that were not verified.
pub fn identity(request: &SliceRequest, fingerprints: &[u64], seed: Option<&Seed>) -> Value {
    // Each field is named, with no `..`: one that is added does not compile until somebody decides.
    let SliceRequest {
        join,
        prefix: _,
        deal,
        names: _, // not with --resume
        resume: _,
        part,
        stage: _,   // gives the same
        buckets: _, // the same
        finish: _,
        clean: _,
        options,
    } = request;
    let mut run = options_identity(options, &request.reads(), fingerprints, &join.identity());
    run["shards"] = deal_identity(deal);
    run["seed"] = seed.map(ToString::to_string).into();
    run["parts"] = part.map(|part| part.of).into();
    run
}

/// As [`identity`], of a merge in `of` parts.
pub fn of_merge(request: &MergeRequest, fingerprints: &[u64], of: u64) -> Value {
    let MergeRequest {
        output: _,
        join,
        part: _,
        finish: _,
        overwrite: _,
        options,
    } = request;
    let reads: Vec<PathBuf> = join.reads().cloned().collect();
    let mut run = options_identity(options, &reads, fingerprints, &join.identity());
    run["parts"] = of.into();
    run
}

/// What inputs and options decide of any output.
fn options_identity(
    options: &Options,
    reads: &[PathBuf],
    fingerprints: &[u64],
    join: &Value,
) -> Value {
    let Options {
        machine: _,
        access,
        elements,
        csr,
        container,
        max_categories,
        verify,
        manifest: _,
        dry_run: _,
        json: _,
        block_bytes: _,
        scratch: _,
        quiet: _,
    } = options;
    let Container {
        format,
        compression,
        chunk_cells,
        zarr_version,
        zarr_shard,
        is_collection: _, // not with --resume
        is_virtual: _,    // not with --part
    } = container;
    // In the order in which they were noted, as `reads` gives them each time.
    let inputs = reads.iter().zip(fingerprints);
    let inputs = inputs.map(|(path, at)| json!({"path": place(path), "fingerprint": at}));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "inputs": inputs.collect::<Vec<_>>(),
        "join": join,
        "follow_external": access.follow_external,
        "elements": elements.identity(),
        "csr": csr,
        "max_categories": max_categories,
        "format": format.name(),
        "compression": compression.map(|c| c.to_string()),
        "chunk_cells": chunk_cells,
        "zarr_format": zarr_version.number(),
        "zarr_shard_size": zarr_shard,
        "verify": verify,
    })
}

/// What decides which cells are in which shard. Of a table only whether there is one: its path is among the inputs.
fn deal_identity(deal: &Deal) -> Value {
    let Deal {
        split,
        columns,
        always_include,
        cut,
        shuffle,
        seed: _, // beside it
        sort_by,
        pad,
        table: TableArgs {
            csv_file,
            join_column,
        },
    } = deal;
    json!({
        "split": split.as_ref().map(split_identity),
        "obs_column": columns,
        "always_include": always_include,
        "cut": cut.as_ref().map(|cut| match cut {
            Cut::Size(cells) => json!({"size": cells}),
            Cut::Parts(count) => json!({"shards": count}),
            Cut::Bytes(bytes) => json!({"max_bytes": bytes}),
        }),
        "shuffle": shuffle,
        "sort_by": sort_by,
        "pad": pad,
        "csv_file": csv_file.is_some(),
        "join_column": join_column,
    })
}

/// The parts of a split and how cells are dealt to them.
fn split_identity(split: &Split) -> Value {
    let (parts, unit, label) = match split {
        Split::Column(column) => return json!({"split_column": column}),
        Split::Random {
            shares,
            unit,
            label,
        } => (&shares.0, unit, label),
    };
    // A fraction is an integer out of `shares::ONE`, which JSON holds exactly.
    let share = |share: &Share| match share {
        Share::Fraction(part) => json!({"fraction": part}),
        Share::Count(count) => json!({"count": count}),
        Share::Rest => json!("rest"),
    };
    let parts = parts.iter().map(|(name, of)| json!([name, share(of)]));
    let (by, strata) = match unit {
        Unit::Cells => (None, None),
        Unit::Groups(column) => (Some(column), None),
        Unit::Strata(column) => (None, Some(column)),
    };
    json!({
        "split": parts.collect::<Vec<_>>(),
        "split_by": by,
        "stratify": strata,
        "split_label": label,
    })
}

/// In the identity of a run that writes buckets, the bytes of a block, which are those of the memory of its task.
pub const BLOCKS: &str = "blocks";

/// The identity that both stages have. Tasks that scatter may have different memory, and so blocks of different sizes,
/// and are of one run all the same.
pub fn without_blocks(run: &Value) -> Value {
    let mut run = run.clone();
    if let Some(fields) = run.as_object_mut() {
        fields.shift_remove(BLOCKS);
    }
    run
}

/// Why no output that the run `theirs` has kept is one of this run.
pub fn why_unused(theirs: Option<&Value>, own: &Value) -> String {
    match theirs {
        Some(theirs) if theirs != own => difference(theirs, own),
        // The same run, of whose outputs none is as it was when it was finished; they are used from the first on.
        _ => "the first of them is missing or has changed".into(),
    }
}

/// What differs between the identity of another run and that of this one, for a message.
pub fn difference(theirs: &Value, own: &Value) -> String {
    let version = |of: &Value| {
        of["version"]
            .as_str()
            .unwrap_or("another version")
            .to_owned()
    };
    if theirs["version"] != own["version"] {
        let (theirs, own) = (version(theirs), version(own));
        return format!("they are of annslicer {theirs}, and this is {own}");
    }
    let changed = differing_input(&theirs["inputs"], &own["inputs"]);
    changed.unwrap_or_else(|| match differing_option(theirs, own) {
        Some((option, Some(theirs), Some(own))) => {
            format!("their {option} is {theirs}, and not {own}")
        }
        Some((option, ..)) => format!("their {option} is another"),
        None => "they are of other options".into(),
    })
}

/// The first input that differs, and how.
fn differing_input(theirs: &Value, own: &Value) -> Option<String> {
    let (theirs, own) = (theirs.as_array()?, own.as_array()?);
    let path = |one: &Value| one["path"].as_str().unwrap_or_default().to_owned();
    let beyond = |some: &[Value], others: &[Value]| {
        let mut some = some.iter().map(path);
        some.find(|one| !others.iter().any(|other| path(other) == *one))
    };
    if let Some(other) = beyond(theirs, own) {
        return Some(format!("they read {other}"));
    }
    if let Some(added) = beyond(own, theirs) {
        return Some(format!("they do not read {added}"));
    }
    // The same paths, so a size or time differs.
    let changed = own.iter().find(|one| !theirs.contains(one))?;
    Some(format!("{} has changed since", path(changed)))
}

/// The first option that differs, and its value there and here, as far as these are plain. An option is the last word
/// of the path to a field.
fn differing_option(
    theirs: &Value,
    own: &Value,
) -> Option<(String, Option<String>, Option<String>)> {
    let (theirs, own) = (theirs.as_object()?, own.as_object()?);
    let mut names = own.keys().chain(theirs.keys());
    let name = names.find(|name| theirs.get(*name) != own.get(*name))?;
    let values = [theirs, own].map(|of| of.get(name).unwrap_or(&Value::Null));
    // Objects in one another: the innermost field that differs is the option, so that `shards.cut.size` is told as
    // "their --size is 10000, and not 20000".
    let deeper = differing_option(values[0], values[1]);
    let [theirs, own] = values.map(text);
    let option = format!("--{}", name.replace('_', "-"));
    Some(deeper.unwrap_or((option, theirs, own)))
}

/// A value for a message: text without its quotes, names one after another; none of what has parts.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("not given".into()),
        Value::String(text) => Some(text.clone()),
        Value::Array(all) if all.is_empty() => Some("not given".into()),
        Value::Array(all) if all.iter().all(Value::is_string) => {
            let all: Vec<String> = all.iter().filter_map(text).collect();
            Some(all.join(" "))
        }
        Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    }
}

/// The path without links, as far as it can be followed.
fn place(path: &Path) -> String {
    let place = output::resolve(path).unwrap_or_else(|_| path.to_owned());
    place.to_string_lossy().into_owned()
}

/// The seed of the run that `recorded` describes, where it is this one but for the seed that neither was given.
pub fn seed(request: &SliceRequest, fingerprints: &[u64], recorded: &Value) -> Option<Seed> {
    let seed = recorded.get("seed")?.as_str()?.parse().ok()?;
    (identity(request, fingerprints, Some(&seed)) == *recorded).then_some(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_by_its_option() {
        let input = |path: &str, at: u64| json!({"path": path, "fingerprint": at});
        let run = |inputs: &[Value], shards: Value| json!({"version": "1", "inputs": inputs, "shards": shards});
        let one = [input("/a", 1)];
        let two = [input("/a", 1), input("/b", 1)];
        let later = [input("/a", 2)];
        let split = |share: u64| json!({"split": {"split": [["train", {"count": share}]]}});
        let by = |columns: Value| json!({"split": {"split_by": columns}});
        for (theirs, own, told) in [
            (
                run(&one, json!(1)),
                run(&later, json!(1)),
                "/a has changed since",
            ),
            (
                run(&one, json!(1)),
                run(&two, json!(1)),
                "they do not read /b",
            ),
            (run(&two, json!(1)), run(&one, json!(1)), "they read /b"),
            (
                run(&one, split(1)),
                run(&one, split(2)),
                "their --split is another",
            ),
            (
                run(&one, by(Value::Null)),
                run(&one, by(json!("donor"))),
                "their --split-by is not given, and not donor",
            ),
            (
                run(&one, json!({"obs_column": ["a", "b"]})),
                run(&one, json!({"obs_column": ["a"]})),
                "their --obs-column is a b, and not a",
            ),
            (
                run(&one, json!({"cut": {"size": 5}})),
                run(&one, json!({"cut": {"size": 7}})),
                "their --size is 5, and not 7",
            ),
        ] {
            assert_eq!(difference(&theirs, &own), told);
        }
    }
}

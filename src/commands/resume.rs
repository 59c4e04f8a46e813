//! What makes two runs of `slice` the same, so that one may go on where the other ended.
//!
//! The identity is JSON with named fields, so that another build of the same version reads it alike.

use std::path::Path;

use serde_json::{Value, json};

use crate::cells::shares::Share;
use crate::cells::split::Unit;
use crate::cli::{Cut, Deal, Options, SliceRequest, Split, TableArgs};
use crate::output;
use crate::permutation::Seed;
use crate::store::Container;

/// Everything that decides what is in the shards: the version, the inputs by path and by `fingerprints` that were taken
/// before they were opened, the options. What changes no shard (threads, memory, folders) is left out by name, so that
/// a new option is thought of. A run with --verify takes no shards that were not verified.
pub fn identity(request: &SliceRequest, fingerprints: &[u64], seed: Option<&Seed>) -> Value {
    let SliceRequest {
        join,
        prefix: _,
        deal,
        names: _, // not with --resume
        resume: _,
        clean: _,
        options,
    } = request;
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
    } = container;
    let inputs = request.reads().into_iter().zip(fingerprints);
    let inputs = inputs.map(|(path, at)| json!({"path": place(&path), "fingerprint": at}));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "inputs": inputs.collect::<Vec<_>>(),
        "join": join.identity(),
        "follow_external": access.follow_external,
        "elements": elements.identity(),
        "csr": csr,
        "shards": deal_identity(deal),
        "seed": seed.map(ToString::to_string),
        "max_categories": max_categories,
        "format": format.name(),
        "compression": compression.map(|c| c.to_string()),
        "chunk_cells": chunk_cells,
        "zarr_format": zarr_version.number(),
        "zarr_shard_size": zarr_shard,
        "verify": verify,
    })
}

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
        "columns": columns,
        "always_include": always_include,
        "cut": cut.as_ref().map(|cut| match cut {
            Cut::Size(cells) => json!({"size": cells}),
            Cut::Parts(count) => json!({"parts": count}),
            Cut::Bytes(bytes) => json!({"bytes": bytes}),
        }),
        "shuffle": shuffle,
        "sort_by": sort_by,
        "pad": pad,
        "table": csv_file.is_some(),
        "join_column": join_column,
    })
}

fn split_identity(split: &Split) -> Value {
    let (parts, unit, label) = match split {
        Split::Column(column) => return json!({"column": column}),
        Split::Random {
            shares,
            unit,
            label,
        } => (&shares.0, unit, label),
    };
    let share = |share: &Share| match share {
        Share::Fraction(part) => json!({"fraction": part}),
        Share::Count(count) => json!({"count": count}),
        Share::Rest => json!("rest"),
    };
    let parts = parts.iter().map(|(name, of)| json!([name, share(of)]));
    json!({
        "parts": parts.collect::<Vec<_>>(),
        "unit": match unit {
            Unit::Cells => json!("cells"),
            Unit::Groups(column) => json!({"groups": column}),
            Unit::Strata(column) => json!({"strata": column}),
        },
        "label": label,
    })
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

//! Which cells go into which shard: what `slice` is asked, and the obs of a file, come to a choice.
//!
//! Cells are shuffled, dealt to subsets, cut to shards, and sorted in each, in this order: a subset has its cells in
//! the order of the shuffle, so that a shard of it is a random sample of it. Matrices are not read, but for what tells
//! the sizes of rows where --max-bytes is given.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use tracing::{info, warn};

use crate::anndata::select::Selection;
use crate::cells::choice::Choice;
use crate::cells::key::Key;
use crate::cells::subsets::{Says, Subsets};
use crate::cells::{Obs, added, split};
use crate::cli::{Cut, Deal, Split};
use crate::extract::plan;
use crate::extract::sizes::RowSizes;
use crate::extract::{Order, Wave};
use crate::frame::values::Data;
use crate::limits;
use crate::output::Scratch;
use crate::permutation::{Seed, permutation};
use crate::report::failure::Failure;
use crate::report::words::{clause, count, thousands};
use crate::resources::format_size;

/// The choice that `deal` asks for. `obs` is there where columns decide; the column that tells the part of a split is added
/// to `selection` if there is a place for it in `scratch`.
pub fn choose(
    deal: &Deal,
    seed: Option<&Seed>,
    selection: &mut Selection,
    obs: Option<&Obs>,
    scratch: Option<&Scratch>,
) -> Result<Choice> {
    if let Some(cut) = &deal.cut {
        let (all, how) = (thousands(selection.cells), words(cut));
        let within = if deal.split.is_some() || !deal.columns.is_empty() {
            " in each part"
        } else {
            ""
        };
        info!("Total cells: {all}. Generating {how}{within}...");
    }
    // A split at random has a seed, too, and leaves cells in their order.
    let shuffled = seed.filter(|_| deal.shuffle);
    let cells = shuffled
        .map(|seed| {
            info!("Shuffle enabled (seed={seed}).");
            permutation(seed, selection.cells)
        })
        .transpose()?;
    let mut choice = Choice::all(selection.cells, cells);
    if let Some(obs) = obs
        && let Some(subsets) = subsets(deal, seed, selection, obs, scratch)?
    {
        choice = choice.dealt(&subsets)?;
    }
    if let Some(cut) = &deal.cut {
        let mut shards = 0;
        choice = choice.cut(deal.pad, |choice, span| {
            let cuts = cuts(cut, selection, choice, span)?;
            shards += cuts.len().saturating_sub(1) as u64;
            ensure_few(shards)?;
            Ok(cuts)
        })?;
    }
    match obs {
        Some(obs) => choice.sorted(obs, &deal.sort_by),
        None => Ok(choice),
    }
}

/// The subsets that the cells are in, by parts of a split and by the values of columns; none where all are one.
fn subsets(
    deal: &Deal,
    seed: Option<&Seed>,
    selection: &mut Selection,
    obs: &Obs,
    scratch: Option<&Scratch>,
) -> Result<Option<Subsets>> {
    let mut subsets = None;
    match (&deal.split, seed) {
        (Some(Split::Column(name)), _) => {
            subsets = Some(Subsets::of(Key::of(obs, name)?, Says::Split, &[])?);
        }
        (
            Some(Split::Random {
                shares,
                unit,
                label,
            }),
            Some(seed),
        ) => {
            info!("Split at random (seed={seed}).");
            let key = split::split(obs, shares, unit, seed)?;
            if let Some(name) = label {
                add_label(selection, obs, name, &key, scratch)?;
            }
            subsets = Some(Subsets::of(key, Says::Split, &[])?);
        }
        _ => {}
    }
    // The first key makes the subsets, each further one cuts them.
    for name in &deal.columns {
        let key = Key::of(obs, name)?;
        subsets = Some(match subsets {
            None => Subsets::of(key, Says::Value, &deal.always_include)?,
            Some(subsets) => subsets.within(&key, Says::Value)?,
        });
    }
    Ok(subsets)
}

/// Adds the column that tells the part of each cell.
fn add_label(
    selection: &mut Selection,
    obs: &Obs,
    name: &str,
    key: &Key,
    scratch: Option<&Scratch>,
) -> Result<()> {
    added::check_name(obs, name)?;
    ensure!(
        !obs.has(name),
        Failure::value(format!(
            "obs has a column '{name}' already; give --split-label another name"
        ))
    );
    // A dry run only checks the name.
    let Some(scratch) = scratch else {
        return Ok(());
    };
    let names = Data::Text(key.labels.iter().map(|label| label.as_bytes()).collect());
    let path = scratch.folder()?.join("split.h5ad");
    let column = added::categorical(&path, &names, key.codes.iter().copied())?;
    selection
        .set_column(name, &column)
        .with_context(|| format!("Cannot add column '{name}'"))
}

/// As in "Generating shards of 10,000".
fn words(cut: &Cut) -> String {
    match cut {
        Cut::Size(size) => format!("shards of {}", thousands(*size)),
        Cut::Parts(shards) => format!("{} of about equal size", count(shards.get(), "shard")),
        Cut::Bytes(bytes) => format!("shards of up to {}", format_size(*bytes)),
    }
}

/// An error for more shards than one folder bears.
fn ensure_few(shards: u64) -> Result<()> {
    ensure!(
        shards <= limits::SHARDS,
        "That makes {}; make them larger, {} are the most",
        count(shards, "shard"),
        thousands(limits::SHARDS)
    );
    Ok(())
}

/// Where shards of some cells of a choice begin, and the end.
fn cuts(cut: &Cut, selection: &Selection, choice: &Choice, span: Range<u64>) -> Result<Vec<u64>> {
    let cells = span.end - span.start;
    let cuts = match cut {
        Cut::Size(size) => {
            ensure_few(cells.div_ceil(*size))?;
            plan::cuts_by_size(cells, *size)
        }
        Cut::Parts(shards) => {
            ensure_few(shards.get().min(cells))?;
            if shards.get() > cells {
                warn!(
                    "There are {}, too few for {}: each gets one",
                    count(cells, "cell"),
                    count(shards.get(), "shard")
                );
            }
            plan::cuts_in_parts(cells, shards.get())
        }
        Cut::Bytes(bytes) => cuts_by_bytes(selection, choice, span.clone(), *bytes)?,
    };
    // From places in the span to places in the choice.
    Ok(cuts.into_iter().map(|at| span.start + at).collect())
}

/// Cells at places of a choice, in the order of the file.
fn wave(choice: &Choice, span: Range<u64>) -> Wave {
    match &choice.cells {
        Some(cells) => Wave::of(&cells[span.start as usize..span.end as usize]),
        None => Order::AsIs.wave(span),
    }
}

/// Where shards begin that hold as many cells as fit `most` bytes, with all that is in every shard. Bytes are those
/// before compression. `span` is one subset: shards do not reach over its end.
fn cuts_by_bytes(
    selection: &Selection,
    choice: &Choice,
    span: Range<u64>,
    most: u64,
) -> Result<Vec<u64>> {
    /// Cells that are looked up at a time.
    const STEP: u64 = 1 << 18;
    let skeleton = selection.skeleton_bytes()?;
    let Some(room) = most.checked_sub(skeleton).filter(|room| *room > 0) else {
        bail!(
            "--max-bytes {} leaves no room for cells: what is in every shard (var, uns and such) takes {}",
            format_size(most),
            format_size(skeleton)
        );
    };
    let sizes = RowSizes::of(selection)?;
    let (count, mut larger) = (span.end - span.start, 0);
    // Sizes are looked up for the rows of a block in the order of the file, each once, and picked in that of the
    // choice.
    let blocks = (0..count.div_ceil(STEP)).map(|block| {
        let start = span.start + block * STEP;
        let wave = wave(choice, start..span.end.min(start + STEP));
        let rows = sizes.rows(&wave.ranges)?;
        larger += rows.iter().filter(|row| **row > room).count();
        Ok(wave.picks.iter().map(|&row| rows[row as usize]).collect())
    });
    let cuts = plan::cuts_by_bytes(blocks, room)?;
    if larger > 0 {
        let most = format_size(most);
        warn!(
            "{} larger than --max-bytes {most} allows; each gets a shard of its own",
            clause(larger as u64, "cell", ("is", "are"))
        );
    }
    Ok(cuts)
}

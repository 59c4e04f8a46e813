//! `annslicer slice`: one file into shards.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use tracing::{info, warn};

use super::resume;
use super::session::{Session, Task};
use crate::anndata::select::Selection;
use crate::cells::Obs;
use crate::cells::groups::Groups;
use crate::cli::{Cut, ShardBy, Shuffle, SliceRequest};
use crate::extract::plan::{self, Budget};
use crate::extract::sizes::Sizes;
use crate::extract::{Order, RowSource};
use crate::limits;
use crate::output;
use crate::permutation::{Seed, permutation};
use crate::report::failure::{Failure, InFile};
use crate::report::words::{clause, count, thousands};
use crate::resources::format_size;

/// Which cells go into which shard, and the memory to work in.
struct ShardPlan {
    order: Order,
    budget: Budget,
    cuts: Vec<u64>,
    shards: Vec<PathBuf>,
    /// The category of each, where they are by a column.
    values: Vec<String>,
}

pub fn run(request: SliceRequest) -> Result<()> {
    let context = || InFile("Cannot slice", request.input.clone());
    let mut session = Session::begin(&request.options, request.reads())?;
    let (root, mut selection) = session.open(&request.input).with_context(context)?;
    let seed = settle_seed(&request, &mut session)?;
    session.claim(&request.prefix)?;
    let scratch = session.scratch()?;
    let plan = match &request.by {
        ShardBy::Cells { cut, .. } => {
            let most = request.options.max_categories;
            let is_over = !selection.categoricals_beyond(most).is_empty();
            let obs = is_over.then(|| session.obs(&root, &mut selection, None, &scratch));
            let settled = obs.transpose().map(drop);
            settled.and_then(|()| by_size(&session, &request, cut, seed.as_ref(), &selection))
        }
        ShardBy::Column {
            name,
            always_include,
            table,
        } => {
            let obs = session.obs(&root, &mut selection, Some((table, name)), &scratch);
            obs.and_then(|obs| by_column(&session, &request, name, always_include, &obs))
        }
    };
    let mut plan = plan.with_context(context)?;
    let shards = plan.shards.len();
    session.name(plan.shards)?;
    session.name_values(plan.values);
    session.stage()?;
    if request.names.is_none() {
        session.find_older(&request.prefix, request.clean);
    }
    if shards == 0 {
        none_to_write(&request)?;
    }
    if request.resume {
        let identity = resume::identity(&request, &session.fingerprints, seed.as_ref());
        plan.cuts.drain(..session.resume(&identity)?);
    }
    let task = Task {
        what: "Slicing",
        from: request.input.display().to_string(),
        order: plan.order,
        cuts: plan.cuts,
        budget: plan.budget,
        scratch: &scratch,
    };
    session
        .extract(RowSource::File(&mut selection), task)
        .with_context(context)?;
    if let Some(published) = session.publish(seed.as_ref())? {
        let names = match published.ends() {
            ends if ends.is_empty() => ends,
            ends => format!(": {ends}"),
        };
        info!(
            "All {} successfully created in {:.1} s ({} written){names}.",
            count(shards as u64, "shard"),
            published.seconds,
            format_size(published.bytes())
        );
        published.tell_growth(1.0);
    }
    Ok(())
}

/// The seed of a shuffle: the user's, that of the run that is resumed, or the one that was drawn. From here on a run
/// that may be resumed keeps what it finishes.
fn settle_seed(request: &SliceRequest, session: &mut Session) -> Result<Option<Seed>> {
    let recorded = if request.resume {
        session.keep_finished(&request.prefix)?
    } else {
        None
    };
    let ShardBy::Cells {
        shuffle: Some(Shuffle { seed, drawn }),
        ..
    } = &request.by
    else {
        return Ok(None);
    };
    let resumed = recorded.filter(|_| *drawn);
    let resumed = resumed.and_then(|run| resume::seed(request, &session.fingerprints, &run));
    Ok(Some(resumed.unwrap_or_else(|| seed.clone())))
}

fn none_to_write(request: &SliceRequest) -> Result<()> {
    let input = request.input.display();
    warn!("{input} has no cells for a shard, so there is none to write");
    match request.prefix.parent() {
        Some(parent) if !request.options.dry_run => std::fs::create_dir_all(parent)
            .with_context(|| format!("Cannot make folder {}", parent.display())),
        _ => Ok(()),
    }
}

/// Shards by the number of cells or bytes, shuffled where there is a seed.
fn by_size(
    session: &Session,
    request: &SliceRequest,
    cut: &Cut,
    seed: Option<&Seed>,
    selection: &Selection,
) -> Result<ShardPlan> {
    let cells = selection.cells;
    let (how, least) = match cut {
        Cut::Size(size) => (
            format!("shards of {}", thousands(*size)),
            cells.div_ceil(*size),
        ),
        Cut::Parts(shards) => {
            let how = format!("{} of about equal size", count(shards.get(), "shard"));
            (how, shards.get().min(cells))
        }
        Cut::Bytes(bytes) => (format!("shards of up to {}", format_size(*bytes)), 0),
    };
    info!("Total cells: {}. Generating {how}...", thousands(cells));
    let (order, budget) = order(session, seed, cells)?;
    ensure!(
        least <= limits::SHARDS,
        "That makes {}; make them larger, {} are the most",
        count(least, "shard"),
        thousands(limits::SHARDS)
    );
    let cuts = match cut {
        Cut::Size(size) => plan::cuts_by_size(cells, *size),
        Cut::Parts(shards) => plan::cuts_in_parts(cells, shards.get()),
        Cut::Bytes(bytes) => cuts_by_bytes(selection, &order, *bytes)?,
    };
    if let Cut::Parts(wanted) = cut
        && wanted.get() > cells
    {
        warn!(
            "There are {}, too few for {}: each gets one",
            count(cells, "cell"),
            count(wanted.get(), "shard")
        );
    }
    let format = request.options.container.format;
    let shards = (0..cuts.len() - 1).map(|i| output::shard_path(&request.prefix, i, format));
    Ok(ShardPlan {
        shards: named(request, shards.collect())?,
        order,
        budget,
        cuts,
        values: vec![],
    })
}

/// The paths of the shards: those that were given in place of `usual` ones.
fn named(request: &SliceRequest, usual: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let Some(names) = &request.names else {
        return Ok(usual);
    };
    let what = || {
        format!(
            "--names has {}, but there are {} shards; give one for each",
            names.len(),
            usual.len()
        )
    };
    ensure!(names.len() == usual.len(), Failure::value(what()));
    Ok(names.clone())
}

/// Where shards begin that hold as many cells as fit `most` bytes, with all that is in every shard.
fn cuts_by_bytes(selection: &Selection, order: &Order, most: u64) -> Result<Vec<u64>> {
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
    let sizes = Sizes::of(selection)?;
    let (cells, mut larger) = (selection.cells, 0);
    let blocks = (0..cells.div_ceil(STEP)).map(|block| {
        let start = block * STEP;
        let wave = order.wave(start..cells.min(start + STEP));
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

/// A shard for each category of a column.
fn by_column(
    session: &Session,
    request: &SliceRequest,
    name: &str,
    always_include: &[String],
    obs: &Obs,
) -> Result<ShardPlan> {
    let groups = Groups::of(obs.column(name)?, name)?;
    let shards = groups.shards(name, always_include)?;
    let values = shards.labels.len() as u64;
    ensure!(
        values <= limits::SHARDS,
        "'{name}' has {}, each of which would be a shard; {} are the most",
        count(values, "value"),
        thousands(limits::SHARDS)
    );
    let total = shards.cuts.last().copied().unwrap_or(0);
    info!(
        "Total cells: {}. Generating {} by '{name}'...",
        thousands(obs.frame.rows()),
        count(values, "shard")
    );
    let format = request.options.container.format;
    let paths = shards.names.iter();
    let paths: Vec<PathBuf> = paths
        .map(|name| output::named_path(&request.prefix, name, format))
        .collect();
    let paths = named(request, paths)?;
    for (path, cut) in paths.iter().zip(shards.cuts.windows(2)) {
        let own = cut[1] - cut[0] - shards.shared;
        info!(
            "  Writing {} ({} + {} always-include)...",
            path.display(),
            count(own, "cell"),
            thousands(shards.shared)
        );
    }
    let budget = session.any_order(total);
    let order = groups.order(&shards)?;
    Ok(ShardPlan {
        order: match paths.len() {
            1 => Order::Sorted(order),
            _ => Order::Cells(order),
        },
        budget,
        cuts: shards.cuts,
        shards: paths,
        values: shards.labels,
    })
}

/// The order of the cells, and the memory to work in.
fn order(session: &Session, seed: Option<&Seed>, cells: u64) -> Result<(Order, Budget)> {
    let Some(seed) = seed else {
        return Ok((Order::AsIs, session.in_order()));
    };
    let budget = session.any_order(cells);
    info!("Shuffle enabled (seed={seed}).");
    Ok((Order::Cells(permutation(seed, cells)?), budget))
}

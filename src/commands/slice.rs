//! `annslicer slice`: files into shards.
//!
//! Obs and a seed decide everything before a matrix is read: which cells are in which shard, in which order, and what
//! the shards are called ([`deal`]). Then the engine writes them all. The same choice is made again by a run that is
//! resumed and by each part of a run, which leave out shards that others write. `--finish` makes none: it publishes
//! what parts have written. `--stage scatter` ends with buckets instead of shards ([`stages`]).

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tracing::{info, warn};

use super::session::{Published, Session, Task};
use super::{deal, resume, slice_parts, stages};
use crate::anndata::select::Selection;
use crate::cells::Obs;
use crate::cells::choice::Choice;
use crate::check::set::{self, SetFinding};
use crate::cli::{SliceRequest, Stage};
use crate::extract::{Order, Source};
use crate::output::{self, Scratch};
use crate::permutation::Seed;
use crate::report::failure::Failure;
use crate::report::words::{count, thousands};
use crate::resources::format_size;
use crate::store::Group;

/// The order of the steps is part of what they do: the run is claimed before obs is read, which takes long, so that a
/// second run stops at once; nothing is staged before all that can be refused without reading matrices is.
pub fn run(request: SliceRequest) -> Result<()> {
    if request.finish {
        return finish(&request);
    }
    let blame = |error| request.join.blame("Cannot slice", error);
    let mut session = Session::begin(&request.options, &request.join, request.reads())?;
    if slice_parts::is_done(&request, &session)? {
        return Ok(());
    }
    let scratch = session.scratch()?;
    let opened = session.open(&request.join, &request.deal.reads(), &scratch);
    let (root, mut selection) = opened.map_err(blame)?;
    let seed = settle_seed(&request, &mut session)?;
    let seed = seed.as_ref();
    let mut choice = obs(&request, &session, &root, &mut selection, &scratch)
        .and_then(|obs| {
            let kept = (!request.options.dry_run).then_some(&scratch);
            deal::choose(&request.deal, seed, &mut selection, obs.as_ref(), kept)
        })
        .map_err(blame)?;
    if request.stage == Some(Stage::Scatter) {
        let of = (selection, choice);
        return stages::scatter(&request, session, seed, of, &scratch).map_err(blame);
    }
    let paths = paths(&request, &choice).map_err(blame)?;
    let shards = paths.len();
    if request.deal.cut.is_none() {
        tell_values(&request, selection.cells, &choice, &paths);
    }
    name(&mut session, &request, paths, &selection).map_err(blame)?;
    session.label(std::mem::take(&mut choice.labels));
    let part = slice_parts::take(&request, &mut session, &selection, &mut choice).map_err(blame)?;
    let stages = stages::advice(&request, &session, &selection, &choice).map_err(blame)?;
    if request.stage == Some(Stage::Gather) {
        let of = (&mut selection, &choice);
        stages::gather(&request, &session, seed, of, &scratch).map_err(blame)?;
    }
    session.stage()?;
    if part.is_none() {
        find_older(&request, &mut session).map_err(blame)?;
    }
    if shards == 0 {
        none_to_write(&request)?;
    }
    let growth = growth(&request, &choice.cuts, &selection).map_err(blame)?;
    let cuts = left(&request, &mut session, seed, choice.cuts)?;
    let order = Order::of(choice.cells, selection.cells);
    let task = Task {
        what: "Slicing",
        from: request.join.name(),
        budget: session.budget(&order),
        order,
        cuts,
        waves: None,
        stages,
        scratch: &scratch,
        portion: None,
    };
    let source = Source::File(&mut selection);
    session.extract(source, task).map_err(blame)?;
    if let Some(part) = part {
        return part.end(session);
    }
    let refused = refused_by_loaders(&request, &selection.root, shards).map_err(blame)?;
    if let Some((published, (share, common))) = publish(session, seed)?.zip(growth) {
        published.tell_growth(share, common);
    }
    refused.iter().for_each(|what| info!("{what}"));
    Ok(())
}

/// Where the outputs begin that an earlier run has not kept.
fn left(
    request: &SliceRequest,
    session: &mut Session,
    seed: Option<&Seed>,
    mut cuts: Vec<u64>,
) -> Result<Vec<u64>> {
    if request.resume {
        let identity = resume::identity(request, &session.fingerprints, seed);
        // Finished outputs are the first ones; the engine passes over the rows before the first cut.
        cuts.drain(..session.resume(&identity)?);
    }
    Ok(cuts)
}

/// Publishes what the parts of a run have written. Of the inputs it looks at sizes and times alone, which must be those
/// that the parts saw.
fn finish(request: &SliceRequest) -> Result<()> {
    let seed = request.deal.seed.as_ref().map(|given| &given.seed);
    let mut session = slice_parts::take_all(request, seed)?;
    find_older(request, &mut session)?;
    publish(session, seed).map(drop)
}

/// What decides how large the shards become: how many of the cells they hold, of which some may be in several; and the
/// bytes that each takes whatever its cells, at the least. None where it is not told.
fn growth(
    request: &SliceRequest,
    cuts: &[u64],
    selection: &Selection,
) -> Result<Option<(f64, u64)>> {
    /// What HDF5 stores of an array beside its values.
    const ARRAY: u64 = 1 << 10;
    if request.options.dry_run || !request.options.container.is_plain() {
        return Ok(None);
    }
    let ends = cuts.first().zip(cuts.last());
    let held = ends.map_or(0, |(start, end)| end - start) as f64;
    let arrays = selection.leaves.len() as u64 * ARRAY;
    let common = selection.skeleton_bytes()?.saturating_add(arrays);
    Ok(Some((held / selection.cells.max(1) as f64, common)))
}

/// Looks for shards of an earlier run. Names that were given tell no prefix, and a collection is replaced whole.
fn find_older(request: &SliceRequest, session: &mut Session) -> Result<()> {
    if request.names.is_some() || request.options.container.is_collection {
        return Ok(());
    }
    let is_split = request.deal.split.is_some();
    session.find_older(&request.prefix, request.clean, is_split)
}

/// Puts the shards in their places, and says so.
fn publish(session: Session, seed: Option<&Seed>) -> Result<Option<Published>> {
    let Some(published) = session.publish(seed)? else {
        return Ok(None);
    };
    let names = match published.ends() {
        ends if ends.is_empty() => ends,
        ends => format!(": {ends}"),
    };
    info!(
        "All {} successfully created in {:.1} s ({} written){names}.",
        count(published.count, "shard"),
        published.seconds,
        format_size(published.bytes())
    );
    Ok(Some(published))
}

/// The obs of the file, where something there decides, or has too many categories.
fn obs(
    request: &SliceRequest,
    session: &Session,
    root: &Group,
    selection: &mut Selection,
    scratch: &Scratch,
) -> Result<Option<Obs>> {
    let deal = &request.deal;
    let most = request.options.max_categories;
    let is_over = !selection.categoricals_beyond(most).is_empty();
    let columns = deal.reads();
    let wanted = is_over || deal.split.is_some() || !columns.is_empty();
    let obs = wanted.then(|| session.obs(root, selection, &deal.table, &columns, scratch));
    obs.transpose()
}

/// The paths of the shards: those that were given, or the prefix and the name of each. Of a collection they are
/// `PREFIX.zarr/dataset_0` and so on, whatever the choice calls them.
fn paths(request: &SliceRequest, choice: &Choice) -> Result<Vec<PathBuf>> {
    let container = &request.options.container;
    if container.is_collection {
        let collection = output::collection_path(&request.prefix);
        let datasets = 0..choice.names.len();
        return Ok(datasets
            .map(|i| output::dataset_path(&collection, i))
            .collect());
    }
    let Some(given) = &request.names else {
        let format = container.format;
        let named = |name: &String| output::named_path(&request.prefix, name, format);
        return Ok(choice.names.iter().map(named).collect());
    };
    let what = || {
        format!(
            "--names has {}, but there are {} shards; give one for each",
            given.len(),
            choice.names.len()
        )
    };
    ensure!(given.len() == choice.names.len(), Failure::value(what()));
    Ok(given.clone())
}

/// Says what the shards of values are. Before any is written, and in a dry run too.
fn tell_values(request: &SliceRequest, cells: u64, choice: &Choice, paths: &[PathBuf]) {
    let columns = request.deal.columns.iter();
    let columns: Vec<String> = columns.map(|name| format!("'{name}'")).collect();
    info!(
        "Total cells: {}. Generating {} by {}...",
        thousands(cells),
        count(paths.len() as u64, "shard"),
        columns.join(" and ")
    );
    for (path, cut) in paths.iter().zip(choice.cuts.windows(2)) {
        info!(
            "  Writing {} ({} + {} always-include)...",
            path.display(),
            count(cut[1] - cut[0] - choice.shared, "cell"),
            thousands(choice.shared)
        );
    }
}

/// What loaders of training code will refuse of so many shards. These are as they should be, so it is told as a hint.
fn refused_by_loaders(request: &SliceRequest, taken: &Group, shards: usize) -> Result<Vec<String>> {
    if shards < 2 {
        return Ok(vec![]);
    }
    let (csr, format) = (request.options.csr, request.options.container.format);
    let findings = set::of_shards(taken, csr, format)?;
    let told = findings.into_iter().map(|finding| {
        let loaders = finding.loaders.join(", ");
        let SetFinding {
            element,
            what,
            remedy,
            ..
        } = finding;
        format!("'{element}' will be refused by {loaders}: {what}; {remedy}")
    });
    Ok(told.collect())
}

/// The seed of what is random: the user's, that of the run that is resumed, or the one that was drawn. From here on a run
/// that may be resumed keeps what it finishes, and the shards are claimed.
fn settle_seed(request: &SliceRequest, session: &mut Session) -> Result<Option<Seed>> {
    let recorded = if request.resume && request.stage != Some(Stage::Scatter) {
        session.keep_finished(&request.prefix, request.part)?
    } else {
        None
    };
    if request.part.is_none() {
        session.claim(&request.prefix)?;
    }
    let Some(given) = &request.deal.seed else {
        return Ok(None);
    };
    // A seed that was typed is kept. One that was drawn is new in each run, so that of the run to be resumed takes its
    // place, if all else is the same.
    let resumed = recorded.filter(|_| given.drawn);
    let resumed = resumed.and_then(|run| resume::seed(request, &session.fingerprints, &run));
    Ok(Some(resumed.unwrap_or_else(|| given.seed.clone())))
}

/// Says what the shards are called, and refuses of what no collection could be read.
fn name(
    session: &mut Session,
    request: &SliceRequest,
    shards: Vec<PathBuf>,
    selection: &Selection,
) -> Result<()> {
    if !request.options.container.is_collection {
        return session.name(shards);
    }
    refuse_for_collection(request, selection)?;
    if !request.deal.shuffle {
        warn!(
            "annbatch reads runs of cells as they are stored, and takes them for shuffled; add --shuffle for training"
        );
    }
    session.name_collection(output::collection_path(&request.prefix), shards)
}

/// An error where annbatch could not read what would be made.
fn refuse_for_collection(request: &SliceRequest, selection: &Selection) -> Result<()> {
    let is_csc = selection.csc.iter().any(|(path, _)| path == "X");
    ensure!(
        !is_csc || request.options.csr,
        Failure::value("X is CSC, of which annbatch reads no rows; --csr writes it as CSR".into())
    );
    ensure!(
        selection.cells > 0,
        Failure::value("It has no cells, and annbatch reads no collection without".into())
    );
    Ok(())
}

/// Warns that there is no shard. The folder is made all the same, as it is for shards.
fn none_to_write(request: &SliceRequest) -> Result<()> {
    let input = request.join.name();
    warn!("{input} has no cells for a shard, so there is none to write");
    match request.prefix.parent() {
        Some(parent) if !request.options.dry_run => std::fs::create_dir_all(parent)
            .with_context(|| format!("Cannot make folder {}", parent.display())),
        _ => Ok(()),
    }
}

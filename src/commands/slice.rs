//! `annslicer slice`: files into shards.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tracing::{info, warn};

use super::session::{Session, Task};
use super::{deal, resume};
use crate::anndata::select::Selection;
use crate::cells::Obs;
use crate::cells::choice::Choice;
use crate::check::set::{self, SetFinding};
use crate::cli::SliceRequest;
use crate::extract::{Order, RowSource};
use crate::output::{self, Scratch};
use crate::permutation::Seed;
use crate::report::failure::Failure;
use crate::report::words::{count, thousands};
use crate::resources::format_size;
use crate::store::Group;

pub fn run(request: SliceRequest) -> Result<()> {
    let blame = |error| request.join.blame("Cannot slice", error);
    let mut session = Session::begin(&request.options, request.reads())?;
    let scratch = session.scratch()?;
    let opened = session.open(&request.join, &scratch);
    let (root, mut selection) = opened.map_err(blame)?;
    let seed = settle_seed(&request, &mut session)?;
    let seed = seed.as_ref();
    session.claim(&request.prefix)?;
    let choice = obs(&request, &session, &root, &mut selection, &scratch)
        .and_then(|obs| {
            let kept = (!request.options.dry_run).then_some(&scratch);
            deal::choose(&request.deal, seed, &mut selection, obs.as_ref(), kept)
        })
        .map_err(blame)?;
    let paths = paths(&request, &choice).map_err(blame)?;
    let shards = paths.len();
    if request.deal.cut.is_none() {
        tell_values(&request, selection.cells, &choice, &paths);
    }
    name(&mut session, &request, paths, &selection).map_err(blame)?;
    session.label(choice.labels);
    session.stage()?;
    if request.names.is_none() && !request.options.container.is_collection {
        session.find_older(&request.prefix, request.clean);
    }
    if shards == 0 {
        none_to_write(&request)?;
    }
    let mut cuts = choice.cuts;
    if request.resume {
        let identity = resume::identity(&request, &session.fingerprints, seed);
        cuts.drain(..session.resume(&identity)?);
    }
    let order = Order::of(choice.cells, selection.cells);
    let task = Task {
        what: "Slicing",
        from: request.join.name(),
        budget: session.budget(&order),
        order,
        cuts,
        scratch: &scratch,
    };
    session
        .extract(RowSource::File(&mut selection), task)
        .map_err(blame)?;
    let refused = refused_by_loaders(&request, &root, shards)?;
    if let Some(published) = session.publish(seed)? {
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
    refused.iter().for_each(|what| warn!("{what}"));
    Ok(())
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

/// The paths of the shards: those that were given, or the prefix and the name of each.
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

/// Says what the shards of values are.
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

/// What loaders of training code will refuse of so many shards.
fn refused_by_loaders(request: &SliceRequest, root: &Group, shards: usize) -> Result<Vec<String>> {
    if shards < 2 {
        return Ok(vec![]);
    }
    // Of several files it holds what is taken alone.
    let taken = match request.join.one_file() {
        Some(_) => request.options.elements.of(root)?,
        None => root.clone(),
    };
    let (csr, format) = (request.options.csr, request.options.container.format);
    let findings = set::of_shards(&taken, csr, format)?;
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
/// that may be resumed keeps what it finishes.
fn settle_seed(request: &SliceRequest, session: &mut Session) -> Result<Option<Seed>> {
    let recorded = if request.resume {
        session.keep_finished(&request.prefix)?
    } else {
        None
    };
    let Some(given) = &request.deal.seed else {
        return Ok(None);
    };
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

fn none_to_write(request: &SliceRequest) -> Result<()> {
    let input = request.join.name();
    warn!("{input} has no cells for a shard, so there is none to write");
    match request.prefix.parent() {
        Some(parent) if !request.options.dry_run => std::fs::create_dir_all(parent)
            .with_context(|| format!("Cannot make folder {}", parent.display())),
        _ => Ok(()),
    }
}

//! `annslicer slice`: one file into shards.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tracing::{info, warn};

use super::resume;
use crate::anndata::select::Selection;
use crate::cells::csv::{self, Table};
use crate::cells::groups::Groups;
use crate::cells::{Obs, limit};
use crate::cli::{self, SliceArgs};
use crate::extract::plan::{self, Budget};
use crate::extract::sizes::Sizes;
use crate::extract::{self, Order, Request, small_blocks};
use crate::output::manifest::Manifest;
use crate::output::{self, Outputs};
use crate::permutation::{Seed, permutation};
use crate::report::progress::Progress;
use crate::resources::format_size;
use crate::store::{self, Format, Group};

/// Files in one folder that file systems still bear.
const MOST_SHARDS: u64 = 1_000_000;

/// Which cells go into which shard, and the memory to work in.
struct ShardPlan {
    order: Order,
    budget: Budget,
    cuts: Vec<u64>,
    shards: Vec<PathBuf>,
}

pub fn run(mut args: SliceArgs, quiet: bool) -> Result<()> {
    let began = Instant::now();
    args.drop_unused();
    let input = args.input.display().to_string();
    let context = || format!("Cannot slice {input}");
    Format::of(&args.input)?;
    let mut outputs = Outputs::new()?;
    let read = [&args.input].into_iter().chain(&args.by.table.csv_file);
    let read: Vec<PathBuf> = read.cloned().collect();
    let seen = outputs.read_from(&read);
    let root =
        store::open(&args.input, &args.read.access(args.machine.memory())).with_context(context)?;
    let mut selection = Selection::of(&root).with_context(context)?;
    selection.warn_unlisted();
    let dry = args.output.dry_run;
    let resumes = args.resume && !dry;
    settle_seed(&mut args, &seen, &mut outputs)?;
    let mut scratch = args.scratch.parent();
    if !dry || args.by.table.csv_file.is_some() {
        scratch = outputs.scratch_dir(&scratch)?;
    }
    let plan = match &args.by.obs_column {
        Some(column) => by_column(&args, column, &root, &mut selection, &scratch),
        None => by_size(&args, &root, &mut selection, &scratch),
    };
    let mut plan = plan.with_context(context)?;
    for shard in &plan.shards {
        output::refuse_overlap(shard, std::slice::from_ref(&args.input))?;
    }
    let manifest = args.output.manifest.as_deref();
    let manifest = manifest.map(|path| Manifest::new(path, &read, &plan.shards));
    let manifest = manifest.transpose()?;
    let shards = plan.shards.len();
    if shards == 0 {
        warn!("{input} has no cells for a shard, so there is none to write");
        if !dry {
            make_parent(&args.prefix)?;
        }
        if !dry && manifest.is_none() {
            return Ok(());
        }
    }
    let place = |shard: &PathBuf| {
        if dry {
            output::check(shard).map(|()| shard.clone())
        } else {
            outputs.aside(shard)
        }
    };
    let mut asides = plan.shards.iter().map(place).collect::<Result<Vec<_>>>()?;
    let whole = if resumes {
        start(&args, &seen, &mut outputs)?
    } else {
        0
    };
    asides.drain(..whole);
    plan.cuts.drain(..whole);
    let ends = plan.cuts.first().zip(plan.cuts.last());
    let rows = ends.map_or(0, |(start, end)| end - start);
    if let Some(manifest) = &manifest {
        let kept = outputs.written().take(whole);
        kept.for_each(|(_, path)| manifest.digests().begin(path));
    }
    let progress = Progress::new("Slicing", rows, quiet || dry);
    let finished = |shard: usize| {
        if let (Some(manifest), Some(aside)) = (&manifest, asides.get(shard)) {
            manifest.digests().begin(aside);
        }
        outputs.finished(whole + shard)
    };
    let request = Request {
        order: plan.order,
        cuts: plan.cuts,
        outputs: asides.clone(),
        format: Format::H5ad,
        compression: args.output.compression.unwrap_or_default(),
        budget: plan.budget,
        scratch: &scratch,
        progress: &progress,
        verify: args.output.verify,
        finished: &finished,
    };
    if dry {
        let preview = extract::preview(&selection, &request, &args.input).with_context(context)?;
        return cli::print(preview.text().as_bytes());
    }
    if !request.outputs.is_empty() {
        extract::run(&mut selection, &request).with_context(context)?;
    }
    progress.finish();
    if let Some(manifest) = manifest {
        let seed = args.order.seed.as_ref().filter(|_| args.order.shuffle);
        manifest.write(&mut outputs, seed)?;
    }
    let written = outputs.publish()?;
    let sizes = written.iter().take(shards);
    let bytes: u64 = sizes
        .filter_map(|path| Some(path.metadata().ok()?.len()))
        .sum();
    info!(
        "All {shards} shards successfully created in {:.1} s ({} written).",
        began.elapsed().as_secs_f64(),
        format_size(bytes)
    );
    Ok(())
}

/// Sees to it that a shuffle has a seed: the user's, that of the run that is resumed, or a new one.
fn settle_seed(args: &mut SliceArgs, seen: &[u64], outputs: &mut Outputs) -> Result<()> {
    let wanted = args.order.shuffle && args.order.seed.is_none();
    if args.resume && !args.output.dry_run {
        let recorded = outputs.resume(&args.prefix)?;
        if wanted {
            args.order.seed = resume::seed(args, seen, recorded.as_ref());
        }
    }
    if wanted {
        args.order.seed.get_or_insert_with(Seed::random);
    }
    Ok(())
}

/// How many of the shards are whole already, with a word on it.
fn start(args: &SliceArgs, seen: &[u64], outputs: &mut Outputs) -> Result<usize> {
    let seed = args.order.seed.as_ref().filter(|_| args.order.shuffle);
    let (before, shards) = (outputs.kept(), outputs.count());
    let whole = outputs.start(&resume::identity(args, seen, seed))?;
    match (before, whole) {
        (0, _) => {}
        (_, 0) => info!(
            "Resuming: none of {before} kept shards are of this input and these options, all {shards} are written"
        ),
        _ => info!(
            "Resuming: {whole} of {shards} shards are kept, {} are written",
            shards - whole
        ),
    }
    Ok(whole)
}

fn make_parent(prefix: &Path) -> Result<()> {
    match prefix.parent() {
        Some(parent) => std::fs::create_dir_all(parent)
            .with_context(|| format!("Cannot make folder {}", parent.display())),
        None => Ok(()),
    }
}

/// Shards by the number of cells or bytes, in order or shuffled.
fn by_size(
    args: &SliceArgs,
    root: &Group,
    selection: &mut Selection,
    scratch: &Path,
) -> Result<ShardPlan> {
    let most = args.output.max_categories;
    let kept = (!args.output.dry_run).then_some(scratch);
    if !selection.categoricals_beyond(most).is_empty() {
        limit::categories(&Obs::open(root)?, selection, most, kept)?;
    }
    let cells = selection.cells;
    let how = match (args.order.shards, args.order.max_bytes) {
        (Some(shards), _) => format!("{shards} shards of about equal size"),
        (None, Some(bytes)) => format!("shards of up to {}", format_size(bytes)),
        (None, None) => format!("shards of {}", args.order.cells_per_shard()),
    };
    info!("Total cells: {cells}. Generating {how}...");
    let (order, budget) = order(args, cells)?;
    let least = match (args.order.shards, args.order.max_bytes) {
        (Some(shards), _) => shards.get().min(cells),
        (None, Some(_)) => 0,
        (None, None) => cells.div_ceil(args.order.cells_per_shard()),
    };
    ensure!(
        least <= MOST_SHARDS,
        "That makes {least} shards; make them larger, {MOST_SHARDS} are the most"
    );
    let cuts = match (args.order.shards, args.order.max_bytes) {
        (Some(shards), _) => plan::cuts_in_parts(cells, shards.get()),
        (None, Some(bytes)) => cuts_by_bytes(selection, &order, bytes)?,
        (None, None) => plan::cuts_by_size(cells, args.order.cells_per_shard()),
    };
    if let Some(wanted) = args.order.shards.filter(|n| n.get() > cells) {
        warn!("There are {cells} cells, too few for {wanted} shards: each gets one");
    }
    let shards = (0..cuts.len() - 1).map(|i| output::shard_path(&args.prefix, i));
    Ok(ShardPlan {
        shards: shards.collect(),
        order,
        budget,
        cuts,
    })
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
            "{larger} cells are larger than --max-bytes {most} allows; each gets a shard of its own"
        );
    }
    Ok(cuts)
}

/// A shard for each category of a column.
fn by_column(
    args: &SliceArgs,
    name: &str,
    root: &Group,
    selection: &mut Selection,
    scratch: &Path,
) -> Result<ShardPlan> {
    let mut obs = Obs::open(root)?;
    if let Some(path) = &args.by.table.csv_file {
        let table = Table {
            path,
            column: name,
            join: args.by.table.join_column.as_deref(),
        };
        selection.set_column(name, &csv::join(&mut obs, &table, scratch)?)?;
    }
    let kept = (!args.output.dry_run).then_some(scratch);
    limit::categories(&obs, selection, args.output.max_categories, kept)?;
    let groups = Groups::of(obs.column(name)?, name)?;
    let shards = groups.shards(name, &args.by.always_include)?;
    let count = shards.labels.len() as u64;
    ensure!(
        count <= MOST_SHARDS,
        "'{name}' has {count} values, each of which would be a shard; {MOST_SHARDS} are the most"
    );
    let total = shards.cuts.last().copied().unwrap_or(0);
    info!(
        "Total cells: {}. Generating {} shards by '{name}'...",
        selection.cells,
        shards.labels.len()
    );
    let paths = shards.names.iter();
    let paths: Vec<PathBuf> = paths
        .map(|name| output::named_path(&args.prefix, name))
        .collect();
    for (path, cut) in paths.iter().zip(shards.cuts.windows(2)) {
        let own = cut[1] - cut[0] - shards.shared;
        info!(
            "  Writing {} ({own} cells + {} always-include)...",
            path.display(),
            shards.shared
        );
    }
    let budget = any_order(args, total)?;
    let order = groups.order(&shards)?;
    Ok(ShardPlan {
        order: match paths.len() {
            1 => Order::Sorted(order),
            _ => Order::Cells(order),
        },
        budget,
        cuts: shards.cuts,
        shards: paths,
    })
}

/// The order of the cells, and the memory to work in.
fn order(args: &SliceArgs, cells: u64) -> Result<(Order, Budget)> {
    if !args.order.shuffle {
        let budget = Budget::sequential(args.machine.memory());
        return Ok((Order::AsIs, small_blocks().unwrap_or(budget)));
    }
    let budget = any_order(args, cells)?;
    let seed = args.order.seed.as_ref().context("A shuffle has a seed")?;
    info!("Shuffle enabled (seed={seed}).");
    Ok((Order::Cells(permutation(seed, cells)?), budget))
}

/// The memory for `rows` rows of all shards in another order than the file's.
fn any_order(args: &SliceArgs, rows: u64) -> Result<Budget> {
    let limit = args.machine.memory();
    match Budget::any_order(limit, rows, rayon::current_num_threads()) {
        Ok(budget) => Ok(small_blocks().unwrap_or(budget)),
        Err(least) => bail!(
            "--memory-limit {} is too little for {rows} rows in {}; give at least {}",
            format_size(limit),
            if args.order.shuffle {
                "random order"
            } else {
                "all shards"
            },
            format_size(least)
        ),
    }
}

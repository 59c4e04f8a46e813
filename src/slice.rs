//! `annslicer slice`: one file into shards.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tracing::{info, warn};

use crate::anndata::select::Selection;
use crate::cli::SliceArgs;
use crate::extract::{self, Order, Request};
use crate::output::{self, Outputs};
use crate::permutation::{Seed, permutation};
use crate::plan::{self, Budget};
use crate::progress::Progress;
use crate::resources::{default_memory_limit, format_size};
use crate::store::{self, Format};

pub fn run(args: SliceArgs, quiet: bool) -> Result<()> {
    let began = Instant::now();
    let input = args.input.display().to_string();
    Format::of(&args.input)?;
    let mut selection = store::open(&args.input)
        .and_then(|root| Selection::of(&root))
        .with_context(|| format!("Cannot slice {input}"))?;
    let cells = selection.cells;
    let cuts = plan::cuts_by_size(cells, args.order.size.get());
    let shards: Vec<PathBuf> = (0..cuts.len() - 1)
        .map(|i| output::shard_path(&args.prefix, i))
        .collect();
    for shard in &shards {
        output::refuse_overlap(shard, std::slice::from_ref(&args.input))?;
    }
    info!(
        "Total cells: {cells}. Generating shards of {}...",
        args.order.size
    );
    if shards.is_empty() {
        warn!("{input} has no cells, so there is no shard to write");
        return make_parent(&args.prefix);
    }
    let (order, budget) = order(&args, cells)?;
    let mut outputs = Outputs::new()?;
    let asides = shards
        .iter()
        .map(|shard| outputs.aside(shard))
        .collect::<Result<Vec<_>>>()?;
    let scratch = args.tmpdir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = outputs.scratch_dir(&scratch)?;
    let progress = Progress::new("Slicing", cells, quiet);
    let request = Request {
        order,
        cuts,
        outputs: asides,
        format: Format::H5ad,
        compression: args.output.compression.unwrap_or_default(),
        budget,
        scratch: &scratch,
        progress: &progress,
    };
    extract::run(&mut selection, &request).with_context(|| format!("Cannot slice {input}"))?;
    progress.finish();
    let written = outputs.publish()?;
    let bytes: u64 = written
        .iter()
        .filter_map(|path| Some(path.metadata().ok()?.len()))
        .sum();
    info!(
        "All {} shards successfully created in {:.1} s ({} written).",
        written.len(),
        began.elapsed().as_secs_f64(),
        format_size(bytes)
    );
    Ok(())
}

fn make_parent(prefix: &Path) -> Result<()> {
    match prefix.parent() {
        Some(parent) => std::fs::create_dir_all(parent)
            .with_context(|| format!("Cannot make folder {}", parent.display())),
        None => Ok(()),
    }
}

/// The order of the cells, and the memory to work in.
fn order(args: &SliceArgs, cells: u64) -> Result<(Order, Budget)> {
    let limit = args
        .machine
        .memory_limit
        .unwrap_or_else(default_memory_limit);
    if !args.order.shuffle {
        if args.order.seed.is_some() {
            warn!("--seed has no effect without --shuffle");
        }
        return Ok((
            Order::AsIs,
            small_blocks().unwrap_or(Budget::sequential(limit)),
        ));
    }
    let budget = match Budget::any_order(limit, cells) {
        Ok(budget) => budget,
        Err(least) => bail!(
            "--memory-limit {} is too little to shuffle {cells} cells; give at least {}",
            format_size(limit),
            format_size(least)
        ),
    };
    let seed = args.order.seed.clone().unwrap_or_else(Seed::random);
    info!("Shuffle enabled (seed={seed}).");
    let order = permutation(&seed, cells)?;
    Ok((Order::Cells(order), small_blocks().unwrap_or(budget)))
}

/// Bytes of a wave as tests set them, to see many waves in small files.
fn small_blocks() -> Option<Budget> {
    let bytes = std::env::var("ANNSLICER_TEST_BLOCK_BYTES").ok()?;
    Some(Budget::exactly(bytes.parse().ok()?))
}

//! `annslicer filter`: some of the cells of one file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use tracing::{info, warn};

use crate::anndata::select::Selection;
use crate::cells::csv::{self, Table};
use crate::cells::{Obs, column, eval, limit, names};
use crate::cli::{self, FilterArgs, WhichArgs};
use crate::extract::plan::Budget;
use crate::extract::{self, Order, Request, small_blocks};
use crate::output::manifest::Manifest;
use crate::output::{self, Outputs};
use crate::report::progress::Progress;
use crate::resources::format_size;
use crate::store::{self, Format};

pub fn run(mut args: FilterArgs, quiet: bool) -> Result<()> {
    let began = Instant::now();
    args.which
        .table
        .drop_unused(args.which.obs_column.is_some());
    let input = args.input.display().to_string();
    let context = || format!("Cannot filter {input}");
    Format::of(&args.input)?;
    let format = Format::of(&args.output)?;
    let compression = args.output_options.compression.unwrap_or_default();
    format.allows(compression)?;
    let read = [
        Some(&args.input),
        args.which.cells.as_ref(),
        args.which.table.csv_file.as_ref(),
    ];
    let read: Vec<PathBuf> = read.into_iter().flatten().cloned().collect();
    output::refuse_overlap(&args.output, &read)?;
    let limit = args.machine.memory();
    let mut outputs = Outputs::new()?;
    outputs.read_from(&read);
    let root = store::open(&args.input, &args.read.access(limit)).with_context(context)?;
    let mut selection = Selection::of(&root).with_context(context)?;
    selection.warn_unlisted();
    let dry = args.output_options.dry_run;
    let mut scratch = args.scratch.parent();
    if !dry || args.which.table.csv_file.is_some() {
        scratch = outputs.scratch_dir(&scratch)?;
    }
    let manifest = args.output_options.manifest.as_deref();
    let named: Vec<PathBuf> = read
        .iter()
        .filter(|p| *p != Path::new("-"))
        .cloned()
        .collect();
    let manifest =
        manifest.map(|path| Manifest::new(path, &named, std::slice::from_ref(&args.output)));
    let manifest = manifest.transpose()?;
    let mut obs = Obs::open(&root).with_context(context)?;
    let kept = kept(&args.which, &mut obs, &mut selection, &scratch).with_context(context)?;
    let most = args.output_options.max_categories;
    let kept_in = (!dry).then_some(scratch.as_path());
    limit::categories(&obs, &mut selection, most, kept_in).with_context(context)?;
    let rows = kept.len() as u64;
    info!(
        "Filtering {input}: {} cells in → {rows} cells out → {}",
        selection.cells,
        args.output.display()
    );
    if rows == 0 {
        warn!("No cell is kept: {} will have none", args.output.display());
    }
    let budget = Budget::sequential(limit);
    let progress = Progress::new("Filtering", rows, quiet || dry);
    let aside = if dry {
        output::check(&args.output).map(|()| args.output.clone())?
    } else {
        outputs.aside(&args.output)?
    };
    let finished = |_: usize| {
        if let Some(manifest) = &manifest {
            manifest.digests().begin(&aside);
        }
        Ok(())
    };
    let request = Request {
        // No cells are the first none of the file.
        order: if rows == 0 || rows == selection.cells {
            Order::AsIs
        } else {
            Order::Sorted(kept)
        },
        cuts: vec![0, rows],
        outputs: vec![aside.clone()],
        format,
        compression,
        budget: small_blocks().unwrap_or(budget),
        scratch: &scratch,
        progress: &progress,
        verify: args.output_options.verify,
        finished: &finished,
    };
    if dry {
        let preview = extract::preview(&selection, &request, &args.input).with_context(context)?;
        return cli::print(preview.text().as_bytes());
    }
    extract::run(&mut selection, &request).with_context(context)?;
    progress.finish();
    if let Some(manifest) = manifest {
        manifest.write(&mut outputs, None)?;
    }
    if let Some(path) = outputs.publish()?.first() {
        let bytes = path.metadata().map_or(0, |file| file.len());
        let size = match format {
            Format::H5ad => format!(" ({} written)", format_size(bytes)),
            Format::Zarr => String::new(),
        };
        info!(
            "Filter complete in {:.1} s{size}.",
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// The cells that pass all that is asked for, or those that do not.
fn kept(
    which: &WhichArgs,
    obs: &mut Obs,
    selection: &mut Selection,
    scratch: &Path,
) -> Result<Vec<u32>> {
    let mut mask = vec![true; usize::try_from(selection.cells)?];
    if let Some(name) = &which.obs_column {
        if let Some(path) = &which.table.csv_file {
            let table = Table {
                path,
                column: name,
                join: which.table.join_column.as_deref(),
            };
            selection.set_column(name, &csv::join(obs, &table, scratch)?)?;
        }
        column::keep(&obs.column(name)?, name, &mut mask)?;
    }
    if let Some(expr) = &which.expr {
        eval::keep(obs, expr, &mut mask).context("Cannot evaluate --where")?;
    }
    if let Some(path) = &which.cells {
        names::keep(obs, path, which.missing_ok, &mut mask)?;
    }
    let cells = mask.iter().zip(0..);
    Ok(cells
        .filter(|(keep, _)| **keep != which.invert)
        .map(|(_, cell)| cell)
        .collect())
}

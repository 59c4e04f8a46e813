//! `annslicer merge`: many files into one, the rows of one after those of the other.
//!
//! All inputs are looked at first, so that what cannot be put together is refused before a byte is written. Then
//! each array of the result takes the rows of one input after another, block by block. One input is open at a time,
//! besides the first.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use tracing::{info, warn};

use crate::cli::{self, MergeArgs};
use crate::codec::compression::Compression;
use crate::extract::plan;
use crate::merge::Modes;
use crate::merge::agree::Strategy;
use crate::merge::decide::Outline;
use crate::merge::input::Input;
use crate::merge::join::Join;
use crate::merge::names::Names;
use crate::merge::scan::Scan;
use crate::merge::sources::Sources;
use crate::merge::write::Writer;
use crate::output::manifest::Manifest;
use crate::output::{self, Outputs};
use crate::report::preview::{Planned, Preview};
use crate::report::progress::Progress;
use crate::resources::{Need, ensure_room, explain};
use crate::store::{self, Access, Format, Ledger};

pub fn run(args: MergeArgs, quiet: bool) -> Result<()> {
    let began = Instant::now();
    let format = Format::of(&args.output)?;
    let compression = args.output_options.compression.unwrap_or_default();
    format.allows(compression)?;
    let found = output::expand_inputs(&args.inputs, args.natural_sort)?;
    for pattern in &found.orders_differ {
        warn!(
            "The files of {pattern} are merged in the order of their names, where 10 comes before 2; use \
             --natural-sort to order them by number"
        );
    }
    output::refuse_overlap(&args.output, &found.paths)?;
    info!(
        "Merging {} files into {}...",
        found.paths.len(),
        args.output.display()
    );
    let mut outputs = Outputs::new()?;
    outputs.read_from(&found.paths);
    let modes = modes(&args);
    let limit = args.machine.memory();
    let cli::SourceArgs {
        label,
        keys,
        index_unique,
    } = args.sources;
    let sources = Sources::of(label, keys, index_unique, &found.paths)?;
    let renamed = sources.rename();
    let options = &args.output_options;
    let access = &args.read.access(limit);
    let (first, outline) = look(&found.paths, access, modes)?;
    let cells = outline.cells();
    let manifest = options
        .manifest
        .as_deref()
        .map(|path| Manifest::new(path, &found.paths, std::slice::from_ref(&args.output)));
    let manifest = manifest.transpose()?;
    if options.dry_run {
        output::check(&args.output)?;
        let bytes = first.selection.skeleton_bytes()? + size(&found.paths, access)?;
        return cli::print(
            preview(
                &args.inputs,
                &args.output,
                cells,
                bytes,
                outline.scratch_bytes(),
                limit,
            )
            .text()
            .as_bytes(),
        );
    }
    let aside = outputs.aside(&args.output)?;
    let scratch = outputs.scratch_dir(aside.parent().unwrap_or(&aside))?;
    let names = Names::new(cells, limit / 64, &scratch)?;
    let context = || format!("Cannot merge into {}", args.output.display());
    let place = output::place_of(&aside);
    let folder = place.parent().unwrap_or(&place).to_owned();
    let needs = [
        Need {
            folder: folder.clone(),
            bytes: match (format, compression) {
                (Format::H5ad, Compression::None) => outline.least_bytes(),
                _ => 0,
            },
            what: "The output needs",
        },
        Need {
            folder,
            bytes: outline.scratch_bytes(),
            what: "Scratch files beside it need",
        },
    ];
    ensure_room(&needs).with_context(context)?;
    let ledger = options.verify.then(Ledger::default);
    let out = store::create(&aside, format, compression).with_context(context)?;
    let out = out.noted(ledger.clone());
    let flushed = output::flush_while_written(&aside);
    let work = cells * (outline.arrays.len() as u64).max(1);
    let progress = Progress::new("Merging", work, quiet);
    let write = || -> Result<u64> {
        let open = |at: usize| Input::open(&found.paths[at], access);
        let mut writer = Writer::create(outline, &first, &open, &out, sources, names, scratch)?;
        drop(first);
        for path in &found.paths {
            writer.append(&Input::open(path, access)?, &progress)?;
        }
        writer.finish(&out)
    };
    let written = write().and_then(|doubled| out.finish().map(|()| doubled));
    drop(flushed);
    let doubled = written
        .map_err(|e| explain(e, &needs))
        .with_context(context)?;
    if let Some(ledger) = ledger {
        output::verify(&aside, &ledger).with_context(context)?;
    }
    progress.finish();
    if doubled > 0 {
        warn!(
            "{doubled} cells have a name that is there more than once; {}",
            if renamed {
                "call obs_names_make_unique() on the result or on the inputs"
            } else {
                "use --index-unique SEPARATOR to tell the cells of one file from those of another"
            }
        );
    }
    if let Some(manifest) = manifest {
        manifest.digests().begin(&aside);
        manifest.write(&mut outputs, None)?;
    }
    let written = outputs.publish()?;
    info!(
        "Merged {} cells of {} files into {} in {:.1} s.",
        cells,
        found.paths.len(),
        written
            .first()
            .map_or(args.output.as_path(), |p| p)
            .display(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn modes(args: &MergeArgs) -> Modes {
    let strategy = |keep| match keep {
        cli::Keep::First => Strategy::First,
        cli::Keep::Same => Strategy::Same,
        cli::Keep::Unique => Strategy::Unique,
        cli::Keep::Only => Strategy::Only,
        cli::Keep::None => Strategy::None,
    };
    let join = match args.join {
        cli::Join::Inner => Join::Inner,
        cli::Join::Outer => Join::Outer,
    };
    if args.modes.fill_value.is_some() && join == Join::Inner {
        warn!("--fill-value is not used: an inner join adds no rows and columns");
    }
    Modes {
        join,
        uns: strategy(args.modes.uns_merge),
        var: strategy(args.modes.var_merge),
        pairwise: args.modes.pairwise,
        fill: args.modes.fill_value,
        categories: args.output_options.max_categories,
    }
}

/// What `--dry-run` tells.
fn preview(
    inputs: &[PathBuf],
    output: &Path,
    cells: u64,
    bytes: u64,
    scratch: u64,
    limit: u64,
) -> Preview {
    let threads = rayon::current_num_threads();
    Preview {
        from: match inputs {
            [one] => one.display().to_string(),
            many => format!("{} inputs", many.len()),
        },
        outputs: vec![Planned {
            path: output.to_owned(),
            rows: cells,
            bytes,
        }],
        reading: "input after input, block by block".into(),
        memory: plan::memory(plan::Budget::sequential(limit).wave.min(bytes), 0, threads),
        scratch,
        threads,
    }
}

/// About what the arrays over cells take without compression, but for those of cells by cells.
fn size(paths: &[PathBuf], access: &Access) -> Result<u64> {
    let mut bytes = 0u64;
    for path in paths {
        let selection = Input::open(path, access)?.selection;
        for leaf in selection.leaves.iter().filter(|leaf| !leaf.is_square()) {
            let (cost, rows) = (leaf.cost()?, leaf.rows());
            bytes +=
                cost.fixed * rows + cost.element * leaf.count(std::slice::from_ref(&(0..rows)))?;
        }
        let csc = selection.csc.iter();
        bytes += csc.map(|(_, m)| m.nnz() * m.element_bytes()).sum::<u64>();
    }
    Ok(bytes)
}

/// Looks at all inputs and decides what the result will be; the first stays open.
fn look(paths: &[PathBuf], access: &Access, modes: Modes) -> Result<(Input, Outline)> {
    let (path, others) = paths.split_first().context("No file to merge")?;
    let first = Input::open(path, access)?;
    let mut scan = Scan::new(modes);
    scan.add(&first, &first)?;
    for path in others {
        scan.add(&Input::open(path, access)?, &first)?;
    }
    let mut outline = Outline::of(scan)?;
    if outline.reopen() {
        for path in paths {
            outline.look(&Input::open(path, access)?)?;
        }
    }
    Ok((first, outline))
}

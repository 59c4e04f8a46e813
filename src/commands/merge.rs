//! `annslicer merge`: many files into one, the rows of one after those of the other.
//!
//! All inputs are looked at first, so that what cannot be put together is refused before a byte is written. Then
//! each array of the result takes the rows of one input after another, block by block. One input is open at a time,
//! besides the first.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::session::Session;
use crate::cli::MergeRequest;
use crate::codec::compression::Compression;
use crate::extract::plan;
use crate::merge::Modes;
use crate::merge::decide::Outline;
use crate::merge::input::Input;
use crate::merge::names::Names;
use crate::merge::scan::Scan;
use crate::merge::write::Writer;
use crate::output;
use crate::report::preview::{Planned, Preview};
use crate::resources::{Need, ensure_room, explain};
use crate::store::{self, Access, Format, Ledger};

pub fn run(request: MergeRequest) -> Result<()> {
    let (files, output) = (request.inputs.len(), request.output.clone());
    let options = &request.options;
    let mut session = Session::begin(options, request.inputs.clone())?;
    session.name(vec![output.clone()])?;
    session.claim(&output)?;
    info!("Merging {files} files into {}...", output.display());
    let (first, outline) = look(&request.inputs, &options.access, request.modes)?;
    let cells = outline.cells();
    session.stage()?;
    if options.dry_run {
        session.print(&preview(&request, &first, &outline)?)?;
    } else {
        write(&mut session, &request, first, outline)?;
    }
    if let Some(published) = session.publish(None)? {
        let placed = published.paths.first().unwrap_or(&output).display();
        let seconds = published.seconds;
        info!("Merged {cells} cells of {files} files into {placed} in {seconds:.1} s.");
    }
    Ok(())
}

/// Writes the result to its staging folder.
fn write(
    session: &mut Session,
    request: &MergeRequest,
    first: Input,
    outline: Outline,
) -> Result<()> {
    let context = || format!("Cannot merge into {}", request.output.display());
    let scratch = session.scratch()?;
    let scratch_folder = scratch.folder()?;
    let staged = session.staged().first().context("There is no output")?;
    let options = session.options;
    let names = Names::new(
        outline.cells(),
        options.machine.memory / 64,
        &scratch_folder,
    )?;
    let needs = needs(request, &outline, staged);
    ensure_room(&needs).with_context(context)?;
    let ledger = options.verify.then(Ledger::default);
    let out = store::create(staged, request.format, options.compression).with_context(context)?;
    let out = out.noted(ledger.clone());
    let flushed = output::flush_while_written(staged);
    let progress = session.progress("Merging", outline.cells());
    let open = |at: usize| Input::open(&request.inputs[at], &options.access);
    let write = || -> Result<u64> {
        let sources = &request.sources;
        let mut writer =
            Writer::create(outline, &first, &open, &out, sources, names, scratch_folder)?;
        drop(first);
        progress.weigh(writer.work());
        for at in 0..request.inputs.len() {
            writer.append(&open(at)?, &progress)?;
        }
        writer.finish(&out)
    };
    let written = write().and_then(|doubled| out.finish().map(|()| doubled));
    drop(flushed);
    let doubled = written
        .map_err(|e| explain(e, &needs))
        .with_context(context)?;
    if let Some(ledger) = ledger {
        output::verify(staged, &ledger).with_context(context)?;
    }
    drop(progress);
    warn_of_doubled(doubled, request);
    session.finished(0)
}

/// The room that the result and scratch files take, as far as it is known.
fn needs(request: &MergeRequest, outline: &Outline, staged: &Path) -> [Need; 2] {
    let place = output::place_of(staged);
    let folder = place.parent().unwrap_or(&place).to_owned();
    let plain = (request.format, request.options.compression) == (Format::H5ad, Compression::None);
    [
        Need {
            folder: folder.clone(),
            bytes: if plain { outline.least_bytes() } else { 0 },
            what: "The output needs",
        },
        Need {
            folder,
            bytes: outline.scratch_bytes(),
            what: "Scratch files beside it need",
        },
    ]
}

/// Warns where cells have the name of another.
fn warn_of_doubled(cells: u64, request: &MergeRequest) {
    let advice = if request.sources.rename() {
        "call obs_names_make_unique() on the result or on the inputs"
    } else {
        "use --index-unique SEPARATOR to tell the cells of one file from those of another"
    };
    if cells > 0 {
        warn!("{cells} cells have a name that is there more than once; {advice}");
    }
}

/// What `--dry-run` tells.
fn preview(request: &MergeRequest, first: &Input, outline: &Outline) -> Result<Preview> {
    let options = &request.options;
    let bytes = first.selection.skeleton_bytes()? + size(&request.inputs, &options.access)?;
    let threads = rayon::current_num_threads();
    let wave = plan::Budget::sequential(options.machine.memory).wave;
    Ok(Preview {
        from: match request.typed.as_slice() {
            [one] => one.display().to_string(),
            many => format!("{} inputs", many.len()),
        },
        outputs: vec![Planned {
            path: request.output.clone(),
            rows: outline.cells(),
            bytes,
        }],
        reading: "input after input, block by block".into(),
        memory: plan::memory(wave.min(bytes), 0, threads),
        scratch: outline.scratch_bytes(),
        threads,
    })
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

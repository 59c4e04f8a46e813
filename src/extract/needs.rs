//! The room on disk that a run needs, as far as that is known before it.
//!
//! Bounds from below: a run that begins may still fill the disk, but one that is refused would have. Each need is of
//! one folder; [`ensure_room`](crate::resources::ensure_room) adds up those of one file system.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::approach::Approach;
use super::{Request, plan};
use crate::anndata::select::Selection;
use crate::merge::joined::JoinedInputs;
use crate::output;
use crate::resources::Need;
use crate::rows::leaf::Leaf;
use crate::store::Format;

/// What the outputs take at the least: of what is compressed, as all of Zarr is, and of what links lead to several
/// folders, nothing is known; matrices that stay where they are take nothing. `common` is what each begins with.
pub fn of_outputs(selection: &Selection, request: &Request, common: u64) -> Result<Need> {
    let (span, container) = (request.span(), request.container);
    let is_written =
        |leaf: &&Leaf| container.is_plain() && !(container.is_virtual && leaf.is_stacked());
    let mut bytes = 0u64;
    for leaf in selection.leaves.iter().filter(is_written) {
        let count = request.count(leaf, span.clone())?;
        let rows = span.end - span.start;
        bytes = bytes.saturating_add(plan::data_bytes(&leaf.least_cost(), count, rows));
    }
    let common = common.saturating_mul(request.outputs.len() as u64);
    let places = request.outputs.iter().map(|path| output::place_of(path));
    let folders = places.filter_map(|place| Some(place.parent()?.to_owned()));
    let mut folders: BTreeSet<PathBuf> = folders.collect();
    Ok(Need {
        bytes: match (request.container.format, folders.len()) {
            (Format::H5ad, 1) => bytes.saturating_add(common),
            _ => 0,
        },
        folder: folders.pop_first().unwrap_or_default(),
        what: if request.waves.is_some() {
            "The buckets need (see --bucket-dir)"
        } else {
            "The outputs need"
        },
    })
}

/// What unpacking and sweeping take.
pub fn of_scratch(selection: &Selection, request: &Request, how: &Approach) -> Need {
    Need {
        folder: request.scratch.parent().to_owned(),
        bytes: how.scratch(selection, request),
        what: "Scratch files need (see --tmpdir and --memory-limit)",
    }
}

/// What is put down beside the output of joined inputs.
pub fn of_joined(inputs: &JoinedInputs, request: &Request) -> Need {
    let place = request.outputs.first().map(|path| output::place_of(path));
    let folder = place.as_deref().and_then(Path::parent);
    Need {
        folder: folder.unwrap_or(Path::new("")).to_owned(),
        bytes: inputs.scratch_bytes(),
        what: "Scratch files beside it need",
    }
}

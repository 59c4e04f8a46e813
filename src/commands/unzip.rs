//! Inputs that are zip archives of Zarr stores, unpacked to scratch before a run opens them.
//!
//! The readers of Zarr want files in folders. Once an archive is unpacked, the store facade opens that folder wherever
//! the path of the archive is named (`store/zipped.rs`), so messages have the latter.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tracing::info;

use crate::cli::{Options, Request};
use crate::output::Scratch;
use crate::resources::{Need, ensure_room, existing_folder, format_size};
use crate::store::{Contents, folder_above, is_zip, unpack, unpacked_size};

/// Unpacks the archives among the inputs of a request. They are gone when what this returns is dropped.
pub fn all(request: &Request) -> Result<Option<Scratch>> {
    let (inputs, parent, contents) = match request {
        Request::Slice(slice) if slice.finish => return Ok(None), // it reads none
        Request::Slice(slice) => (&slice.join.inputs, folder(&slice.options), Contents::All),
        Request::Filter(filter) => (&filter.join.inputs, folder(&filter.options), Contents::All),
        Request::Merge(merge) => {
            let beside = existing_folder(folder_above(&merge.output));
            (&merge.join.inputs, beside.to_owned(), Contents::All)
        }
        // `info` looks at no chunk but its size.
        Request::Info(info) => (&info.files, std::env::temp_dir(), Contents::Metadata),
        Request::Check(check) => (&check.files, std::env::temp_dir(), Contents::All),
        Request::Completions(_) | Request::Man(_) => return Ok(None),
    };
    let archives: Vec<&PathBuf> = inputs.iter().filter(|path| is_zip(path)).collect();
    if archives.is_empty() {
        return Ok(None);
    }
    let scratch = Scratch::below(parent);
    if contents == Contents::All {
        ensure_room(&[need(&archives, &scratch)?])?;
    }
    for (number, path) in archives.into_iter().enumerate() {
        let folder = scratch.folder()?.join(format!("zip{number}"));
        let unpack = || {
            fs::create_dir(&folder)?;
            unpack(path, &folder, contents)
        };
        unpack().with_context(|| format!("Cannot unpack {}", path.display()))?;
    }
    Ok(Some(scratch))
}

fn folder(options: &Options) -> PathBuf {
    options.scratch.clone().unwrap_or_else(std::env::temp_dir)
}

/// The room that archives take, and a message that says so.
fn need(archives: &[&PathBuf], scratch: &Scratch) -> Result<Need> {
    /// Bytes that a file takes beside its own, as most file systems store it.
    const FILE: u64 = 4096;
    let mut bytes = 0u64;
    for path in archives {
        let (size, files) =
            unpacked_size(path).with_context(|| format!("Cannot read {}", path.display()))?;
        let all = size.saturating_add(FILE.saturating_mul(files as u64));
        bytes = bytes.saturating_add(all);
        info!("Unpacking {} ({})...", path.display(), format_size(size));
    }
    Ok(Need {
        folder: scratch.parent().to_owned(),
        bytes,
        what: "Zip archives, unpacked, need (see --tmpdir)",
    })
}

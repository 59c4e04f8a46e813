//! Copying the folder of a node as it is.
//!
//! Files are copied in the pool, by the kernel where it can. Nothing outside of the store is followed but where the
//! user allows it, and no folder is copied into itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use crate::store::access::Bounds;

/// Copies a folder and all in it, and what symbolic links lead to; `parents` are the folders that are being copied.
/// Links to folders behind one another could double the paths at each level, so there is one at most on a path.
pub fn folder(
    from: &Path,
    to: &Path,
    bounds: &Bounds,
    parents: &[PathBuf],
    behind_link: bool,
) -> Result<()> {
    // Compared without links, or a link to a folder above would not be seen.
    let real = from.canonicalize()?;
    super::check(bounds, from)?;
    ensure!(
        !parents.contains(&real),
        "{} leads to a folder that holds it",
        from.display()
    );
    ensure!(parents.len() < 64, "{} lies too deep", from.display());
    let is_link = std::fs::symlink_metadata(from)?.is_symlink();
    ensure!(
        !(is_link && behind_link),
        "{} is a link to a folder behind another such link",
        from.display()
    );
    let behind_link = is_link || behind_link;
    let parents = [parents, &[real]].concat();
    std::fs::create_dir(to).with_context(|| format!("Create {}", to.display()))?;
    let entries: Vec<_> = std::fs::read_dir(from)?.collect::<Result<_, _>>()?;
    entries.into_par_iter().try_for_each(|entry| {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let found = std::fs::metadata(&from).with_context(|| from.display().to_string())?;
        if found.is_dir() {
            return folder(&from, &to, bounds, &parents, behind_link);
        }
        if entry.file_type()?.is_symlink() {
            super::check(bounds, &from)?;
        }
        ensure!(found.is_file(), "{} is not a file", from.display());
        std::fs::copy(&from, &to)
            .with_context(|| format!("{} to {}", from.display(), to.display()))?;
        Ok(())
    })
}

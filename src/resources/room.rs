//! Room on disk: what clearly does not fit is refused before it is written, and where a disk fills up all the same, the
//! error says what was needed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tracing::warn;

use super::format_size;

/// Bytes that a run writes to a folder, at the least.
#[derive(Clone)]
pub struct Need {
    pub folder: PathBuf,
    pub bytes: u64,
    /// As in "The outputs need".
    pub what: &'static str,
}

/// File systems that store what they are given as it is (statfs(2)): ext2 to ext4, XFS, tmpfs. Others may compress
/// it, or not know how much room they have.
const PLAIN: [u64; 3] = [0xef53, 0x5846_5342, 0x0102_1994];

/// An error where a file system has too little room for its needs; a warning where they might fit all the same.
pub fn ensure_room(needs: &[Need]) -> Result<()> {
    // By device: two folders of one file system share its room.
    let mut together: BTreeMap<u64, Vec<&Need>> = BTreeMap::new();
    for need in needs.iter().filter(|need| need.bytes > 0) {
        let folder = fs::metadata(existing_folder(&need.folder));
        let folder = folder.with_context(|| format!("Folder {}", need.folder.display()))?;
        together.entry(folder.dev()).or_default().push(need);
    }
    for needs in together.values() {
        let bytes: u64 = needs.iter().map(|n| n.bytes).fold(0, u64::saturating_add);
        let (Some(need), Some(free)) = (needs.first(), free_space(&needs[0].folder)) else {
            continue;
        };
        if bytes > free {
            let parts: Vec<String> = needs.iter().map(|need| told(need, free)).collect();
            let parts = parts.join("; ");
            if is_plain(&need.folder) {
                bail!("{parts}")
            } else {
                warn!("{parts}; this works only if the file system compresses it")
            }
        }
    }
    Ok(())
}

/// Adds to the error of a write that did not fit what was needed, and is free.
pub fn explain(error: anyhow::Error, needs: &[Need]) -> anyhow::Error {
    let full = error.chain().filter_map(|e| e.downcast_ref::<io::Error>());
    let full = full
        .map(io::Error::kind)
        .any(|kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded));
    if !full {
        return error;
    }
    let told = needs.iter().filter(|need| need.bytes > 0);
    let told = told.map(told_now).collect::<Vec<_>>();
    if told.is_empty() {
        error
    } else {
        error.context(told.join("; "))
    }
}

fn told_now(need: &Need) -> String {
    told(need, free_space(&need.folder).unwrap_or(0))
}

/// "The outputs need 2.0 GB or more in /data, which has 1.2 GB free"
fn told(need: &Need, free: u64) -> String {
    let (what, folder) = (need.what, need.folder.display());
    let needed = format_size(need.bytes);
    format!(
        "{what} {needed} or more in {folder}, which has {} free",
        format_size(free)
    )
}

/// Bytes that may still be written where `folder` lies, by root too; `None` where the file system does not know.
fn free_space(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(existing_folder(folder)).ok()?;
    (stat.f_blocks > 0).then(|| stat.f_bfree.saturating_mul(stat.f_frsize))
}

/// The folder, or where it is not made yet, the nearest above it that is there.
pub fn existing_folder(folder: &Path) -> &Path {
    let mut above = folder.ancestors();
    let found = above.find(|path| path.is_dir());
    found.unwrap_or(Path::new("."))
}

fn is_plain(folder: &Path) -> bool {
    let folder = existing_folder(folder);
    rustix::fs::statfs(folder).is_ok_and(|stat| PLAIN.contains(&(stat.f_type as u64)))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn need(folder: &Path, bytes: u64) -> Need {
        Need {
            folder: folder.to_owned(),
            bytes,
            what: "The outputs need",
        }
    }

    #[test]
    fn only_what_cannot_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let free = free_space(dir.path()).unwrap();
        ensure_room(&[need(dir.path(), free / 2)]).unwrap();
        let too_much = [need(dir.path(), 1 << 60), need(dir.path(), 5)];
        if is_plain(dir.path()) {
            let error = ensure_room(&too_much).unwrap_err().to_string();
            let folder = dir.path().display();
            let told = format!("The outputs need 1.2 EB or more in {folder}, which has ");
            assert!(
                error.starts_with(&told) && error.contains(" 5 B"),
                "{error}"
            );
        }
        ensure_room(&[need(Path::new("/nowhere"), 0)]).unwrap();
        // A folder that is not made yet is where the nearest above it is.
        let deep = dir.path().join("not/yet");
        ensure_room(&[need(&deep, free / 2)]).unwrap();
        assert!(!is_plain(&deep) || ensure_room(&[need(&deep, 1 << 60)]).is_err());
    }

    #[test]
    fn a_full_disk_is_explained_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let needs = [need(dir.path(), 2000), need(dir.path(), 0)];
        for code in [28, 122] {
            let full = anyhow!(io::Error::from_raw_os_error(code)).context("Write 'X'");
            let said = format!("{:#}", explain(full, &needs));
            assert!(
                said.starts_with("The outputs need 2.0 kB or more in"),
                "{said}"
            );
            assert!(said.contains(" free: Write 'X': "), "{said}");
        }
        for code in [5, 27] {
            let other = anyhow!(io::Error::from_raw_os_error(code)).context("Write 'X'");
            assert!(format!("{:#}", explain(other, &needs)).starts_with("Write 'X'"));
        }
    }
}

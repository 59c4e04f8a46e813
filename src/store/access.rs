//! What opening a file for reading allows: which other files it may lead to, and which of its groups may be entered.
//!
//! A file that came from elsewhere must not make this program read what its sender could not, nor walk in circles.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail, ensure};

use crate::limits;

/// Opens a file for reading.
///
/// # Errors
/// A pipe or a device: one might wait for its bytes without end, and it has no places to read at.
pub fn opened(path: &Path) -> io::Result<File> {
    refuse_pipe(path)?;
    File::open(path)
}

/// An error where a path leads to a pipe or a device.
pub fn refuse_pipe(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if !found.is_file() && !found.is_dir() {
        let what = "it is a pipe or a device; write what it gives to a file first";
        return Err(io::Error::new(ErrorKind::InvalidInput, what));
    }
    Ok(())
}

/// The folder that a path lies in: `.` where it is a bare name.
pub fn folder_above(path: &Path) -> &Path {
    let above = path.parent();
    let named = above.filter(|above| !above.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

/// How a file is opened for reading.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Whether links, virtual datasets and external storage may lead out of the file's folder, and symbolic links out
    /// of a Zarr store.
    pub follow_external: bool,
    /// Bytes that decoded chunks may take.
    pub memory: u64,
}

impl Default for Access {
    fn default() -> Access {
        Access {
            follow_external: false,
            memory: 2 << 30,
        }
    }
}

/// Where what a file leads to must lie.
#[derive(Clone, Debug)]
pub enum Bounds {
    Anywhere,
    /// In one of these folders or below; without links.
    Within(Vec<PathBuf>),
}

/// The error of a file that leads out of its bounds.
#[derive(Debug)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused(what) = self;
        write!(f, "{what}; if it is meant to, give --follow-external")
    }
}

impl std::error::Error for Refused {}

/// The error of what takes more memory to be read than it may.
#[derive(Debug)]
pub struct OverLimit(pub String);

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OverLimit(what) = self;
        write!(f, "{what}; give a larger --memory-limit")
    }
}

impl std::error::Error for OverLimit {}

impl Bounds {
    /// An error of type [`Refused`] where `path` stands outside. What does not exist leads nowhere.
    pub fn check(&self, path: &Path, what: impl FnOnce() -> String) -> Result<()> {
        let Bounds::Within(folders) = self else {
            return Ok(());
        };
        match path.canonicalize() {
            Ok(real) if !folders.iter().any(|folder| real.starts_with(folder)) => {
                bail!(Refused(what()))
            }
            _ => Ok(()),
        }
    }
}

/// Which file, and which object or folder of it.
pub type Identity = (u64, u128);

/// The paths by which each group of a file was entered: links may join groups in circles, or double the paths at each
/// level, and both would be walked without end.
#[derive(Default)]
pub struct Entered(Mutex<HashMap<Identity, Vec<String>>>);

impl Entered {
    /// An error where `path` lies too deep, or is one more of too many paths to the same group.
    pub fn enter(&self, group: Identity, path: &str) -> Result<()> {
        let (depth, deepest) = (path.split('/').count(), limits::DEPTH);
        ensure!(depth <= deepest, "It lies deeper than {deepest} groups");
        let mut entered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = entered.entry(group).or_default();
        if paths.iter().any(|known| known == path) {
            return Ok(());
        }
        ensure!(
            paths.len() < limits::PATHS,
            "More than {} paths lead to this group, as where links form a circle",
            limits::PATHS
        );
        paths.push(path.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (inside, outside) = (root.join("in"), root.join("out"));
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(&outside, "").unwrap();
        std::fs::write(inside.join("a"), "").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        let bounds = Bounds::Within(vec![inside.clone()]);
        let check = |bounds: &Bounds, name: &str| bounds.check(&inside.join(name), || name.into());
        for name in ["a", "../in/a", "nowhere", "../nowhere"] {
            check(&bounds, name).unwrap();
        }
        for name in ["../out", "link"] {
            let error = check(&bounds, name).unwrap_err();
            assert!(error.is::<Refused>() && error.to_string().starts_with(name));
            check(&Bounds::Anywhere, name).unwrap();
        }
    }

    #[test]
    fn circles_end() {
        let entered = Entered::default();
        for round in 0..100 {
            let path = vec!["a"; 1 + round % limits::PATHS].join("/");
            entered.enter((0, 1), &path).unwrap();
        }
        let once_more = vec!["a"; limits::PATHS + 1].join("/");
        assert!(entered.enter((0, 1), &once_more).is_err());
        assert!(entered.enter((1, 1), &once_more).is_ok());
        assert!(entered.enter((0, 2), &vec!["a"; 65].join("/")).is_err());
    }
}

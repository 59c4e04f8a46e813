//! An output takes its place, and gives it back where the run fails after all.
//!
//! What stood there before changes places with it in one call, so that at no moment nothing stands there. Where the
//! file system cannot do that the older one is set aside first, under its own name in a folder of the staging folder:
//! a file as a second link to it, else by a rename. So if a run dies between the renames, the next one knows where
//! the older one belongs, and that it is an older one, which is not removed with what dead runs leave.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tracing::warn;

use super::flush::flush_entry;
use super::paths::check_replaceable;
use super::plain::{self, stands};

/// Of a staging folder, what holds older outputs that have no other place.
const OLD: &str = ".annslicer-old";
/// The same once they are not needed any more.
const GONE: &str = ".annslicer-gone";
/// The names and inodes of outputs that are taking the places of older ones.
const PLACING: &str = ".annslicer-placing";

/// One output, from its staging folder to its place.
pub struct Output {
    /// The path as the user gave it.
    pub shown: PathBuf,
    /// The path it goes to, through links.
    pub place: PathBuf,
    pub staged: PathBuf,
    /// Whether it is in its place already: the run that is resumed was killed in between.
    pub stands: bool,
    /// What tells it from the older one, once it has begun to take its place.
    identity: Option<(u64, u64)>,
    /// Whether it has taken its place.
    placed: bool,
}

impl Output {
    pub fn new(shown: &Path, place: PathBuf, staged: PathBuf) -> Output {
        Output {
            shown: shown.to_owned(),
            place,
            staged,
            stands: false,
            identity: None,
            placed: false,
        }
    }

    /// Where it is.
    pub fn now(&self) -> &Path {
        if self.stands {
            &self.place
        } else {
            &self.staged
        }
    }

    /// Where the older one is set aside, if it has to be.
    pub fn old(&self) -> PathBuf {
        let folder = self.staged.parent().unwrap_or(Path::new(""));
        folder.join(OLD).join(self.name())
    }

    fn name(&self) -> &OsStr {
        self.staged.file_name().unwrap_or_default()
    }

    /// Takes the place. What stands there is looked at again: others may have put it there since.
    pub fn place(&mut self) -> Result<()> {
        if self.stands {
            return Ok(());
        }
        self.identity = Some(identity(&self.staged)?);
        if !stands(&self.place)? {
            match rename_to_free(&self.staged, &self.place) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                done => {
                    self.placed = done.is_ok();
                    return Ok(done?);
                }
            }
        }
        check_replaceable(&self.shown, &self.place)?;
        match exchange(&self.staged, &self.place) {
            Err(e) if is_missing(e) => self.replace()?,
            done => done?,
        }
        self.placed = true;
        Ok(())
    }

    /// Sets aside what stands in the place, and takes it.
    fn replace(&self) -> io::Result<()> {
        let old = self.old();
        match old.parent().map(fs::create_dir) {
            Some(Err(e)) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        // A folder cannot be linked, nor take the place of a file or give it to one.
        let is_folder = self.place.is_dir() || self.staged.is_dir();
        if is_folder || fs::hard_link(&self.place, &old).is_err() {
            fs::rename(&self.place, &old)?;
        }
        fs::rename(&self.staged, &self.place)
    }

    /// Undoes `place`, as far as it came.
    pub fn restore(&self) -> io::Result<()> {
        let (Some(_), old) = (self.identity, self.old()) else {
            return Ok(()); // it has not begun
        };
        if !self.is_placed() {
            if stands(&old)? && !stands(&self.place)? {
                rename_to_free(&old, &self.place)?;
            }
            return Ok(());
        }
        if stands(&self.staged)? {
            return Ok(exchange(&self.staged, &self.place)?);
        }
        fs::rename(&self.place, &self.staged)?;
        if stands(&old)? {
            rename_to_free(&old, &self.place)?;
        }
        Ok(())
    }

    /// Looks again at what is where: the answer to a rename may have been lost.
    fn is_placed(&self) -> bool {
        let there = identity(&self.place).ok();
        self.identity.is_some() && there == self.identity || self.placed && there.is_none()
    }

    /// For a message, where the older and the new one are, where `restore` has failed, and the staging folder is now
    /// `folder`.
    pub fn whereabouts(&self, folder: &Path) -> String {
        let (staged, old) = (folder.join(self.name()), folder.join(OLD).join(self.name()));
        let placed = self.is_placed();
        let older = [
            (!placed).then_some(&self.place),
            Some(&old),
            placed.then_some(&staged),
        ];
        let older = older
            .into_iter()
            .flatten()
            .find(|path| stands(path).unwrap_or(true));
        let newer = if placed { &self.place } else { &staged };
        let told = format!(
            "of {} the new one is now {}",
            self.shown.display(),
            newer.display()
        );
        match older {
            Some(older) => format!("{told}, and the older one {}", older.display()),
            None => told,
        }
    }
}

/// Notes in the staging folder `folder`, before any of `outputs` takes its place, which they are: whatever else is
/// there under their names afterwards is an older one.
pub fn begin<'o>(folder: &Path, outputs: impl Iterator<Item = &'o Output>) -> io::Result<()> {
    let mut note = vec![];
    for output in outputs.filter(|output| !output.stands) {
        if stands(&output.place)? {
            let (_, inode) = identity(&output.staged)?;
            note.extend(
                [
                    output.name().as_bytes(),
                    b"\0",
                    inode.to_string().as_bytes(),
                    b"\0",
                ]
                .concat(),
            );
        }
    }
    if note.is_empty() {
        return Ok(());
    }
    let path = folder.join(PLACING);
    fs::write(&path, note)?;
    flush_entry(&path)
}

/// Saves what a run that has died replaced, or was about to, from the staging folder `folder`: it goes back into its
/// place where that is free, and into the folder `kept` where the new one is in place.
pub fn rescue(folder: &Path, kept: &Path) -> io::Result<()> {
    put_back(folder)?;
    let older = older(folder)?;
    if !older.is_empty() {
        DirBuilder::new().mode(0o700).create(kept)?;
        for path in older {
            fs::rename(&path, kept.join(path.file_name().unwrap_or_default()))?;
        }
        flush_entry(kept)?;
        warn!(
            "{} holds older outputs: a run was killed when it replaced them; remove it if the new ones will do",
            kept.display()
        );
    }
    end(folder)
}

/// Puts what was set aside back into its place, where that is free.
fn put_back(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().unwrap_or(folder);
    for path in set_aside(folder)? {
        let place = parent.join(path.file_name().unwrap_or_default());
        if !stands(&place)? {
            rename_to_free(&path, &place)?;
            flush_entry(parent)?;
            let place = place.display();
            warn!("Put the older {place} back: a run was killed when it replaced it");
        }
    }
    Ok(())
}

/// The older outputs in a staging folder, the new ones of which are in their places.
fn older(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let parent = folder.parent().unwrap_or(folder);
    let mut older = set_aside(folder)?;
    older.retain(|path| {
        let place = parent.join(path.file_name().unwrap_or_default());
        identity(path).ok() != identity(&place).ok() // a link to what still stands there
    });
    let note = match plain::read(&folder.join(PLACING), u64::MAX) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(older),
        note => note?,
    };
    let mut fields = note.split(|byte| *byte == 0);
    while let (Some(name), Some(inode)) = (fields.next(), fields.next()) {
        let path = folder.join(OsStr::from_bytes(name));
        let found = identity(&path).ok();
        if found.is_some_and(|(_, found)| found.to_string().as_bytes() != inode) {
            older.push(path);
        }
    }
    Ok(older)
}

fn set_aside(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder.join(OLD)) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(vec![]),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// From now on nothing in the staging folder `folder` is an older output that anybody needs.
pub fn end(folder: &Path) -> io::Result<()> {
    let (old, gone) = (folder.join(OLD), folder.join(GONE));
    if stands(&old)? {
        if stands(&gone)? {
            fs::remove_dir_all(&gone)?;
        }
        fs::rename(old, gone)?;
    }
    match fs::remove_file(folder.join(PLACING)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Renames to where nothing stands.
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(e) if is_missing(e) => fs::rename(from, to),
        done => Ok(done?),
    }
}

/// Lets two files or folders change places.
fn exchange(a: &Path, b: &Path) -> Result<(), Errno> {
    renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)
}

/// Whether the kernel, or its file system, does not have such a rename; a sandbox may say that it is not permitted.
fn is_missing(error: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM].contains(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place with an older output, and a staging folder with a new one; of folders if `folders`.
    fn older_and_new(dir: &Path, folders: bool) -> Output {
        let staging = dir.join(".annslicer-1-a.tmp");
        fs::create_dir(&staging).unwrap();
        let name = if folders { "a.zarr" } else { "a.h5ad" };
        let output = Output::new(Path::new(name), dir.join(name), staging.join(name));
        for (path, text) in [(&output.place, "old"), (&output.staged, "new")] {
            if folders {
                fs::create_dir(path).unwrap();
                fs::write(path.join(".zgroup"), text).unwrap();
            } else {
                fs::write(path, text).unwrap();
            }
        }
        output
    }

    fn text(path: &Path) -> String {
        let file = if path.is_dir() {
            path.join(".zgroup")
        } else {
            path.to_owned()
        };
        fs::read_to_string(file).unwrap_or_default()
    }

    #[test]
    fn the_place_is_given_back_by_each_way_it_was_taken() {
        for (folders, by_exchange) in [(false, true), (true, true), (false, false), (true, false)] {
            let dir = tempfile::tempdir().unwrap();
            let mut output = older_and_new(dir.path(), folders);
            if by_exchange {
                output.place().unwrap();
            } else {
                output.identity = Some(identity(&output.staged).unwrap());
                output.replace().unwrap();
                output.placed = true;
            }
            assert_eq!(text(&output.place), "new");
            assert!(
                output
                    .whereabouts(output.staged.parent().unwrap())
                    .contains("older one")
            );
            output.restore().unwrap();
            assert_eq!(
                (text(&output.place), text(&output.staged)),
                ("old".into(), "new".into())
            );
        }
    }

    #[test]
    fn what_a_dead_run_set_aside_comes_back_where_its_place_is_free() {
        for folders in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let output = older_and_new(dir.path(), folders);
            let staging = output.staged.parent().unwrap();
            fs::create_dir(staging.join(OLD)).unwrap();
            fs::rename(&output.place, output.old()).unwrap();
            let kept = dir.path().join("kept");
            rescue(staging, &kept).unwrap();
            assert_eq!(text(&output.place), "old");
            begin(staging, [&output].into_iter()).unwrap();
            output.replace().unwrap();
            end(staging).unwrap();
            rescue(staging, &kept).unwrap();
            assert!(text(&output.place) == "new" && !kept.exists());
            fs::rename(&output.place, dir.path().join("moved")).unwrap();
            rescue(staging, &kept).unwrap();
            assert!(!output.place.exists());
        }
    }

    #[test]
    fn what_a_dead_run_replaced_is_kept() {
        for (folders, by_exchange) in [(false, true), (true, true), (false, false), (true, false)] {
            let dir = tempfile::tempdir().unwrap();
            let mut output = older_and_new(dir.path(), folders);
            let (staging, kept) = (
                output.staged.parent().unwrap().to_owned(),
                dir.path().join("kept"),
            );
            begin(&staging, [&output].into_iter()).unwrap();
            rescue(&staging, &kept).unwrap();
            assert!(!kept.exists(), "it has replaced nothing yet");
            begin(&staging, [&output].into_iter()).unwrap();
            if by_exchange {
                output.place().unwrap();
            } else {
                output.replace().unwrap();
            }
            rescue(&staging, &kept).unwrap();
            assert_eq!(text(&kept.join(output.name())), "old");
            assert_eq!(text(&output.place), "new");
        }
    }
}

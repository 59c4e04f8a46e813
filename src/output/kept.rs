//! The outputs that a run which may be resumed has finished, and the record of them.
//!
//! They stand in a hidden folder, `.{prefix}.annslicer-resume`, until all are whole and take their places together,
//! so that a run that ends early leaves nothing that looks finished. The record is a JSON value a line: what the run is,
//! then each finished output, flushed to disk after the output itself. What it does not name is not finished. That of a
//! part of a run has one line more, an object, once all outputs of the part are finished.
//!
//! A finished output is a line such as `["p_shard_0.h5ad", 1234, 28000, 1760000000, 5]`: name, inode, bytes, and time
//! of modification in seconds and nanoseconds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::flush::{flush, flush_entry};
use super::leftovers::kept_name;
use super::record::LOCK;
use super::staging::StagingFolder;
use super::{plain, resolve, split_prefix};

/// Hidden, as no output in this folder is that is not finished by name.
const RECORD: &str = ".annslicer-record.json";
/// More than the lines of a million outputs take.
const MOST_BYTES: u64 = 1 << 30;

pub struct Kept {
    folder: PathBuf,
    /// The first line of the record.
    pub run: Option<Value>,
    finished: Vec<Finished>,
    /// The last line of the record of a part that is whole.
    pub end: Option<Value>,
    /// Whole, but not in the record yet.
    pending: Vec<PathBuf>,
    /// When the record was last written, and how long that took.
    last: Option<(Instant, Duration)>,
}

/// An output as it was when it was finished. It keeps its inode when it is renamed.
#[derive(PartialEq)]
struct Finished {
    name: String,
    inode: u64,
    size: u64,
    /// Of modification: seconds and nanoseconds.
    time: (i64, i64),
}

impl Kept {
    /// What the record in `folder` tells; nothing where there is none.
    pub fn read(folder: &Path) -> Kept {
        let text = plain::read(&folder.join(RECORD), MOST_BYTES).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok())
            .peekable();
        let run = lines.next();
        let mut finished = vec![];
        while let Some(output) = lines.peek().and_then(Finished::of_json) {
            finished.push(output);
            lines.next();
        }
        Kept {
            folder: folder.to_owned(),
            run,
            finished,
            end: lines.next().filter(Value::is_object),
            pending: vec![],
            last: None,
        }
    }

    pub fn count(&self) -> usize {
        self.finished.len()
    }

    /// Tells the folder, where it is this one, that it stays for what is finished.
    pub fn tell(&self, folder: &StagingFolder) {
        if folder.path == self.folder && self.run.is_some() {
            folder.keep(self.count());
        }
    }

    /// Whether the file at `path` is the finished output `name`.
    pub fn holds(&self, name: &str, path: &Path) -> bool {
        let found = Finished::of_file(name, path).ok();
        found.is_some_and(|found| self.finished.contains(&found))
    }

    /// Whether the finished output that belongs at `place` is there already, and not in this folder; `None` where it is
    /// not finished.
    pub fn stands(&self, place: &Path) -> Option<bool> {
        let name = place.file_name()?;
        let (told, here) = (name.to_str()?, self.folder.join(name));
        let stands = self.holds(told, place);
        (stands || self.holds(told, &here)).then_some(stands)
    }

    /// What a run of outputs that begin with `prefix` has kept, to look at.
    pub fn look(prefix: &Path) -> Result<Kept> {
        let (parent, name) = split_prefix(prefix)?;
        Ok(Kept::read(&parent.join(kept_name(&name))))
    }

    /// How many of the outputs at `paths`, from the first, are finished, where this is of the run that calls itself `run`.
    pub fn whole(&self, run: &Value, paths: &[PathBuf]) -> usize {
        let is_own = self.run.as_ref() == Some(run);
        let paths = paths.iter().filter(|_| is_own);
        let places = paths.map_while(|path| resolve(path).ok());
        places
            .take_while(|place| self.stands(place).is_some())
            .count()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether this folder is the one that `output` is in.
    pub fn is_home_of(&self, output: &Path) -> bool {
        output.parent() == Some(&self.folder)
    }

    /// The names of what is finished.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.finished.iter().map(|finished| finished.name.as_str())
    }

    /// Whether the record has its end, and all that it names is what it was: here, or in its place already.
    pub fn is_whole(&self) -> bool {
        let parent = self.folder.parent().unwrap_or(&self.folder);
        let places = [&self.folder, parent];
        let holds = |name: &str| places.iter().any(|at| self.holds(name, &at.join(name)));
        self.end.is_some() && self.names().all(holds)
    }

    /// Begins anew as the run `run`: the first outputs that `stay` are all that is left of an earlier one.
    pub fn start(&mut self, run: &Value, stay: usize) -> Result<()> {
        self.finished.truncate(stay);
        self.run = Some(run.clone());
        self.end = None;
        let tidy = || -> io::Result<()> {
            for entry in fs::read_dir(&self.folder)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default();
                let stays = name == LOCK
                    || name == RECORD
                    || self.finished.iter().any(|f| *f.name == *name);
                let is_folder = fs::symlink_metadata(&path)?.is_dir();
                if is_folder && !stays {
                    fs::remove_dir_all(path)?;
                } else if !stays {
                    fs::remove_file(path)?;
                }
            }
            let mut text = format!("{run}\n");
            for finished in &self.finished {
                text += &format!("{}\n", finished.json());
            }
            // A rename, so that a run that dies here leaves the old record or the new one.
            let anew = self.folder.join(format!("{RECORD}.new"));
            fs::write(&anew, text)?;
            flush_entry(&anew)?;
            fs::rename(anew, self.folder.join(RECORD))?;
            flush_entry(&self.folder)
        };
        tidy().with_context(|| format!("Write the record in {}", self.folder.display()))
    }

    /// Notes that the output at `path` is whole; whether the record tells it now. Flushing takes a tenth of the time
    /// at most: many small outputs go into the record together.
    pub fn add(&mut self, path: &Path) -> Result<bool> {
        self.pending.push(path.to_owned());
        let soon = |(at, took): (Instant, Duration)| at.elapsed() < 9 * took;
        if self.last.is_some_and(soon) {
            return Ok(false);
        }
        let began = Instant::now();
        self.write()
            .with_context(|| format!("Write the record in {}", self.folder.display()))?;
        self.last = Some((Instant::now(), began.elapsed()));
        Ok(true)
    }

    /// Puts into the record what is pending.
    pub fn write(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        pending.par_iter().try_for_each(|path| flush(path))?;
        let mut lines = String::new();
        for path in &pending {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let finished = Finished::of_file(&name, path)?;
            lines += &format!("{}\n", finished.json());
            self.finished.push(finished);
        }
        flush_entry(&self.folder)?;
        self.append(&lines)
    }

    /// Ends the record: all outputs are in it.
    pub fn write_end(&mut self, end: &Value) -> io::Result<()> {
        self.write()?;
        self.append(&format!("{end}\n"))?;
        self.end = Some(end.clone());
        Ok(())
    }

    fn append(&self, lines: &str) -> io::Result<()> {
        let path = self.folder.join(RECORD);
        let mut record = plain::open(&path, OpenOptions::new().append(true))?;
        record.write_all(lines.as_bytes())?;
        File::sync_data(&record)
    }
}

impl Finished {
    /// Of a Zarr store, the bytes and the latest time of all in it.
    fn of_file(name: &str, path: &Path) -> io::Result<Finished> {
        let file = fs::symlink_metadata(path)?;
        let mut finished = Finished {
            name: name.to_owned(),
            inode: file.ino(),
            size: 0,
            time: (0, 0),
        };
        finished.add(path)?;
        Ok(finished)
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        let file = fs::symlink_metadata(path)?;
        self.time = self.time.max((file.mtime(), file.mtime_nsec()));
        if !file.is_dir() {
            self.size += file.len();
            return Ok(());
        }
        fs::read_dir(path)?.try_for_each(|entry| self.add(&entry?.path()))
    }

    fn json(&self) -> Value {
        json!([self.name, self.inode, self.size, self.time.0, self.time.1])
    }

    fn of_json(line: &Value) -> Option<Finished> {
        Some(Finished {
            name: line.get(0)?.as_str()?.to_owned(),
            inode: line.get(1)?.as_u64()?,
            size: line.get(2)?.as_u64()?,
            time: (line.get(3)?.as_i64()?, line.get(4)?.as_i64()?),
        })
    }
}

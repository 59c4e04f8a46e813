//! What is written reaches the disk: for sure before it is published, and early where that saves waiting.
//!
//! One thread flushes early: each file that is being written from time to time, and once more when it is finished. What
//! it heard of a path is noted under a lock that it holds meanwhile. So [`flush`], which comes last, knows of a file that
//! it is on disk already, or that an error was met: the kernel tells of values that did not reach the disk once (fsync(2),
//! "EIO"), and who comes later would hear that all is well.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use rayon::prelude::*;
use rustix::io::Errno;

/// What the thread has heard of a path: that a finished file is on disk, or an error of the operating system.
static EARLY: LazyLock<Mutex<HashMap<PathBuf, Result<(), i32>>>> = LazyLock::new(Mutex::default);

/// What the thread has to do.
static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    written: vec![],
    finished: vec![],
});
static MORE: Condvar = Condvar::new();

struct Queue {
    written: Vec<PathBuf>,
    finished: Vec<PathBuf>,
}

/// Flushes a file, or a folder and all in it, but what the thread has flushed since it was finished; an error also where
/// that has met one.
pub fn flush(path: &Path) -> io::Result<()> {
    let early = || lock(&EARLY).get(path).copied();
    if early() != Some(Ok(())) {
        flush_all(path)?;
    }
    let heard = early().unwrap_or(Ok(()));
    heard.map_err(io::Error::from_raw_os_error)
}

fn flush_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        let entries: Vec<_> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
        entries
            .par_iter()
            .try_for_each(|entry| flush_all(&entry.path()))?;
    }
    flush_entry(path)
}

/// Flushes a file, or of a folder the names in it.
pub fn flush_entry(path: &Path) -> io::Result<()> {
    flush_file(&File::open(path)?)
}

fn flush_file(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(()) // a file system that cannot flush folders
        }
        done => done,
    }
}

/// A file that is flushed early until this is dropped, and once more then.
pub struct FlushedEarly(PathBuf);

impl FlushedEarly {
    /// From now on the thread flushes what is written at `path`.
    pub fn begin(path: &Path) -> FlushedEarly {
        static STARTED: Once = Once::new();
        // Without the thread nothing is flushed early.
        STARTED.call_once(|| drop(thread::Builder::new().spawn(flush_on)));
        lock(&QUEUE).written.push(path.to_owned());
        MORE.notify_one();
        FlushedEarly(path.to_owned())
    }
}

impl Drop for FlushedEarly {
    fn drop(&mut self) {
        let mut queue = lock(&QUEUE);
        queue.written.retain(|path| *path != self.0);
        queue.finished.push(std::mem::take(&mut self.0));
        MORE.notify_one();
    }
}

fn flush_on() {
    loop {
        let (finished, written) = next();
        finished.iter().for_each(|path| flush_early(path, true));
        written.iter().for_each(|path| flush_early(path, false));
    }
}

/// Waits for what to flush: what is finished at once, what is being written after a pause.
fn next() -> (Vec<PathBuf>, Vec<PathBuf>) {
    /// Between two flushes of a file that is being written.
    const PAUSE: Duration = Duration::from_millis(50);
    let is_idle = |queue: &mut Queue| queue.written.is_empty() && queue.finished.is_empty();
    let is_unfinished = |queue: &mut Queue| queue.finished.is_empty();
    let queue = MORE
        .wait_while(lock(&QUEUE), is_idle)
        .unwrap_or_else(PoisonError::into_inner);
    let (mut queue, pause) = MORE
        .wait_timeout_while(queue, PAUSE, is_unfinished)
        .unwrap_or_else(PoisonError::into_inner);
    let finished = std::mem::take(&mut queue.finished);
    let written = pause.timed_out().then(|| queue.written.clone());
    (finished, written.unwrap_or_default())
}

fn flush_early(path: &Path, is_finished: bool) {
    let mut early = lock(&EARLY);
    let Ok(file) = File::open(path) else {
        return; // in its place by now
    };
    match flush_file(&file) {
        Err(error) => {
            let error = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
            early.insert(path.to_owned(), Err(error));
        }
        // A folder was flushed without what is in it. An error that was heard before stays.
        Ok(()) if is_finished && file.metadata().is_ok_and(|file| file.is_file()) => {
            early.entry(path.to_owned()).or_insert(Ok(()));
        }
        Ok(()) => {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_flushed_when_it_was_finished_is_not_flushed_again() {
        let dir = tempfile::tempdir().unwrap();
        let [folder, file] = ["folder", "file"].map(|name| dir.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "whole").unwrap();
        for path in [&folder, &file] {
            drop(FlushedEarly::begin(path));
        }
        while lock(&EARLY).get(&file).is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        for path in [&folder, &file] {
            fs::rename(path, path.with_extension("moved")).unwrap();
        }
        flush(&file).unwrap();
        flush(&folder).unwrap_err();
    }
}

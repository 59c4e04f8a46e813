//! What is written reaches the disk: for sure before it is published, and early where that saves waiting.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use rayon::prelude::*;
use rustix::io::Errno;

/// Flushes a file, or a folder and all in it; an error also where the thread that flushes early has met one.
pub fn sync(path: &Path) -> io::Result<()> {
    sync_all(path)?;
    let failed = lock(&FAILED);
    match failed.iter().find(|(early, _)| early == path) {
        Some((_, error)) => Err(io::Error::from_raw_os_error(*error)),
        None => Ok(()),
    }
}

fn sync_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        let entries: Vec<_> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
        entries
            .par_iter()
            .try_for_each(|entry| sync_all(&entry.path()))?;
    }
    sync_entry(path)
}

/// A file that is being written. From time to time a thread flushes it, and once more when this is dropped, so that
/// `Outputs::publish`, which flushes for sure and tells what fails, waits less.
pub struct Flushed(PathBuf);

/// What that thread has to do.
#[derive(Default)]
struct Queue {
    written: Vec<PathBuf>,
    finished: Vec<PathBuf>,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    written: vec![],
    finished: vec![],
});
static MORE: Condvar = Condvar::new();

/// The error of the operating system that the thread met at each path. The kernel tells of values that did not reach
/// the disk once (fsync(2), "EIO"), so who comes later would hear that all is well. Held while a file is flushed: who
/// has flushed a file himself and then gets it knows what the thread has heard of that file.
static FAILED: Mutex<Vec<(PathBuf, i32)>> = Mutex::new(vec![]);

/// Flushes the file at `path` until what this returns is dropped, and once more then.
pub fn flush_while_written(path: &Path) -> Flushed {
    static STARTED: Once = Once::new();
    // Without the thread nothing is flushed early.
    STARTED.call_once(|| drop(thread::Builder::new().spawn(flush_on)));
    lock(&QUEUE).written.push(path.to_owned());
    MORE.notify_one();
    Flushed(path.to_owned())
}

impl Drop for Flushed {
    fn drop(&mut self) {
        let mut queue = lock(&QUEUE);
        queue.written.retain(|path| *path != self.0);
        queue.finished.push(std::mem::take(&mut self.0));
        MORE.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn flush_on() {
    /// Between two flushes of a file that is being written.
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        let idle = |queue: &mut Queue| queue.written.is_empty() && queue.finished.is_empty();
        let queue = MORE
            .wait_while(lock(&QUEUE), idle)
            .unwrap_or_else(PoisonError::into_inner);
        // What is finished is flushed at once, what is being written after a pause.
        let (mut queue, paused) = MORE
            .wait_timeout_while(queue, PAUSE, |queue| queue.finished.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let finished = std::mem::take(&mut queue.finished);
        let written = if paused.timed_out() {
            queue.written.clone()
        } else {
            vec![]
        };
        drop(queue);
        for path in finished.iter().chain(&written) {
            flush_early(path);
        }
    }
}

fn flush_early(path: &Path) {
    let mut failed = lock(&FAILED);
    if let Ok(file) = File::open(path) // may be in its place by now
        && let Err(error) = flush(&file)
    {
        failed.push((
            path.to_owned(),
            error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
        ));
    }
}

pub fn sync_entry(path: &Path) -> io::Result<()> {
    flush(&File::open(path)?)
}

fn flush(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(()) // a file system that cannot flush folders
        }
        done => done,
    }
}

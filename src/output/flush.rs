//! What is written reaches the disk: for sure before it is published, and early where that saves waiting.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rayon::prelude::*;

/// Flushes a file, or a folder and all in it.
pub fn sync(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        let entries: Vec<_> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
        entries
            .par_iter()
            .try_for_each(|entry| sync(&entry.path()))?;
    }
    sync_entry(path)
}

/// Begins to flush a finished file while the next one is written, so that `Outputs::publish`, which flushes for
/// sure and tells what fails, waits less.
pub fn flush_early(path: &Path) {
    static FLUSHER: OnceLock<Option<Sender<PathBuf>>> = OnceLock::new();
    let flusher = FLUSHER.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel::<PathBuf>();
        let flush = move || receive.iter().for_each(|path| drop(sync_entry(&path)));
        let thread = std::thread::Builder::new().spawn(flush);
        thread.is_ok().then_some(send)
    });
    if let Some(flusher) = flusher {
        let _ = flusher.send(path.to_owned()); // a thread that has gone flushes nothing early
    }
}

/// As [`flush_early`] for a file that is still being written; at most a few times a second.
pub fn flush_sometimes(path: &Path) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(|e| e.into_inner());
    if last.is_none_or(|at| at.elapsed() > Duration::from_millis(300)) {
        *last = Some(Instant::now());
        flush_early(path);
    }
}

pub fn sync_entry(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(()) // a file system that cannot flush folders
        }
        done => done,
    }
}

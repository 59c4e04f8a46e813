//! Runs that write in one folder take turns where they look at one another.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tracing::debug;

/// The turn of this run in a folder, until it is dropped.
pub struct Turn {
    _lock: Option<File>,
}

impl Turn {
    /// Waits for the turn. Anybody who may read a folder can lock it, for ever, and not every file system has locks
    /// for folders: after a minute, or where there is no lock, the run goes on without.
    pub fn in_folder(folder: &Path) -> Turn {
        const MOST: Duration = Duration::from_secs(60);
        let Ok(file) = File::open(folder) else {
            return Turn { _lock: None };
        };
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Turn { _lock: Some(file) },
                Err(TryLockError::WouldBlock) if began.elapsed() < MOST => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(e) => {
                    debug!("No turn in {}: {e}", folder.display());
                    return Turn { _lock: None };
                }
            }
        }
    }
}

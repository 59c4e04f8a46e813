//! SIGINT and SIGTERM, which schedulers send: what is aside is removed, and the process ends.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGXFSZ},
    iterator::Signals,
    low_level,
};
use tracing::{debug, error};

use crate::progress::end_bars;

/// What a signal must know. Held while outputs are renamed, so that a signal falls before or
/// after.
pub struct Registry {
    pub folders: BTreeSet<PathBuf>,
    /// Finished outputs that stay for a run to resume.
    pub kept: usize,
    /// All outputs stand: too late to stop.
    pub published: bool,
    watching: bool,
}

pub fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
        folders: BTreeSet::new(),
        kept: 0,
        published: false,
        watching: false,
    });
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the first call on, SIGINT and SIGTERM remove what is aside and end the process with 128
/// and the signal's number, and a file that grows beyond the limit of its size (`ulimit -f`) is an
/// error of the write, not the end of the process.
pub fn watch() -> Result<()> {
    let mut registry = registry();
    if !registry.watching {
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGXFSZ]).context("Cannot watch for signals")?;
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(stop))
            .context("Cannot watch for signals")?;
        registry.watching = true;
    }
    Ok(())
}

fn stop(signal: i32) {
    let registry = registry();
    if registry.published || signal == SIGXFSZ {
        return; // of the latter, the write that did not fit tells
    }
    let name = low_level::signal_name(signal).unwrap_or("a signal");
    end(&registry, &format!("Interrupted by {name}"), 128 + signal);
}

/// Ends the process with exit code 1, as a signal would, because of what cannot be an error of a function: a call
/// that does not come back.
pub fn give_up(why: &str) {
    let registry = registry();
    if !registry.published {
        end(&registry, why, 1);
    }
}

fn end(registry: &Registry, why: &str, code: i32) {
    end_bars();
    let folders = &registry.folders;
    folders
        .iter()
        .for_each(|folder| drop(fs::remove_dir_all(folder)));
    match registry.kept {
        0 => error!("{why}; nothing was written"),
        kept => error!("{why}; {kept} finished outputs are kept for --resume"),
    }
    // Other threads still write, and may make the folders anew. They end for certain where another
    // program takes over the process, which also skips the exit handlers of libraries.
    let mut shell = process::Command::new("sh");
    let shell = shell
        .args(["-c", REMOVE_AND_EXIT, &code.to_string()])
        .args(folders);
    let failed = shell.exec();
    debug!("Cannot run sh: {failed}");
    low_level::exit(code)
}

/// Called with the code to exit with as its name, and the folders to remove.
const REMOVE_AND_EXIT: &str = r#"trap '' INT TERM; rm -rf -- "$@" 2>/dev/null; exit "$0""#;

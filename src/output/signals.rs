//! Signals that schedulers and terminals send: what is staged is removed, and the process ends.
//!
//! One thread waits for signals with none of the locks of a run. It takes the registry, which is held while outputs are
//! renamed, and while a folder is made and noted, so that it sees every folder there is. The way out is a shell: the
//! other threads may still write, and only the end of the process stops them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ},
    iterator::Signals,
    low_level,
};
use tracing::debug;

use super::record;
use super::tree::remove_tree;
use crate::report::failure::Kind;
use crate::report::logging::report_as;
use crate::report::terminal::end_bars;
use crate::report::words::clause;

/// What a signal must know. Held while outputs are renamed, so that a signal falls before or
/// after.
pub struct Registry {
    pub folders: BTreeSet<PathBuf>,
    /// Folders that stay for a run to resume, each with the number of its finished outputs.
    pub kept: BTreeMap<PathBuf, usize>,
    /// All outputs stand: too late to stop.
    pub published: bool,
    watching: bool,
}

/// The one of this process; whoever holds it holds up the end by a signal.
pub fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
        folders: BTreeSet::new(),
        kept: BTreeMap::new(),
        published: false,
        watching: false,
    });
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Other signals that end a program which does not know them: a terminal that is closed, limits and warnings of
/// schedulers. Where they are ignored (nohup) they stay so.
const OTHERS: [i32; 4] = [SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU];

/// From the first call on, signals that end a process remove what is staged and end it with 128
/// and the signal's number, and a file that grows beyond the limit of its size (`ulimit -f`) is an
/// error of the write, not the end of the process.
pub fn watch() -> Result<()> {
    let mut registry = registry();
    if !registry.watching {
        let ignored = ignored();
        let others = OTHERS.into_iter().filter(|other| !ignored(*other));
        let watched = [SIGINT, SIGTERM, SIGXFSZ].into_iter().chain(others);
        let mut signals = Signals::new(watched).context("Cannot watch for signals")?;
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(stop))
            .context("Cannot watch for signals")?;
        registry.watching = true;
    }
    Ok(())
}

/// Whether a signal is ignored, from the mask in proc(5); where there is none, all count as ignored.
fn ignored() -> impl Fn(i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let mask = mask.unwrap_or(u64::MAX);
    move |signal| mask >> (signal - 1) & 1 == 1
}

fn stop(signal: i32) {
    let registry = registry();
    if registry.published || signal == SIGXFSZ {
        return; // of the latter, the write that did not fit tells
    }
    let name = low_level::signal_name(signal).unwrap_or("a signal");
    let why = format!("Interrupted by {name}");
    end(&registry, Kind::Interrupted, &why, 128 + signal);
}

/// Ends the process with exit code 1, as a signal would, because of what cannot be an error of a function: a call
/// that does not come back.
pub fn give_up(why: &str) {
    let registry = registry();
    if !registry.published {
        end(&registry, Kind::Unreadable, why, 1);
    }
}

/// Where stderr is a pipe, ends the process as a signal would as soon as nobody reads it any more: a program that reads
/// the messages of this one and is killed does not leave it running.
pub fn end_with_reader() -> Result<()> {
    let stderr = rustix::fs::fstat(io::stderr()).context("Cannot look at stderr")?;
    if !FileType::from_raw_mode(stderr.st_mode).is_fifo() {
        return Ok(());
    }
    let wait = || {
        let stderr = io::stderr();
        // Asked for no event, it comes back when the pipe has no reader.
        while poll(&mut [PollFd::new(&stderr, PollFlags::empty())], None) == Err(Errno::INTR) {}
        let registry = registry();
        if !registry.published {
            let why = "Nobody reads the messages any more";
            end(&registry, Kind::Interrupted, why, 128 + SIGPIPE);
        }
    };
    thread::Builder::new()
        .name("reader".into())
        .spawn(wait)
        .context("Cannot watch for the reader of stderr")?;
    Ok(())
}

fn end(registry: &Registry, kind: Kind, why: &str, code: i32) {
    end_bars();
    let folders = &registry.folders;
    folders
        .iter()
        .for_each(|folder| drop(remove_tree(folder, None))); // what is left goes below
    for folder in registry.kept.keys() {
        let _ = record::release(folder); // whoever sees the lock knows it all the same
    }
    let kept = match registry.kept.values().sum::<usize>() {
        0 => "nothing was written".into(),
        kept => {
            let kept = clause(kept as u64, "finished output", ("is", "are"));
            format!("{kept} kept for --resume")
        }
    };
    report_as(kind, &format!("{why}; {kept}"));
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

/// Called with the code to exit with as its name, and the folders to remove; FUSE does not wait until the files of this
/// process are closed.
const REMOVE_AND_EXIT: &str = r#"trap '' INT TERM HUP USR1 USR2 XCPU
    for wait in 1 2 4 0; do rm -rf -- "$@" 2>/dev/null && break; sleep "$wait"; done
    exit "$0""#;

//! Calls of the library that do not come to an end, or take memory without one.
//!
//! On some damaged files HDF5 2.2.0 goes round in circles: a free object of a global heap that claims no bytes is one
//! such place (`H5HG__cache_heap_deserialize`). On others it takes as much memory as they claim: it loads each block of
//! an object header anew, also where they lie upon one another. No call can be stopped from outside, so a thread looks
//! at the one that is under way, and tells when it only turns: for long on the processor, without one system call that
//! reads or writes; and when the process has grown in it beyond the memory that it may take. Where the kernel does not
//! tell what was used (elsewhere than Linux), nothing is watched.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::limits;
use crate::store::hdf5::ffi::under_way;

/// What was opened last: the file, and the path in it.
static PLACE: Mutex<(String, String)> = Mutex::new((String::new(), String::new()));

/// Bytes that the run may take.
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// Notes what the next calls are for.
pub fn at(file: &str, path: &str) {
    let mut place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
    if place.0 != file {
        place.0 = file.into();
    }
    path.clone_into(&mut place.1);
}

/// Notes how many bytes the run may take.
pub fn limit(memory: u64) {
    MEMORY.fetch_max(memory, Ordering::Relaxed);
}

/// From now on calls `tell` with what a person is to know, when a call does not come to an end.
pub fn watch(tell: impl FnOnce(&str) + Send + 'static) -> Result<()> {
    let watch = move || {
        let trouble = loop {
            if let Some(trouble) = trouble() {
                break trouble;
            }
        };
        let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match &*place {
            (file, path) if path.is_empty() => file.clone(),
            (file, path) => format!("'{path}' of {file}"),
        };
        tell(&format!("Read {what}: the HDF5 library {trouble}"));
    };
    let thread = thread::Builder::new().name("watch".into());
    thread.spawn(watch).context("Cannot start a thread")?;
    Ok(())
}

/// Looks at one call until it ends (`None`), or is found to be without end.
fn trouble() -> Option<&'static str> {
    /// Of memory much is taken in little time.
    const OFTEN: Duration = Duration::from_millis(20);
    const LOOKS: u32 = 25;
    thread::sleep(OFTEN);
    let call @ (caller, _) = under_way()?;
    let memory = resident()?;
    let mut turning = None;
    loop {
        for _ in 0..LOOKS {
            thread::sleep(OFTEN);
            if under_way() != Some(call) {
                return None;
            }
            let most = MEMORY.load(Ordering::Relaxed).max(memory);
            if resident()? > most.saturating_add(limits::GROWTH) {
                return Some(
                    "takes more memory for it than --memory-limit allows; give more, if the file is not damaged",
                );
            }
        }
        let (io, used) = (io(caller)?, processor(caller)?);
        let (before, since) = *turning.get_or_insert((io, used));
        if before != io {
            turning = Some((io, used));
        } else if used.saturating_sub(since) > limits::TURNING {
            return Some("does not come to an end with it, so the file is damaged");
        }
    }
}

/// Bytes of memory that the process holds (proc_pid_status(5)).
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// System calls with which a thread has read or written (proc_pid_io(5)).
fn io(thread: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/io")).ok()?;
    let calls = |name| {
        text.lines()
            .find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    Some(calls("syscr:")? + calls("syscw:")?)
}

/// Nanoseconds that a thread was on the processor (the kernel's sched-stats.rst).
fn processor(thread: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_a_thread() {
        let own = rustix::thread::gettid().as_raw_pid();
        // It tells of it some time after.
        while processor(own).unwrap() == 0 {}
        let before = io(own).unwrap();
        fs::read("/proc/self/status").unwrap();
        assert!(io(own).unwrap() > before);
        let held = vec![1u8; 64 << 20];
        assert!(resident().unwrap() > held.len() as u64);
    }
}

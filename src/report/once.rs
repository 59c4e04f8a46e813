//! Warnings that are told once, however many shards or readers meet their cause.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

/// Warns of `what`, unless this process has done so.
pub fn warn_once(what: String) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if !told.contains(&what) {
        warn!("{what}");
        told.insert(what);
    }
}

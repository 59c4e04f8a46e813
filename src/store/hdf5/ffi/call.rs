//! Identifiers of the library, and how it is called: under its lock, with failures as errors and no panic through it.

use std::ffi::c_char;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
pub use hdf5::globals::H5GlobalConstant as Constant;
use hdf5_sys::h5::hsize_t;
use hdf5_sys::{h5i::*, h5s::H5S_MAX_RANK};

use crate::store::hdf5::errors::failure;
use crate::store::panics::guarded;

/// Counts up at the begin and at the end of each call.
static STEPS: AtomicU64 = AtomicU64::new(0);
/// The thread that makes the call that is under way, or 0.
static CALLER: AtomicI32 = AtomicI32::new(0);

/// Makes a call under the lock of the library.
pub fn sync<T>(call: impl FnOnce() -> T) -> T {
    /// Ends what is noted of a call, however the call ends.
    struct Noted(i32);
    impl Drop for Noted {
        fn drop(&mut self) {
            CALLER.store(self.0, Ordering::Relaxed);
            STEPS.fetch_add(1, Ordering::Relaxed);
        }
    }
    hdf5::sync::sync(|| {
        // A call may come from inside another one.
        let outer = CALLER.swap(own_id(), Ordering::Relaxed);
        STEPS.fetch_add(1, Ordering::Relaxed);
        let _noted = Noted(outer);
        call()
    })
}

fn own_id() -> i32 {
    thread_local! {
        static ID: i32 = rustix::thread::gettid().as_raw_pid();
    }
    ID.with(|id| *id)
}

/// The call that is under way: the thread that makes it, and its number.
pub fn under_way() -> Option<(i32, u64)> {
    let caller = CALLER.load(Ordering::Relaxed);
    (caller != 0).then(|| (caller, STEPS.load(Ordering::Relaxed)))
}

/// An open identifier of the library, closed when dropped.
pub struct Id(pub(super) hid_t);

impl Id {
    /// Closes it, where that may write: the library keeps some values until then.
    pub fn close(self) -> Result<()> {
        let raw = self.0;
        std::mem::forget(self);
        // SAFETY: the identifier is owned, and this is its last use.
        done(|| unsafe { H5Idec_ref(raw) })
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: the identifier is owned, and this is its last use.
        sync(|| unsafe { H5Idec_ref(self.0) });
    }
}

impl Clone for Id {
    fn clone(&self) -> Id {
        // SAFETY: counts one more owner of an open identifier.
        sync(|| unsafe { H5Iinc_ref(self.0) });
        Id(self.0)
    }
}

/// The number that a call answers with; a negative one is a failure.
pub(super) fn number<N: Into<i64>>(call: impl FnOnce() -> N) -> Result<i64> {
    sync(|| {
        let number = call().into();
        ensure!(number >= 0, failure());
        Ok(number)
    })
}

pub(super) fn done<N: Into<i64>>(call: impl FnOnce() -> N) -> Result<()> {
    number(call).map(drop)
}

pub(super) fn id(call: impl FnOnce() -> hid_t) -> Result<Id> {
    number(call).map(Id)
}

/// What a call of the library answers that takes an identifier alone.
pub(super) fn ask<T>(call: unsafe extern "C" fn(hid_t) -> T, of: &Id) -> T {
    // SAFETY: such a call is handed no memory.
    sync(|| unsafe { call(of.0) })
}

pub(super) fn opened(call: unsafe extern "C" fn(hid_t) -> hid_t, of: &Id) -> Result<Id> {
    id(|| ask(call, of))
}

/// What a callback of the library answers: `failed` where it panics, which must not go through the library.
pub(super) fn answer<T>(failed: T, callback: impl FnOnce() -> T) -> T {
    guarded(callback).unwrap_or(failed)
}

/// Makes a call that tells the length of a text and writes at most as many bytes as it is told, the last one NUL, where
/// it is given a buffer.
pub(super) fn sized(call: impl Fn(*mut c_char, usize) -> isize) -> Result<Vec<u8>> {
    sync(|| {
        let len = number(|| call(null_mut(), 0) as i64)? as usize;
        let mut buf = vec![0u8; len + 1];
        number(|| call(buf.as_mut_ptr().cast(), buf.len()) as i64)?;
        buf.truncate(len);
        Ok(buf)
    })
}

/// One number for each axis that there can be, so that the library reads no further whatever the rank of what they are
/// for; zeros after those that are given.
pub(super) fn axes(given: &[u64]) -> Result<[hsize_t; H5S_MAX_RANK as usize]> {
    let mut axes = [0; H5S_MAX_RANK as usize];
    let first = axes.get_mut(..given.len()).context("Too many axes")?;
    first.copy_from_slice(given);
    Ok(axes)
}

/// What an identifier is of.
pub fn kind(object: &Id) -> H5I_type_t {
    ask(H5Iget_type, object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_inside_another_is_of_the_same_thread() {
        let caller = || under_way().map(|(caller, _)| caller);
        sync(|| {
            assert_eq!(caller(), Some(own_id()));
            sync(|| assert_eq!(caller(), Some(own_id())));
            assert_eq!(caller(), Some(own_id()));
        });
    }
}

//! Panics on damaged data, which are errors like any other: of a library, and of what the HDF5 library calls back, which
//! no panic may cross.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would be caught, and so is no bug to be told of.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// What `call` returns; an error where it panics. What the call changes must not be used after that.
pub fn guarded<T>(call: impl FnOnce() -> T) -> Result<T> {
    let outer = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    done.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied());
        anyhow!("{}", said.unwrap_or("it gave up"))
    })
}

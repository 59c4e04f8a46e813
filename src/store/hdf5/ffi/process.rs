//! What concerns the whole process: the C library's allocator, variables of the environment, and whether stdout was
//! closed before Rust's runtime opened `/dev/null` in its place.

use std::sync::atomic::{AtomicBool, Ordering};

/// Makes the process ready for the library, before another thread runs. Tells which variables were set that are unset
/// now: by them the library finds what a file leads to in other folders than where it says.
pub fn prepare() -> Vec<&'static str> {
    const SEARCHED: [&str; 3] = ["HDF5_EXT_PREFIX", "HDF5_VDS_PREFIX", "HDF5_EXTFILE_PREFIX"];
    share_heap();
    let is_set = |name: &&str| std::env::var_os(name).is_some();
    let found: Vec<_> = SEARCHED.into_iter().filter(is_set).collect();
    for name in &found {
        // SAFETY: no other thread runs that might read the environment.
        unsafe { std::env::remove_var(name) };
    }
    found
}

/// Lets all threads take memory from one heap, and keep some of it. glibc makes up to eight heaps for each CPU otherwise
/// (mallopt(3)), and what is free in one is of no use to the others; and it gives the kernel back what is taken again
/// for the next chunk.
fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, 64 << 20),
        (libc::M_MMAP_THRESHOLD, 32 << 20),
    ] {
        // SAFETY: takes two numbers, and answers with 0 where it does not know them.
        unsafe { libc::mallopt(option, value) };
    }
}

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether the process was started without a stdout: what is written there is lost, though no call says so.
pub fn is_stdout_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Runs before the runtime.
extern "C" fn look_at_stdout() {
    // SAFETY: asks for a flag of a file descriptor, which need not be open.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    CLOSED.store(flags == -1, Ordering::Relaxed);
}

// SAFETY: both systems call the functions in this section before main; this one takes nothing and returns nothing.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static LOOK_AT_STDOUT: extern "C" fn() = look_at_stdout;

//! The C library's allocator.

/// Lets all threads take memory from one heap, and keep some of it. glibc makes up to eight heaps for each CPU otherwise
/// (mallopt(3)), and what is free in one is of no use to the others; and it gives the kernel back what is taken again
/// for the next chunk. Called before another thread runs.
pub fn share_heap() {
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

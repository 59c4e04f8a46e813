//! What a run does, counted past the libraries: the debug log tells it at the end, and tests hold it to what is needed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

static OPENED: AtomicU64 = AtomicU64::new(0);
static DECODED: AtomicU64 = AtomicU64::new(0);
static ENCODED: AtomicU64 = AtomicU64::new(0);
static COMPARED: AtomicU64 = AtomicU64::new(0);
static READ: AtomicU64 = AtomicU64::new(0);
static WRITTEN: AtomicU64 = AtomicU64::new(0);
static APPENDED: AtomicU64 = AtomicU64::new(0);

/// What was done so far.
pub struct Work {
    /// For reading, each as often as it was.
    files_opened: u64,
    chunks_decoded: u64,
    chunks_encoded: u64,
    /// As they are stored, of one of two arrays.
    bytes_compared: u64,
    /// Past the libraries.
    bytes_read: u64,
    bytes_written: u64,
}

pub fn work() -> Work {
    Work {
        files_opened: OPENED.load(Ordering::Relaxed),
        chunks_decoded: DECODED.load(Ordering::Relaxed),
        chunks_encoded: ENCODED.load(Ordering::Relaxed),
        bytes_compared: COMPARED.load(Ordering::Relaxed),
        bytes_read: READ.load(Ordering::Relaxed),
        bytes_written: WRITTEN.load(Ordering::Relaxed),
    }
}

/// Bytes that were read from files past the libraries and bytes of values that were appended to arrays, so far: what
/// grows all the time while a run works.
pub fn moved() -> u64 {
    READ.load(Ordering::Relaxed) + APPENDED.load(Ordering::Relaxed)
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} files opened, {} chunks decoded, {} encoded, {} bytes compared, {} bytes read, {} bytes written",
            self.files_opened,
            self.chunks_decoded,
            self.chunks_encoded,
            self.bytes_compared,
            self.bytes_read,
            self.bytes_written
        )
    }
}

pub fn opened() {
    OPENED.fetch_add(1, Ordering::Relaxed);
}

pub fn decoded() {
    DECODED.fetch_add(1, Ordering::Relaxed);
}

pub fn encoded() {
    ENCODED.fetch_add(1, Ordering::Relaxed);
}

/// Bytes of one of two chunks that were compared as they are stored.
pub fn compared(bytes: usize) {
    COMPARED.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Bytes that were read from a file past the libraries.
pub fn read(bytes: usize) {
    READ.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Bytes that went to a file past the libraries, or as encoded chunks.
pub fn written(bytes: usize) {
    WRITTEN.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Counts bytes of values, as they are before they are encoded.
pub fn appended(bytes: usize) {
    APPENDED.fetch_add(bytes as u64, Ordering::Relaxed);
}

//! What the program bears of a file, in one table: what lies beyond is an error, not a panic, an endless walk or a machine
//! without memory. No sound file that was met comes near.

/// Bytes that an array may declare, or texts: 16 TiB. Sizes below it do not overflow where they are added up.
pub const ARRAY: u64 = 1 << 44;

/// Bytes that any codec makes of one: zstd writes 128 KiB of equal bytes as 4, deflate no more than 1032 as one.
const UNPACKED: u64 = 1 << 16;

/// Bytes of an array that may be declared and never written. To go through more, value by value, may take days.
pub const UNWRITTEN: u64 = 256 << 30;

/// The same where each value is looked at for its own sake: to check it, or what a reference leads to.
pub const UNWRITTEN_CHECKED: u64 = 8 << 30;

/// Groups that lie in one another, and forms of awkward arrays: deeper ones are links in a circle, and who walks them
/// does so on the stack.
pub const DEPTH: usize = 64;

/// Paths that lead to one group: links may double them at each level.
pub const PATHS: usize = 16;

/// Nodes of a file that are checked: links may make a small file a tree without end.
pub const NODES: u64 = 1 << 20;

/// Types that lie in one another: who walks them holds a copy of all that lies below at each level.
pub const TYPES: usize = 16;

/// Texts or sequences in one value.
pub const REFERENCES: usize = 1 << 20;

/// Virtual datasets of which one is a source of the next: circles are longer.
pub const VIRTUAL: usize = 8;

/// Bytes of a text of a fixed width, and of a record in which each text takes memory of its own: metadata of Zarr are
/// believed before a chunk is seen.
pub const FIXED_TEXT: usize = 1 << 26;
pub const RECORD: usize = 1 << 24;

/// Bytes by which the process may grow in one call of the HDF5 library, and beyond what it may take.
pub const GROWTH: u64 = 512 << 20;

/// Nanoseconds on the processor, without a system call that reads or writes, after which a call of the HDF5 library is
/// taken to turn: a chunk of 4 GiB is decoded in less.
pub const TURNING: u64 = 20_000_000_000;

/// Parts of an expression that lie in one another: it is parsed on the stack.
pub const EXPRESSION: usize = 100;

/// Chunks of an array that are compared with those of another, with a byte of memory for each: a file may declare any
/// number of chunks that it does not store.
pub const COMPARED_CHUNKS: u64 = 1 << 24;

/// Chunks in a Zarr shard: its index, 16 bytes for each, is in memory while it is written.
pub const SHARD_CHUNKS: u64 = 1 << 20;

/// Files that one run makes, which file systems still bear in one folder.
pub const SHARDS: u64 = 1_000_000;

/// Parts of a run: as many tasks as the largest arrays of schedulers have.
pub const PARTS: u64 = 100_000;

/// Threads; more only wait for one another.
pub const THREADS: usize = 1024;

/// Bytes of a line of a table: one with a number for each of a million genes is shorter; of a field of it, or a name in
/// a list; and fields of a line.
pub const LINE: usize = 16 << 20;
pub const FIELD: usize = 1 << 20;
pub const FIELDS: usize = 1 << 20;

/// Whether `declared` bytes can be what `stored` ones stand for, but for `besides` that were never written.
pub fn is_stored(declared: u64, stored: u64, besides: u64) -> bool {
    declared <= self::declared(stored, besides)
}

/// Bytes that `stored` ones can stand for, and `besides` that were never written.
pub fn declared(stored: u64, besides: u64) -> u64 {
    stored.saturating_mul(UNPACKED).saturating_add(besides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_is_stored_or_little() {
        assert!(is_stored(1000, 0, 1000));
        assert!(!is_stored(1001, 0, 1000));
        assert!(is_stored(UNPACKED, 1, 0));
        assert!(!is_stored(UNPACKED + 1, 1, 0));
        assert!(is_stored(u64::MAX, u64::MAX, 0));
        assert!(!is_stored(u64::MAX, 1 << 40, UNWRITTEN));
    }
}

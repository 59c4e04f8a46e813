//! Outputs that have taken their places, and what is said of them.

use std::path::PathBuf;

use tracing::info;

use crate::resources::{format_size, size_on_disk};

/// Outputs that have taken their places.
pub struct Published {
    pub paths: Vec<PathBuf>,
    /// Outputs, all of which may be in one store.
    pub count: u64,
    /// Bytes of the inputs.
    pub(super) read: u64,
    /// Whether the outputs are without compression.
    pub(super) plain: bool,
    /// Since the run began.
    pub seconds: f64,
}

impl Published {
    /// Says how much larger outputs without compression are than the inputs, of whose cells they hold this `share`; each
    /// has `common` bytes whatever its cells.
    pub fn tell_growth(&self, share: f64, common: u64) {
        /// Outputs smaller than that are mostly what is in every file.
        const LEAST: u64 = 1 << 20;
        let read = (self.read as f64 * share) as u64;
        // The inputs have what is in each shard once; it counts for each further one.
        let others = common.saturating_mul(self.count.saturating_sub(1));
        let (expected, written) = (read.saturating_add(others), bytes_of(&self.paths));
        if self.plain && written >= LEAST && written / 2 > expected {
            let [written, read, expected] = [written, read, expected].map(format_size);
            info!(
                "Without compression: {written} from {read}; --compression gzip writes about {expected}"
            );
        }
    }

    /// The first and the last output, each with its size, as in `a (1.0 GB) to b (0.5 GB)`.
    pub fn ends(&self) -> String {
        let told = |path: &PathBuf| {
            let size = size_on_disk(path).unwrap_or(0);
            format!("{} ({})", path.display(), format_size(size))
        };
        match (self.paths.first(), self.paths.last()) {
            (Some(first), Some(last)) if first != last => {
                format!("{} to {}", told(first), told(last))
            }
            (first, _) => first.map(told).unwrap_or_default(),
        }
    }

    /// Bytes of the outputs.
    pub fn bytes(&self) -> u64 {
        bytes_of(&self.paths)
    }
}

/// Bytes of files and stores, together.
pub(super) fn bytes_of(paths: &[PathBuf]) -> u64 {
    let sizes = paths.iter().filter_map(|path| size_on_disk(path).ok());
    sizes.fold(0, u64::saturating_add)
}

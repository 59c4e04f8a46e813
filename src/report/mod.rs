//! What the user sees of a run: log lines, progress and the text of a dry run.

pub mod logging;
pub mod preview;
pub mod progress;

//! What the user sees of a run: log lines, progress, the text of a dry run, and how numbers are said.

pub mod events;
pub mod failure;
pub mod logging;
pub mod near;
pub mod once;
pub mod preview;
pub mod progress;
pub mod terminal;
pub mod words;

//! Stderr, which log lines, objects and progress bars share: all lines go past the bars, so that these stay whole.

use std::fmt;
use std::io::{self, Write};
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Drawn on stderr, if that is a terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Shows a bar below the others.
pub fn add(bar: ProgressBar) -> ProgressBar {
    BARS.add(bar)
}

/// Takes one bar away.
pub fn remove(bar: &ProgressBar) {
    BARS.remove(bar);
}

/// Whether no bar is seen, as where stderr is no terminal.
pub fn is_hidden() -> bool {
    BARS.is_hidden()
}

/// Runs `write`, which writes to the terminal, with the bars out of the way.
fn above_bars<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

/// Takes all bars away, for good.
pub fn end_bars() {
    let _ = BARS.clear();
    BARS.set_draw_target(ProgressDrawTarget::hidden());
}

/// The time in seconds, as `2026-03-01T17:05:09Z`.
pub fn now() -> Result<String, fmt::Error> {
    let mut time = String::new();
    SystemTime.format_time(&mut Writer::new(&mut time))?;
    Ok(format!(
        "{}Z",
        time.split(['.', 'Z']).next().unwrap_or_default()
    ))
}

/// Stderr below which the progress bar stays whole. Nobody listening is no reason to stop.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = above_bars(|| io::stderr().write_all(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

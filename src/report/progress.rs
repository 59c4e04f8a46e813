//! How far a run is: a bar on a terminal, elsewhere a log line now and then.
//!
//! The bars are in one place so that [`above_bars`] lets log lines scroll by above them.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use indicatif::{
    FormattedDuration, HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle,
};
use tracing::info;

/// Drawn on stderr, if that is a terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// How long a run is silent, where there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Runs `write`, which writes to the terminal, with the bars out of the way.
pub fn above_bars<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

/// Takes all bars away, for good.
pub fn end_bars() {
    let _ = BARS.clear();
    BARS.set_draw_target(ProgressDrawTarget::hidden());
}

/// The progress of one pass over rows. Dropping it takes the bar away.
pub struct Progress {
    what: String,
    total: u64,
    done: AtomicU64,
    started: Instant,
    display: Display,
}

enum Display {
    Nothing,
    Bar(ProgressBar),
    /// The second, counted from the start, of the next log line.
    Log(AtomicU64),
}

impl Progress {
    /// Starts the clock for `total_rows`; `what` says what happens to them, as in "Slicing".
    pub fn new(what: &str, total_rows: u64, quiet: bool) -> Self {
        let display = match (quiet, BARS.is_hidden()) {
            (true, _) => Display::Nothing,
            (false, true) => Display::Log(AtomicU64::new(LOG_INTERVAL.as_secs())),
            (false, false) => Display::Bar(bar(what, total_rows)),
        };
        Self {
            what: what.to_owned(),
            total: total_rows,
            done: AtomicU64::new(0),
            started: Instant::now(),
            display,
        }
    }

    /// Counts `rows` more as done. Cheap, from any thread.
    pub fn add(&self, rows: u64) {
        let done = self.done.fetch_add(rows, Relaxed) + rows;
        match &self.display {
            Display::Nothing => {}
            Display::Bar(bar) => bar.inc(rows),
            Display::Log(due) => {
                let elapsed = self.started.elapsed();
                if is_due(due, elapsed.as_secs()) {
                    info!("{}", status(&self.what, done, self.total, elapsed));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
            BARS.remove(bar);
        }
    }
}

/// Whether the line due at second `due` is to be written now, by this thread; sets the next.
fn is_due(due: &AtomicU64, now: u64) -> bool {
    let at = due.load(Relaxed);
    let next = now + LOG_INTERVAL.as_secs();
    now >= at && due.compare_exchange(at, next, Relaxed, Relaxed).is_ok()
}

fn bar(what: &str, rows: u64) -> ProgressBar {
    const TEMPLATE: &str =
        "{msg} {wide_bar} {human_pos}/{human_len} rows, {rows_per_sec} rows/s, {eta} left";
    let style = ProgressStyle::with_template(TEMPLATE)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key(
            "rows_per_sec",
            |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
            },
        );
    let bar = BARS.add(ProgressBar::new(rows)).with_style(style);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_secs(1)); // time left, also while no row is done
    bar
}

fn status(what: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let percent = 100 * u128::from(done) / u128::from(total.max(1));
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let left = total.saturating_sub(done) as f64 / rate;
    let left = match Duration::try_from_secs_f64(left) {
        Ok(left) => FormattedDuration(left).to_string(),
        Err(_) => "unknown time".to_owned(),
    };
    let [done, total, rate] = [done, total, rate as u64].map(HumanCount);
    format!("{what}: {percent}% ({done} of {total} rows), {rate} rows/s, {left} left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_tells_share_rate_and_time_left() {
        let line = status("Slicing", 250_000, 1_000_000, Duration::from_secs(50));
        let expected = "Slicing: 25% (250,000 of 1,000,000 rows), 5,000 rows/s, 00:02:30 left";
        assert_eq!(line, expected);
    }

    #[test]
    fn no_rows_and_no_time_are_no_surprise() {
        assert!(status("Merging", 0, 10, Duration::ZERO).ends_with("unknown time left"));
        assert!(status("Merging", 0, 0, Duration::ZERO).starts_with("Merging: 0%"));
    }

    #[test]
    fn lines_are_an_interval_apart_and_written_by_one() {
        let due = AtomicU64::new(30);
        let written: Vec<_> = (0..200).filter(|&now| is_due(&due, now)).collect();
        assert_eq!(written, [30, 60, 90, 120, 150, 180]);
    }

    #[test]
    fn rows_add_up_over_threads() {
        let progress = Progress::new("Testing", 4000, true);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| progress.add(1)));
            }
        });
        assert_eq!(progress.done.load(Relaxed), 4000);
    }
}

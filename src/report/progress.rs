//! How far a run is: a bar on a terminal, events for a program that reads them, elsewhere a log line now and then.
//!
//! A run goes step by step, and a step may take minutes: within it, the bytes that were moved so far say how far it is.
//! A thread of its own looks at that a few times a second.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

use super::events;
use super::terminal;
use super::words::thousands;

/// How long a run is silent, where there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Between two looks at how far it is.
const TICK: Duration = Duration::from_millis(200);

/// Before that, or below that share of the work, the time that is left is not told.
const LEAST_TIME: Duration = Duration::from_secs(2);
const LEAST_SHARE: f64 = 0.01;

/// Steps of a bar.
const BAR: u64 = 1000;

/// The progress of one run over cells. Dropping it takes the bar away.
pub struct Progress {
    /// Shared with the thread that shows it.
    track: Arc<Mutex<Track>>,
    /// Bytes that this process has moved so far.
    moved: fn() -> u64,
    /// The thread that shows it, and what ends it when it is dropped; `None` where nothing is shown.
    shown: Option<(Sender<()>, JoinHandle<()>)>,
}

/// How far the work is, in units of the caller's.
struct Track {
    total: u64,
    done: u64,
    /// Units of the step that was begun, the bytes moved before it, and those it will move, about.
    step: u64,
    from: u64,
    bytes: u64,
}

/// What is shown, and since when.
struct Display {
    /// What happens to the cells, as in "Slicing".
    what: String,
    cells: u64,
    started: Instant,
    how: How,
}

enum How {
    Bar(ProgressBar),
    /// When the next log line is due, counted from the start.
    Log(Duration),
    Events,
}

impl Progress {
    /// Starts the clock for `cells`; `what` says what happens to them, as in "Slicing". `moved` gives the bytes that
    /// this process has read and appended so far.
    pub fn new(what: &str, cells: u64, quiet: bool, moved: fn() -> u64) -> Self {
        let track = Arc::new(Mutex::new(Track {
            total: cells,
            done: 0,
            step: 0,
            from: 0,
            bytes: 0,
        }));
        let shown = (!quiet).then(|| {
            let (end, ended) = channel();
            let display = Display {
                what: what.to_owned(),
                cells,
                started: Instant::now(),
                how: if events::are_wanted() {
                    How::Events
                } else if terminal::is_hidden() {
                    How::Log(LOG_INTERVAL)
                } else {
                    How::Bar(bar(what))
                },
            };
            let track = Arc::clone(&track);
            (
                end,
                thread::spawn(move || display.run(&track, moved, &ended)),
            )
        });
        Self {
            track,
            moved,
            shown,
        }
    }

    /// Begins a step of so many units, in which about `bytes` are moved.
    pub fn begin(&self, units: u64, bytes: u64) {
        let from = (self.moved)();
        let mut track = self.track();
        (track.step, track.from, track.bytes) = (units, from, bytes);
    }

    /// Ends the step.
    pub fn end(&self) {
        let mut track = self.track();
        track.done += std::mem::take(&mut track.step);
    }

    fn track(&self) -> MutexGuard<'_, Track> {
        self.track.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.shown.take() {
            drop(end);
            let _ = thread.join(); // a display that failed is no failure of the run
        }
    }
}

impl Track {
    /// The share of the work that is done when `moved` bytes were moved: from 0 to 1.
    fn share(&self, moved: u64) -> f64 {
        let within = moved.saturating_sub(self.from) as f64 / self.bytes.max(1) as f64;
        let done = self.done as f64 + self.step as f64 * within.min(1.0);
        (done / self.total.max(1) as f64).min(1.0)
    }
}

impl Display {
    /// Until the other end of `ended` is gone.
    fn run(mut self, track: &Mutex<Track>, moved: fn() -> u64, ended: &Receiver<()>) {
        let mut share: f64 = 0.0;
        if let How::Events = self.how {
            self.show(share);
        }
        while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let track = track.lock().unwrap_or_else(PoisonError::into_inner);
            share = share.max(track.share(moved()));
            drop(track);
            self.show(share);
        }
        if let How::Bar(bar) = &self.how {
            bar.finish_and_clear();
            terminal::remove(bar);
        }
    }

    fn show(&mut self, share: f64) {
        let elapsed = self.started.elapsed();
        let status = Status::of(share, self.cells, elapsed);
        let line = || format!("{}: {}", self.what, status.long(elapsed));
        match &mut self.how {
            How::Bar(bar) => {
                bar.set_position((share * BAR as f64) as u64);
                bar.set_message(status.short());
            }
            How::Log(due) if elapsed >= *due => {
                *due = elapsed + LOG_INTERVAL;
                info!("{}", line());
            }
            How::Log(_) => {}
            How::Events => {
                let done = (share * self.cells as f64) as u64;
                events::progress(&self.what, done, self.cells, &line());
            }
        }
    }
}

fn bar(what: &str) -> ProgressBar {
    // What does not fit the width of the terminal is left out, from the right.
    let style = ProgressStyle::with_template("{prefix} [{bar:12}] {wide_msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = terminal::add(ProgressBar::new(BAR));
    bar.set_style(style.progress_chars("#> "));
    bar.set_prefix(what.to_owned());
    bar
}

/// What is told of a run.
struct Status {
    percent: u64,
    done: u64,
    cells: u64,
    /// Cells a second.
    rate: u64,
    left: Option<Duration>,
}

impl Status {
    fn of(share: f64, cells: u64, elapsed: Duration) -> Status {
        let done = (share * cells as f64) as u64;
        let seconds = elapsed.as_secs_f64();
        let is_known = elapsed >= LEAST_TIME && (LEAST_SHARE..1.0).contains(&share);
        let left = seconds / share.max(LEAST_SHARE) * (1.0 - share);
        Status {
            percent: (share * 100.0) as u64,
            done: done.min(cells),
            cells,
            rate: (done as f64 / seconds.max(1e-9)) as u64,
            left: Duration::try_from_secs_f64(left).ok().filter(|_| is_known),
        }
    }

    /// For a bar, what matters most first.
    fn short(&self) -> String {
        let left = self.left.map(|left| format!(", {} left", clock(left)));
        format!(
            "{}%{}, {} of {} cells",
            self.percent,
            left.unwrap_or_default(),
            thousands(self.done),
            thousands(self.cells)
        )
    }

    /// For a log line.
    fn long(&self, elapsed: Duration) -> String {
        let left = self.left.map(|left| format!(", {} left", clock(left)));
        format!(
            "{}% ({} of {} cells) after {}, {} cells/s{}",
            self.percent,
            thousands(self.done),
            thousands(self.cells),
            clock(elapsed),
            thousands(self.rate),
            left.unwrap_or_default()
        )
    }
}

/// Minutes and seconds, and hours where there are any: `02:30`, `1:02:30`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes:02}:{seconds:02}"),
        hours => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_tells_share_times_and_rate() {
        let elapsed = Duration::from_secs(50);
        let line = Status::of(0.25, 1_000_000, elapsed).long(elapsed);
        let expected = "25% (250,000 of 1,000,000 cells) after 00:50, 5,000 cells/s, 02:30 left";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_bar_tells_what_matters_most_in_40_columns() {
        let line = Status::of(0.5, 10, Duration::from_secs(4000)).short();
        assert_eq!(line, "50%, 1:06:40 left, 5 of 10 cells");
        let bar = "Slicing [############] ".len();
        assert!(bar + "50%, 1:06:40 left".len() <= 40);
    }

    #[test]
    fn the_time_left_is_told_when_it_is_known() {
        let left = |share, seconds| Status::of(share, 10, Duration::from_secs(seconds)).left;
        assert_eq!(left(0.5, 1), None, "at the start");
        assert_eq!(left(0.001, 60), None, "no 0s left, and no years");
        assert_eq!(left(1.0, 60), None, "0s left");
        assert_eq!(left(0.25, 30), Some(Duration::from_secs(90)));
    }

    #[test]
    fn a_step_moves_on_with_the_bytes_and_ends_where_it_must() {
        let mut track = Track {
            total: 100,
            done: 20,
            step: 40,
            from: 1000,
            bytes: 500,
        };
        assert_eq!(track.share(1000), 0.2);
        assert_eq!(track.share(1250), 0.4);
        assert_eq!(track.share(99_999), 0.6, "more bytes than were thought of");
        track.bytes = 0;
        assert_eq!(track.share(1000), 0.2);
        (track.done, track.step, track.total) = (0, 0, 0);
        assert_eq!(track.share(0), 0.0, "no cells");
    }

    #[test]
    fn steps_add_up() {
        let progress = Progress::new("Testing", 40, true, || 0);
        for _ in 0..4 {
            progress.begin(10, 1);
            progress.end();
        }
        progress.end();
        assert_eq!(progress.track().share(0), 1.0);
    }
}

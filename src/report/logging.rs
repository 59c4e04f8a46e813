//! Messages on stderr, one line each, in the form of Python's `%(levelname)s: %(message)s`.
//!
//! Whatever a file's names hold, a message stays one line: control characters are escaped.

use std::{
    fmt,
    io::{self, Write},
};

use tracing::{Event, Level, Subscriber, error};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::progress::above_bars;

/// Sends the messages of this process to stderr: from debug on, else from info, or if `quiet`
/// from warnings on. The first call in a process counts.
pub fn init(debug: bool, quiet: bool) {
    let level = match (debug, quiet) {
        (true, _) => Level::DEBUG,
        (false, false) => Level::INFO,
        (false, true) => Level::WARN,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .event_format(Line)
        .with_writer(|| Stderr)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Logs an error with its causes, on one line.
pub fn report(err: &anyhow::Error) {
    error!("{}", chain(err));
}

/// The messages of an error and its causes; one that already ends with its cause says it once.
fn chain(err: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in err.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Escapes what would break the line or steer the terminal.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // Separators and direction marks are no control characters to Unicode.
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                line.extend(c.escape_unicode());
            }
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

fn label(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = String::new();
        context.format_fields(Writer::new(&mut message), event)?;
        let label = label(*event.metadata().level());
        writeln!(out, "{label}: {}", one_line(&message))
    }
}

/// Stderr below which the progress bar stays whole. Nobody listening is no reason to stop.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = above_bars(|| io::stderr().write_all(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use anyhow::{Context, anyhow};
    use proptest::prelude::*;
    use tracing::{debug, info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(log: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_ansi(false)
            .event_format(Line)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn lines_look_like_pythons() {
        let text = written(|| {
            debug!("a");
            info!("b");
            warn!("c {}", 1);
            error!("d");
        });
        assert_eq!(text, "DEBUG: a\nINFO: b\nWARNING: c 1\nERROR: d\n");
    }

    #[test]
    fn an_error_is_its_chain_on_one_line() {
        let inner = anyhow!("No such\nfile \u{1b}[31mred\u{202e}");
        let err = Err::<(), _>(inner)
            .context("Read 'X' of a.h5ad")
            .unwrap_err();
        let text = written(|| report(&err));
        let expected = "ERROR: Read 'X' of a.h5ad: No such\\nfile \\x1b[31mred\\u{202e}\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_cause_that_was_said_is_not_repeated() {
        let err = anyhow!("disk full")
            .context("Write a: disk full")
            .context("Slice b");
        assert_eq!(chain(&err), "Slice b: Write a: disk full");
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_and_plain_text_is_itself(text in any::<String>()) {
            let line = one_line(&text);
            prop_assert!(!line.chars().any(char::is_control));
            if line.len() == text.len() {
                prop_assert_eq!(line, text);
            }
        }
    }
}

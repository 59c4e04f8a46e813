//! Messages on stderr, one line each, in the form of Python's `%(levelname)s: %(message)s`.
//!
//! Whatever a file's names hold, a message stays one line: control characters are escaped. [`Line`] is the one place
//! where a message becomes a line. On a terminal the words WARNING and ERROR are coloured, unless `NO_COLOR` is set
//! (no-color.org).

use std::{
    env, fmt,
    io::{self, ErrorKind, IsTerminal},
};

use clap::ValueEnum;
use tracing::{Event, Level, Subscriber, error};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::events;
use super::failure::{Kind, Told};
use super::terminal::{Stderr, now};

/// The form of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line of text for each
    #[default]
    Text,
    /// A JSON object on a line for each, and events, for programs
    Json,
}

/// Which messages are written, and how.
#[derive(Clone, Copy, Default)]
pub struct Settings {
    /// Debug messages too.
    pub debug: bool,
    /// Warnings and errors alone.
    pub quiet: bool,
    /// Put the time before each line.
    pub time: bool,
    pub format: Format,
}

/// Sends the messages of this process to stderr. The first call in a process counts.
/// Before it messages are lost, so what may end a process early, such as a wrong command line, calls it itself.
pub fn init(settings: Settings) {
    if settings.format == Format::Json {
        events::want(settings.time);
    }
    let level = match (settings.debug, settings.quiet) {
        (true, _) => Level::DEBUG,
        (false, false) => Level::INFO,
        (false, true) => Level::WARN,
    };
    let line = Line {
        color: wants_color(),
        time: settings.time,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .event_format(line)
        .with_writer(|| Stderr)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn wants_color() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// Logs an error with its causes, on one line, and what to do where a limit of the process is the cause.
pub fn report(err: &anyhow::Error) {
    let said = chain(err);
    let said = match limit(err, &said) {
        Some(what) => format!("{said}; {what}"),
        None => said,
    };
    fail(&said, &Told::by(err));
}

/// The limit of this process (`ulimit`) that made a call fail. Libraries in C tell it in the text of their error.
fn limit(err: &anyhow::Error, said: &str) -> Option<&'static str> {
    let kinds = err.chain().filter_map(|e| e.downcast_ref::<io::Error>());
    let kinds: Vec<ErrorKind> = kinds.map(io::Error::kind).collect();
    let is = |kind, text| kinds.contains(&kind) || said.contains(text);
    if said.contains("Too many open files") {
        Some("raise the limit with 'ulimit -n 4096'")
    } else if is(ErrorKind::FileTooLarge, "File too large") {
        Some(
            "'ulimit -f' or the file system bounds the size of a file; 'ulimit -f unlimited' lifts the former",
        )
    } else if is(ErrorKind::OutOfMemory, "Cannot allocate memory") {
        Some(
            "'ulimit -v' or the machine bounds the memory of the process; give a smaller --memory-limit and --jobs",
        )
    } else {
        None
    }
}

/// Logs a failure that is no error of a function: of the command line, by a signal, of the program itself.
pub fn report_as(kind: Kind, message: &str) {
    let told = Told {
        kind,
        file: None,
        element: None,
    };
    fail(message, &told);
}

fn fail(message: &str, told: &Told) {
    if events::are_wanted() {
        let (file, element) = (told.file.as_deref(), told.element.as_deref());
        events::failure(told.kind.name(), message, file, element);
    } else {
        error!("{message}");
    }
}

/// The messages of an error and its causes; one that already ends with its cause says it once.
/// Of `Cannot open a.h5ad`, caused by `no such file`, it is `Cannot open a.h5ad: no such file`.
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

/// Characters of a message; what quotes a longer text of a file is cut.
const MOST: usize = 1 << 16;

/// The form of a line.
#[derive(Clone, Copy)]
struct Line {
    color: bool,
    time: bool,
}

impl Line {
    fn label(self, level: Level) -> &'static str {
        match (level, self.color) {
            (Level::ERROR, false) => "ERROR",
            (Level::ERROR, true) => "\x1b[1;31mERROR\x1b[0m",
            (Level::WARN, false) => "WARNING",
            (Level::WARN, true) => "\x1b[1;33mWARNING\x1b[0m",
            (Level::INFO, _) => "INFO",
            _ => "DEBUG",
        }
    }
}

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
        // A name in a file may be megabytes long.
        if let Some((end, _)) = message.char_indices().nth(MOST) {
            message.truncate(end);
            message.push('…');
        }
        let level = *event.metadata().level();
        if events::are_wanted() {
            let plain = Line {
                color: false,
                ..*self
            };
            let object =
                events::Object::new(&plain.label(level).to_lowercase(), "message", &message);
            return out.write_str(&object.text());
        }
        if self.time {
            write!(out, "{} ", now()?)?;
        }
        let label = self.label(level);
        writeln!(out, "{label}: {}", one_line(&message))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
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
        written_as(
            Line {
                color: false,
                time: false,
            },
            log,
        )
    }

    fn written_as(line: Line, log: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_ansi(false)
            .event_format(line)
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
    fn colour_and_time_are_of_the_line() {
        let line = Line {
            color: true,
            time: true,
        };
        let text = written_as(line, || {
            warn!("a\x1b");
            info!("b");
        });
        let (first, second) = text.split_once('\n').unwrap();
        let (time, rest) = first.split_once(' ').unwrap();
        assert_eq!(rest, "\x1b[1;33mWARNING\x1b[0m: a\\x1b");
        assert!(
            time.len() == 20 && time.ends_with('Z') && time.contains('T'),
            "{time}"
        );
        assert!(second.ends_with(" INFO: b\n"));
    }

    #[test]
    fn a_limit_of_the_process_is_named() {
        let hint = |code| {
            let error = anyhow::Error::from(io::Error::from_raw_os_error(code)).context("Write a");
            limit(&error, &chain(&error))
        };
        for (code, option) in [(24, "ulimit -n"), (27, "ulimit -f"), (12, "ulimit -v")] {
            assert!(hint(code).unwrap().contains(option), "{code}");
        }
        assert_eq!(hint(2), None);
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

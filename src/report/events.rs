//! `--error-format json`: messages and events as objects, one a line, for programs that run this one.
//!
//! An object has `version`, `level`, `kind` and `message`, and what its kind adds. Within a version of the format
//! fields and kinds are added, never renamed or removed: a reader passes over those that it does not know.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Map, Value, json};

use super::terminal::{Stderr, now};

/// The version of the format, in each line.
const VERSION: u32 = 1;

static WANTED: AtomicBool = AtomicBool::new(false);
static TIMED: AtomicBool = AtomicBool::new(false);

/// From now on messages are objects, which have the `time` where that is wanted.
pub fn want(timed: bool) {
    WANTED.store(true, Relaxed);
    TIMED.store(timed, Relaxed);
}

/// Whether messages are objects: then there are no bars, and no lines of text.
pub fn are_wanted() -> bool {
    WANTED.load(Relaxed)
}

/// An object, on a line of its own.
pub struct Object(Map<String, Value>);

impl Object {
    pub fn new(level: &str, kind: &str, message: &str) -> Object {
        let mut line = Map::new();
        line.insert("version".into(), VERSION.into());
        line.insert("level".into(), level.into());
        line.insert("kind".into(), kind.into());
        line.insert("message".into(), message.into());
        if let Some(time) = TIMED.load(Relaxed).then(now).and_then(Result::ok) {
            line.insert("time".into(), time.into());
        }
        Object(line)
    }

    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Object {
        self.0.insert(field.into(), value.into());
        self
    }

    /// The path as text, and where it is not UTF-8 its bytes too, in hexadecimal digits.
    pub fn with_file(self, path: &Path) -> Object {
        let name = path.as_os_str();
        let line = self.with("file", name.to_string_lossy());
        match name.to_str() {
            Some(_) => line,
            None => line.with("file_bytes", hex(name)),
        }
    }

    pub fn text(self) -> String {
        Value::Object(self.0).to_string() + "\n"
    }

    fn send(self) {
        let _ = Stderr.write_all(self.text().as_bytes()); // nobody listening is no reason to stop
    }
}

fn hex(name: &OsStr) -> String {
    name.as_bytes()
        .iter()
        .fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
}

/// How far a pass over rows is.
/// `done` and `total` are cells; `what` happens to them, as in "Slicing".
pub fn progress(what: &str, done: u64, total: u64, message: &str) {
    Object::new("info", "progress", message)
        .with("what", what)
        .with("done", done)
        .with("total", total)
        .send();
}

/// An output that stands in its place, if events are wanted.
pub fn output(path: &Path) {
    if are_wanted() {
        let message = format!("Wrote {}", path.display());
        Object::new("info", "output", &message)
            .with_file(path)
            .send();
    }
}

/// The end of a run that failed.
/// `file` and `element` are always there, null where the error names none.
pub fn failure(kind: &str, message: &str, file: Option<&Path>, element: Option<&str>) {
    let line = Object::new("error", kind, message).with("element", json!(element));
    match file {
        Some(file) => line.with_file(file),
        None => line.with("file", Value::Null),
    }
    .send();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object_whatever_a_name_holds() {
        let name = OsStr::from_bytes(b"a\n\"\xff");
        let text = Object::new("info", "output", "Wrote").with_file(Path::new(name));
        let text = text.text();
        assert_eq!(text.matches('\n').count(), 1);
        let line: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "version": 1, "level": "info", "kind": "output", "message": "Wrote",
            "file": "a\n\"\u{fffd}", "file_bytes": "610a22ff",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_plain_path_is_its_text_alone() {
        let text = Object::new("info", "output", "")
            .with_file(Path::new("ü.h5ad"))
            .text();
        assert!(text.contains("\"file\":\"ü.h5ad\"") && !text.contains("file_bytes"));
    }
}

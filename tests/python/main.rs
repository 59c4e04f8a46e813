//! The Python package, built from the program under test and installed in a private environment: each test is one
//! pytest file beside this one, or a check of the sources. `prepare.py` makes the environment.
//!
//! Where none can be made, tests are skipped; under CI they fail.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python");

/// What `prepare.py` exits with where it is not the package that is at fault.
const NO_ENVIRONMENT: i32 = 3;

#[test]
fn functions() {
    pytest(&["tests/python/test_functions.py"]);
}

#[test]
fn running() {
    pytest(&["tests/python/test_running.py"]);
}

#[test]
fn package() {
    pytest(&["tests/python/test_package.py"]);
}

#[test]
fn documentation() {
    pytest(&["tests/python/test_docs.py"]);
}

/// The test suites of the Python tool, against this package in place of it.
#[test]
fn suites_of_the_python_tool() {
    for version in ["0.3.0", "0.1.5"] {
        in_python(&["tests/python/upstream.py", version]);
    }
}

#[test]
fn types_are_complete() {
    in_python(&["-m", "mypy"]);
}

#[test]
fn style_is_kept() {
    in_python(&["-m", "ruff", "check", "python", "tests/python"]);
    in_python(&["-m", "ruff", "format", "--check", "python", "tests/python"]);
}

fn pytest(args: &[&str]) {
    let mut all = vec!["-m", "pytest", "-q", "-p", "no:cacheprovider"];
    all.extend(args);
    in_python(&all);
}

/// Runs the interpreter of the environment at the root of the repository; panics with what it says if it fails.
fn in_python(args: &[&str]) {
    let Some(python) = ready() else { return };
    let mut command = Command::new(python);
    command.current_dir(ROOT).arg("-B").args(args);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}\n{}", said(&done));
    println!("{}", said(&done));
}

/// The interpreter, made at the first call.
fn ready() -> Option<&'static Path> {
    static READY: OnceLock<Option<PathBuf>> = OnceLock::new();
    READY.get_or_init(prepare).as_deref()
}

fn prepare() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_annslicer"));
    let mut command = Command::new(system_python()?);
    command.arg("-B").arg(Path::new(SOURCES).join("prepare.py"));
    let done = command.arg(program).output().unwrap();
    if done.status.code() == Some(NO_ENVIRONMENT) {
        return none(&said(&done));
    }
    assert!(done.status.success(), "{}", said(&done));
    let path = String::from_utf8(done.stdout).unwrap();
    Some(PathBuf::from(path.trim_end()))
}

/// The first Python on the path that anndata 0.12 supports.
fn system_python() -> Option<&'static str> {
    let recent = "import sys, venv; raise SystemExit(sys.version_info < (3, 11))";
    let is_recent = |name: &&str| {
        let asked = Command::new(name).args(["-c", recent]).status();
        asked.is_ok_and(|status| status.success())
    };
    let found = ["python3", "python3.13", "python3.12", "python3.11"];
    let found = found.into_iter().find(is_recent);
    found.or_else(|| none("Python 3.11 or later is not on the path"))
}

fn none<T>(reason: &str) -> Option<T> {
    assert!(
        env::var_os("CI").is_none(),
        "No Python environment: {reason}"
    );
    eprintln!("Skipped, no Python environment: {reason}");
    None
}

fn said(done: &Output) -> String {
    let [out, err] = [&done.stdout, &done.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

//! A private Python with anndata, the Python annslicer and their libraries, made once per set of requirements under `target`.
//!
//! `ANNSLICER_PYTHON` may name a ready interpreter instead. Where none can be made, tests that need it are skipped; under CI they fail.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

pub const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
/// What decides the contents of the corpus of input files.
const CORPUS: [&str; 4] = ["corpus.py", "objects.py", "storage.py", "requirements.txt"];

/// Runs the scenarios of a module in one Python process, prints the result of each, and panics if one fails.
///
/// Where `ANNSLICER_SCENARIO` is set, those whose name contains it are run.
pub fn run_module(module: &str) {
    let only = env::var("ANNSLICER_SCENARIO").unwrap_or_default();
    if !scenarios(module).iter().any(|name| name.contains(&only)) {
        return;
    }
    let Some((python, corpus)) = ready() else {
        return;
    };
    let work = tempfile::Builder::new()
        .prefix("annslicer-")
        .tempdir_in(workplace(module))
        .unwrap();
    let mut command = runner(python, module);
    command.args(["--bin", env!("CARGO_BIN_EXE_annslicer"), "--only", &only]);
    command.arg("--corpus").arg(corpus);
    command.arg("--work").arg(work.path());
    let done = command.output().unwrap();
    println!("{}", said(&done));
    assert!(done.status.success(), "{module}: {}", done.status);
}

/// Modules about file systems, which stay on that of the clone.
const ON_DISK: [&str; 3] = ["batch", "disks", "safety"];

/// Where the folders of scenarios are: in memory where there is room, as to flush thousands of small files to a disk takes
/// longer than all else.
fn workplace(module: &str) -> &'static Path {
    const IN_MEMORY: &str = "/dev/shm";
    const ROOM: u64 = 4 << 30;
    let has_room = rustix::fs::statvfs(IN_MEMORY).is_ok_and(|fs| fs.f_bavail * fs.f_frsize >= ROOM);
    Path::new(if has_room && !ON_DISK.contains(&module) {
        IN_MEMORY
    } else {
        env!("CARGO_TARGET_TMPDIR")
    })
}

/// The names of the scenarios of a module: its public functions that take a `case` alone.
pub fn scenarios(module: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(SOURCES).join(module).with_extension("py")).unwrap();
    let name = |line: &str| {
        line.strip_prefix("def ")?
            .strip_suffix("(case):")
            .map(str::to_owned)
    };
    let names = text.lines().filter_map(name);
    names.filter(|name| !name.starts_with('_')).collect()
}

fn runner(python: &Path, names: &str) -> Command {
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(Path::new(SOURCES).join("run.py"))
        .arg(names);
    command
}

/// The interpreter and the folder of input files, each made at the first call.
fn ready() -> Option<&'static (PathBuf, PathBuf)> {
    static READY: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();
    let ready = READY.get_or_init(|| match python() {
        Ok(python) => {
            let corpus = corpus(&python).unwrap_or_else(|e| panic!("Write the corpus: {e}"));
            Some((python, corpus))
        }
        Err(reason) if env::var_os("CI").is_some() => panic!("No Python environment: {reason}"),
        Err(reason) => {
            eprintln!("Skipped, no Python environment: {reason}");
            None
        }
    });
    ready.as_ref()
}

fn python() -> Result<PathBuf, String> {
    if let Some(given) = env::var_os("ANNSLICER_PYTHON") {
        return Ok(given.into());
    }
    let folder = keyed("interop-venv", &["requirements.txt"]);
    let python = folder.join("bin/python");
    once(&folder, || {
        run(Command::new(system_python()?)
            .args(["-m", "venv", "--clear"])
            .arg(&folder))?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ];
        run(Command::new(&python)
            .args(pip)
            .arg(Path::new(SOURCES).join("requirements.txt")))
    })?;
    Ok(python)
}

/// The first Python on the path that anndata 0.12 supports.
fn system_python() -> Result<&'static str, String> {
    let recent = "import sys, venv; raise SystemExit(sys.version_info < (3, 11))";
    ["python3", "python3.13", "python3.12", "python3.11"]
        .into_iter()
        .find(|name| run(Command::new(name).args(["-c", recent])).is_ok())
        .ok_or_else(|| "Python 3.11 or later is not on the path".into())
}

fn corpus(python: &Path) -> Result<PathBuf, String> {
    let folder = keyed("interop-corpus", &CORPUS);
    once(&folder, || {
        run(runner(python, "build")
            .arg("--corpus")
            .arg(folder.join("files")))
    })?;
    Ok(folder.join("files"))
}

/// A folder under `target` named after the contents of some of the Python files.
fn keyed(stem: &str, files: &[&str]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(Path::new(SOURCES).join(file))
            .unwrap()
            .hash(&mut hasher);
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join(format!("{stem}-{:016x}", hasher.finish()))
}

/// Makes the contents of `folder` unless a stamp, written last, says that it is whole; one process at a time.
fn once(folder: &Path, make: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let lock = File::create(folder.with_extension("lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let stamp = folder.join("complete");
    if !stamp.exists() {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        make()?;
        fs::write(stamp, "").map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}\n{}", said(&done)))
    }
}

fn said(done: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    )
}

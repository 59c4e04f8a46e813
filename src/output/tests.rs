//! Runs that end well, fail, are told to stop, or are killed.

use std::{
    env, fs,
    os::unix::{fs::symlink, process::ExitStatusExt},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use super::*;
use crate::store::Format;

fn write(outputs: &mut Outputs, path: &Path, text: &str) {
    fs::write(outputs.stage(path).unwrap(), text).unwrap();
}

fn write_store(outputs: &mut Outputs, path: &Path, text: &str) {
    let staged = outputs.stage(path).unwrap();
    fs::create_dir_all(staged.join("X")).unwrap();
    fs::write(staged.join(".zgroup"), "{}").unwrap();
    fs::write(staged.join("X/0.0"), text).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn outputs_appear_together_and_replace_what_stood_there() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, z) = (
        dir.path().join("a.h5ad"),
        dir.path().join("new/b.h5ad"),
        dir.path().join("z.zarr"),
    );
    for round in ["one", "two"] {
        let mut outputs = Outputs::new().unwrap();
        write(&mut outputs, &a, round);
        write(&mut outputs, &b, round);
        write_store(&mut outputs, &z, round);
        let before = fs::read_to_string(&a).unwrap_or_default();
        assert_ne!(before, round);
        assert_eq!(
            outputs.publish().unwrap(),
            [a.clone(), b.clone(), z.clone()]
        );
        for file in [&a, &b, &z.join("X/0.0")] {
            assert_eq!(fs::read_to_string(file).unwrap(), round);
        }
        assert_eq!(names(dir.path()), ["a.h5ad", "new", "z.zarr"]);
    }
}

#[test]
fn a_run_that_fails_leaves_all_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let a = dir.path().join("a.h5ad");
    fs::write(&a, "old").unwrap();
    let mut outputs = Outputs::new().unwrap();
    write(&mut outputs, &a, "new");
    let scratch = Scratch::below(dir.path().to_owned());
    fs::write(scratch.folder().unwrap().join("x"), "x").unwrap();
    drop((outputs, scratch));
    assert_eq!(fs::read_to_string(&a).unwrap(), "old");
    assert_eq!(names(dir.path()), ["a.h5ad"]);
}

#[test]
fn if_one_cannot_be_placed_none_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("a.h5ad"), "old").unwrap();
    let mut earlier = Outputs::new().unwrap();
    write_store(&mut earlier, &at("z.zarr"), "old");
    earlier.publish().unwrap();

    let mut outputs = Outputs::new().unwrap();
    write(&mut outputs, &at("a.h5ad"), "new");
    write(&mut outputs, &at("new/b.h5ad"), "new");
    write_store(&mut outputs, &at("z.zarr"), "new");
    write(&mut outputs, &at("c.h5ad"), "new");
    fs::create_dir(at("c.h5ad")).unwrap();
    fs::write(at("c.h5ad/theirs"), "").unwrap();
    let error = format!("{:#}", outputs.publish().unwrap_err());
    assert!(error.contains("c.h5ad in its place"), "{error}");
    assert_eq!(names(dir.path()), ["a.h5ad", "c.h5ad", "z.zarr"]);
    assert_eq!(fs::read_to_string(at("a.h5ad")).unwrap(), "old");
    assert_eq!(fs::read_to_string(at("z.zarr/X/0.0")).unwrap(), "old");
    assert!(at("c.h5ad/theirs").exists());
}

#[test]
fn an_output_that_was_not_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut outputs = Outputs::new().unwrap();
    write(&mut outputs, &dir.path().join("a.h5ad"), "a");
    outputs.stage(&dir.path().join("b.h5ad")).unwrap();
    let error = outputs.publish().unwrap_err().to_string();
    assert!(error.contains("b.h5ad"), "{error}");
    assert!(names(dir.path()).is_empty());
}

#[test]
fn what_may_not_be_replaced_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["d.h5ad", "mine.zarr/thesis", "empty.zarr"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("kept.h5ad"), "").unwrap();
    let mut kept = fs::metadata(at("kept.h5ad")).unwrap().permissions();
    kept.set_readonly(true);
    fs::set_permissions(at("kept.h5ad"), kept).unwrap();
    let long = "n".repeat(300);
    let cases = [
        ("d.h5ad", "is a folder"),
        ("mine.zarr", "no Zarr store"),
        ("kept.h5ad", "write-protected"),
        ("kept.h5ad/a.h5ad", "Cannot make folder"),
        (&long, "Cannot write"),
        ("/dev/null", "neither a file nor a folder"),
        ("/", "no name for a file"),
    ];
    let mut outputs = Outputs::new().unwrap();
    for (name, said) in cases {
        let error = outputs.stage(&at(name)).unwrap_err().to_string();
        assert!(error.contains(said), "{name}: {error}");
    }
    outputs.stage(&at("empty.zarr")).unwrap();
    let twice = outputs.stage(&at("d.h5ad/../empty.zarr")).unwrap_err();
    assert!(twice.to_string().contains("twice"));
}

#[test]
fn links_are_followed_and_long_names_kept() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("far")).unwrap();
    fs::write(at("far/a.h5ad"), "old").unwrap();
    symlink("far/a.h5ad", at("link.h5ad")).unwrap();
    let long = format!("{}.h5ad", "n".repeat(250));
    let mut outputs = Outputs::new().unwrap();
    write(&mut outputs, &at("link.h5ad"), "new");
    write(&mut outputs, &at(&long), "long");
    outputs.publish().unwrap();
    assert!(at("link.h5ad").is_symlink());
    assert_eq!(fs::read_to_string(at("far/a.h5ad")).unwrap(), "new");
    assert_eq!(fs::read_to_string(at(&long)).unwrap(), "long");
}

#[test]
fn two_runs_do_not_write_the_same_output() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Outputs::new().unwrap();
    first.claim(&dir.path().join("p")).unwrap();
    write(&mut first, &dir.path().join("a.h5ad"), "first");
    let process = format!("Process {} is writing", std::process::id());
    for claim in [
        &(|run: &mut Outputs| run.stage(&dir.path().join("a.h5ad")).map(drop))
            as &dyn Fn(&mut Outputs) -> Result<()>,
        &|run| run.claim(&dir.path().join("p")),
    ] {
        let mut second = Outputs::new().unwrap();
        second.claim(&dir.path().join("p_")).unwrap();
        let error = claim(&mut second).unwrap_err().to_string();
        assert!(error.starts_with(&process), "{error}");
    }
    let mut third = Outputs::new().unwrap();
    write(&mut third, &dir.path().join("b.h5ad"), "third");
    first.publish().unwrap();
    third.publish().unwrap();
    assert_eq!(names(dir.path()), ["a.h5ad", "b.h5ad"]);
}

/// A run of outputs a, b and c that ends when it has finished so many; how many were kept for it, and where they are.
fn resumable(dir: &Path, run: &str, ends_after: usize) -> (usize, Option<Vec<PathBuf>>) {
    let mut outputs = Outputs::new().unwrap();
    outputs.resume(&dir.join("p")).unwrap();
    let shards: Vec<_> = (0..3)
        .map(|i| named_path(&dir.join("p"), &format!("shard_{i}"), Format::H5ad))
        .collect();
    let staged: Vec<_> = shards.iter().map(|p| outputs.stage(p).unwrap()).collect();
    let kept = outputs.start(&Value::from(run)).unwrap();
    for (i, staged) in staged.iter().enumerate().take(ends_after).skip(kept) {
        fs::write(staged, run).unwrap();
        outputs.finished(i).unwrap();
    }
    let whole = ends_after == staged.len();
    (kept, whole.then(|| outputs.publish().unwrap()))
}

#[test]
fn finished_outputs_are_kept_for_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    let inode = |path: PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let folder = dir.path().join(".p.annslicer-resume");
    assert_eq!(resumable(dir.path(), "x", 0), (0, None));
    assert!(names(dir.path()).is_empty(), "nothing was finished");
    assert_eq!(resumable(dir.path(), "x", 1), (0, None));
    assert_eq!(names(dir.path()), [".p.annslicer-resume"]);
    let first = inode(folder.join("p_shard_0.h5ad"));
    fs::write(folder.join("p_shard_1.h5ad"), "a half").unwrap();
    assert_eq!(resumable(dir.path(), "x", 2), (1, None));
    let (kept, published) = resumable(dir.path(), "x", 3);
    assert_eq!((kept, published.unwrap().len()), (2, 3));
    let shards = ["p_shard_0.h5ad", "p_shard_1.h5ad", "p_shard_2.h5ad"];
    assert_eq!(names(dir.path()), shards);
    assert_eq!(inode(dir.path().join(shards[0])), first);
    assert!(
        shards
            .iter()
            .all(|name| fs::read(dir.path().join(name)).unwrap() == b"x")
    );
}

#[test]
fn another_run_or_a_changed_output_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join(".p.annslicer-resume/p_shard_0.h5ad");
    resumable(dir.path(), "x", 2);
    assert_eq!(resumable(dir.path(), "y", 2), (0, None));
    fs::write(&first, "changed").unwrap();
    assert_eq!(resumable(dir.path(), "y", 2), (0, None));
    resumable(dir.path(), "y", 3).1.unwrap();
    assert_eq!(fs::read(dir.path().join("p_shard_0.h5ad")).unwrap(), b"y");
    resumable(dir.path(), "z", 1);
    let mut plain = Outputs::new().unwrap();
    write(
        &mut plain,
        &named_path(&dir.path().join("q"), "shard_0", Format::H5ad),
        "q",
    );
    assert!(first.exists(), "an output of another prefix leaves it");
    write(
        &mut plain,
        &named_path(&dir.path().join("p"), "shard_0", Format::H5ad),
        "anew",
    );
    assert!(!first.exists(), "a run of the same outputs does not resume");
}

#[test]
fn a_run_killed_between_its_renames_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    resumable(dir.path(), "x", 2);
    fs::rename(
        at(".p.annslicer-resume/p_shard_0.h5ad"),
        at("p_shard_0.h5ad"),
    )
    .unwrap();
    assert_eq!(resumable(dir.path(), "x", 3).0, 2);
    assert_eq!(names(dir.path()).len(), 3);
}

/// A run for the tests below to end: writes until it is told to stop.
#[test]
#[ignore = "run by other tests"]
fn endless_run() {
    let Ok(dir) = env::var("ANNSLICER_TEST_DIR") else {
        return;
    };
    crate::report::logging::init(crate::report::logging::Settings::default());
    let mut outputs = Outputs::new().unwrap();
    let staged = outputs.stage(&Path::new(&dir).join("a.zarr")).unwrap();
    let scratch = Scratch::below(dir.into());
    scratch.folder().unwrap();
    for i in 0.. {
        let folder = staged.join(format!("{}", i % 1000));
        let written =
            fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("0"), "chunk"));
        if written.is_err() {
            return; // and wait for the end where the outputs are dropped
        }
    }
}

fn start(dir: &Path) -> Child {
    let child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "output::tests::endless_run",
            "--ignored",
            "--nocapture",
        ])
        .env("ANNSLICER_TEST_DIR", dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let started = || fs::read_dir(dir).unwrap().count() == 2;
    while !started() {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(20));
    child
}

fn end(child: Child, signal: &str) -> std::process::Output {
    let kill = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    child.wait_with_output().unwrap()
}

#[test]
fn a_run_told_to_stop_leaves_nothing_and_says_so_on_one_line() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let dir = tempfile::tempdir().unwrap();
        let ended = end(start(dir.path()), signal);
        assert_eq!(ended.status.code(), Some(code));
        let said = String::from_utf8(ended.stderr).unwrap();
        let line = format!(
            "ERROR: Interrupted by SIG{}; nothing was written\n",
            &signal[1..]
        );
        assert_eq!(said, line);
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let a = dir.path().join("a.zarr");
    let run = start(dir.path());
    let mut outputs = Outputs::new().unwrap();
    assert!(
        outputs
            .stage(&a)
            .unwrap_err()
            .to_string()
            .contains(&run.id().to_string())
    );
    drop(outputs);
    assert_eq!(end(run, "-KILL").status.signal(), Some(9));
    assert_eq!(names(dir.path()).len(), 2);
    let mut outputs = Outputs::new().unwrap();
    write_store(&mut outputs, &a, "whole");
    outputs.publish().unwrap();
    assert_eq!(names(dir.path()), ["a.zarr"]);
}

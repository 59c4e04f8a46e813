//! Which cells go where: names of parts, what a run says of them, and what is refused once the file is seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{CELLS, PBMC, cells, done, folder, names, run, shards, sizes, stdout};

fn refused(folder: &Path, args: &str) -> String {
    let output = run(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args}: {said}");
    let error = said.lines().find(|line| line.starts_with("ERROR"));
    error.unwrap().to_owned()
}

#[test]
fn parts_have_shards_of_their_own_and_a_table_names_them() {
    let folder = folder();
    let path = folder.path();
    let split = "slice pbmc.h5ad out/p --split train=0.8,test=* --size 300 --pad 2 --seed 7";
    let said = done(path, &format!("{split} --manifest out/p.csv"));
    assert!(said.contains("Split at random (seed=7)."), "{said}");
    let near = "Split: train 560 (80.00% of 80.00% asked), test 140 (20.00% of 20.00% asked)";
    assert!(said.contains(near), "{said}");
    let table = "path,n_obs,split,value\n\
                 out/p_train_shard_00.h5ad,300,train,\n\
                 out/p_train_shard_01.h5ad,260,train,\n\
                 out/p_test_shard_00.h5ad,140,test,\n";
    assert_eq!(fs::read_to_string(path.join("out/p.csv")).unwrap(), table);
    let mut all: Vec<String> = ["train_shard_00", "train_shard_01", "test_shard_00"]
        .iter()
        .flat_map(|name| cells(&path.join(format!("out/p_{name}.h5ad"))))
        .collect();
    all.sort();
    let mut whole = cells(Path::new(PBMC));
    whole.sort();
    assert_eq!(all, whole);
    fs::write(path.join("out/p_train_shard_7.h5ad"), "older").unwrap();
    fs::write(path.join("out/p_other_shard_7.h5ad"), "other").unwrap();
    let said = done(path, &format!("{split} --clean"));
    assert!(said.contains("1 older shard of this prefix go"), "{said}");
    let left = names(&path.join("out"));
    assert!(left.contains("p_other_shard_7.h5ad") && !left.contains("p_train_shard_7.h5ad"));
}

/// The shards of the first part fit the limit on the size of files, those of the second do not.
#[test]
fn a_split_that_was_stopped_goes_on_with_its_seed() {
    let folder = folder();
    let path = folder.path();
    let options = "--split small=100,big=* --shards 5 -j 2";
    done(path, &format!("slice pbmc.h5ad whole/p {options} --seed 3"));
    let size = |part: &str| sizes(&[path.join(format!("whole/p_{part}_shard_0.h5ad"))]);
    let limit = (size("small") + size("big")) / 2 / 1024;
    let program = env!("CARGO_BIN_EXE_annslicer");
    let slice = format!("slice pbmc.h5ad p {options} --resume");
    let limited = format!(
        "ulimit -f {limit}; exec {program} {}",
        slice.replace('*', "'*'")
    );
    let mut command = Command::new("bash");
    let stopped = command.current_dir(path).args(["-c", &limited]);
    let stopped = String::from_utf8(stopped.output().unwrap().stderr).unwrap();
    assert!(stopped.contains("File too large"), "{stopped}");
    let before = names(path);
    let plan = stdout(path, &format!("{slice} --dry-run"));
    assert!(
        plan.contains("of an earlier run, not in this table"),
        "{plan}"
    );
    assert!(!plan.contains("p_small_shard_0.h5ad") && plan.contains("p_big_shard_4.h5ad"));
    let plan = run(path, &format!("{slice} --dry-run --json"));
    let said = String::from_utf8(plan.stderr).unwrap();
    assert!(said.contains(" of 10 shards are kept"), "{said}");
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let left = plan["outputs"].as_array().unwrap().len() as u64;
    assert_eq!(plan["kept"].as_u64().unwrap() + left, 10);
    let other = run(path, &format!("{slice} --compression gzip --dry-run"));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(
        said.contains("their --compression is not given, and not gzip"),
        "{said}"
    );
    assert_eq!(names(path), before);
    let said = done(path, &slice);
    assert!(said.contains(" of 10 shards are kept"), "{said}");
    let seed = |said: &str| {
        let after = said.split("(seed=").nth(1).unwrap();
        after.split(')').next().unwrap().to_owned()
    };
    assert_eq!(seed(&stopped), seed(&said));
    let parts = ["small", "big"].map(|part| {
        let shards = shards(path, &format!("p_{part}"));
        let cells = shards.iter().flat_map(|path| cells(path));
        cells.collect::<BTreeSet<String>>()
    });
    assert_eq!((parts[0].len(), parts[1].len()), (100, CELLS - 100));
    assert!(parts[0].is_disjoint(&parts[1]));
}

#[test]
fn combinations_of_columns_are_shards() {
    let folder = folder();
    let path = folder.path();
    let said = done(
        path,
        "slice pbmc.h5ad p --obs-column phase louvain --dry-run",
    );
    assert!(said.contains("by 'phase' and 'louvain'"), "{said}");
    done(path, "slice pbmc.h5ad out/p --obs-column phase louvain");
    let files = names(&path.join("out"));
    let phases: BTreeSet<&str> = files
        .iter()
        .filter_map(|name| name.strip_prefix("p_")?.split('_').next())
        .collect();
    assert_eq!(phases, BTreeSet::from(["G1", "G2M", "S"]));
    let all: usize = files
        .iter()
        .map(|name| cells(&path.join("out").join(name)).len())
        .sum();
    assert_eq!(all, CELLS);
    // As in the Python tool, where an option stands before the paths.
    done(path, "slice --obs-column phase pbmc.h5ad one/p");
    assert_eq!(names(&path.join("one")).len(), 3);
    done(
        path,
        "slice pbmc.h5ad cut/p --obs-column phase --size-within --size 200",
    );
    assert!(names(&path.join("cut")).contains("p_G1_shard_1.h5ad"));
}

#[test]
fn what_a_file_does_not_allow_is_said_in_one_line() {
    let folder = folder();
    let path = folder.path();
    for (args, told) in [
        (
            "--split a=500,b=500",
            "The parts take 1,000 cells, and there are 700 cells",
        ),
        ("--split a=5,b=6", "give one of them * for the rest"),
        (
            "--split a=0.5,b=* --split-by phases",
            "no column 'phases'; similar is 'phase'",
        ),
        (
            "--split a=1,b=1,c=1,d=* --split-by phase",
            "'phase' has 3 values, too few for 4 parts",
        ),
        (
            "--split a=0.5,b=* --stratify n_counts",
            "'n_counts' is float",
        ),
        (
            "--split a=1.0 --split-label phase",
            "obs has a column 'phase' already",
        ),
        ("--split a=1.0 --split-label a/b", "its name has a '/'"),
        ("--split-column phas", "no column 'phas'"),
        ("--sort-by nothing", "no column 'nothing'"),
    ] {
        let line = refused(path, &format!("slice pbmc.h5ad p {args}"));
        assert!(line.contains(told), "{args}: {line}");
    }
    let line = refused(path, "filter pbmc.h5ad f.h5ad --sample 5 --stratify fase");
    assert!(line.contains("no column 'fase'"), "{line}");
    assert_eq!(names(path).len(), 1);
}

#[test]
fn a_sample_is_the_same_again() {
    let folder = folder();
    let path = folder.path();
    let said = done(
        path,
        "filter pbmc.h5ad a.h5ad --sample 10% --stratify phase",
    );
    let seed = said.split("Sample at random (seed=").nth(1).unwrap();
    let seed = seed.split(')').next().unwrap();
    done(
        path,
        &format!("filter pbmc.h5ad b.h5ad --sample 0.1 --stratify phase --seed {seed} -j 1"),
    );
    assert_eq!(cells(&path.join("a.h5ad")).len(), 70);
    assert_eq!(cells(&path.join("a.h5ad")), cells(&path.join("b.h5ad")));
    let said = done(path, "filter pbmc.h5ad c.h5ad --sample 1k --seed 0");
    assert!(
        said.contains("WARNING: --sample 1000 is more than there is, 700 cells: all are kept"),
        "{said}"
    );
    assert_eq!(cells(&path.join("c.h5ad")).len(), CELLS);
}

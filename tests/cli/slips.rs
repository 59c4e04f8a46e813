//! What people type or give by mistake, and the line that answers it: each says what to do instead.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use hdf5::types::VarLenUnicode;

use crate::harness::{PBMC, annslicer, cells, done, folder, run, shards, stdout};

/// The messages of a run that ends with this code.
fn said(folder: &Path, args: &str, code: i32) -> String {
    let output = run(folder, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args}: {said}");
    said
}

/// The messages of a run that fails, in one line besides warnings, and leaves nothing.
fn refused(folder: &Path, args: &str) -> String {
    let names = || fs::read_dir(folder).unwrap().count();
    let before = names();
    let said = said(folder, &format!("-q {args}"), 1);
    let errors = said.lines().filter(|line| line.starts_with("ERROR: "));
    assert_eq!(errors.count(), 1, "{args}: {said}");
    assert_eq!(names(), before, "{args}");
    said
}

/// `pbmc.h5ad` as `name`, with the names of its genes changed.
fn with_genes(folder: &Path, name: &str, change: impl Fn(&str) -> String) {
    let path = folder.join(name);
    fs::copy(PBMC, &path).unwrap();
    let var = hdf5::File::open_rw(&path).unwrap().group("var").unwrap();
    let index: VarLenUnicode = var.attr("_index").unwrap().read_scalar().unwrap();
    let names = var.dataset(&index).unwrap();
    let changed = names.read_1d::<VarLenUnicode>().unwrap();
    let changed = changed.mapv(|name| change(&name).parse::<VarLenUnicode>().unwrap());
    names.write(&changed).unwrap();
}

#[test]
fn files_of_other_kinds_are_named_with_a_way_to_convert_them() {
    let folder = folder();
    let path = folder.path();
    let files: [(&str, &[u8], &str); 8] = [
        ("a.loom", b"\x89HDF", "anndata.io.read_loom"),
        ("a.h5Seurat", b"\x89HDF", "SeuratDisk"),
        ("a.rds", b"\x1f\x8b", "in R"),
        ("a.h5ad.gz", b"\x1f\x8b", "gunzip"),
        ("zipped.h5ad", b"PK\x03\x04", "unzip"),
        ("gzipped.h5ad", b"\x1f\x8b\x08", "gzip"),
        ("page.h5ad", b"<html>", "download it again"),
        ("empty.h5ad", b"", "is empty"),
    ];
    for (name, bytes, hint) in files {
        fs::write(path.join(name), bytes).unwrap();
        for args in [
            "slice FILE p",
            "merge o.h5ad FILE",
            "filter FILE o.h5ad --where x",
        ] {
            let said = refused(path, &args.replace("FILE", name));
            assert!(said.contains(hint) && said.contains(name), "{args}: {said}");
        }
    }
    let said = refused(path, "slice https://host/a.h5ad p");
    assert!(said.contains("is a URL; download the file"), "{said}");
    let said = refused(path, "slice pbmc p");
    assert!(said.contains("did you mean pbmc.h5ad?"), "{said}");
    fs::write(path.join("a.dat"), "data").unwrap();
    let said = refused(path, "slice a.dat p");
    assert!(
        said.contains("not a .h5ad or .zarr file") && said.contains("read_10x_h5"),
        "{said}"
    );
}

#[test]
fn a_folder_of_shards_is_no_file() {
    let folder = folder();
    said(folder.path(), "slice pbmc.h5ad out/p --size 400", 0);
    for args in ["info out", "slice out p"] {
        let said = refused(folder.path(), args);
        assert!(
            said.contains("out is a folder of 2 .h5ad files; give them as 'out/*.h5ad'"),
            "{said}"
        );
    }
}

#[test]
fn merge_tells_the_genes_in_common() {
    let folder = folder();
    let path = folder.path();
    fs::copy(PBMC, path.join("b.h5ad")).unwrap();
    let text = said(path, "merge o.h5ad pbmc.h5ad b.h5ad", 0);
    assert!(
        text.contains("INFO: Genes: 765 in all files, 765 in any; the result has 765\n"),
        "{text}"
    );
    assert!(
        text.contains("'obsp/connectivities'") && text.contains("--pairwise"),
        "{text}"
    );
    with_genes(path, "case.h5ad", str::to_lowercase);
    with_genes(path, "version.h5ad", |name| format!("{name}.3"));
    for (name, reason) in [
        ("case.h5ad", "upper and lower case"),
        ("version.h5ad", "have a version"),
    ] {
        let text = said(path, &format!("merge o.h5ad pbmc.h5ad {name}"), 0);
        let warning = text
            .lines()
            .find(|line| line.starts_with("WARNING: ") && line.contains("in all files"));
        assert!(
            warning.is_some_and(|line| line.contains(reason)),
            "{name}: {text}"
        );
        assert!(text.contains(" in any; the result has "), "{text}");
    }
    let text = said(path, "merge o.h5ad pbmc.h5ad case.h5ad --join inner", 1);
    assert!(
        text.contains("No gene is in every input: their names differ in upper"),
        "{text}"
    );
}

#[test]
fn a_forgotten_output_of_merge_is_refused() {
    let folder = folder();
    let path = folder.path();
    said(path, "slice pbmc.h5ad p --size 200", 0);
    let shards = "p_shard_0.h5ad p_shard_1.h5ad p_shard_2.h5ad p_shard_3.h5ad";
    let before = fs::read(path.join("p_shard_0.h5ad")).unwrap();
    let text = refused(path, &format!("merge {shards}"));
    assert!(
        text.contains("annslicer merge OUTPUT 'p_shard_*.h5ad'") && text.contains("--overwrite"),
        "{text}"
    );
    assert_eq!(fs::read(path.join("p_shard_0.h5ad")).unwrap(), before);
    let text = refused(
        path,
        "filter p_shard_1.h5ad p_shard_0.h5ad --obs-column n_genes",
    );
    assert!(
        text.contains("annslicer filter p_shard_1.h5ad OUTPUT"),
        "{text}"
    );
    said(path, "slice pbmc.h5ad d --obs-column phase", 0);
    let text = refused(path, "merge d_G1.h5ad d_G2M.h5ad d_S.h5ad");
    assert!(text.contains("annslicer merge OUTPUT 'd_*.h5ad'"), "{text}");
    // The same command again is no slip.
    for _ in 0..2 {
        said(path, &format!("merge whole.h5ad {shards}"), 0);
        said(path, "merge d_A.h5ad d_G1.h5ad d_G2M.h5ad d_S.h5ad", 0);
        said(
            path,
            "filter p_shard_1.h5ad some.h5ad --obs-column n_genes",
            0,
        );
    }
    said(path, &format!("merge --overwrite {shards}"), 0);
    assert_ne!(fs::read(path.join("p_shard_0.h5ad")).unwrap(), before);
}

#[test]
fn shards_of_an_earlier_run_are_named_and_cleaned() {
    let folder = folder();
    let path = folder.path();
    said(path, "slice pbmc.h5ad out/p --size 100", 0);
    fs::write(path.join("out/p_shard_x.h5ad"), "other").unwrap();
    let text = said(path, "slice pbmc.h5ad out/p --size 300", 0);
    let warning = "WARNING: 4 older shards of this prefix remain, which a pattern would merge too: \
                   out/p_shard_3.h5ad to out/p_shard_6.h5ad; --clean removes";
    assert!(text.contains(warning), "{text}");
    let text = said(path, "merge all.h5ad out/p_shard_?.h5ad", 1);
    assert!(text.contains("out/p_shard_x.h5ad"), "{text}");
    fs::remove_file(path.join("out/p_shard_x.h5ad")).unwrap();
    let text = said(path, "merge all.h5ad out/p_shard_*.h5ad", 0);
    assert!(
        text.contains("is a shard given twice, or are shards of an earlier run among them?"),
        "{text}"
    );
    let text = said(path, "slice pbmc.h5ad out/p --size 300 --clean", 0);
    assert!(text.contains("4 older shards of this prefix go"), "{text}");
    assert_eq!(fs::read_dir(path.join("out")).unwrap().count(), 3);
    assert!(!said(path, "slice pbmc.h5ad out/p --size 300 --clean", 0).contains("older"));
}

#[test]
fn shards_of_another_split_are_named() {
    let folder = folder();
    let path = folder.path();
    let split = "slice pbmc.h5ad p --size 300 --seed 0 --split";
    said(path, &format!("{split} train=0.6,val=0.2,test=0.2"), 0);
    let text = said(path, &format!("{split} train=0.6,test=0.4"), 0);
    let told = "1 shard is of other parts here, such as p_val_shard_0.h5ad:";
    assert!(text.contains(told), "{text}");
}

#[test]
fn words_that_are_nearly_right_are_told_what_was_meant() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("heading.txt"), "gene\nLCK\n").unwrap();
    fs::write(path.join("other.txt"), "nothing\n").unwrap();
    fs::write(path.join("table.txt"), "LCK,1\nCD3D,2\n").unwrap();
    for (args, code, told) in [
        (
            "filter pbmc.h5ad f.h5ad --where phase == G1",
            2,
            "an expression is one argument, in quotes",
        ),
        (
            "filter pbmc.h5ad f.h5ad --where obs.phase=='G1'",
            1,
            "obs has no column 'obs.phase'; write phase, without 'obs.'",
        ),
        (
            "filter pbmc.h5ad f.h5ad --genes heading.txt",
            1,
            "'gene'; the list has no heading",
        ),
        (
            "filter pbmc.h5ad f.h5ad --genes table.txt",
            1,
            "the list has one name a line, and no other columns",
        ),
        (
            "filter pbmc.h5ad f.h5ad --genes heading.txt --gene-column no --missing-genes skip",
            1,
            "var has no column 'no'",
        ),
        (
            "filter pbmc.h5ad f.h5ad --genes other.txt --missing-genes skip",
            1,
            "Of 1 gene in --genes, 1 is not in every input: 'nothing'",
        ),
        (
            "slice pbmc.h5ad pbmc.h5ad p --join iner --compression gzip",
            2,
            "invalid value 'iner' for '--join",
        ),
        (
            "filter pbmc.h5ad f.h5ad --cells - --genes -",
            2,
            "standard input (-) can be read once",
        ),
        (
            "slice pbmc.h5ad p --split train=80,test=20 --seed 0",
            1,
            "; percentages are written as 80%",
        ),
    ] {
        let text = said(path, args, code);
        assert!(text.contains(told), "{args}: {text}");
    }
    let text = said(path, "merge m.h5ad pbmc.h5ad pbmc.h5ad", 0);
    assert!(text.contains("; pbmc.h5ad is given twice"), "{text}");
    fs::copy(PBMC, path.join("b.h5ad")).unwrap();
    let text = said(path, "slice pbmc.h5ad b.h5ad --size 400", 0);
    assert!(text.contains("was the prefix forgotten?"), "{text}");
}

#[test]
fn a_folder_for_scratch_is_made_where_it_is_needed() {
    let folder = folder();
    let path = folder.path();
    let slice = "slice pbmc.h5ad out/p --size 100 --shuffle --seed 0 --compression gzip";
    said(
        path,
        &format!("{slice} --block-bytes 700 --tmpdir new/tmp"),
        0,
    );
    assert_eq!(fs::read_dir(path.join("new/tmp")).unwrap().count(), 0);
    let text = said(
        path,
        &format!("{slice} --block-bytes 700 --tmpdir pbmc.h5ad"),
        1,
    );
    assert!(text.contains("(see --tmpdir)"), "{text}");
}

#[test]
fn shards_that_are_not_among_the_inputs_are_told() {
    let folder = folder();
    said(folder.path(), "slice pbmc.h5ad p --size 100", 0);
    let text = said(
        folder.path(),
        "merge o.h5ad p_shard_0.h5ad p_shard_2.h5ad p_shard_3.h5ad",
        0,
    );
    assert!(
        text.contains("of which number 1 is not among them"),
        "{text}"
    );
}

#[test]
fn lists_in_the_order_of_a_shell_are_warned_of() {
    let folder = folder();
    let path = folder.path();
    said(path, "slice pbmc.h5ad p --size 60", 0);
    let list = "p_shard_0.h5ad p_shard_1.h5ad p_shard_10.h5ad p_shard_11.h5ad p_shard_2.h5ad p_shard_3.h5ad";
    let text = said(path, &format!("merge o.h5ad {list}"), 0);
    assert!(
        text.contains("--natural-sort") && text.contains("10 comes before 2"),
        "{text}"
    );
    let text = said(path, &format!("merge o.h5ad {list} --natural-sort"), 0);
    assert!(!text.contains("--natural-sort"), "{text}");
    let text = refused(
        path,
        &format!("merge q.h5ad {list} --natural-sort --label l --keys a b c d e f"),
    );
    assert!(text.contains("--keys"), "{text}");
}

#[test]
fn a_prefix_that_is_hardly_meant_keeps_its_names_and_is_told() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir(path.join("shards")).unwrap();
    for (prefix, first, better) in [
        ("shards", "shards_shard_0.h5ad", "shards/pbmc"),
        ("shards/", "shards/_shard_0.h5ad", "shards/pbmc"),
        (".", "._shard_0.h5ad", "./pbmc"),
        ("p.h5ad", "p.h5ad_shard_0.h5ad", "p"),
    ] {
        let text = said(path, &format!("slice pbmc.h5ad {prefix}"), 0);
        let warning = format!(
            "WARNING: The shards are called {first} and so on; for {better}_shard_0.h5ad give the prefix {better}\n"
        );
        assert!(text.contains(&warning), "{prefix}: {text}");
        assert!(path.join(first).exists(), "{prefix}");
    }
    let text = said(path, "slice pbmc.h5ad new/p --size 400", 0);
    assert!(!text.contains("WARNING: The shards"), "{text}");
    let end = text
        .lines()
        .find(|line| line.contains("successfully created"))
        .unwrap();
    assert!(
        end.contains("All 2 shards")
            && end.contains("): new/p_shard_0.h5ad (")
            && end.contains(") to new/p_shard_1.h5ad ("),
        "{end}"
    );
    assert!(
        text.contains("Without compression: ") && text.contains("--compression gzip writes about"),
        "{text}"
    );
    assert!(
        !said(path, "slice pbmc.h5ad z/p --compression gzip", 0).contains("Without compression")
    );
}

#[test]
fn a_value_that_no_cell_has_is_told_with_what_is_like_it() {
    let folder = folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_annslicer"));
    command.args(["filter", "pbmc.h5ad", "o.h5ad", "--where", "phase == 'g1'"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("WARNING: No cell has 'g1' in column 'phase'; there are 'G1'"),
        "{text}"
    );
    assert!(text.contains("WARNING: No cell is kept"), "{text}");
}

#[test]
fn a_text_that_no_cell_has_is_told_of_plain_columns_too() {
    let folder = folder();
    let path = folder.path();
    let name = &cells(&path.join("pbmc.h5ad"))[3];
    {
        // As a column, since the index has no name of its own.
        let file = hdf5::File::open_rw(path.join("pbmc.h5ad")).unwrap();
        let obs = file.group("obs").unwrap();
        let order = obs.attr("column-order").unwrap();
        let mut columns = order.read_1d::<VarLenUnicode>().unwrap().to_vec();
        columns.push("barcode".parse().unwrap());
        obs.link_hard("index", "barcode").unwrap();
        obs.delete_attr("column-order").unwrap();
        let order = obs.new_attr_builder().with_data(&columns);
        order.create("column-order").unwrap();
    }
    let filter = |text: &str| {
        let mut command = annslicer(path, "filter pbmc.h5ad o.h5ad --where");
        let output = command.arg(format!("barcode in ['{text}', '{name}']"));
        let output = output.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let text = filter(&format!("{name}x"));
    let wanted =
        format!("WARNING: No cell has '{name}x' in column 'barcode'; similar are '{name}'");
    assert!(text.contains(&wanted), "{text}");
    let text = filter(name);
    assert!(!text.contains("No cell has"), "{text}");
}

#[test]
fn info_shows_the_files_that_can_be_read() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("no.h5ad"), "text").unwrap();
    let output = run(path, "info no.h5ad pbmc.h5ad gone.h5ad");
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with("pbmc.h5ad\n700 cells"), "{shown}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("ERROR: 2 of 3 files cannot be read"),
        "{told}"
    );
    assert!(told.contains("Cannot read no.h5ad"), "{told}");
    let output = run(path, "info --json no.h5ad pbmc.h5ad");
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(files[1]["shape"][0], 700);
    let error = files[0]["error"].as_str().unwrap();
    assert!(error.contains("Cannot read no.h5ad"), "{error}");
}

#[test]
fn a_limit_below_the_least_is_told_with_the_least_which_is_little_for_little_data() {
    let folder = folder();
    let slice = "slice pbmc.h5ad p --size 100 --shuffle --memory-limit";
    let told = said(folder.path(), &format!("{slice} 20MB"), 0);
    assert!(told.contains("is too little for 700 cells"), "{told}");
    let told = said(folder.path(), &format!("{slice} 60MB -j 2"), 0);
    assert!(!told.contains("too little"), "{told}");
}

#[test]
fn patterns_are_patterns_for_every_command() {
    let folder = folder();
    let path = folder.path();
    said(path, "slice pbmc.h5ad p --size 60", 0);
    let output = run(path, "info --json p_shard_*.h5ad");
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let paths: Vec<_> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths.len(), 12);
    assert_eq!(paths[2], "p_shard_2.h5ad", "numbers count as numbers");
    assert_eq!(files[0]["schema"], 1);
    let output = run(path, "check --json p_shard_1*.h5ad");
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (files.as_array().unwrap().len(), &files[0]["schema"]),
        (3, &1.into())
    );
    said(path, "slice pb*.h5ad q", 0);
    said(path, "slice p_shard_*.h5ad r --size 700 --natural-sort", 0);
    assert!(path.join("r_shard_0.h5ad").exists() && !path.join("r_shard_1.h5ad").exists());
    let text = said(
        path,
        "slice p_shard_0.h5ad p_shard_1.h5ad p_shard_2.h5ad",
        2,
    );
    assert!(text.contains("was the prefix forgotten?"), "{text}");
    assert!(refused(path, "info none_*.h5ad").contains("matches no file"));
}

#[test]
fn scripts_read_plans_and_manifests() {
    let folder = folder();
    let path = folder.path();
    let output = run(path, "slice pbmc.h5ad p --size 300 --dry-run --json");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["schema"], 1);
    assert_eq!(plan["outputs"][2]["path"], "p_shard_2.h5ad");
    assert_eq!(plan["outputs"][2]["rows"], 100);
    assert!(plan["outputs"][0]["bytes"].as_u64().unwrap() > 0);
    said(
        path,
        "slice pbmc.h5ad d --obs-column phase --manifest m.json",
        0,
    );
    let manifest = fs::read_to_string(path.join("m.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["schema"], 1);
    assert_eq!(manifest["outputs"][0]["value"], "G1");
    assert_eq!(manifest["outputs"][0]["path"], "d_G1.h5ad");
    assert!(manifest["started"].as_str().unwrap().ends_with('Z'));
    assert!(manifest["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn an_input_in_the_place_of_the_output_is_not_replaced() {
    let folder = folder();
    let dir = folder.path();
    said(dir, "slice pbmc.h5ad p --size 300", 0);
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        let shard = dir.join(format!("p_shard_{number}.h5ad"));
        fs::rename(shard, dir.join(format!("{name}.h5ad"))).unwrap();
    }
    let before = fs::read(dir.join("a.h5ad")).unwrap();
    let told = refused(dir, "merge a.h5ad b.h5ad c.h5ad");
    assert!(told.contains("was the output forgotten?"), "{told}");
    assert!(told.contains("merge OUTPUT a.h5ad"), "{told}");
    assert_eq!(fs::read(dir.join("a.h5ad")).unwrap(), before);
    // The result of an earlier merge is replaced, whatever its inputs are by now.
    said(dir, "merge all.h5ad a.h5ad b.h5ad", 0);
    said(dir, "merge all.h5ad a.h5ad b.h5ad c.h5ad", 0);
    said(dir, "merge all.h5ad c.h5ad a.h5ad --index-unique -", 0);
    said(dir, "merge all.h5ad c.h5ad b.h5ad", 0);
    said(dir, "merge all.h5ad a.h5ad --overwrite", 0);
    // Cells of the inputs alone, but no whole one of them.
    said(dir, "filter pbmc.h5ad most.h5ad --sample 95% --seed 0", 0);
    let told = refused(dir, "merge a.h5ad most.h5ad pbmc.h5ad");
    assert!(told.contains("was the output forgotten?"), "{told}");
    let told = refused(dir, "filter most.h5ad pbmc.h5ad --where n_genes>600");
    assert!(told.contains("has cells that the input lacks"), "{told}");
    // In filter the input comes first.
    let told = refused(dir, "filter a.h5ad b.h5ad --where n_genes>0");
    assert!(told.contains("filter INPUT OUTPUT"), "{told}");
    for more in [500, 800] {
        let filter = format!("filter all.h5ad some.h5ad --where n_genes>{more}");
        said(dir, &filter, 0);
    }
    // In folders of their own, each with a file of the same name.
    for name in ["a", "b"] {
        fs::create_dir(dir.join(name)).unwrap();
        fs::rename(
            dir.join(format!("{name}.h5ad")),
            dir.join(name).join("data.h5ad"),
        )
        .unwrap();
    }
    refused(dir, "merge a/data.h5ad b/data.h5ad");
    // Of other shards of the same cells too.
    for seed in [1, 2] {
        let slice = format!("slice pbmc.h5ad p --shards 3 --shuffle --seed {seed}");
        said(dir, &slice, 0);
        said(dir, "merge some.h5ad p_shard_0.h5ad p_shard_1.h5ad", 0);
    }
}

#[test]
fn options_by_their_names_elsewhere_are_told() {
    let folder = folder();
    for (typed, meant) in [
        ("--shard-size", "--size"),
        ("--shard_size", "--size"),
        ("--random-state", "--seed"),
        ("--n_shards", "--shards"),
    ] {
        let told = said(folder.path(), &format!("slice pbmc.h5ad p {typed} 5"), 2);
        assert!(told.contains(&format!("did you mean {meant}?")), "{told}");
    }
}

#[test]
fn a_collection_is_its_datasets_to_check_and_info() {
    let folder = folder();
    let dir = folder.path();
    let told = said(
        dir,
        "slice pbmc.h5ad p --format annbatch --shards 2 --csr --drop raw varm/*",
        0,
    );
    assert!(told.contains("add --shuffle for training"), "{told}");
    let told = stdout(dir, "check p.zarr");
    assert!(
        told.contains("dataset_0") && told.contains("dataset_1"),
        "{told}"
    );
    let told = stdout(dir, "info p.zarr");
    assert!(
        told.contains("dataset_1") && !told.contains("unknown"),
        "{told}"
    );
}

#[test]
fn a_pipe_is_no_input_and_is_not_waited_for() {
    let folder = folder();
    let path = folder.path();
    let made = Command::new("mkfifo").arg(path.join("p.h5ad")).status();
    assert!(made.unwrap().success());
    for args in [
        "info p.h5ad",
        "slice p.h5ad s",
        "filter p.h5ad f.h5ad --where n_genes>0",
        "merge m.h5ad p.h5ad pbmc.h5ad",
    ] {
        let text = refused(path, args);
        assert!(
            text.contains("p.h5ad") && text.contains("a pipe or a device"),
            "{args}: {text}"
        );
    }
    let text = stdout_of_failure(path, "check p.h5ad");
    assert!(text.contains("a pipe or a device"), "{text}");
}

fn stdout_of_failure(folder: &Path, args: &str) -> String {
    let output = run(folder, args);
    assert_eq!(output.status.code(), Some(1), "{args}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn text_without_quotes_and_columns_of_text_are_told_apart() {
    let folder = folder();
    let dir = folder.path();
    for (typed, told) in [
        (
            "--where phase==G1",
            "a value that is text needs quotes: \"G1\"",
        ),
        ("--where phas==G1", "no column 'phas'; similar is 'phase'"),
        ("--obs-column phase", "--where 'phase == \"value\"'"),
    ] {
        let said = refused(dir, &format!("filter pbmc.h5ad g1.h5ad {typed}"));
        assert!(said.contains(told), "{typed}: {said}");
    }
}

/// Runs with these words as arguments, and gives the one error.
fn error(folder: &Path, words: &[&str]) -> String {
    let mut command = annslicer(folder, "-q");
    let output = command.args(words).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{words:?}");
    assert_eq!(text.lines().count(), 1, "{words:?}: {text}");
    text
}

#[test]
fn inputs_that_are_not_there_are_told_in_one_form() {
    let folder = folder();
    let path = folder.path();
    let none = "a.h5ad does not exist";
    for (args, told) in [
        ("slice a.h5ad p", none),
        ("slice pbmc.h5ad a.h5ad p", none),
        ("filter a.h5ad o.h5ad --where x", none),
        ("merge o.h5ad a.h5ad", none),
        ("merge o.h5ad pbmc.h5ad a.h5ad", none),
        ("info a.h5ad", none),
        (
            "merge o.h5ad a.h5ad pbmc.h5ad b.h5ad n*",
            "3 of 4 inputs do not exist: a.h5ad, b.h5ad, n*",
        ),
        ("slice n* p", "Pattern n* matches no file"),
        ("info n*", "Pattern n* matches no file"),
        (
            "slice pbmc p",
            "pbmc does not exist; did you mean pbmc.h5ad?",
        ),
    ] {
        let said = refused(path, args);
        assert_eq!(said, format!("ERROR: {told}\n"), "{args}");
    }
    let said = stdout_of_failure(path, "check a.h5ad");
    assert!(
        said.starts_with("a.h5ad: error: a.h5ad does not exist\n"),
        "{said}"
    );
    std::os::unix::fs::symlink("gone", path.join("link.h5ad")).unwrap();
    let said = refused(path, "info link.h5ad");
    assert!(
        said.contains("link.h5ad is a link to gone, which does not exist"),
        "{said}"
    );
}

#[test]
fn a_path_with_a_space_that_was_not_quoted_is_recognised() {
    let folder = folder();
    let path = folder.path();
    fs::copy(PBMC, path.join("my file.h5ad")).unwrap();
    for args in [
        "slice my file.h5ad out",
        "slice my file.h5ad",
        "filter my file.h5ad out.h5ad --where x",
        "merge out.h5ad pbmc.h5ad my file.h5ad",
        "info my file.h5ad",
        "check my file.h5ad",
    ] {
        let said = refused(path, args);
        let told = "ERROR: my does not exist; did you mean 'my file.h5ad'? quote it\n";
        assert_eq!(said, told, "{args}");
    }
}

#[test]
fn a_file_that_is_not_whole_is_told_in_plain_words() {
    let folder = folder();
    let path = folder.path();
    let whole = fs::read(PBMC).unwrap();
    fs::write(path.join("cut.h5ad"), &whole[..100_000]).unwrap();
    let told = format!(
        "It is not a whole HDF5 file: it was cut off at 100000 bytes of {}; copy or download it again",
        whole.len()
    );
    for args in [
        "slice cut.h5ad p",
        "merge o.h5ad pbmc.h5ad cut.h5ad",
        "info cut.h5ad",
    ] {
        let said = refused(path, args);
        assert!(
            said.contains(&told) && said.contains("cut.h5ad"),
            "{args}: {said}"
        );
    }
    assert!(stdout_of_failure(path, "check cut.h5ad").contains(&told));
    let mut damaged = whole;
    let tree = damaged
        .windows(4)
        .position(|bytes| bytes == b"TREE")
        .unwrap();
    damaged[tree..tree + 4].copy_from_slice(b"TRAE");
    fs::write(path.join("damaged.h5ad"), damaged).unwrap();
    let said = refused(path, "slice damaged.h5ad p");
    assert!(said.contains("; --debug tells more"), "{said}");
    assert!(said.contains("wrong B-tree signature"), "{said}");
    let output = run(path, "slice damaged.h5ad p --debug");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("DEBUG: HDF5: ") && said.contains("signature"),
        "{said}"
    );
}

#[test]
fn expressions_that_are_nearly_right_are_told_what_is_missing() {
    let folder = folder();
    for (typed, told) in [
        (
            "cell type == 'x'",
            "if that is one name, put it in backticks: `cell type`",
        ),
        ("phase == 'G1' or 'S'", "did you mean phase in ['G1', 'S']?"),
    ] {
        let said = error(
            folder.path(),
            &["filter", "pbmc.h5ad", "o.h5ad", "--where", typed],
        );
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn an_option_before_the_subcommand_is_told_its_place() {
    let folder = folder();
    let said = said(folder.path(), "--size 4 slice pbmc.h5ad out", 2);
    assert!(
        said.contains("--size is an option of slice, and comes after it"),
        "{said}"
    );
}

#[test]
fn a_pattern_that_matches_the_output_of_an_earlier_run_is_explained() {
    let folder = folder();
    let path = folder.path();
    fs::copy(PBMC, path.join("b.h5ad")).unwrap();
    for (merge, told) in [
        ("merge out.h5ad *.h5ad", "the pattern '*.h5ad' matches it"),
        (
            "merge out.h5ad b.h5ad out.h5ad pbmc.h5ad",
            "where a pattern such as *.h5ad matches it",
        ),
    ] {
        done(path, "merge out.h5ad b.h5ad pbmc.h5ad");
        let said = refused(path, merge);
        assert!(said.contains(told) && said.contains("folder"), "{said}");
    }
}

#[test]
fn an_input_in_the_place_of_the_output_is_seen_however_it_is_typed() {
    let folder = folder();
    let path = folder.path();
    done(path, "slice pbmc.h5ad p --size 350");
    for (number, name) in ["a", "b"].iter().enumerate() {
        let shard = path.join(format!("p_shard_{number}.h5ad"));
        fs::rename(shard, path.join(format!("{name}.h5ad"))).unwrap();
    }
    let said = refused(path, "merge ./a.h5ad b.h5ad");
    assert!(said.contains("was the output forgotten?"), "{said}");
}

#[test]
fn a_virtual_file_that_cannot_be_is_refused_before_it_is_written() {
    let folder = folder();
    let path = folder.path();
    with_genes(path, "genes.h5ad", |name| format!("{name}.3"));
    let filter = "filter pbmc.h5ad FILE --where n_genes>0";
    for (file, options) in [
        ("lacks.h5ad", "--drop obsm/X_pca"),
        ("store.zarr", ""),
        ("alike.h5ad", ""),
    ] {
        done(path, &format!("{} {options}", filter.replace("FILE", file)));
    }
    for (file, told) in [
        (
            "genes.h5ad",
            "'X' of pbmc.h5ad, which has other genes than the result",
        ),
        (
            "lacks.h5ad",
            "refer to 'obsm/X_pca' of lacks.h5ad, which it lacks; merge without",
        ),
        ("store.zarr", "'X' of store.zarr, which is in a Zarr store"),
    ] {
        for options in ["--virtual", "--virtual --dry-run"] {
            let said = refused(path, &format!("merge v.h5ad pbmc.h5ad {file} {options}"));
            assert!(said.contains("No virtual dataset can refer to "), "{said}");
            assert!(said.contains(told), "{said}");
        }
    }
    done(
        path,
        "merge v.h5ad pbmc.h5ad alike.h5ad --virtual --dry-run",
    );
    let text = done(path, "merge v.h5ad pbmc.h5ad alike.h5ad --virtual");
    assert!(!text.contains("Without compression"), "{text}");
    let told = stdout(path, "info v.h5ad");
    assert!(told.contains("virtual, of 2 files"), "{told}");
    let told = stdout(path, "info v.h5ad --json");
    let files: serde_json::Value = serde_json::from_str(&told).unwrap();
    let elements = files[0]["elements"].as_array().unwrap();
    let of = |name| {
        elements
            .iter()
            .find(|element| element["path"] == name)
            .unwrap()
    };
    assert_eq!(of("X")["storage"]["virtual_files"], 2);
    assert!(of("obs/phase")["storage"]["virtual_files"].is_null());
}

#[test]
fn a_run_tells_the_memory_of_its_plan() {
    let folder = folder();
    let path = folder.path();
    let slice = "slice pbmc.h5ad p --shuffle --seed 0 --memory-limit 1GB -j 2";
    let plan = stdout(path, &format!("{slice} --dry-run"));
    let told = plan.lines().find_map(|line| line.strip_prefix("memory   "));
    let text = done(path, slice);
    assert!(
        text.contains(&format!(
            "({}, 2 threads)",
            ["memory", told.unwrap()].join(" ")
        )),
        "{text}"
    );
}

#[test]
fn what_compression_would_write_counts_what_is_in_each_shard() {
    let folder = folder();
    let path = folder.path();
    let text = done(path, "slice pbmc.h5ad p --size 20");
    let told = text.split("gzip writes about ").nth(1).unwrap();
    done(path, "slice pbmc.h5ad z --size 20 --compression gzip");
    let sizes = shards(path, "z");
    let written = sizes.iter().map(|path| path.metadata().unwrap().len());
    let number: f64 = told.split(' ').next().unwrap().parse().unwrap();
    let share = number * 1e6 / written.sum::<u64>() as f64;
    assert!(
        told.contains(" MB\n") && (0.5..2.0).contains(&share),
        "{share}: {text}"
    );
}

#[test]
fn the_datasets_of_a_collection_that_are_alike_are_told_together() {
    let folder = folder();
    let path = folder.path();
    done(
        path,
        "slice pbmc.h5ad p --format annbatch --shards 3 --csr --drop raw --shuffle",
    );
    let told = stdout(path, "info p.zarr");
    assert_eq!(told.matches("connectivities").count(), 1, "{told}");
    let line = told.lines().last().unwrap();
    let wanted = "p.zarr/dataset_1 to p.zarr/dataset_2 are the same, with other cells: 466 cells, ";
    assert!(line.starts_with(wanted), "{told}");
    let files: serde_json::Value =
        serde_json::from_str(&stdout(path, "info p.zarr --json")).unwrap();
    assert_eq!(files.as_array().unwrap().len(), 3);
}

/// Names and times that no run of this program makes, but a folder may have.
#[test]
fn odd_neighbours_do_not_end_a_run() {
    let folder = folder();
    let path = folder.path();
    fs::copy(PBMC, path.join("p_shard_18446744073709551615.h5ad")).unwrap();
    said(
        path,
        "merge m.h5ad p_shard_18446744073709551615.h5ad pbmc.h5ad",
        0,
    );
    let part = ".part-1-of-18446744073709551615.q.annslicer-resume";
    fs::create_dir(path.join(part)).unwrap();
    let text = said(path, "slice pbmc.h5ad q --finish", 1);
    assert!(text.contains("There are no parts of q"), "{text}");
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000_000);
    let input = fs::File::open(path.join("pbmc.h5ad")).unwrap();
    input.set_modified(far).unwrap();
    said(path, "slice pbmc.h5ad r --manifest r.json", 0);
}

#[test]
fn a_table_may_come_through_a_pipe() {
    let folder = folder();
    let path = folder.path();
    let names = cells(Path::new(PBMC));
    let lines = names.iter().enumerate();
    let lines = lines.map(|(at, name)| format!("{name},{},{}\n", at % 2, at % 3));
    let table = format!("cell,two,three\n{}", lines.collect::<String>());
    fs::write(path.join("t.csv"), table).unwrap();
    let program = env!("CARGO_BIN_EXE_annslicer");
    let slice = "slice pbmc.h5ad p --obs-column two three --csv-file <(cat t.csv)";
    let mut shell = Command::new("bash");
    shell
        .current_dir(path)
        .args(["-c", &format!("{program} {slice}")]);
    assert!(shell.status().unwrap().success());
    assert_eq!(cells(&path.join("p_1_2.h5ad"))[0], names[5]);
}

//! Frames made by hand, merged, and read again.

use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::frame::column::{Column, ColumnKind};
use crate::frame::plain;
use crate::frame::values::Values;
use crate::merge::genes::Genes;
use crate::merge::join::Join;
use crate::store::spec::{Attr, Attrs, ByteOrder, Dtype, Kind};
use crate::store::{self, Access, Container};

/// What a test writes as one column.
#[derive(Clone, Debug)]
enum Given {
    Numbers(Dtype, Vec<u8>),
    Text(Vec<&'static str>),
    Nullable(&'static str, Box<Given>, Vec<bool>),
    Categorical(Vec<i8>, Box<Given>, bool),
}
use Given::{Categorical, Nullable, Numbers, Text};

fn int64(values: &[i64]) -> Given {
    let bytes = values.iter().flat_map(|v| v.to_ne_bytes());
    Numbers(Dtype::INT64, bytes.collect())
}

fn uint64(values: &[u64]) -> Given {
    let bytes = values.iter().flat_map(|v| v.to_ne_bytes());
    Numbers(Dtype::native(Kind::Uint, 8), bytes.collect())
}

fn float64(values: &[f64]) -> Given {
    let bytes = values.iter().flat_map(|v| v.to_ne_bytes());
    Numbers(Dtype::FLOAT64, bytes.collect())
}

fn bools(values: &[bool]) -> Given {
    Numbers(Dtype::BOOL, values.iter().map(|v| *v as u8).collect())
}

fn categorical(codes: &[i8], categories: &[&'static str]) -> Given {
    Categorical(codes.to_vec(), Box::new(Text(categories.to_vec())), false)
}

fn ordered(codes: &[i8], categories: &[&'static str]) -> Given {
    Categorical(codes.to_vec(), Box::new(Text(categories.to_vec())), true)
}

fn nullable_int(values: &[i64], mask: &[bool]) -> Given {
    Nullable("nullable-integer", Box::new(int64(values)), mask.to_vec())
}

fn write(out: &Group, path: &str, given: &Given) {
    match given {
        Numbers(dtype, bytes) => {
            let rows = bytes.len() / dtype.size();
            let mut writer = plain::array(out, path, rows as u64, dtype).unwrap();
            writer.append(bytes).unwrap();
            writer.finish().unwrap();
        }
        Text(texts) => {
            let mut writer = plain::array(out, path, texts.len() as u64, &Dtype::String).unwrap();
            let strings = texts.iter().map(|t| t.as_bytes()).collect();
            writer.append_strings(&strings).unwrap();
            writer.finish().unwrap();
        }
        Nullable(kind, values, mask) => {
            out.create_group(path, &Attrs::encoding(kind, "0.1.0"))
                .unwrap();
            write(out, &format!("{path}/values"), values);
            write(out, &format!("{path}/mask"), &bools(mask));
        }
        Categorical(codes, categories, ordered) => {
            let attrs = Attrs::encoding("categorical", "0.2.0");
            let attrs = attrs.with("ordered", Attr::bool(*ordered));
            out.create_group(path, &attrs).unwrap();
            write(out, &format!("{path}/categories"), categories);
            let bytes = codes.iter().map(|c| *c as u8).collect();
            let codes = Numbers(Dtype::native(Kind::Int, 1), bytes);
            write(out, &format!("{path}/codes"), &codes);
        }
    }
}

type Columns = [(&'static str, Given)];

/// Writes a frame; its columns are those of `columns` whose name is not that of the index.
fn write_frame(out: &Group, path: &str, index: (&str, &[&'static str]), columns: &Columns) {
    let names = columns.iter().map(|(name, _)| name.to_string()).collect();
    let attrs = Attrs::encoding("dataframe", "0.2.0")
        .with("_index", Attr::Text(index.0.into()))
        .with("column-order", Attr::texts(names));
    out.create_group(path, &attrs).unwrap();
    write(out, &format!("{path}/{}", index.0), &Text(index.1.to_vec()));
    for (name, given) in columns.iter().filter(|(name, _)| *name != index.0) {
        write(out, &format!("{path}/{name}"), given);
    }
}

fn file(folder: &Path, name: &str, fill: impl Fn(&Group)) -> Group {
    let path = folder.join(name);
    let out = store::create(&path, Container::H5AD).unwrap();
    fill(&out);
    out.finish().unwrap();
    store::open(&path, &Access::default()).unwrap()
}

/// Names of `rows` cells, as many as a test may need.
fn cells(rows: usize) -> Vec<&'static str> {
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][..rows].to_vec()
}

/// Merges the frames at one path, as a merge does it.
fn rows(parts: &[Option<&Frame>], obs: &[Frame], out: &Group, path: &str) -> Result<()> {
    let mut scan = FrameScan::default();
    let cells = obs.iter().map(Frame::rows).sum();
    for (part, obs) in parts.iter().zip(obs) {
        part.map_or(Ok(()), |part| scan.add(part, obs.rows()))?;
    }
    if scan.reopen(cells) {
        parts
            .iter()
            .flatten()
            .try_for_each(|part| scan.look(part))?;
    }
    let mut rows = scan.create(out, path, cells, None, None)?;
    for (input, (part, obs)) in parts.iter().zip(obs).enumerate() {
        let suffix = "";
        let origin = Origin { obs, input, suffix };
        rows.append(*part, &origin, |_| Ok(()))?;
    }
    rows.finish()
}

/// Merges the obs of files with these columns and rows; an error as one line.
fn merge_obs(inputs: &[(usize, &Columns)]) -> Result<(TempDir, Group), String> {
    let folder = TempDir::new().unwrap();
    let mut frames = vec![];
    for (i, (rows, columns)) in inputs.iter().enumerate() {
        let name = format!("{i}.h5ad");
        let index = ("_index", &cells(*rows)[..]);
        let root = file(folder.path(), &name, |out| {
            write_frame(out, "obs", index, columns)
        });
        frames.push(Frame::open(&root, "obs").map_err(|e| format!("{e:#}"))?);
    }
    let parts: Vec<Option<&Frame>> = frames.iter().map(Some).collect();
    let path = folder.path().join("out.h5ad");
    let out = store::create(&path, Container::H5AD).unwrap();
    rows(&parts, &frames, &out, "obs").map_err(|e| format!("{e:#}"))?;
    out.finish().unwrap();
    Ok((folder, store::open(&path, &Access::default()).unwrap()))
}

/// Merges one column `x` that some of the inputs (of as many rows) have, and shows it.
fn merge_x(inputs: &[(usize, Option<Given>)]) -> (String, Vec<Option<String>>) {
    let columns: Vec<Vec<(&'static str, Given)>> = inputs
        .iter()
        .map(|(_, given)| given.iter().map(|g| ("x", g.clone())).collect())
        .collect();
    let inputs: Vec<(usize, &Columns)> = inputs
        .iter()
        .zip(&columns)
        .map(|((rows, _), columns)| (*rows, &columns[..]))
        .collect();
    let (_folder, root) = merge_obs(&inputs).unwrap();
    show(&root, "obs/x")
}

/// What a column is, and its values as text.
fn show(root: &Group, path: &str) -> (String, Vec<Option<String>>) {
    let node = root.get(path).unwrap().unwrap();
    let column = Column::open(node).unwrap();
    let all = 0..column.rows();
    let texts = |values: Values| -> Vec<Option<String>> {
        let values = values.cast(&Dtype::String).unwrap();
        let text = |i| String::from_utf8(values.data.get(i).to_vec()).unwrap();
        let count = values.data.len();
        (0..count)
            .map(|i| (!values.is_missing(i)).then(|| text(i)))
            .collect()
    };
    let dtype = column.dtype();
    match &column.kind {
        ColumnKind::Plain => (dtype.to_string(), texts(column.read(all).unwrap())),
        ColumnKind::Nullable(_) => {
            let kind = column.attrs.text("encoding-type").unwrap().to_string();
            (format!("{kind} {dtype}"), texts(column.read(all).unwrap()))
        }
        ColumnKind::Categorical {
            categories,
            ordered,
        } => {
            let names = texts(categories.read_all().unwrap());
            let codes = column.codes(all).unwrap();
            let values = codes
                .iter()
                .map(|c| names.get(*c as usize).cloned().flatten());
            let flat: Vec<&str> = names.iter().map(|n| n.as_deref().unwrap()).collect();
            let less = if *ordered { "<" } else { "," };
            (format!("{dtype}[{}]", flat.join(less)), values.collect())
        }
    }
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts
        .iter()
        .map(|t| (*t != "-").then(|| t.to_string()))
        .collect()
}

fn check(inputs: &[(usize, Option<Given>)], kind: &str, values: &[&str]) {
    assert_eq!(
        merge_x(inputs),
        (kind.to_string(), some(values)),
        "{inputs:?}"
    );
}

#[test]
fn what_is_absent_is_missing_and_nothing_else_changes() {
    let half = Dtype::Number {
        kind: Kind::Float,
        size: 4,
        order: ByteOrder::Big,
    };
    let float32 = Numbers(half, 1.5f32.to_be_bytes().to_vec());
    let big = (1i64 << 53) + 1;
    let cases: [(Given, &str, &str); 8] = [
        (int64(&[7]), "float64", "7.0"),
        (int64(&[big]), "nullable-integer int64", "9007199254740993"),
        (
            uint64(&[u64::MAX]),
            "nullable-integer uint64",
            "18446744073709551615",
        ),
        (bools(&[true]), "nullable-boolean bool", "True"),
        (float32, ">float32", "1.5"),
        (Text(vec!["t"]), "nullable-string-array string", "t"),
        (categorical(&[1], &["u", "v"]), "string[u,v]", "v"),
        (nullable_int(&[4], &[false]), "nullable-integer int64", "4"),
    ];
    for (given, kind, text) in cases {
        check(
            &[(1, Some(given.clone())), (2, None)],
            kind,
            &[text, "-", "-"],
        );
        check(&[(1, None), (1, Some(given.clone()))], kind, &["-", text]);
        let alone = merge_x(&[(1, Some(given.clone()))]);
        assert_eq!(merge_x(&[(0, None), (1, Some(given))]), alone);
    }
}

#[test]
fn numbers_promote_as_in_numpy_unless_that_would_round() {
    let big = (1i64 << 53) + 1;
    let int8 = Numbers(Dtype::native(Kind::Int, 1), vec![0xff]);
    let cases = [
        (int64(&[1]), int8, "int64", ["1", "-1"]),
        (int64(&[-1]), uint64(&[2]), "float64", ["-1.0", "2.0"]),
        (
            int64(&[-1]),
            uint64(&[big as u64]),
            "int64",
            ["-1", "9007199254740993"],
        ),
        (
            int64(&[1]),
            uint64(&[u64::MAX]),
            "uint64",
            ["1", "18446744073709551615"],
        ),
        (
            int64(&[-1]),
            uint64(&[u64::MAX]),
            "string",
            ["-1", "18446744073709551615"],
        ),
        (int64(&[3]), float64(&[0.5]), "float64", ["3.0", "0.5"]),
        (
            int64(&[big]),
            float64(&[0.5]),
            "string",
            ["9007199254740993", "0.5"],
        ),
    ];
    for (a, b, kind, values) in cases {
        check(&[(1, Some(a)), (1, Some(b))], kind, &values);
    }
}

#[test]
fn a_mask_survives() {
    let ints = nullable_int(&[1, (1 << 53) + 1], &[false, true]);
    let with = |other| [(2, Some(ints.clone())), (1, Some(other))];
    check(
        &with(int64(&[5])),
        "nullable-integer int64",
        &["1", "-", "5"],
    );
    check(&with(float64(&[0.5])), "float64", &["1.0", "-", "0.5"]);
    check(
        &with(Text(vec!["t"])),
        "nullable-string-array string",
        &["1", "-", "t"],
    );
    let boolean = Nullable("nullable-boolean", Box::new(bools(&[true])), vec![true]);
    check(
        &[(1, Some(boolean)), (1, Some(bools(&[true])))],
        "nullable-boolean bool",
        &["-", "True"],
    );
    let text = Nullable(
        "nullable-string-array",
        Box::new(Text(vec!["u", "v"])),
        vec![false, true],
    );
    check(
        &[(2, Some(text)), (1, Some(Text(vec!["w"])))],
        "nullable-string-array string",
        &["u", "-", "w"],
    );
}

#[test]
fn a_column_without_any_value_has_no_say_in_the_type() {
    check(
        &[(1, Some(bools(&[false]))), (1, Some(float64(&[f64::NAN])))],
        "nullable-boolean bool",
        &["False", "-"],
    );
}

#[test]
fn mixed_kinds_become_text() {
    let cases: [(Given, Given, &str, &[&str]); 3] = [
        (bools(&[true]), int64(&[1]), "string", &["True", "1"]),
        (
            float64(&[1e-5, 1e16]),
            Text(vec!["t"]),
            "string",
            &["1e-05", "1e+16", "t"],
        ),
        (
            float64(&[f64::NAN]),
            Text(vec!["t"]),
            "nullable-string-array string",
            &["-", "t"],
        ),
    ];
    for (a, b, kind, values) in cases {
        let count = |g: &Given| match g {
            Numbers(dtype, bytes) => bytes.len() / dtype.size(),
            _ => 1,
        };
        check(&[(count(&a), Some(a)), (count(&b), Some(b))], kind, values);
    }
}

#[test]
fn categories_are_united_in_order_of_appearance() {
    let first = || categorical(&[1, -1], &["b", "a"]);
    let cases: [(Given, &str, &[&str]); 5] = [
        (
            categorical(&[0], &["c", "a", "unused"]),
            "string[b,a,c,unused]",
            &["a", "-", "c"],
        ),
        (Text(vec!["z"]), "string[b,a,z]", &["a", "-", "z"]),
        (float64(&[f64::NAN]), "string[b,a]", &["a", "-", "-"]),
        (int64(&[4]), "string[b,a,4]", &["a", "-", "4"]),
        (categorical(&[-1], &[]), "string[b,a]", &["a", "-", "-"]),
    ];
    for (other, kind, values) in cases {
        check(&[(2, Some(first())), (1, Some(other))], kind, values);
    }
    let numbers = Categorical(vec![0, 1], Box::new(int64(&[3, 2])), false);
    let floats = float64(&[-0.0, 0.0, 2.0, 0.5]);
    let values = ["3.0", "2.0", "-0.0", "-0.0", "2.0", "0.5"];
    check(
        &[(2, Some(numbers)), (4, Some(floats))],
        "float64[3.0,2.0,-0.0,0.5]",
        &values,
    );
}

#[test]
fn order_stays_only_where_all_agree() {
    let low = || ordered(&[0], &["lo", "hi"]);
    let cases = [
        (Some(low()), "string[lo<hi]", "lo"),
        (None, "string[lo<hi]", "-"),
        (Some(ordered(&[-1], &[])), "string[lo<hi]", "-"),
        (Some(ordered(&[0], &["lo"])), "string[lo,hi]", "lo"),
        (Some(ordered(&[0], &["hi", "lo"])), "string[lo,hi]", "hi"),
        (
            Some(categorical(&[0], &["lo", "hi"])),
            "string[lo,hi]",
            "lo",
        ),
        (Some(Text(vec!["lo"])), "string[lo,hi]", "lo"),
    ];
    for (other, kind, value) in cases {
        check(&[(1, Some(low())), (1, other)], kind, &["lo", value]);
    }
}

#[test]
fn columns_keep_their_order_and_odd_names() {
    let odd: &Columns = &[
        ("a/b", int64(&[1])),
        ("n.é 🧬", Text(vec!["t"])),
        ("z", bools(&[true])),
    ];
    let more: &Columns = &[("z", bools(&[false])), ("a/c", categorical(&[0], &["q"]))];
    let (_folder, root) = merge_obs(&[(1, odd), (1, more)]).unwrap();
    let merged = Frame::open(&root, "obs").unwrap();
    assert_eq!(merged.columns, ["a/b", "n.é 🧬", "z", "a/c"]);
    assert_eq!(show(&root, "obs/a/b").1, some(&["1.0", "-"]));
    assert_eq!(show(&root, "obs/a/c").1, some(&["-", "q"]));
    assert_eq!(
        show(&root, "obs/z"),
        ("bool".into(), some(&["True", "False"]))
    );
}

#[test]
fn what_is_no_column_is_refused_by_name() {
    let short: &Columns = &[("short", int64(&[1]))];
    let e = merge_obs(&[(2, short)]).err().unwrap();
    assert!(e.contains("'obs/short' has 1 rows"), "{e}");
    let codes: &Columns = &[("bad", categorical(&[2], &["a"]))];
    let e = merge_obs(&[(1, codes)]).err().unwrap();
    assert!(e.contains("'obs/bad'") && e.contains("code 2"), "{e}");
    let strange: &Columns = &[(
        "odd",
        Nullable("interval", Box::new(int64(&[1])), vec![true]),
    )];
    let e = merge_obs(&[(1, strange)]).err().unwrap();
    assert!(e.contains("'obs/odd'") && e.contains("interval"), "{e}");
}

#[test]
fn what_changes_between_the_passes_is_an_error() {
    let folder = TempDir::new().unwrap();
    let frame = |name: &str, rows: usize, given: &Given| {
        let columns: &Columns = &[("x", given.clone())];
        let fill = |out: &Group| write_frame(out, "obs", ("_index", &cells(rows)), columns);
        Frame::open(&file(folder.path(), name, fill), "obs").unwrap()
    };
    let first = || categorical(&[0, 1], &["a", "b"]);
    let cases = [
        (first(), 2, categorical(&[0, 1], &["a", "c"]), "not there"),
        (first(), 1, categorical(&[0], &["a"]), "announced"),
        (first(), 3, categorical(&[0; 3], &["a"]), "announced"),
        (int64(&[1, 2]), 2, Text(vec!["1", "2"]), "int64"),
        (int64(&[1, 2]), 2, float64(&[1.0, 2.0]), "int64"),
    ];
    for (at, (before, rows, after, said)) in cases.into_iter().enumerate() {
        let mut scan = FrameScan::default();
        scan.add(&frame(&format!("a{at}"), 2, &before), 2).unwrap();
        let now = frame(&format!("b{at}"), rows, &after);
        let path = folder.path().join(format!("out{at}"));
        let out = store::create(&path, Container::H5AD).unwrap();
        let mut written = scan.create(&out, "obs", 2, None, None).unwrap();
        let (obs, input, suffix) = (&now, 0, "");
        let origin = Origin { obs, input, suffix };
        let appended = written.append(Some(&now), &origin, |_| Ok(()));
        let e = appended.and_then(|()| written.finish()).unwrap_err();
        assert!(format!("{e:#}").contains(said), "{e:#}");
    }
}

#[test]
fn the_index_keeps_a_name_that_all_agree_on() {
    let shared: &Columns = &[("id", Text(vec!["a"]))];
    let other: &Columns = &[("x", int64(&[1]))];
    type Half<'a> = (&'a str, &'a Columns);
    let cases: [(Half, Half, Option<&str>, &[&str]); 6] = [
        (("id", other), ("id", other), Some("id"), &["x"]),
        (("id", other), ("name", other), Some("_index"), &["x"]),
        (("id", shared), ("id", shared), Some("id"), &["id"]),
        (("id", shared), ("id", other), Some("_index"), &["id", "x"]),
        (
            ("name", shared),
            ("id", other),
            Some("_index"),
            &["id", "x"],
        ),
        (
            ("name", &[("_index", int64(&[1]))]),
            ("id", other),
            None,
            &[],
        ),
    ];
    for ((one, a), (two, b), index, columns) in cases {
        let folder = TempDir::new().unwrap();
        let fill = |name: &str, index, columns| {
            let root = file(folder.path(), name, |out| {
                write_frame(out, "obs", (index, &["a"]), columns)
            });
            Frame::open(&root, "obs").unwrap()
        };
        let frames = [fill("a", one, a), fill("b", two, b)];
        let path = folder.path().join("out");
        let out = store::create(&path, Container::H5AD).unwrap();
        let parts = [Some(&frames[0]), Some(&frames[1])];
        let written = rows(&parts, &frames, &out, "obs");
        let Some(index) = index else {
            let e = format!("{:#}", written.unwrap_err());
            assert!(e.contains("'_index'"), "{e}");
            continue;
        };
        written.unwrap();
        out.finish().unwrap();
        let merged = Frame::open(&store::open(&path, &Access::default()).unwrap(), "obs").unwrap();
        assert_eq!(
            (merged.index_name.as_str(), &merged.columns[..]),
            (
                index,
                &columns.iter().map(|c| c.to_string()).collect::<Vec<_>>()[..]
            )
        );
        assert_eq!(
            merged.index().unwrap(),
            [&b"a"[..], b"a"].into_iter().collect()
        );
    }
}

#[test]
fn an_input_without_the_frame_gives_its_names_and_missing_values() {
    let folder = TempDir::new().unwrap();
    let a = file(folder.path(), "a", |out| {
        write_frame(out, "obs", ("_index", &["a"]), &[]);
        write_frame(out, "obsm/f", ("_index", &["a"]), &[("x", int64(&[3]))]);
    });
    let b = file(folder.path(), "b", |out| {
        write_frame(out, "obs", ("_index", &["b", "c"]), &[])
    });
    let obs = [
        Frame::open(&a, "obs").unwrap(),
        Frame::open(&b, "obs").unwrap(),
    ];
    let frame = Frame::open(&a, "obsm/f").unwrap();
    let path = folder.path().join("out");
    let out = store::create(&path, Container::H5AD).unwrap();
    rows(&[Some(&frame), None], &obs, &out, "obsm/f").unwrap();
    out.finish().unwrap();
    let root = store::open(&path, &Access::default()).unwrap();
    assert_eq!(show(&root, "obsm/f/_index").1, some(&["a", "b", "c"]));
    assert_eq!(
        show(&root, "obsm/f/x"),
        ("float64".into(), some(&["3.0", "-", "-"]))
    );
}

#[test]
fn a_gene_takes_each_value_from_the_first_that_has_both() {
    let folder = TempDir::new().unwrap();
    let a: &Columns = &[("n", int64(&[1, 2])), ("c", ordered(&[0, 1], &["u", "v"]))];
    let b: &Columns = &[
        ("n", float64(&[20.5, 30.5])),
        ("only", Text(vec!["two", "three"])),
        ("c", categorical(&[0, 0], &["w", "v"])),
    ];
    let frames = [("a", &["1", "2"], a), ("b", &["2", "3"], b)].map(|(name, genes, columns)| {
        let fill = |out: &Group| write_frame(out, "var", ("gene", genes), columns);
        Frame::open(&file(folder.path(), name, fill), "var").unwrap()
    });
    let merge = |join| {
        let path = folder.path().join(format!("{join:?}"));
        let out = store::create(&path, Container::H5AD).unwrap();
        let mut genes = Genes::new(join, false);
        for frame in &frames {
            genes.add(frame, "file").unwrap();
        }
        genes.join(None).unwrap().write(&out, "var", None).unwrap();
        out.finish().unwrap();
        store::open(&path, &Access::default()).unwrap()
    };
    let outer = merge(Join::Outer);
    assert_eq!(show(&outer, "var/gene").1, some(&["1", "2", "3"]));
    assert_eq!(
        show(&outer, "var/n"),
        ("float64".into(), some(&["1.0", "2.0", "30.5"]))
    );
    assert_eq!(
        show(&outer, "var/c"),
        ("string[u,v,w]".into(), some(&["u", "v", "w"]))
    );
    let nullable = "nullable-string-array string".to_string();
    assert_eq!(
        show(&outer, "var/only"),
        (nullable, some(&["-", "two", "three"]))
    );
    let inner = merge(Join::Inner);
    assert_eq!(show(&inner, "var/n"), ("int64".into(), some(&["2"])));
    assert_eq!(show(&inner, "var/c"), ("string[u<v]".into(), some(&["v"])));
    assert_eq!(show(&inner, "var/only"), ("string".into(), some(&["two"])));
}

/// One way of writing texts some of which are missing.
fn as_given(way: u8, values: &[Option<&'static str>]) -> Given {
    let mut distinct: Vec<&'static str> = values.iter().flatten().copied().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let code = |v: &Option<&str>| match v {
        Some(v) => distinct.iter().position(|d| d == v).unwrap() as i8,
        None => -1,
    };
    let texts = values.iter().map(|v| v.unwrap_or("")).collect();
    match way {
        0 => categorical(&values.iter().map(code).collect::<Vec<_>>(), &distinct),
        1 if values.iter().all(Option::is_some) => Text(texts),
        _ => {
            let mask = values.iter().map(Option::is_none).collect();
            Nullable("nullable-string-array", Box::new(Text(texts)), mask)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn texts_come_back_however_they_were_written(
        parts in prop::collection::vec(
            (0u8..3, prop::collection::vec(prop::option::of(prop::sample::select(vec!["a", "b", "cc", ""])), 0..6)),
            1..5,
        )
    ) {
        let inputs: Vec<(usize, Option<Given>)> = parts.iter().map(|(way, values)| {
            (values.len(), Some(as_given(*way, values)))
        }).collect();
        let expected: Vec<Option<String>> = parts.iter().flat_map(|(_, values)| {
            values.iter().map(|v| v.map(String::from))
        }).collect();
        let (kind, values) = merge_x(&inputs);
        prop_assert_eq!(values, expected);
        let categorical = parts.iter().any(|(way, _)| *way == 0);
        prop_assert_eq!(kind.starts_with("string["), categorical);
    }
}

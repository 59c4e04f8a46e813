//! Stores that are written here, or by hand as others write them, and read.

use std::slice::from_ref;

use proptest::prelude::*;
use proptest::sample::Index;

use serde_json::{Value, json};

use super::*;
use crate::codec::compression::Compression;
use crate::store::spec::{Attr, ByteOrder, Dtype, Field, Kind, NATIVE, Strings};

fn store(dir: &tempfile::TempDir, name: &str) -> Group {
    create(&dir.path().join(name), Container::ZARR).unwrap()
}

fn put(group: &Group, path: &str, dtype: Dtype, rows: u64, bytes: &[u8]) {
    let spec = ArraySpec::new(vec![rows], dtype);
    let mut out = group
        .create_array(path, &spec, Rows::Known, &Attrs::default())
        .unwrap();
    out.append(bytes).unwrap();
    out.finish().unwrap();
}

fn array(group: &Group, path: &str) -> Array {
    match group.get(path).unwrap() {
        Some(Node::Array(array)) => array,
        _ => panic!("No array '{path}'"),
    }
}

fn bytes(array: &Array) -> Vec<u8> {
    let spec = array.spec();
    let mut out = vec![0; (spec.rows() * spec.row_bytes()) as usize];
    array
        .read_into(from_ref(&(0..spec.rows())), &mut out)
        .unwrap();
    out
}

/// A folder with these metadata and chunks.
fn raw(group: &Group, name: &str, file: &str, json: Value, chunks: &[(&str, &[u8])]) {
    let folder = group.root.folder.join(name);
    for (key, bytes) in chunks {
        let path = folder.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    meta::write_json(&folder.join(file), &json).unwrap();
}

fn v2(dtype: Value) -> Value {
    json!({"zarr_format": 2, "shape": [3], "chunks": [2], "dtype": dtype, "fill_value": null, "order": "C",
           "filters": null, "compressor": null})
}

fn v3(data_type: &str, codecs: Value) -> Value {
    json!({"zarr_format": 3, "node_type": "array", "shape": [10], "data_type": data_type, "fill_value": 7,
           "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
           "chunk_key_encoding": {"name": "default"}, "codecs": codecs, "attributes": {"a": 1}})
}

#[test]
fn every_type_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    let mut numbers = vec![(Kind::Bool, 1), (Kind::Complex, 8), (Kind::Complex, 16)];
    numbers.extend([1, 2, 4, 8].map(|size| (Kind::Int, size)));
    numbers.extend([1, 2, 4, 8].map(|size| (Kind::Uint, size)));
    numbers.extend([2, 4, 8].map(|size| (Kind::Float, size)));
    let mut dtypes: Vec<Dtype> = numbers
        .into_iter()
        .map(|(k, n)| Dtype::native(k, n))
        .collect();
    dtypes.push(Dtype::FixedString { size: 5 });
    let field = |name: &str, offset, dtype, shape: &[u64]| Field {
        name: name.into(),
        offset,
        dtype,
        shape: shape.into(),
    };
    let big = Dtype::Number {
        kind: Kind::Float,
        size: 4,
        order: ByteOrder::Big,
    };
    let fields = vec![
        field("a", 0, Dtype::INT64, &[2]),
        field("é", 16, big, &[]),
        field("c", 20, Dtype::FixedString { size: 3 }, &[]),
    ];
    dtypes.push(Dtype::Record { size: 23, fields });
    for (i, dtype) in dtypes.iter().enumerate() {
        let values: Vec<u8> = (0..3 * dtype.size()).map(|i| i as u8).collect();
        let values = if i == 0 { vec![1, 0, 1] } else { values };
        put(&group, &format!("{i}"), dtype.clone(), 3, &values);
        let back = array(
            &open(&group.root.folder, &Access::default()).unwrap(),
            &format!("{i}"),
        );
        assert_eq!(&back.spec().dtype, dtype);
        assert_eq!(bytes(&back), values, "{dtype}");
    }
}

#[test]
fn big_endian_numbers_keep_their_values() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    let big = Dtype::Number {
        kind: Kind::Int,
        size: 4,
        order: ByteOrder::Big,
    };
    put(&group, "a", big, 2, &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe]);
    let back = array(&group, "a");
    assert_eq!(
        back.spec().dtype,
        Dtype::Number {
            kind: Kind::Int,
            size: 4,
            order: NATIVE
        }
    );
    assert_eq!(
        bytes(&back),
        [1i32.to_ne_bytes(), (-2i32).to_ne_bytes()].concat()
    );
}

#[test]
fn what_zarr_cannot_store_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    let gap = vec![Field {
        name: "gap".into(),
        offset: 1,
        dtype: Dtype::BOOL,
        shape: vec![],
    }];
    let text = vec![Field {
        name: "text".into(),
        offset: 0,
        dtype: Dtype::String,
        shape: vec![],
    }];
    for (dtype, name) in [
        (
            Dtype::Hdf5 {
                size: 4,
                encoded: vec![].into(),
                codes: None,
            },
            "HDF5",
        ),
        (Dtype::Unsupported("delta".into()), "delta"),
        (Dtype::native(Kind::Float, 16), "float128"),
        (
            Dtype::Record {
                size: 2,
                fields: gap,
            },
            "'gap'",
        ),
        (
            Dtype::Record {
                size: 0,
                fields: text,
            },
            "'text'",
        ),
    ] {
        let spec = ArraySpec::new(vec![1], dtype);
        let error = group
            .create_array(name, &spec, Rows::Known, &Attrs::default())
            .err()
            .unwrap();
        assert!(format!("{error:#}").contains(name), "{error:#}");
    }
    let lzf = Container::ZARR.compressed(Compression::Lzf);
    let error = lzf.check().unwrap_err();
    assert!(error.to_string().contains("gzip"));
}

#[test]
fn a_store_is_consolidated() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    group
        .set_attrs("", &Attrs::encoding("anndata", "0.1.0"))
        .unwrap();
    let obs = group
        .create_group("obs", &Attrs::encoding("dataframe", "0.2.0"))
        .unwrap();
    obs.set_attrs("", &Attrs::default().with("_index", Attr::Text("b".into())))
        .unwrap();
    put(&group, "obs/a", Dtype::BOOL, 1, &[1]);
    assert_eq!(group.names().unwrap(), ["obs"]);
    assert_eq!(obs.attrs().unwrap().iter().count(), 3);
    group.copy("obs", &group, "copy/of/obs").unwrap();
    let path = group.root.folder.clone();
    group.finish().unwrap();
    let json = meta::read_json(&path.join(".zmetadata")).unwrap().unwrap();
    assert_eq!(json["zarr_consolidated_format"], 1);
    let keys: Vec<_> = json["metadata"].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            ".zgroup",
            ".zattrs",
            "copy/.zgroup",
            "copy/of/.zgroup",
            "copy/of/obs/.zgroup",
            "copy/of/obs/.zattrs",
            "copy/of/obs/a/.zarray",
            "obs/.zgroup",
            "obs/.zattrs",
            "obs/a/.zarray"
        ]
    );
    let zarray = meta::read_json(&path.join("obs/a/.zarray"))
        .unwrap()
        .unwrap();
    assert_eq!(json["metadata"]["copy/of/obs/a/.zarray"], zarray);
}

#[test]
fn nothing_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    let mut spec = ArraySpec::new(vec![], Dtype::native(Kind::Float, 4));
    spec.null = true;
    let attrs = Attrs::encoding("null", "0.1.0");
    let out = group
        .create_array("none", &spec, Rows::Known, &attrs)
        .unwrap();
    out.finish().unwrap();
    let none = array(&group, "none");
    assert!(none.spec().null);
    assert!(none.read_into(from_ref(&(0..1)), &mut [0]).is_err());
    let spec = ArraySpec::new(vec![4, 0], Dtype::FLOAT64);
    let out = group
        .create_array("narrow", &spec, Rows::Known, &Attrs::default())
        .unwrap();
    assert_eq!(out.finish().unwrap(), 4);
    assert!(bytes(&array(&group, "narrow")).is_empty());
}

#[test]
fn no_path_leaves_the_store() {
    let dir = tempfile::tempdir().unwrap();
    store(&dir, "out.zarr");
    let group = store(&dir, "a.zarr");
    for path in [
        "..",
        "../out.zarr",
        "",
        "/",
        "a//b",
        "a/",
        "./a",
        "a\0b",
        ".zarray",
        "a/zarr.json",
    ] {
        assert!(group.get(path).is_err(), "{path}");
        assert!(
            group.create_group(path, &Attrs::default()).is_err(),
            "{path}"
        );
    }
    assert!(group.get("__categories").unwrap().is_none());
}

#[test]
fn consolidated_metadata_alone_makes_no_node() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    let json = json!({"metadata": {"gone/.zgroup": {"zarr_format": 2}}});
    meta::write_json(&group.root.folder.join(".zmetadata"), &json).unwrap();
    std::fs::create_dir(group.root.folder.join("gone")).unwrap();
    assert!(group.get("gone").unwrap().is_none());
    assert!(group.names().unwrap().is_empty());
}

#[test]
fn what_cannot_be_read_can_be_copied() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    let mut delta = v2(json!("<i4"));
    delta["filters"] = json!([{"id": "delta", "dtype": "<i4"}]);
    raw(&group, "delta", ".zarray", delta, &[("0", b"chunk")]);
    let mut pickle = v2(json!("|O"));
    pickle["filters"] = json!([{"id": "pickle"}]);
    raw(&group, "pickle", ".zarray", pickle, &[]);
    let to = store(&dir, "b.zarr");
    for name in ["delta", "pickle"] {
        let array = array(&group, name);
        let Dtype::Unsupported(why) = &array.spec().dtype else {
            panic!()
        };
        assert!(why.contains(name), "{why}");
        assert!(
            array
                .read_into(from_ref(&(0..1)), &mut [0; 4])
                .unwrap_err()
                .to_string()
                .contains(name)
        );
        assert!(array.read_strings(from_ref(&(0..1))).is_err());
        assert!(group.copy(name, &to, name).unwrap());
    }
    assert_eq!(
        std::fs::read(to.root.folder.join("delta/0")).unwrap(),
        b"chunk"
    );
}

#[test]
fn old_types_and_missing_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    let utf32 = |text: &str| -> Vec<u8> {
        text.chars()
            .flat_map(|c| (c as u32).to_be_bytes())
            .chain([0; 8])
            .take(8)
            .collect()
    };
    let chunk = [utf32("é😀"), utf32("")].concat();
    raw(&group, "U", ".zarray", v2(json!(">U2")), &[("0", &chunk)]);
    let text = array(&group, "U");
    assert_eq!(text.spec().dtype, Dtype::String);
    let want: Strings = ["é😀", "", ""].map(str::as_bytes).into_iter().collect();
    assert_eq!(text.read_strings(from_ref(&(0..3))).unwrap(), want);
    raw(
        &group,
        "rec",
        ".zarray",
        v2(json!([["a", "<i2"], ["u", ">U2"]])),
        &[(
            "0",
            &[[1, 0].as_slice(), &utf32("é"), &[2, 0], &utf32("xy")].concat(),
        )],
    );
    let record = array(&group, "rec");
    assert_eq!(
        bytes(&record),
        [
            b"\x01\0\xc3\xa9\0\0\0\0\0\0".as_slice(),
            b"\x02\0xy\0\0\0\0\0\0",
            &[0; 10]
        ]
        .concat()
    );
    let mut filled = v2(json!("<i2"));
    filled["fill_value"] = json!(-2);
    raw(&group, "filled", ".zarray", filled, &[("1", &[5, 0, 0, 0])]);
    assert_eq!(
        bytes(&array(&group, "filled")),
        [0xfe, 0xff, 0xfe, 0xff, 5, 0]
    );
    let mut fortran = v2(json!("|u1"));
    fortran["order"] = json!("F");
    fortran["shape"] = json!([2, 2]);
    fortran["chunks"] = json!([2, 2]);
    raw(&group, "F", ".zarray", fortran, &[("0.0", &[1, 2, 3, 4])]);
    assert_eq!(bytes(&array(&group, "F")), [1, 3, 2, 4]);
}

#[test]
fn version_3_is_read_and_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    let plain = v3("uint8", json!([{"name": "bytes"}]));
    raw(&group, "a", "zarr.json", plain, &[("c/1", &[1, 2, 3, 4])]);
    let array = array(&group, "a");
    assert_eq!(bytes(&array), [7, 7, 7, 7, 1, 2, 3, 4, 7, 7]);
    assert_eq!(array.attrs().unwrap().iter().count(), 1);
    assert!(!group.copy("a", &store(&dir, "b.zarr"), "a").unwrap());
}

#[test]
fn a_shard_is_not_decoded_whole() {
    let dir = tempfile::tempdir().unwrap();
    let group = store(&dir, "a.zarr");
    let sharding = json!([{"name": "sharding_indexed", "configuration": {
        "chunk_shape": [2], "index_location": "end",
        "codecs": [{"name": "bytes"}, {"name": "crc32c"}],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    }}]);
    // An inner chunk that lies beyond the end of the file, then one that is missing.
    let mut shard = vec![1, 2, 0, 0, 0, 0];
    let index = [1000, 6, u64::MAX, u64::MAX].map(u64::to_le_bytes);
    shard.extend(index.concat());
    raw(
        &group,
        "a",
        "zarr.json",
        v3("uint8", sharding),
        &[("c/0", &shard)],
    );
    let array = array(&group, "a");
    let mut row = [0; 2];
    array.read_into(from_ref(&(2..4)), &mut row).unwrap();
    assert_eq!(row, [7, 7]);
    assert!(array.read_into(from_ref(&(0..1)), &mut [0]).is_err());
    assert_eq!(array.chunk_bytes(), 2);
}

#[cfg(unix)]
#[test]
fn links_are_followed_inside_the_store_only() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    put(&store(&dir, "a.zarr"), "g/a", Dtype::BOOL, 1, &[1]);
    let group = open(&dir.path().join("a.zarr"), &Access::default()).unwrap();
    let root = &group.root.folder;
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    symlink("a", root.join("g/b")).unwrap();
    let to = store(&dir, "b.zarr");
    assert!(group.copy("g", &to, "good").unwrap());
    assert!(!to.root.folder.join("good/b").is_symlink());
    assert_eq!(bytes(&array(&to, "good/b")), [1]);
    for (target, link) in [
        ("../../../secret", "g/a/1"),
        ("../..", "g/out"),
        ("..", "g/loop"),
    ] {
        symlink(target, root.join(link)).unwrap();
        assert!(
            group.copy("g", &to, &link.replace('/', "-")).is_err(),
            "{link}"
        );
        std::fs::remove_file(root.join(link)).unwrap();
    }
}

/// Metadata of every kind that is read.
fn known_metadata() -> Vec<(&'static str, Value)> {
    let of = |dtype: Value, compressor: Value| {
        let mut json = v2(dtype);
        json["compressor"] = compressor;
        (meta::ARRAY, json)
    };
    let shuffled =
        json!({"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0});
    let mut text = v2(json!("|O"));
    text["filters"] = json!([{"id": "vlen-utf8"}]);
    let plain = json!({"name": "bytes", "configuration": {"endian": "little"}});
    let zstd = json!({"name": "zstd", "configuration": {"level": 0, "checksum": false}});
    let shard = json!({"name": "sharding_indexed", "configuration": {
        "chunk_shape": [2], "codecs": [plain, zstd], "index_location": "end",
        "index_codecs": [plain, {"name": "crc32c"}]}});
    let mut strings = v3("string", json!([{"name": "vlen-utf8"}]));
    strings["fill_value"] = json!("");
    vec![
        of(json!("<f4"), Value::Null),
        of(json!("<i8"), json!({"id": "zlib", "level": 1})),
        of(json!("|b1"), json!({"id": "gzip", "level": 1})),
        of(json!("<u2"), shuffled),
        of(json!("<U3"), Value::Null),
        of(json!([["a", "<i4"], ["b", "|S2", [2]]]), Value::Null),
        (meta::ARRAY, text),
        ("zarr.json", v3("int32", json!([plain, zstd]))),
        ("zarr.json", v3("float64", json!([shard]))),
        ("zarr.json", strings),
    ]
}

/// Every value in a tree of JSON, by its JSON pointer.
fn pointers(json: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.into());
    match json {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), found)),
        Value::Array(list) => (0..)
            .zip(list)
            .for_each(|(i, value)| pointers(value, &format!("{at}/{i}"), found)),
        _ => {}
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    let numbers = [0, 1, 2, 3, 5, 1 << 31, 1 << 40, 1 << 62, u64::MAX];
    let texts = [
        "",
        "x",
        "/",
        "..",
        "NaN",
        "|O",
        "<f8",
        ">i2",
        "<U999999999",
        "|S0",
        "C",
        "F",
        "zstd",
        "blosc",
        "bytes",
        "crc32c",
        "gzip",
        "transpose",
        "sharding_indexed",
        "vlen-utf8",
        "bool",
        "big",
        "start",
    ];
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(numbers.to_vec()).prop_map(Value::from),
        (-9i64..0).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
    ];
    plain.prop_recursive(2, 6, 3, |inner| {
        let key = prop::sample::select(vec!["id", "name", "configuration", "level", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..3).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(k, v)| (k.into(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// And without a panic, nor memory that the metadata alone claim.
    #[test]
    fn damaged_metadata_end_in_an_error_or_a_value(
        which in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), odd_value()), 0..3),
        chunk in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (file, mut json) = which.get(&known_metadata()).clone();
        for (at, value) in changes {
            let mut found = vec![];
            pointers(&json, "", &mut found);
            if let Some(place) = json.pointer_mut(&found[at.index(found.len())]) {
                *place = value;
            }
        }
        let group = store(&dir, "a.zarr");
        raw(&group, "a", file, json, &[("0", &chunk), ("c/0", &chunk), ("c/1", &chunk)]);
        let access = Access { memory: 1 << 20, ..Access::default() };
        let group = open(&dir.path().join("a.zarr"), &access).unwrap();
        if let Ok(Some(Node::Array(array))) = group.get("a") {
            let spec = array.spec();
            let _ = (array.layout(), array.storage(), array.attrs());
            let rows = spec.rows().min(4);
            let all = 0..rows;
            let bytes = rows.saturating_mul(spec.row_bytes());
            if spec.dtype.is_string() && spec.row_items() < 1 << 16 {
                let _ = array.read_strings(from_ref(&all));
            } else if bytes < 1 << 20 {
                let _ = array.read_into(from_ref(&all), &mut vec![0; bytes as usize]);
            }
        }
    }
}

//! What is appended to arrays of Zarr comes back, to this program and to zarrs.

use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::codec::compression::Compression;
use crate::store::spec::{Attrs, Kind, NATIVE};
use crate::store::zarr::cut::ChunkSizes;
use crate::store::zarr::{Array, Node, create, open};
use crate::store::{Access, Container};

fn array(group: &Group, name: &str) -> Array {
    match group.get(name).unwrap() {
        Some(Node::Array(array)) => array,
        _ => panic!("No array '{name}'"),
    }
}

/// All of the array `a` as zarrs reads it.
fn by_zarrs(path: &Path) -> Vec<u8> {
    let store = Arc::new(zarrs::filesystem::FilesystemStore::new(path).unwrap());
    let array = zarrs::array::Array::open(store, "/a").unwrap();
    let all = array.subset_all();
    let bytes: zarrs::array::ArrayBytes = array.retrieve_array_subset(&all).unwrap();
    bytes.into_fixed().unwrap().into_owned()
}

/// An appender that cuts an array into small chunks.
fn small(group: &Group, spec: &ArraySpec, rows: Rows) -> Appender {
    let mut out = group
        .create_array("a", spec, rows, &Attrs::default())
        .unwrap();
    let item = spec.dtype.size().max(1);
    let sizes = ChunkSizes {
        chunk: 12,
        ..group.sizes
    };
    out.cut = Cut::new(&spec.shape, rows, item, &sizes, 20).unwrap();
    out.shards = (out.cut.per_file > 1).then(|| Shards::from(&out.folder, 0));
    out
}

/// Zarr of either version, with Zarr shards of a few chunks, or without.
fn containers() -> impl Strategy<Value = Container> {
    let compression = prop::sample::select(vec![
        Compression::None,
        Compression::Gzip(1),
        Compression::Lz4,
        Compression::Zstd(3),
    ]);
    let shard = prop::option::of(1u64..80);
    (compression, shard, any::<bool>()).prop_map(|(compression, zarr_shard, v3)| Container {
        zarr_shard,
        zarr_version: if v3 || zarr_shard.is_some() {
            ZarrVersion::V3
        } else {
            ZarrVersion::V2
        },
        ..Container::ZARR.compressed(compression)
    })
}

proptest! {
    /// zarrs and this program read what is written.
    #[test]
    fn any_shape_comes_back(
        shape in prop::collection::vec(1u64..7, 1..4),
        size in prop::sample::select(vec![1usize, 2, 4]),
        batches in prop::collection::vec(0u64..4, 8),
        growing: bool,
        container in containers(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zarr");
        let rows = if growing { Rows::Growing } else { Rows::Known };
        let group = create(&path, container).unwrap();
        let mut spec = ArraySpec::new(shape.clone(), Dtype::native(Kind::Uint, size));
        let bytes: Vec<u8> = (0..shape[0] * spec.row_bytes()).map(|i| i as u8).collect();
        if growing {
            spec.shape[0] = 0;
        }
        let mut out = small(&group, &spec, rows);
        let mut rest = bytes.as_slice();
        for batch in batches {
            let (head, tail) = rest.split_at(rest.len().min((batch * spec.row_bytes()) as usize));
            out.append(head).unwrap();
            rest = tail;
        }
        out.append(rest).unwrap();
        prop_assert_eq!(out.finish().unwrap(), shape[0]);
        let array = array(&open(&path, &Access::default()).unwrap(), "a");
        prop_assert_eq!(&array.spec().shape, &shape);
        let mut back = vec![0; bytes.len()];
        array.read_into(from_ref(&(0..shape[0])), &mut back).unwrap();
        prop_assert_eq!(&back, &bytes);
        prop_assert_eq!(by_zarrs(&path), bytes);
    }

    #[test]
    fn any_texts_come_back(
        shape in prop::collection::vec(1u64..7, 0..4),
        texts in prop::collection::vec("[a😀é]{0,3}", 216),
        batches in prop::collection::vec(0usize..4, 8),
        growing: bool,
        container in containers(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zarr");
        let group = create(&path, container).unwrap();
        let spec = ArraySpec::new(shape, Dtype::String);
        let growing = growing && !spec.shape.is_empty();
        let rows = if growing { Rows::Growing } else { Rows::Known };
        let per_row = spec.row_items() as usize;
        let texts = &texts[..spec.rows() as usize * per_row];
        let block = |texts: &[String]| texts.iter().map(String::as_bytes).collect::<Strings>();
        let mut out = small(&group, &spec, rows);
        let mut rest = texts;
        for batch in batches {
            let (head, tail) = rest.split_at(rest.len().min(batch * per_row));
            out.append_strings(&block(head)).unwrap();
            rest = tail;
        }
        out.append_strings(&block(rest)).unwrap();
        prop_assert_eq!(out.finish().unwrap(), spec.rows());
        let array = array(&open(&path, &Access::default()).unwrap(), "a");
        prop_assert_eq!(array.read_strings(from_ref(&(0..spec.rows()))).unwrap(), block(texts));
        for (i, row) in texts.chunks(per_row).enumerate() {
            let i = i as u64;
            prop_assert_eq!(array.read_strings(from_ref(&(i..i + 1))).unwrap(), block(row));
        }
    }
}

#[test]
fn what_is_not_as_announced_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let group = create(&dir.path().join("a.zarr"), Container::ZARR).unwrap();
    let spec = ArraySpec::new(vec![3, 2], Dtype::native(Kind::Int, 2));
    let new = |name, rows| {
        group
            .create_array(name, &spec, rows, &Attrs::default())
            .unwrap()
    };
    let mut short = new("short", Rows::Known);
    short.append(&[0; 8]).unwrap();
    assert!(short.finish().is_err());
    assert!(group.get("short").unwrap().is_none());
    assert!(new("long", Rows::Known).append(&[0; 16]).is_err());
    assert!(new("part", Rows::Known).append(&[0; 3]).is_err());
    let mut ragged = new("ragged", Rows::Growing);
    ragged.append(&[0; 6]).unwrap();
    assert!(ragged.finish().is_err());
    let mut latin = small(&group, &ArraySpec::new(vec![1], Dtype::String), Rows::Known);
    assert!(
        latin
            .append_strings(&[b"\xe9".as_slice()].into_iter().collect())
            .is_err()
    );
}

#[test]
fn a_growing_array_of_one_chunk_is_not_padded() {
    let dir = tempfile::tempdir().unwrap();
    let group = create(&dir.path().join("a.zarr"), Container::ZARR).unwrap();
    let dtype = Dtype::Number {
        kind: Kind::Float,
        size: 8,
        order: NATIVE,
    };
    let spec = ArraySpec::new(vec![0], dtype);
    let mut out = group
        .create_array("a", &spec, Rows::Growing, &Attrs::default())
        .unwrap();
    out.append(&[1; 24]).unwrap();
    assert_eq!(out.finish().unwrap(), 3);
    let zarray = meta::read_json(&dir.path().join("a.zarr/a/.zarray"))
        .unwrap()
        .unwrap();
    assert_eq!(
        (&zarray["shape"], &zarray["chunks"]),
        (&json!([3]), &json!([3]))
    );
}

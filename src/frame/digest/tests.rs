use super::*;
use crate::store::spec::{ArraySpec, Attr, Attrs, Kind};
use crate::store::{Access, Container, Format, Rows, create};

/// A file for each set of nodes; `write` gets its root.
fn file(dir: &tempfile::TempDir, name: &str, write: impl Fn(&Group)) -> Group {
    let path = dir.path().join(name);
    let format = Format::of(&path).unwrap();
    let root = create(&path, Container::of(format)).unwrap();
    write(&root);
    root.finish().unwrap();
    crate::store::open(&path, &Access::default()).unwrap()
}

fn numbers(root: &Group, name: &str, shape: &[u64], dtype: Dtype, bytes: &[u8]) {
    let spec = ArraySpec::new(shape.to_vec(), dtype);
    let attrs = if shape.is_empty() {
        Attrs::encoding("numeric-scalar", "0.2.0")
    } else {
        Attrs::encoding("array", "0.2.0")
    };
    let mut array = root.create_array(name, &spec, Rows::Known, &attrs).unwrap();
    array.append(bytes).unwrap();
    array.finish().unwrap();
}

fn floats(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

#[test]
fn arrays_are_equal_with_their_type_and_shape() {
    let dir = tempfile::tempdir().unwrap();
    let other_nan = f64::from_bits(f64::NAN.to_bits() ^ 1 << 63 | 5);
    for format in ["a.h5ad", "a.zarr"] {
        let root = file(&dir, format, |root| {
            let float = Dtype::FLOAT64;
            numbers(
                root,
                "a",
                &[3],
                float.clone(),
                &floats(&[1.0, f64::NAN, 0.0]),
            );
            numbers(
                root,
                "b",
                &[3],
                float.clone(),
                &floats(&[1.0, other_nan, -0.0]),
            );
            numbers(root, "c", &[3, 1], float, &floats(&[1.0, f64::NAN, 0.0]));
            let single = Dtype::native(Kind::Float, 4);
            let bytes: Vec<u8> = [1.0, f32::NAN, 0.0]
                .iter()
                .flat_map(|v| v.to_ne_bytes())
                .collect();
            numbers(root, "d", &[3], single, &bytes);
        });
        let digest = |name| of(&root, name, u64::MAX).unwrap();
        assert_eq!(digest("a"), digest("b"));
        assert_ne!(digest("a"), digest("c"));
        assert_ne!(digest("a"), digest("d"));
    }
}

#[test]
fn scalars_are_equal_by_value_and_nan_never() {
    let dir = tempfile::tempdir().unwrap();
    let root = file(&dir, "a.h5ad", |root| {
        numbers(root, "int", &[], Dtype::INT64, &1i64.to_ne_bytes());
        numbers(root, "float", &[], Dtype::FLOAT64, &1f64.to_ne_bytes());
        numbers(root, "bool", &[], Dtype::BOOL, &[1]);
        numbers(
            root,
            "large",
            &[],
            Dtype::INT64,
            &((1i64 << 53) + 1).to_ne_bytes(),
        );
        numbers(
            root,
            "near",
            &[],
            Dtype::FLOAT64,
            &(2f64.powi(53)).to_ne_bytes(),
        );
        numbers(root, "nan", &[], Dtype::FLOAT64, &f64::NAN.to_ne_bytes());
    });
    let digest = |name| of(&root, name, u64::MAX).unwrap();
    assert_eq!(digest("int"), digest("float"));
    assert_eq!(digest("int"), digest("bool"));
    assert_ne!(digest("large"), digest("near"));
    assert_eq!(digest("nan"), None);
}

#[test]
fn sparse_matrices_are_equal_by_value() {
    let dir = tempfile::tempdir().unwrap();
    let matrix = |root: &Group, name: &str, kind: &str, parts: [&[i32]; 3], dtype: Dtype| {
        let attrs = Attrs::encoding(kind, "0.1.0").with("shape", Attr::ints(&[2, 3]));
        root.create_group(name, &attrs).unwrap();
        let int = Dtype::native(Kind::Int, 4);
        for (part, values) in ["indptr", "indices", "data"].iter().zip(parts) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
            let (dtype, bytes) = match *part {
                "data" => {
                    let cast = crate::dtype::promote::convert(&bytes, &int, &dtype);
                    (dtype.clone(), cast.unwrap())
                }
                _ => (int.clone(), bytes),
            };
            numbers(
                root,
                &format!("{name}/{part}"),
                &[values.len() as u64],
                dtype,
                &bytes,
            );
        }
    };
    let root = file(&dir, "a.h5ad", |root| {
        let (int, float) = (Dtype::native(Kind::Int, 4), Dtype::FLOAT64);
        let csr = "csr_matrix";
        matrix(
            root,
            "a",
            csr,
            [&[0, 2, 3], &[0, 2, 1], &[1, 2, 3]],
            int.clone(),
        );
        matrix(
            root,
            "unsorted",
            csr,
            [&[0, 2, 3], &[2, 0, 1], &[2, 1, 3]],
            int.clone(),
        );
        matrix(
            root,
            "zero",
            csr,
            [&[0, 3, 4], &[0, 1, 2, 1], &[1, 0, 2, 3]],
            int.clone(),
        );
        matrix(
            root,
            "double",
            csr,
            [&[0, 3, 4], &[0, 2, 2, 1], &[1, 1, 1, 3]],
            int.clone(),
        );
        matrix(
            root,
            "float",
            csr,
            [&[0, 2, 3], &[0, 2, 1], &[1, 2, 3]],
            float,
        );
        let csc = [&[0, 1, 2, 3][..], &[0, 1, 0], &[1, 3, 2]];
        matrix(root, "csc", "csc_matrix", csc, int.clone());
        matrix(
            root,
            "other",
            csr,
            [&[0, 2, 3], &[0, 2, 1], &[1, 2, 4]],
            int,
        );
    });
    let digest = |name| of(&root, name, u64::MAX).unwrap();
    for name in ["unsorted", "zero", "double", "float", "csc"] {
        assert_eq!(digest("a"), digest(name), "{name}");
    }
    assert_ne!(digest("a"), digest("other"));
}

#[test]
fn only_so_much_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let root = file(&dir, "a.h5ad", |root| {
        for (name, last) in [("a", 1.0), ("b", 2.0)] {
            let mut values = vec![0.0; 1000];
            values.push(last);
            numbers(root, name, &[1001], Dtype::FLOAT64, &floats(&values));
        }
    });
    let digest = |name, limit| of(&root, name, limit).unwrap();
    assert_eq!(digest("a", 100), digest("b", 100));
    assert_ne!(digest("a", u64::MAX), digest("b", u64::MAX));
}

use std::path::Path;

use hdf5::types::VarLenUnicode;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::codec::compression::Compression;
use crate::store::hdf5::read::Array;
use crate::store::hdf5::{Node, create, open};
use crate::store::spec::{ArraySpec, Attrs, Dtype};
use crate::store::{Access, Container, Rows};

/// A file with `texts` in the array `t`, appended `step` at a time.
fn write(path: &Path, texts: &[String], step: usize, container: Container) {
    let root = create(path, container).unwrap();
    let spec = ArraySpec::new(vec![texts.len() as u64], Dtype::String);
    let mut array = root
        .create_array("t", &spec, Rows::Known, &Attrs::default())
        .unwrap();
    for part in texts.chunks(step) {
        let part: Strings = part.iter().map(|t| t.as_bytes()).collect();
        array.append_strings(&part).unwrap();
    }
    array.finish().unwrap();
    root.finish().unwrap();
}

fn array(path: &Path) -> Array {
    match open(path, &Access::default()).unwrap().get("t").unwrap() {
        Some(Node::Array(array)) => array,
        _ => panic!("no array"),
    }
}

fn strings(texts: &[String]) -> Strings {
    texts.iter().map(|t| t.as_bytes()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_that_the_library_wrote(
        texts in prop::collection::vec("\\PC{0,40}", 1..400),
        long in prop::collection::vec(3000usize..90_000, 0..3),
        step in 1usize..100,
        level in 0u8..3,
    ) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("f.h5ad");
        let mut texts = texts;
        texts.extend(long.iter().map(|&n| "x".repeat(n)));
        let container = match level {
            0 => Container::H5AD,
            level => Container::H5AD.compressed(Compression::Gzip(level)),
        };
        write(&path, &texts, step, container);
        let array = array(&path);
        let all = 0..texts.len() as u64;
        prop_assert_eq!(array.read_heap(std::slice::from_ref(&all)).unwrap(), strings(&texts));
        let half = texts.len() / 2;
        let apart = [0..1, half as u64..texts.len() as u64];
        let apart = &apart[usize::from(half == 0)..];
        let want = if half == 0 { strings(&texts) } else {
            texts[..1].iter().chain(&texts[half..]).map(|t| t.as_bytes()).collect()
        };
        prop_assert_eq!(array.read_heap(apart).unwrap(), want);
    }

    #[test]
    fn no_bytes_bring_it_down(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        references in prop::collection::vec(any::<[u8; REFERENCE]>(), 0..20),
    ) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("f");
        let mut bytes = b"GCOL\x01\0\0\0\0\x10\0\0\0\0\0\0".to_vec();
        for index in 1..40u8 {
            bytes.extend([index, 0, 1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend(b"texts\0\0\0");
        }
        bytes.resize(8192, 0);
        let whole = bytes.clone();
        for (at, byte) in changes {
            bytes[at.index(1000)] = byte;
        }
        let text = |index: u8| [5, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, index, 0, 0, 0];
        for bytes in [&whole, &bytes] {
            std::fs::write(&path, [&[0; 4096], bytes.as_slice()].concat()).unwrap();
            let heap = Heap::new(Arc::new(File::open(&path).unwrap()), 0).unwrap();
            let _ = heap.read(references.as_flattened());
            let known: Vec<_> = (1..40).map(text).collect();
            let read = heap.read(known.as_flattened());
            let unknown = heap.read(&text(40));
            if bytes == &whole {
                let read = read.unwrap();
                prop_assert_eq!(read.get(38), b"texts");
                prop_assert!(unknown.is_err());
            }
        }
    }
}

/// One text in a file that begins with `before` bytes of something else.
fn behind(path: &Path, before: u64, text: &str) {
    let options = hdf5::File::with_options()
        .with_fcpl(|list| list.userblock(before))
        .clone();
    let file = options.create(path).unwrap();
    let texts: [VarLenUnicode; 2] = [text.parse().unwrap(), "".parse().unwrap()];
    file.new_dataset_builder()
        .with_data(&texts)
        .create("t")
        .unwrap();
}

#[test]
fn addresses_count_from_the_superblock() {
    let folder = TempDir::new().unwrap();
    let want: Strings = [&b"behind"[..], b""].into_iter().collect();
    let all = 0..2;
    for before in [0, 512, 4096] {
        let path = folder.path().join("f.h5ad");
        behind(&path, before, "behind");
        assert_eq!(
            array(&path).read_heap(std::slice::from_ref(&all)).unwrap(),
            want
        );
        // Put in front of a file that knows nothing of it.
        let moved = [vec![7; 1024], std::fs::read(&path).unwrap()].concat();
        std::fs::write(&path, moved).unwrap();
        if before == 0 {
            assert_eq!(
                array(&path).read_heap(std::slice::from_ref(&all)).unwrap(),
                want
            );
        }
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_was_never_written_is_empty() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("f.h5ad");
    let file = hdf5::File::create(&path).unwrap();
    file.new_dataset::<VarLenUnicode>()
        .chunk(2)
        .shape(5)
        .create("t")
        .unwrap();
    drop(file);
    let array = array(&path);
    let all = 0..5;
    assert!(array.read_heap(std::slice::from_ref(&all)).is_err());
    assert_eq!(
        array.read_strings(std::slice::from_ref(&all)).unwrap(),
        (0..5).map(|_| &b""[..]).collect()
    );
}

#[test]
fn text_that_would_not_fit_the_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("f");
    std::fs::write(&path, [1; 8192]).unwrap();
    let heap = Heap::new(Arc::new(File::open(&path).unwrap()), 0).unwrap();
    let large = [[255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]; 1000];
    let error = heap.read(large.as_flattened()).unwrap_err();
    assert!(error.to_string().contains("more than the file"), "{error}");
}

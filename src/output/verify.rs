//! Reading an output back before it takes its place.
//!
//! Whoever writes an array notes checksums of what it gives to the store in a ledger, before any filter; here all
//! arrays are read anew, through the filters, and compared with those. Without `forget` the kernel would answer from
//! its memory, and the disk would not be asked.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{Advice, fadvise};

use super::flush::flush;
use crate::report::failure::{Failure, Kind};
use crate::store::{self, Access, Ledger};

const DIFFERS: &str = "--verify found that the disk does not hold what was written to it";

/// Flushes what was staged at `path`, reads it from the disk and compares it with what was meant; an error
/// names the element that differs.
pub fn verify(path: &Path, ledger: &Ledger) -> Result<()> {
    flush(path).context("Cannot write it to disk")?;
    forget(path);
    let compare = || {
        let root = store::open(path, &Access::default())?;
        ledger.compare(&root)?;
        match root.metadata_faults()?.first() {
            None => Ok(()),
            Some(fault) => bail!("'{}': {}", fault.element, fault.what),
        }
    };
    compare().context(Failure(Kind::Verify, DIFFERS.into()))
}

/// Has the kernel drop what it holds of a file, or of all in a folder, in memory, as far as it will.
fn forget(path: &Path) {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.for_each(|entry| forget(&entry.path()));
    if let Ok(file) = File::open(path) {
        let _ = fadvise(file, 0, None, Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::codec::compression::Compression;
    use crate::store::spec::{ArraySpec, Attr, Attrs, ByteOrder, Dtype, Kind, Strings};
    use crate::store::{Array, Container, Format, Group, Node, Rows};

    /// Values that stand nowhere else in a file.
    fn values() -> Vec<u8> {
        (0..4096u32)
            .flat_map(|i| (i * i + 0xabcd_0000).to_le_bytes())
            .collect()
    }

    fn texts(words: &[&str]) -> Strings {
        words.iter().map(|word| word.as_bytes()).collect()
    }

    fn array(root: &Group, path: &str) -> Array {
        match root.get(path).unwrap() {
            Some(Node::Array(array)) => array,
            _ => panic!("No array '{path}'"),
        }
    }

    /// Writes a file in every way that there is: appended, filled, from another array, text, growing, copied whole.
    fn write(folder: &Path, container: Container) -> (std::path::PathBuf, Ledger) {
        let name = match container.format {
            Format::H5ad => "a.h5ad",
            Format::Zarr => "a.zarr",
        };
        let (path, ledger) = (folder.join(name), Ledger::default());
        let source = folder.join(format!("source-{name}"));
        let big = Dtype::Number {
            kind: Kind::Uint,
            size: 4,
            order: ByteOrder::Big,
        };
        let little = Dtype::native(Kind::Uint, 4);
        let attrs = Attrs::encoding("array", "0.2.0").with("shape", Attr::ints(&[3, 5]));
        let bytes = values();
        let list = |root: &Group, path: &str, dtype: &Dtype, rows, known: Rows| {
            let spec = ArraySpec::new(vec![rows], dtype.clone());
            root.create_array(path, &spec, known, &attrs).unwrap()
        };
        let from = store::create(&source, container).unwrap();
        let mut given = list(&from, "uns/given", &little, 4096, Rows::Known);
        given.append(&bytes).unwrap();
        given.finish().unwrap();
        from.finish().unwrap();
        let from = store::open(&source, &Access::default()).unwrap();
        let root = store::create(&path, container).unwrap();
        let root = root.noted(Some(ledger.clone()));
        root.set_attrs("", &Attrs::encoding("anndata", "0.1.0"))
            .unwrap();
        let mut appended = list(&root, "a/appended", &big, 4096, Rows::Known);
        bytes
            .chunks(4 * 100)
            .for_each(|part| appended.append(part).unwrap());
        appended.finish().unwrap();
        let mut filled = list(&root, "a/filled", &little, 4096, Rows::Known);
        let fill = |range: std::ops::Range<u64>, out: &mut [u8]| {
            out.copy_from_slice(&bytes[range.start as usize..range.end as usize]);
        };
        filled.append_filled(4096, &fill).unwrap();
        filled.finish().unwrap();
        let mut taken = list(&root, "a/taken", &little, 4096, Rows::Known);
        let given = array(&from, "uns/given");
        taken.append_from(&given, 0..96, None).unwrap();
        taken.append_from(&given, 96..4096, None).unwrap();
        taken.finish().unwrap();
        let mut text = list(&root, "text", &Dtype::String, 0, Rows::Growing);
        text.append_strings(&texts(&["ab", "", "cdé"])).unwrap();
        text.append_strings(&texts(&["twist"])).unwrap();
        assert_eq!(text.finish().unwrap(), 4);
        assert!(from.copy_verbatim("uns", &root, "uns").unwrap());
        root.finish().unwrap();
        (path, ledger)
    }

    fn all(check: impl Fn(Container)) {
        check(Container::H5AD);
        check(Container::H5AD.compressed(Compression::Gzip(1)));
        check(Container::ZARR);
    }

    #[test]
    fn what_was_written_is_what_was_meant() {
        all(|container| {
            let folder = tempfile::tempdir().unwrap();
            let (path, ledger) = write(folder.path(), container);
            verify(&path, &ledger).unwrap();
        });
    }

    #[test]
    fn one_flipped_bit_of_any_array_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ledger) = write(folder.path(), Container::H5AD);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut content = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut content, 0).unwrap();
        let values = values();
        let places = content.windows(64).enumerate();
        let places: Vec<usize> = places
            .filter(|(_, w)| *w == &values[64..128])
            .map(|(at, _)| at)
            .collect();
        assert_eq!(places.len(), 4, "of each array of numbers");
        let twist = content.windows(5).position(|w| w == b"twist").unwrap();
        for at in places.into_iter().chain([twist]) {
            file.write_all_at(&[content[at] ^ 1], at as u64).unwrap();
            let error = format!("{:#}", verify(&path, &ledger).unwrap_err());
            assert!(
                error.contains("is not as it was written: Its values differ"),
                "{error}"
            );
            file.write_all_at(&content[at..at + 1], at as u64).unwrap();
            verify(&path, &ledger).unwrap();
        }
    }

    #[test]
    fn values_in_another_place_and_other_faults_are_named() {
        all(|container| {
            let folder = tempfile::tempdir().unwrap();
            let (path, ledger) = write(folder.path(), container);
            let other = folder.path().join("other");
            fs::create_dir(&other).unwrap();
            let fails = |change: &dyn Fn(&Ledger, &Group), words: &str| {
                // What is meant is changed: the file is what it is.
                let (meant, scratch) = (
                    ledger.fork(),
                    other.join(words.replace([' ', '/', '\''], "_")),
                );
                let root = store::create(&scratch, container).unwrap();
                change(&meant, &root.noted(Some(meant.clone())));
                let error = format!("{:#}", verify(&path, &meant).unwrap_err());
                assert!(error.contains(words), "{error}");
            };
            let spec = ArraySpec::new(vec![4096], Dtype::native(Kind::Uint, 4));
            let put = |root: &Group, path: &str, spec: &ArraySpec, bytes: &[u8]| {
                let mut to = root
                    .create_array(path, spec, Rows::Known, &Attrs::default())
                    .unwrap();
                to.append(bytes).unwrap();
                to.finish().unwrap();
            };
            let mut swapped = values();
            swapped.rotate_left(4);
            fails(
                &|_, root| put(root, "a/taken", &spec, &swapped),
                "'a/taken' is not as it was written: Its values",
            );
            let longer = ArraySpec::new(vec![4097], spec.dtype.clone());
            fails(
                &|_, root| put(root, "a/taken", &longer, &[0; 4 * 4097]),
                "Its shape is [4096], not [4097]",
            );
            let wider = ArraySpec::new(vec![4096], Dtype::FLOAT64);
            fails(
                &|_, root| put(root, "a/taken", &wider, &[0; 8 * 4096]),
                "Its type is uint32, not float64",
            );
            fails(
                &|_, root| put(root, "b", &spec, &swapped),
                "'b' is not as it was written: It is missing",
            );
            let attrs = Attrs::default().with("shape", Attr::ints(&[3, 6]));
            fails(
                &|_, root| drop(root.create_group("a/filled", &attrs)),
                "attribute 'shape'",
            );
            let four = ArraySpec::new(vec![4], Dtype::String);
            let shifted = |_: &Ledger, root: &Group| {
                let mut to = root
                    .create_array("text", &four, Rows::Known, &Attrs::default())
                    .unwrap();
                to.append_strings(&texts(&["a", "b", "cdé", "twist"]))
                    .unwrap();
                to.finish().unwrap();
            };
            fails(
                &shifted,
                "'text' is not as it was written: Its values differ",
            );
        });
    }

    /// All files below a folder whose names begin with a dot: metadata of version 2.
    fn metadata(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                metadata(&path, found);
            } else if path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                found.push(path);
            }
        }
    }

    #[test]
    fn a_flipped_bit_of_the_metadata_of_a_store_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ledger) = write(folder.path(), Container::ZARR);
        let (mut files, mut tried) = (vec![], 0);
        metadata(&path, &mut files);
        for file in files {
            let text = fs::read(&file).unwrap();
            let meant: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let step = if file.ends_with(".zmetadata") { 41 } else { 11 };
            for at in (0..text.len()).step_by(step) {
                let mut flipped = text.clone();
                flipped[at] ^= 1 << (at % 8);
                if serde_json::from_slice(&flipped)
                    .is_ok_and(|json: serde_json::Value| json == meant)
                {
                    continue; // white space
                }
                fs::write(&file, flipped).unwrap();
                assert!(
                    verify(&path, &ledger).is_err(),
                    "bit of byte {at} of {}",
                    file.display()
                );
                tried += 1;
            }
            fs::write(&file, text).unwrap();
        }
        verify(&path, &ledger).unwrap();
        assert!(tried > 60, "{tried}");
    }
}

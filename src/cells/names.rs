//! Distinct names in little memory, and lists of them in files.
//!
//! The lists are those of `--cells` and `--genes`. All names of a list are held, so that those that no cell has can be
//! told.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tracing::info;

use super::{Obs, listed, trimmed, trimmed_name, unpacked};
use crate::limits;
use crate::report::failure::Failure;
use crate::resources::format_size;
use crate::store::spec::Strings;

/// Distinct names, numbered in order of first appearance: 16 to 24 bytes each beside their text.
#[derive(Default)]
pub struct Names {
    texts: Strings,
    /// An open table of numbers plus 1, at most half full; 0 is free.
    slots: Vec<u32>,
}

impl Names {
    /// How many distinct names there are.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> u64 {
        let (text, slots) = (self.texts.bytes.capacity(), self.slots.capacity());
        (text + self.texts.ends.capacity() * size_of::<u64>() + slots * size_of::<u32>()) as u64
    }

    /// Name number `number`, which is less than [`len`](Self::len).
    pub fn get(&self, number: usize) -> &[u8] {
        self.texts.get(number)
    }

    /// The number of `name`, or the slot that it would take.
    fn slot(&self, name: &[u8]) -> Result<u32, usize> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let mask = self.slots.len() - 1;
        let mut at = hasher.finish() as usize & mask;
        loop {
            match self.slots[at] {
                0 => return Err(at),
                full if self.texts.get(full as usize - 1) == name => return Ok(full - 1),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// The number of a name, or `None`.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            None
        } else {
            self.slot(name).ok()
        }
    }

    /// The number of `name`, which is added where it is new.
    pub fn insert(&mut self, name: &[u8]) -> Result<u32> {
        // All names find their slots anew, in a table that is a quarter full at the most.
        if self.slots.len() < 2 * (self.len() + 1) {
            self.slots = vec![0; (4 * (self.len() + 1)).next_power_of_two()];
            for number in 0..self.texts.len() {
                if let Err(at) = self.slot(self.texts.get(number)) {
                    self.slots[at] = number as u32 + 1;
                }
            }
        }
        match self.slot(name) {
            Ok(number) => Ok(number),
            Err(at) => {
                let next = u32::try_from(self.len() + 1).context("More than 2^32 names")?;
                self.texts.push(name);
                self.slots[at] = next;
                Ok(next - 1)
            }
        }
    }
}

/// The names in a file, one a line, without white space around them; `-` is standard input. The file may be gzip. They may
/// take `memory` bytes.
pub fn read(path: &Path, memory: u64) -> Result<Names> {
    read_all(path, memory, |_| Ok(()))
}

/// The same of a list in which no name may be twice.
pub fn read_distinct(path: &Path, memory: u64) -> Result<Names> {
    read_all(path, memory, |name| {
        bail!("'{}' is in it twice", String::from_utf8_lossy(name))
    })
}

/// Gives each name that is there again to `again`.
fn read_all(path: &Path, memory: u64, mut again: impl FnMut(&[u8]) -> Result<()>) -> Result<Names> {
    let mut input = if path == Path::new("-") {
        unpacked(io::stdin().lock())?
    } else {
        unpacked(BufReader::new(File::open(path)?))?
    };
    let (mut names, mut line) = (Names::default(), vec![]);
    for number in 1u64.. {
        line.clear();
        // A file that is no list, such as an .h5ad, may have no line break in gigabytes.
        let mut bounded = (&mut input).take(limits::FIELD as u64);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        ensure!(
            line.len() < limits::FIELD || line.ends_with(b"\n"),
            "Line {number} is longer than {}: it is no list of names, one a line",
            format_size(limits::FIELD as u64)
        );
        let text = trimmed(&line).with_context(|| format!("Line {number}"))?;
        let text = text.trim_start_matches('\u{feff}'); // the mark some editors put first
        if !text.is_empty() {
            let count = names.len() as u32;
            if names.insert(text.as_bytes())? < count {
                again(text.as_bytes())?;
            }
        }
        ensure!(
            names.bytes() <= memory,
            "Its names take more than --memory-limit {}; give more",
            format_size(memory)
        );
    }
    Ok(names)
}

/// Takes from `mask` the cells that the list at `path` does not name. Names that no cell has are an error unless
/// `missing_ok`.
pub fn keep(
    obs: &Obs,
    path: &Path,
    missing_ok: bool,
    memory: u64,
    mask: &mut [bool],
) -> Result<()> {
    let context = || format!("Cannot read --cells {}", path.display());
    let names = read(path, memory).with_context(context)?;
    let mut found = vec![false; names.len()];
    for rows in obs.frame.index_blocks()? {
        let index = obs.frame.index_rows(rows.clone())?;
        let mask = &mut mask[rows.start as usize..rows.end as usize];
        for (name, keep) in index.iter().zip(mask) {
            match names.find(trimmed_name(name)) {
                Some(number) => found[number as usize] = true,
                None => *keep = false,
            }
        }
    }
    let unknown = || (0..names.len()).filter(|&n| !found[n]);
    let count = unknown().count();
    if count == 0 {
        return Ok(());
    }
    let texts = unknown().map(|n| std::str::from_utf8(names.get(n)).unwrap_or_default());
    let what = format!(
        "{count} of the {} names in {} are no cell of the file: {}",
        names.len(),
        path.display(),
        listed(texts, count)
    );
    if missing_ok {
        info!("{what}")
    } else {
        bail!(Failure::key(format!(
            "{what}; --missing-ok passes over them"
        )))
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype, Strings};
    use crate::store::{self, Access, Container, Rows};

    proptest! {
        #[test]
        fn names_are_numbered_once_each(names in prop::collection::vec("[ab]{0,4}", 0..200)) {
            let (mut table, mut distinct) = (Names::default(), Vec::<String>::new());
            for name in &names {
                if !distinct.contains(name) {
                    prop_assert_eq!(table.find(name.as_bytes()), None);
                    distinct.push(name.clone());
                }
                let number = table.insert(name.as_bytes()).unwrap();
                prop_assert_eq!(&distinct[number as usize], name);
            }
            prop_assert_eq!(table.len(), distinct.len());
            for (number, name) in distinct.iter().enumerate() {
                prop_assert_eq!(table.find(name.as_bytes()), Some(number as u32));
                prop_assert_eq!(table.get(number), name.as_bytes());
            }
        }
    }

    #[test]
    fn names_of_cells_are_trimmed_as_those_of_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5ad");
        let root = store::create(&path, Container::H5AD).unwrap();
        let attrs = Attrs::encoding("dataframe", "0.2.0")
            .with("_index", Attr::Text("_index".into()))
            .with("column-order", Attr::texts(vec![]));
        root.create_group("obs", &attrs).unwrap();
        let attrs = Attrs::encoding("string-array", "0.2.0");
        let spec = ArraySpec::new(vec![4], Dtype::String);
        let mut index = root
            .create_array("obs/_index", &spec, Rows::Known, &attrs)
            .unwrap();
        let names = ["a\u{a0}", "\u{2003}b", " c", "d"];
        let names: Strings = names.iter().map(|name| name.as_bytes()).collect();
        index.append_strings(&names).unwrap();
        index.finish().unwrap();
        root.finish().unwrap();
        let obs = Obs::open(&store::open(&path, &Access::default()).unwrap()).unwrap();
        let list = dir.path().join("cells.txt");
        std::fs::write(&list, "a\n\u{a0}b\nc\u{2003}\n").unwrap();
        let mut mask = [true; 4];
        keep(&obs, &list, false, 1 << 20, &mut mask).unwrap();
        assert_eq!(mask, [true, true, true, false]);
    }

    #[test]
    fn a_list_is_read_whatever_ends_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cells.txt");
        std::fs::write(&path, "\u{feff}b\r\n\n a \nb\nlast").unwrap();
        let names = read(&path, 1 << 20).unwrap();
        let texts: Vec<_> = (0..names.len()).map(|n| names.get(n)).collect();
        assert_eq!(texts, [&b"b"[..], b"a", b"last"]);
        std::fs::write(&path, b"a\n\xff\n").unwrap();
        let error = || format!("{:#}", read(&path, 1 << 10).err().unwrap());
        assert!(error().contains("Line 2"), "{}", error());
        std::fs::write(&path, vec![b'x'; 2 << 20]).unwrap();
        assert!(error().contains("Line 1 is longer"), "{}", error());
        let many: String = (0..1000).map(|i| format!("{i}\n")).collect();
        std::fs::write(&path, many).unwrap();
        assert!(error().contains("--memory-limit"), "{}", error());
    }
}

//! What was written to a file, so that it can be read back and compared.
//!
//! Arrays are summed as they are appended, before they are encoded, and again as they come back. A sum is a CRC-32,
//! which can be put together from those of its parts: threads take them in any order. What is copied whole is summed
//! at its source.

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice::from_ref;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result, ensure};
use crc32fast::Hasher;
use rayon::prelude::*;

use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype, Kind, NATIVE, Strings};
use crate::store::words;
use crate::store::{Array, Buffer, Format, Group, Node, zarr};

/// The checksum of consecutive values: of their bytes and, where they are text, of their lengths.
/// "ab", "c" and "a", "bc" have the same bytes: their lengths tell them apart.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    bytes: Hasher,
    lengths: Hasher,
}

impl Sum {
    pub fn of(bytes: &[u8]) -> Sum {
        /// Bytes of one task.
        const TASK: usize = 1 << 20;
        let sum = |part: &[u8]| {
            let mut hasher = Hasher::new();
            hasher.update(part);
            hasher
        };
        let join = |mut before: Hasher, after: Hasher| {
            before.combine(&after);
            before
        };
        Sum {
            bytes: bytes.par_chunks(TASK).map(sum).reduce(Hasher::new, join),
            lengths: Hasher::new(),
        }
    }

    fn of_texts(texts: &Strings) -> Sum {
        // By lengths, as ends depend on where a block begins.
        let starts = std::iter::once(&0).chain(&texts.ends);
        let lengths = texts
            .ends
            .iter()
            .zip(starts)
            .map(|(end, start)| end - start);
        let lengths: Vec<u8> = lengths.flat_map(u64::to_le_bytes).collect();
        Sum {
            lengths: Sum::of(&lengths).bytes,
            ..Sum::of(&texts.bytes)
        }
    }

    /// Adds the sum of the values that come next.
    pub fn add(&mut self, next: &Sum) {
        self.bytes.combine(&next.bytes);
        self.lengths.combine(&next.lengths);
    }

    pub fn add_texts(&mut self, texts: &Strings) {
        self.add(&Sum::of_texts(texts));
    }

    fn value(&self) -> (u32, u32) {
        let end = |hasher: &Hasher| hasher.clone().finalize();
        (end(&self.bytes), end(&self.lengths))
    }
}

/// Sums of parts that come in any order, each with where it begins.
/// All are kept until the end: one for each part, of about 256 KiB or of a chunk.
#[derive(Default)]
pub struct PartialSums(Mutex<BTreeMap<u64, Sum>>);

impl PartialSums {
    pub fn add(&self, start: u64, part: &[u8]) {
        let sum = Sum::of(part);
        lock(&self.0).insert(start, sum);
    }

    pub fn whole(self) -> Sum {
        let parts = lock(&self.0);
        parts.values().fold(Sum::default(), |mut whole, part| {
            whole.add(part);
            whole
        })
    }
}

/// What is meant to be in a file. Its clones are one; see [`Ledger::fork`].
/// Paths are those in the file, without a slash before them; that of the root is empty.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, Entry>>>);

/// One node; `array` is empty for a group.
#[derive(Clone, Debug, Default)]
struct Entry {
    attrs: Attrs,
    array: Option<ArraySum>,
}

#[derive(Clone, Debug)]
struct ArraySum {
    spec: ArraySpec,
    /// `None` where the values cannot be read one by one.
    sum: Option<Sum>,
}

impl Ledger {
    /// A ledger that begins with all that is in this one.
    /// For a file that begins as a copy of a template.
    pub fn fork(&self) -> Ledger {
        Ledger(Arc::new(Mutex::new(lock(&self.0).clone())))
    }

    /// Notes attributes of a node, beside those that are noted already; later values count.
    pub fn attrs(&self, path: String, attrs: &Attrs) {
        let mut entries = lock(&self.0);
        let entry = entries.entry(path).or_default();
        attrs
            .iter()
            .for_each(|(name, value)| entry.attrs.set(name, value.clone()));
    }

    /// Notes an array that is whole; without a sum, that it is there.
    pub fn array(&self, path: String, spec: ArraySpec, sum: Option<Sum>) {
        lock(&self.0).entry(path).or_default().array = Some(ArraySum { spec, sum });
    }

    /// Takes in a node that is copied whole, with all below it.
    pub fn copied(&self, node: &Node, path: String) -> Result<()> {
        let attrs = node.attrs()?;
        // What a reference leads to is copied too, to a place of its own.
        let stays = |(_, value): &(_, &Attr)| !matches!(value, Attr::Reference(_));
        self.attrs(path.clone(), &attrs.iter().filter(stays).collect());
        match node {
            Node::Array(array) => self.array(path, array.spec().clone(), sum(array, NATIVE_ORDER)?),
            Node::Group(group) => {
                for name in group.names()? {
                    let below = group.get(&name)?.context("A link that leads nowhere")?;
                    self.copied(&below, format!("{path}/{name}"))?;
                }
            }
        }
        Ok(())
    }

    /// Reads a whole file and compares; an error names the first element that is not as it was meant.
    pub fn compare(&self, root: &Group) -> Result<()> {
        let entries = lock(&self.0);
        for (path, entry) in entries.iter() {
            entry
                .compare(root, path)
                .with_context(|| format!("'{path}' is not as it was written"))?;
        }
        no_more_arrays(root, "", &entries)
    }
}

impl Entry {
    fn compare(&self, root: &Group, path: &str) -> Result<()> {
        let node = match path {
            "" => Some(Node::Group(root.clone())),
            _ => root.get(path)?,
        };
        let node = node.context("It is missing")?;
        let attrs = node.attrs()?;
        for (name, meant) in self.attrs.iter() {
            // In words, as a format may keep a value as another type: an int32 of HDF5 comes back from JSON as int64.
            let meant = said(meant);
            let found = attrs.get(name).and_then(said);
            ensure!(
                meant.is_none() || meant == found,
                "Its attribute '{name}' differs"
            );
        }
        match (&self.array, node) {
            (None, _) => Ok(()),
            (Some(_), Node::Group(_)) => anyhow::bail!("It is a group"),
            (Some(meant), Node::Array(array)) => meant.compare(&array),
        }
    }
}

impl ArraySum {
    fn compare(&self, array: &Array) -> Result<()> {
        let (meant, found) = (&self.spec, array.spec());
        ensure!(
            meant.shape == found.shape,
            "Its shape is {:?}, not {:?}",
            found.shape,
            meant.shape
        );
        if meant.null {
            return Ok(()); // only HDF5 gives nothing a type
        }
        // Byte order may differ: `swaps` says what is turned around. Of other types than numbers only the width is
        // compared.
        let is_same = match (&meant.dtype, &found.dtype) {
            (Dtype::Number { .. }, _) => meant.dtype.kind() == found.dtype.kind(),
            _ => true,
        };
        ensure!(
            is_same && meant.dtype.size() == found.dtype.size(),
            "Its type is {}, not {}",
            found.dtype,
            meant.dtype
        );
        let Some(wanted) = &self.sum else {
            return Ok(());
        };
        let sum = sum(array, swaps(&meant.dtype, &found.dtype))?;
        let sum = sum.context("Its values cannot be read")?;
        ensure!(sum.value() == wanted.value(), "Its values differ");
        Ok(())
    }
}

/// Bytes of each number that must be turned around; 0 where none is.
type Swap = usize;
const NATIVE_ORDER: Swap = 0;

/// Zarr hands out numbers in this machine's byte order, whatever order they were written in.
fn swaps(written: &Dtype, read: &Dtype) -> Swap {
    match (written, read) {
        (Dtype::Number { order, kind, size }, Dtype::Number { order: NATIVE, .. })
            if *order != NATIVE =>
        {
            match kind {
                Kind::Complex => size / 2,
                _ => *size,
            }
        }
        _ => NATIVE_ORDER,
    }
}

/// Decodes all chunks of a node and of what is below it; an error where one cannot be.
pub fn decode_all(node: &Node) -> Result<()> {
    match node {
        Node::Array(array) => {
            // Without filters any bytes are values.
            let encoded = array.format() == Format::Zarr || !array.layout()?.filters.is_empty();
            if encoded {
                sum(array, NATIVE_ORDER)?;
            }
            Ok(())
        }
        Node::Group(group) => group.names()?.iter().try_for_each(|name| {
            let below = group.get(name)?.context("A link that leads nowhere")?;
            decode_all(&below)
        }),
    }
}

/// The sum of all values of an array, read in blocks; `None` where they cannot be read here.
fn sum(array: &Array, swap: Swap) -> Result<Option<Sum>> {
    /// Bytes that are read at a time, and what is guessed for a text.
    const BLOCK: u64 = 8 << 20;
    const TEXT: u64 = 64;
    let spec = array.spec();
    if spec.null || matches!(spec.dtype, Dtype::Unsupported(_)) {
        return Ok(None);
    }
    let has_text = spec.dtype == Dtype::String || spec.dtype.is_record_with_text();
    let row = if has_text {
        TEXT.saturating_mul(spec.row_items())
    } else {
        spec.row_bytes()
    };
    array.check_declared()?;
    let step = (BLOCK / row.max(1)).max(1);
    let (mut sum, mut start, mut buffer) = (Sum::default(), 0, Buffer::default());
    while start < spec.rows() {
        let rows = start..spec.rows().min(start.saturating_add(step));
        match &spec.dtype {
            Dtype::String => sum.add_texts(&array.read_strings(from_ref(&rows))?),
            // Field after field within each block: both sides are cut at the same rows, as `step` depends on the shape
            // of a row alone.
            Dtype::Record { .. } if spec.dtype.is_record_with_text() => {
                sum_fields(array, &rows, &mut sum)?;
            }
            _ => {
                buffer = array.read_over(from_ref(&rows), buffer)?;
                if swap > 1 {
                    buffer.par_chunks_exact_mut(swap).for_each(<[u8]>::reverse);
                }
                sum.add(&Sum::of(&buffer));
            }
        }
        start = rows.end;
    }
    Ok(Some(sum))
}

/// Records that hold text, field by field.
fn sum_fields(array: &Array, rows: &Range<u64>, sum: &mut Sum) -> Result<()> {
    let Dtype::Record { fields, .. } = &array.spec().dtype else {
        return Ok(());
    };
    for field in fields {
        if field.dtype.is_string() {
            sum.add_texts(&array.read_field_strings(field, from_ref(rows))?)
        } else {
            sum.add(&Sum::of(&array.read_field(field, from_ref(rows))?))
        }
    }
    Ok(())
}

/// What an attribute says, however a format stores it; `None` where that cannot be put in words.
fn said(attr: &Attr) -> Option<String> {
    Some(match zarr::attr_value(attr).ok()? {
        serde_json::Value::String(text) => text,
        value => words::write(value.to_string()),
    })
}

/// An error for an array that nobody meant to write.
fn no_more_arrays(group: &Group, path: &str, meant: &BTreeMap<String, Entry>) -> Result<()> {
    for name in group.names()? {
        let path = match path {
            "" => name.clone(),
            _ => format!("{path}/{name}"),
        };
        match group.get(&name)? {
            Some(Node::Group(group)) => no_more_arrays(&group, &path, meant)?,
            // A link that leads nowhere, too. Groups that are too many do no harm.
            _ => ensure!(
                meant.contains_key(&path),
                "'{path}' was not written by this run"
            ),
        }
    }
    Ok(())
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sum_is_that_of_its_parts(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            steps in prop::collection::vec(1usize..50, 1..9),
            backwards: bool,
        ) {
            let (mut cuts, mut at) = (vec![], 0);
            for step in steps.iter().cycle() {
                if at >= bytes.len() {
                    break;
                }
                let end = bytes.len().min(at + step);
                cuts.push(at..end);
                at = end;
            }
            let (parts, mut one_by_one) = (PartialSums::default(), Sum::default());
            cuts.iter().for_each(|cut| one_by_one.add(&Sum::of(&bytes[cut.clone()])));
            if backwards {
                cuts.reverse();
            }
            cuts.iter().for_each(|cut| parts.add(cut.start as u64, &bytes[cut.clone()]));
            prop_assert_eq!(parts.whole().value(), Sum::of(&bytes).value());
            prop_assert_eq!(one_by_one.value(), Sum::of(&bytes).value());
        }

        #[test]
        fn texts_are_told_apart_by_where_they_end(texts in prop::collection::vec("[ab]{0,3}", 0..9), at in 0usize..9) {
            let block = |texts: &[String]| texts.iter().map(String::as_bytes).collect::<Strings>();
            let whole = Sum::of_texts(&block(&texts));
            let (head, tail) = texts.split_at(at.min(texts.len()));
            let mut sum = Sum::of_texts(&block(head));
            sum.add_texts(&block(tail));
            prop_assert_eq!(sum.value(), whole.value());
            let joined = Sum::of_texts(&block(&[texts.concat()]));
            prop_assert_eq!(joined.value() == whole.value(), texts.len() == 1);
        }
    }
}

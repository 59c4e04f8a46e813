//! What the object header of a dataset claims, read past the library, which takes memory for the sources of a virtual
//! dataset as soon as that is opened, and for a text or a sequence as fill value as soon as it is asked how the dataset
//! was made (HDF5 file format, "Disk Format: Level 2A - Data Object Headers").

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};

use crate::store::hdf5::files::Raw;
use crate::store::io::raw;

/// Where an object header lies.
pub struct Header<'a> {
    pub file: &'a Raw,
    pub address: u64,
}

const DAMAGED: &str = "Its header is damaged";

/// How a message begins: by its kind in 2 bytes, its size, its flags and 3 bytes for nothing; or, from version 2 on, by
/// its kind in 1 byte, its size, its flags and, where messages are numbered, 2 bytes.
#[derive(Clone, Copy)]
struct MessageForm {
    kind: usize,
    unused: usize,
}

/// What is read of a header.
#[derive(Debug, Default, PartialEq)]
pub struct Claims {
    /// Bytes of a value; `None` of a type that has a name of its own.
    pub value: Option<u64>,
    /// The fill values that are stored, as they are in the file, of which the library uses one; `None` for one that
    /// other datasets share.
    pub fill_values: Vec<Option<Vec<u8>>>,
    /// The references to the lists of sources of a virtual dataset, without a length; `None` for one that other
    /// datasets share.
    pub sources: Vec<Option<Vec<u8>>>,
}

impl Header<'_> {
    pub fn read(&self) -> Result<Claims> {
        /// The kinds of message that are read; of fill values, before version 1.6 of the library, and since.
        const TYPE: u64 = 3;
        const OLD_FILL: u64 = 4;
        const FILL: u64 = 5;
        const LAYOUT: u64 = 8;
        const SHARED: u64 = 2;
        let (mut old, mut claims, mut has_new) = (vec![], Claims::default(), false);
        let (address, _) = self.file.widths;
        self.each_message(|kind, flags, data| {
            has_new |= kind == FILL;
            if kind == TYPE && flags & SHARED == 0 {
                let mut size = data.get(4..).context(DAMAGED)?;
                claims.value = Some(number(&mut size, 4)?);
            }
            let (found, claim): (_, fn(_, _) -> _) = match kind {
                OLD_FILL => (&mut old, |data, _| sized(data)),
                FILL => (&mut claims.fill_values, |data, _| fill_value(data)),
                LAYOUT => (&mut claims.sources, sources),
                _ => return Ok(()),
            };
            match flags & SHARED {
                0 => found.extend(claim(data, address)?.map(|value| Some(value.to_vec()))),
                _ => found.push(None),
            }
            Ok(())
        })?;
        if !has_new {
            claims.fill_values = old;
        }
        Ok(claims)
    }

    /// Gives kind, flags and data of each message.
    fn each_message(&self, mut each: impl FnMut(u64, u64, &[u8]) -> Result<()>) -> Result<()> {
        const CONTINUATION: u64 = 16;
        let (form, first) = self.first_block()?;
        // Messages may lead to blocks in a circle, or to such that lie upon one another.
        let (mut blocks, mut seen) = (vec![first], HashSet::new());
        let mut left = self.file.file.metadata()?.len();
        while let Some((at, len)) = blocks.pop() {
            ensure!(seen.insert(at), "Its header does not end");
            left = left.checked_sub(len).context(DAMAGED)?;
            let bytes = self.bytes(at, len)?;
            let mut rest = bytes.as_slice();
            while rest.len() >= form.kind + 3 + form.unused {
                let kind = number(&mut rest, form.kind)?;
                let size = number(&mut rest, 2)?;
                let flags = number(&mut rest, 1)?;
                take(&mut rest, form.unused)?;
                let mut data = take(&mut rest, size as usize)?;
                each(kind, flags, data)?;
                if kind == CONTINUATION {
                    let (address, size) = self.file.widths;
                    let at = number(&mut data, address)?;
                    let len = number(&mut data, size)?;
                    blocks.push(form.within(at, len));
                }
            }
        }
        Ok(())
    }

    /// Where the messages begin, and their bytes.
    fn first_block(&self) -> Result<(MessageForm, (u64, u64))> {
        /// Both forms begin with no more, and nothing is smaller that holds messages.
        const START: u64 = 16;
        let (start, at) = (self.bytes(self.address, START)?, self.address);
        if let [1, _, _, _, _, _, _, _, size @ ..] = start.as_slice() {
            let form = MessageForm { kind: 2, unused: 3 };
            return Ok((form, (at + START, number(&mut &*size, 4)?)));
        }
        let mut rest = start
            .strip_prefix(b"OHDR\x02")
            .context("It has no header")?;
        let flags = number(&mut rest, 1)?;
        let (width, numbered) = (1 << (flags & 3), flags & 4 > 0);
        let times = if flags & 32 > 0 { 16 } else { 0 };
        let phases = if flags & 16 > 0 { 4 } else { 0 };
        let at = at + 6 + times + phases;
        let size = number(&mut &*self.bytes(at, width)?, width as usize)?;
        let form = MessageForm {
            kind: 1,
            unused: if numbered { 2 } else { 0 },
        };
        Ok((form, (at + width, size)))
    }

    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        let at = self.file.base.checked_add(at);
        let at = at.context("Its header has an impossible address")?;
        let end = at.saturating_add(len);
        ensure!(
            end <= self.file.file.metadata()?.len(),
            "The file ends within its header"
        );
        let mut bytes = vec![0; len as usize];
        raw::exact(&self.file.file, &mut bytes, at)?;
        Ok(bytes)
    }
}

impl MessageForm {
    /// The messages within a block that a message leads to: from version 2 on, between a signature and a checksum.
    fn within(&self, at: u64, len: u64) -> (u64, u64) {
        const AROUND: u64 = 4;
        match self.kind {
            2 => (at, len),
            _ => (at.saturating_add(AROUND), len.saturating_sub(2 * AROUND)),
        }
    }
}

/// What a message of the new kind holds; `None` of a dataset without a value of its own.
fn fill_value(data: &[u8]) -> Result<Option<&[u8]>> {
    const HAS_VALUE: u8 = 32;
    match data {
        [3, flags, value @ ..] if flags & HAS_VALUE > 0 => sized(value),
        [1 | 2, _, _, defined, value @ ..] if *defined > 0 => sized(value),
        [1..=3, ..] => Ok(None),
        _ => bail!("Its fill value is of no known version"),
    }
}

/// Address and index of a list of sources, from version 4 of the layout on; `None` where there are none.
fn sources(data: &[u8], address: usize) -> Result<Option<&[u8]>> {
    const VIRTUAL: u8 = 3;
    let [4..=u8::MAX, VIRTUAL, list @ ..] = data else {
        return Ok(None);
    };
    let list = take(&mut &*list, address + 4)?;
    let is_none = list[..address].iter().all(|&byte| byte == 0xff);
    Ok((!is_none).then_some(list))
}

/// The bytes after their number; `None` where there are none.
fn sized(mut data: &[u8]) -> Result<Option<&[u8]>> {
    let size = number(&mut data, 4)?;
    let value = take(&mut data, size as usize)?;
    Ok((!value.is_empty()).then_some(value))
}

fn take<'a>(data: &mut &'a [u8], bytes: usize) -> Result<&'a [u8]> {
    let (taken, rest) = data.split_at_checked(bytes).context(DAMAGED)?;
    *data = rest;
    Ok(taken)
}

/// A number in so many bytes, at most 8.
fn number(data: &mut &[u8], bytes: usize) -> Result<u64> {
    let bytes = take(data, bytes)?.iter().rev();
    Ok(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Claims> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let file = Raw {
            file: file.into(),
            base: 0,
            widths: (8, 8),
        };
        let (file, address) = (&file, 0);
        Header { file, address }.read()
    }

    fn fill_values(bytes: &[u8]) -> Result<Vec<Option<Vec<u8>>>> {
        Ok(read(bytes)?.fill_values)
    }

    /// A header of version 1 with messages of these kinds, flags and data.
    fn header(messages: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut body = vec![];
        for (kind, flags, data) in messages {
            body.extend([*kind, 0, data.len() as u8, 0, *flags, 0, 0, 0]);
            body.extend_from_slice(data);
        }
        let mut bytes = vec![1, 0, messages.len() as u8, 0, 1, 0, 0, 0];
        bytes.extend([body.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn the_newer_kind_of_message_counts() {
        let old = (4, 0, [2, 0, 0, 0, 8, 9, 0, 0].as_slice());
        let new = (5, 0, [2, 2, 2, 1, 1, 0, 0, 0, 7, 0, 0, 0].as_slice());
        let none = (5, 0, [2, 2, 2, 0, 0, 0, 0, 0].as_slice());
        let shared = (5, 2, [0; 16].as_slice());
        let last = (5, 0, [3, 0x2a, 3, 0, 0, 0, 4, 5, 6].as_slice());
        assert_eq!(fill_values(&header(&[old])).unwrap(), [Some(vec![8, 9])]);
        assert_eq!(fill_values(&header(&[new, old])).unwrap(), [Some(vec![7])]);
        assert_eq!(fill_values(&header(&[old, none])).unwrap(), []);
        assert_eq!(
            fill_values(&header(&[shared, last])).unwrap(),
            [None, Some(vec![4, 5, 6])]
        );
    }

    #[test]
    fn lists_of_sources_are_those_of_virtual_datasets() {
        let list = [4, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0];
        let chunked = [&[4, 2], &list[2..]].concat();
        let (virtual_one, chunked) = ((8, 0, list.as_slice()), (8, 0, chunked.as_slice()));
        let found = read(&header(&[chunked, virtual_one])).unwrap();
        assert_eq!(found.sources, [Some((1..=12).collect())]);
        assert!(read(&header(&[(8, 0, &list[..13])])).is_err());
        let none = [&[4, 3], [0xff; 8].as_slice(), &[0; 4]].concat();
        assert!(read(&header(&[(8, 0, &none)])).unwrap().sources.is_empty());
    }

    #[test]
    fn blocks_in_a_circle_end() {
        let lead: Vec<u8> = [16u64, 24].iter().flat_map(|n| n.to_le_bytes()).collect();
        let error = fill_values(&header(&[(16, 0, &lead)])).unwrap_err();
        assert!(error.to_string().contains("does not end"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(
            version in prop::sample::select(vec![b"\x01\0".as_slice(), b"OHDR\x02"]),
            rest in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..20], 0..200),
        ) {
            let _ = read(&[version, &rest].concat());
        }
    }
}

//! Text in memory.

/// A block of text: the values one after another in `bytes`, each ending at its entry of `ends`.
/// `["ab", "", "c"]` is `abc` with the ends `[2, 2, 3]`. The bytes are UTF-8 where an [`Array`](super::Array) has read
/// them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strings {
    pub ends: Vec<u64>,
    pub bytes: Vec<u8>,
}

impl Strings {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as u64);
    }

    pub fn get(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start as usize..self.ends[i] as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i))
    }
}

impl<'a> FromIterator<&'a [u8]> for Strings {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(values: I) -> Strings {
        let mut strings = Strings::default();
        values.into_iter().for_each(|v| strings.push(v));
        strings
    }
}

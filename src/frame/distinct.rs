//! How many values of a stream came before in it, in bounded memory: 64-bit hashes are sorted, as many of them at a
//! time as the budget holds, and the stream is read again for the next ones.

use std::hash::{DefaultHasher, Hasher};

use anyhow::Result;
use rayon::prelude::*;

use super::values::Values;

/// What of a stream is not distinct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Keys that came before.
    pub count: u64,
    /// One of them.
    pub key: Option<u64>,
}

/// Counts repeats among about `count` keys in about `budget` bytes. `stream` hands all keys, block by block, to the
/// function that it gets, and is called once for each part of them that the budget holds.
pub fn repeats(
    count: u64,
    budget: u64,
    mut stream: impl FnMut(&mut dyn FnMut(Vec<u64>)) -> Result<()>,
) -> Result<Repeats> {
    /// Bytes of a key in a vector that may just have grown to twice its size.
    const KEY: u64 = 16;
    let parts = count.saturating_mul(KEY).div_ceil(budget.max(KEY)).max(1);
    let mut found = Repeats::default();
    for part in 0..parts {
        let mut keys: Vec<u64> = vec![];
        stream(&mut |block| match parts {
            1 => keys.extend(block),
            _ => keys.extend(block.iter().filter(|key| *key % parts == part)),
        })?;
        keys.par_sort_unstable();
        let again = keys.windows(2).filter(|pair| pair[0] == pair[1]);
        found.count += again.clone().count() as u64;
        found.key = found.key.or(again.map(|pair| pair[0]).next());
    }
    Ok(found)
}

/// Keys of values, the same for equal ones: those of numbers that are [comparable](Values::comparable). What is
/// missing has none.
pub fn keys(values: &Values) -> Vec<u64> {
    let present = (0..values.data.len()).into_par_iter();
    let present = present.filter(|&i| !values.is_missing(i));
    present.map(|i| key(values.data.get(i))).collect()
}

/// A hash of 64 bits: two values of a million share one with a chance of 1 in 37 million.
pub fn key(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(value);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::values::Data;
    use crate::store::spec::Strings;

    proptest! {
        #[test]
        fn whatever_the_budget(names in prop::collection::vec("[ab]{0,3}", 0..60), budget in 1u64..2000) {
            let distinct: HashSet<&String> = names.iter().collect();
            let found = repeats(names.len() as u64, budget, |see| {
                for block in names.chunks(7) {
                    let texts: Strings = block.iter().map(String::as_bytes).collect();
                    see(keys(&Data::Text(texts).into()));
                }
                Ok(())
            });
            let found = found.unwrap();
            prop_assert_eq!(found.count, (names.len() - distinct.len()) as u64);
            let again = |name: &&String| names.iter().filter(|n| n == name).count() > 1;
            let doubled: Vec<u64> = names.iter().filter(again).map(|n| key(n.as_bytes())).collect();
            prop_assert_eq!(found.key.is_some(), found.count > 0);
            prop_assert!(found.key.is_none_or(|key| doubled.contains(&key)));
        }
    }

    #[test]
    fn what_is_missing_is_no_repeat() {
        let texts: Strings = [b"".as_slice(), b"a", b""].into_iter().collect();
        let mut values: Values = Data::Text(texts).into();
        values.missing = vec![true, false, true];
        assert_eq!(keys(&values), [key(b"a")]);
    }
}

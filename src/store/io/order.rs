//! What many threads make in about the order of its numbers, put into it: so the same values make the same file.
//!
//! At most 16 MiB wait; beyond that what comes is put at once, so that memory stays bounded, and the file is right, but
//! not the same in each run.

use std::collections::BTreeMap;

use anyhow::Result;

/// Encoded chunks that wait for those before them.
pub struct InOrder<T> {
    next: u64,
    /// Those that came before their turn, each with its bytes; `None` for what was not kept.
    waiting: BTreeMap<u64, Option<(T, usize)>>,
    kept: usize,
}

impl<T> Default for InOrder<T> {
    fn default() -> InOrder<T> {
        InOrder::from(0)
    }
}

impl<T> InOrder<T> {
    /// Bytes that wait at the most: the next goes on at once, for memory counts more than order.
    const MOST: usize = 16 << 20;

    /// The first number is `next`.
    pub fn from(next: u64) -> InOrder<T> {
        InOrder {
            next,
            waiting: BTreeMap::new(),
            kept: 0,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Calls `put` for `what`, which takes so many bytes, and all that have waited for it.
    pub fn take(
        &mut self,
        number: u64,
        what: T,
        bytes: usize,
        mut put: impl FnMut(u64, &T) -> Result<()>,
    ) -> Result<()> {
        let waits = number > self.next && self.kept + bytes <= Self::MOST;
        if waits {
            self.kept += bytes;
            self.waiting.insert(number, Some((what, bytes)));
            return Ok(());
        }
        put(number, &what)?;
        self.waiting.insert(number, None);
        while let Some(what) = self.waiting.remove(&self.next) {
            if let Some((what, bytes)) = what {
                put(self.next, &what)?;
                self.kept -= bytes;
            }
            self.next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_put_in_order_while_few_wait() {
        for count in [64, 128] {
            let (mut put, mut order) = (vec![], InOrder::default());
            for number in (1..=count).chain([0]) {
                let bytes = InOrder::<u64>::MOST / 64;
                let seen = |number, _: &u64| {
                    put.push(number);
                    Ok(())
                };
                order.take(number, number, bytes, seen).unwrap();
            }
            assert_eq!(put.is_sorted(), count == 64);
            put.sort_unstable();
            assert!(put.into_iter().eq(0..=count));
            assert!(order.waiting.is_empty() && order.kept == 0);
        }
    }
}

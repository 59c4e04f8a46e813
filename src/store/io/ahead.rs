//! Reading ahead: while one block is written, the next is read, so that disk and processors are busy together.

use anyhow::Result;

/// Reads one block after another and takes each as it is read. Two are held at a time; `take` hands back what it is
/// done with, and `read` may put the next into its memory.
pub fn read_ahead<I: Send, T: Send>(
    blocks: impl IntoIterator<Item = I>,
    read: impl Fn(I, Option<T>) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<T>,
) -> Result<()> {
    let mut blocks = blocks.into_iter();
    let mut held = blocks.next().map(|block| read(block, None)).transpose()?;
    let mut spare = None;
    while let Some(now) = held {
        // Another thread is woken only where there is something to read.
        let Some(next) = blocks.next() else {
            return take(now).map(drop);
        };
        let mut ahead = None;
        let taken = rayon::in_place_scope(|scope| {
            scope.spawn(|_| ahead = Some(read(next, spare)));
            take(now)
        });
        (spare, held) = (Some(taken?), ahead.transpose()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::bail;

    use super::*;

    #[test]
    fn blocks_are_taken_in_order_over_two_buffers() {
        let made = AtomicUsize::new(0);
        let read = |i: u8, old: Option<Vec<u8>>| {
            let mut bytes = old.unwrap_or_else(|| {
                made.fetch_add(1, Ordering::Relaxed);
                vec![]
            });
            bytes.push(i);
            Ok(bytes)
        };
        let mut seen = vec![];
        let take = |mut bytes: Vec<u8>| {
            seen.append(&mut bytes);
            Ok(bytes)
        };
        read_ahead(0..50, read, take).unwrap();
        assert_eq!(seen, (0..50).collect::<Vec<u8>>());
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_first_failure_ends_it() {
        let read = |i, _| if i == 3 { bail!("read {i}") } else { Ok(i) };
        let mut taken = 0;
        let take = |i| {
            taken = i;
            Ok(i)
        };
        assert_eq!(
            read_ahead(0..9, read, take).unwrap_err().to_string(),
            "read 3"
        );
        assert_eq!(taken, 2);
        let take = |i: i32| if i == 1 { bail!("take {i}") } else { Ok(i) };
        let error = read_ahead(0..9, |i, _| Ok(i), take).unwrap_err();
        assert_eq!(error.to_string(), "take 1");
    }
}

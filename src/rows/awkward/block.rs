//! Rows of an awkward array in memory: the tree of its form, each node holding just the rows of the block.
//!
//! A node has lengths in place of offsets, and a flag in place of an index, so a block needs no number that depends on
//! where in the file it was. To pick rows of a node is to pick rows of its content.

/// Rows of one node, in memory. The variants are those of a form; values stay bytes.
pub enum AwkwardBlock {
    Plain {
        row: usize,
        bytes: Vec<u8>,
    },
    List {
        /// Items of each row; the content has as many rows as their sum.
        lengths: Vec<u64>,
        content: Box<AwkwardBlock>,
    },
    Regular {
        size: usize,
        /// Kept by itself, as rows of no items leave no trace in the content.
        rows: usize,
        content: Box<AwkwardBlock>,
    },
    Record {
        /// Kept by itself, as there may be no fields.
        rows: usize,
        contents: Vec<AwkwardBlock>,
    },
    Option {
        /// The content has rows for those alone that are present.
        present: Vec<bool>,
        content: Box<AwkwardBlock>,
    },
    Masked {
        /// As in the buffer; the content has a row for each.
        mask: Vec<u8>,
        content: Box<AwkwardBlock>,
    },
    Through(Box<AwkwardBlock>),
}

impl AwkwardBlock {
    /// Bytes that it takes in memory, which are held to the budget.
    pub fn bytes(&self) -> usize {
        match self {
            AwkwardBlock::Plain { bytes, .. } => bytes.len(),
            AwkwardBlock::List { lengths, content } => 8 * lengths.len() + content.bytes(),
            AwkwardBlock::Regular { content, .. } | AwkwardBlock::Through(content) => {
                content.bytes()
            }
            AwkwardBlock::Record { contents, .. } => contents.iter().map(|c| c.bytes()).sum(),
            AwkwardBlock::Option { present, content } => present.len() + content.bytes(),
            AwkwardBlock::Masked { mask, content } => mask.len() + content.bytes(),
        }
    }

    /// The rows at `picks`, in that order, repeats allowed; every pick is below [`rows`](Self::rows).
    pub fn pick(&self, picks: &[u32]) -> AwkwardBlock {
        match self {
            AwkwardBlock::Plain { row, bytes } => AwkwardBlock::Plain {
                row: *row,
                bytes: picks
                    .iter()
                    .flat_map(|&p| &bytes[p as usize * row..(p as usize + 1) * row])
                    .copied()
                    .collect(),
            },
            AwkwardBlock::List { lengths, content } => {
                // To pick a list is to pick its items.
                let starts = starts(lengths.iter().copied());
                let inner: Vec<u32> = picks
                    .iter()
                    .flat_map(|&p| starts[p as usize]..starts[p as usize + 1])
                    .collect();
                AwkwardBlock::List {
                    lengths: picks.iter().map(|&p| lengths[p as usize]).collect(),
                    content: Box::new(content.pick(&inner)),
                }
            }
            AwkwardBlock::Regular { size, content, .. } => {
                let size32 = *size as u32;
                let inner: Vec<u32> = picks
                    .iter()
                    .flat_map(|&p| p * size32..(p + 1) * size32)
                    .collect();
                AwkwardBlock::Regular {
                    size: *size,
                    rows: picks.len(),
                    content: Box::new(content.pick(&inner)),
                }
            }
            AwkwardBlock::Record { contents, .. } => AwkwardBlock::Record {
                rows: picks.len(),
                contents: contents.iter().map(|c| c.pick(picks)).collect(),
            },
            AwkwardBlock::Option { present, content } => {
                let places = starts(present.iter().map(|&p| u64::from(p)));
                let inner: Vec<u32> = picks
                    .iter()
                    .filter(|&&p| present[p as usize])
                    .map(|&p| places[p as usize])
                    .collect();
                AwkwardBlock::Option {
                    present: picks.iter().map(|&p| present[p as usize]).collect(),
                    content: Box::new(content.pick(&inner)),
                }
            }
            AwkwardBlock::Masked { mask, content } => AwkwardBlock::Masked {
                mask: picks.iter().map(|&p| mask[p as usize]).collect(),
                content: Box::new(content.pick(picks)),
            },
            AwkwardBlock::Through(content) => AwkwardBlock::Through(Box::new(content.pick(picks))),
        }
    }

    /// Rows of this node, which may be more or fewer than those of the array.
    pub fn rows(&self) -> usize {
        match self {
            AwkwardBlock::Plain { row, bytes } => bytes.len() / (*row).max(1),
            AwkwardBlock::List { lengths, .. } => lengths.len(),
            AwkwardBlock::Regular { rows, .. } | AwkwardBlock::Record { rows, .. } => *rows,
            AwkwardBlock::Option { present, .. } => present.len(),
            AwkwardBlock::Masked { mask, .. } => mask.len(),
            AwkwardBlock::Through(content) => content.rows(),
        }
    }
}

/// Where each of some lengths begins, and where the last one ends. `[2, 0, 3]` is `[0, 2, 2, 5]`.
fn starts(lengths: impl Iterator<Item = u64>) -> Vec<u32> {
    let mut starts = vec![0u32];
    let mut end = 0;
    for length in lengths {
        end += length as u32;
        starts.push(end);
    }
    starts
}

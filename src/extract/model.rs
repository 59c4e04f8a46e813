//! A model of a run on many nodes: arithmetic over the planner alone. It holds the tables of docs/many-nodes.md true.

use super::buckets::rows_of_task;
use super::plan::{self, Budget};
use crate::resources::format_size;
use crate::rows::cost::RowCost;

/// A shuffle of a compressed file into shards that are compressed alike.
struct Model {
    cells: u64,
    /// Non-zeros of a cell, of 8 bytes each.
    nonzeros: u64,
    nodes: u64,
    /// `--memory-limit` of a task, and its threads.
    memory: u64,
    threads: usize,
    /// How many bytes of matrices become one by compression.
    packed: u64,
    /// Bytes of a cell in obs, which every task reads.
    obs: u64,
    rates: Rates,
}

/// Bytes a second of a node: of the shared file system, of decoding and of encoding.
struct Rates {
    disk: u64,
    decode: u64,
    encode: u64,
}

/// What one node does.
#[derive(Debug, PartialEq)]
struct Node {
    read: u64,
    written: u64,
    /// Buckets that it writes, and the bytes of one.
    buckets: (u64, u64),
    memory: u64,
    seconds: u64,
}

/// A CSR row of float32 and int32: 8 bytes for each non-zero.
const ROW: RowCost = RowCost {
    fixed: 16,
    nonzero: 8,
};

impl Model {
    /// The example of the page: 100 million cells on 64 nodes, each with `memory` bytes and disks of 1 GB/s.
    fn atlas(memory: u64) -> Model {
        Model {
            cells: 100_000_000,
            nonzeros: 2_000,
            nodes: 64,
            memory,
            threads: 16,
            packed: 4,
            obs: 100,
            rates: Rates {
                disk: 1_000_000_000,
                decode: 2_000_000_000,
                encode: 1_000_000_000,
            },
        }
    }

    /// Bytes of the matrices.
    fn plain(&self) -> u64 {
        plan::data_bytes(&ROW, self.cells * self.nonzeros, self.cells)
    }

    /// The least and the greatest number of rows that a task reads.
    fn rows(&self) -> (u64, u64) {
        let rows = (1..=self.nodes).map(|node| rows_of_task(self.cells, node, self.nodes));
        let rows: Vec<u64> = rows.map(|rows| rows.end - rows.start).collect();
        (*rows.iter().min().unwrap(), *rows.iter().max().unwrap())
    }

    fn budget(&self, held: u64) -> Budget {
        Budget::any_order(self.memory, held, self.threads)
    }

    fn seconds(&self, moved: u64, decoded: u64, encoded: u64) -> u64 {
        let Rates {
            disk,
            decode,
            encode,
        } = self.rates;
        moved / disk + decoded / decode + encoded / encode
    }

    /// The rows of one node in a block, as many as fit.
    fn rows_of_block(&self) -> u64 {
        let wave = self.budget(self.cells + self.rows().1).for_two_waves();
        plan::first_guess(wave, &[ROW], &[self.nonzeros as f64], u64::MAX)
    }

    fn scatter(&self) -> Node {
        let (rows, own) = (self.rows().1, self.plain() / self.nodes);
        let files = rows.div_ceil(self.rows_of_block()) * self.nodes;
        let (read, written) = (own / self.packed, own);
        Node {
            read,
            written,
            buckets: (files, own / files),
            memory: self.memory,
            seconds: self.seconds(read + written, own, 0),
        }
    }

    fn gather(&self) -> Node {
        let own = self.plain() / self.nodes;
        // Buckets are read twice, the first time for their checksums.
        let (read, written) = (2 * own + self.obs * self.cells, own / self.packed);
        Node {
            read,
            written,
            buckets: (0, 0),
            memory: self.memory,
            seconds: self.seconds(read + written, self.obs * self.cells, own),
        }
    }

    /// A part by itself, which unpacks all there is.
    fn alone(&self) -> Node {
        let own = self.plain() / self.nodes;
        let (read, written) = (self.plain() / self.packed + own, own / self.packed);
        Node {
            read,
            written,
            buckets: (0, 0),
            memory: self.memory,
            seconds: self.seconds(read + written + self.plain(), self.plain(), own),
        }
    }
}

/// The lines of the tables.
fn tables() -> Vec<String> {
    let model = Model::atlas(16_000_000_000);
    let line = |name: &str, node: &Node| {
        let [read, written] = [node.read, node.written].map(format_size);
        let minutes = node.seconds.div_ceil(60);
        format!("| {name} | {read} | {written} | {minutes} min |")
    };
    let stages = [
        ("scatter", model.scatter()),
        ("gather", model.gather()),
        ("one stage", model.alone()),
    ];
    let stages = stages.iter().map(|(name, node)| line(name, node));
    let limits = [2u64, 8, 16, 64].map(|gigabytes| {
        let (buckets, bytes) = Model::atlas(gigabytes * 1_000_000_000).scatter().buckets;
        format!(
            "| {gigabytes} GB | {buckets} | {} | {} |",
            format_size(bytes),
            buckets * 64
        )
    });
    stages.chain(limits).collect()
}

#[test]
fn the_tables_of_many_nodes_are_those_of_the_planner() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/many-nodes.md");
    let page = std::fs::read_to_string(page).unwrap();
    let missing: Vec<String> = tables()
        .into_iter()
        .filter(|line| !page.contains(line))
        .collect();
    assert!(
        missing.is_empty(),
        "not in the page:\n{}",
        missing.join("\n")
    );
}

#[test]
fn an_atlas_of_100_million_cells_goes_through_64_nodes() {
    let model = Model::atlas(16_000_000_000);
    assert_eq!(model.plain(), 1_601_600_000_000);
    let (least, most) = model.rows();
    assert!(most - least <= 1);
    let (scatter, gather, alone) = (model.scatter(), model.gather(), model.alone());
    // Some thousands of buckets a node at the most, written in one piece each.
    assert!(
        scatter.buckets.0 <= 4_000 && scatter.buckets.1 > 10_000_000,
        "{scatter:?}"
    );
    // What a task reads does not grow with the number of tasks, but for obs.
    let twice = Model {
        nodes: 128,
        ..Model::atlas(16_000_000_000)
    };
    assert!(twice.scatter().read * 2 <= scatter.read + 1);
    assert!(twice.gather().read < gather.read && twice.alone().read * 10 > alone.read * 9);
    assert!(alone.seconds > 10 * (scatter.seconds + gather.seconds));
    // The order, blocks and the rest are within the limit.
    let held = plan::memory(0, model.cells + most, model.threads);
    let blocks = 2 * model.rows_of_block() * (16 + 8 * model.nonzeros);
    assert!(held + blocks <= model.memory, "{held} and {blocks}");
}

#[test]
fn little_memory_makes_many_small_buckets() {
    let (files, bytes) = Model::atlas(2_000_000_000).scatter().buckets;
    assert!(files < 10_000 && bytes > 1_000_000, "{files} of {bytes}");
}

#[test]
fn parts_of_equal_shards_take_equal_bytes() {
    let shards = vec![160_000_000; 10_000];
    let starts = plan::starts_of_parts(&shards, 64);
    let sizes = starts.windows(2).map(|part| part[1] - part[0]);
    assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
}

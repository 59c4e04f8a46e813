//! `--dry-run`: what a run would do, as text of 80 columns.

use std::fmt::Write;
use std::path::PathBuf;

use crate::resources::format_size;

/// A run that is planned. Bytes are estimates without compression.
pub struct Preview {
    /// What is read.
    pub from: String,
    pub outputs: Vec<Planned>,
    /// How it is read.
    pub reading: String,
    pub memory: u64,
    pub scratch: u64,
    pub threads: usize,
}

pub struct Planned {
    pub path: PathBuf,
    pub rows: u64,
    pub bytes: u64,
}

impl Preview {
    pub fn text(&self) -> String {
        let rows: u64 = self.outputs.iter().map(|o| o.rows).sum();
        let count = match self.outputs.len() {
            1 => "1 file".to_string(),
            n => format!("{n} files"),
        };
        let mut text = format!("Plan: {rows} cells of {} into {count}\n\n", self.from);
        let mut line = |cells: &str, bytes: &str, file: &str| {
            let _ = writeln!(text, "{cells:>12}  {bytes:>8}  {file}");
        };
        line("cells", "size", "file");
        for output in &self.outputs {
            let (cells, size) = (output.rows.to_string(), format_size(output.bytes));
            line(&cells, &size, &output.path.to_string_lossy());
        }
        if self.outputs.len() > 1 {
            let bytes = self.outputs.iter().map(|o| o.bytes);
            let bytes = bytes.fold(0, u64::saturating_add);
            line(&rows.to_string(), &format_size(bytes), "in all");
        }
        let scratch = match self.scratch {
            0 => "none".into(),
            bytes => format_size(bytes),
        };
        text + &format!(
            "\nreading  {}\nmemory   about {}\nscratch  {scratch}\nthreads  {}\n\n\
             Sizes are estimates without compression. Nothing was written.\n",
            self.reading,
            format_size(self.memory),
            self.threads
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(outputs: &[(&str, u64, u64)]) -> Preview {
        let planned = outputs.iter().map(|&(path, rows, bytes)| Planned {
            path: path.into(),
            rows,
            bytes,
        });
        Preview {
            from: "atlas.h5ad".into(),
            outputs: planned.collect(),
            reading: "in 3 waves of up to 2.0 GB".into(),
            memory: 2_500_000_000,
            scratch: 12_300_000_000,
            threads: 8,
        }
    }

    #[test]
    fn a_plan_is_a_table_and_what_it_takes() {
        let plan = preview(&[
            ("out/atlas_shard_0.h5ad", 1_000_000, 9_300_000_000),
            ("out/atlas_shard_1.h5ad", 40, 812),
        ]);
        let expected = "\
Plan: 1000040 cells of atlas.h5ad into 2 files

       cells      size  file
     1000000    9.3 GB  out/atlas_shard_0.h5ad
          40     812 B  out/atlas_shard_1.h5ad
     1000040    9.3 GB  in all

reading  in 3 waves of up to 2.0 GB
memory   about 2.5 GB
scratch  12 GB
threads  8

Sizes are estimates without compression. Nothing was written.
";
        assert_eq!(plan.text(), expected);
        assert!(expected.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn one_output_needs_no_sum() {
        let mut plan = preview(&[("out.zarr", 3, 5)]);
        plan.scratch = 0;
        let text = plan.text();
        assert!(text.starts_with("Plan: 3 cells of atlas.h5ad into 1 file\n"));
        assert!(!text.contains("in all") && text.contains("scratch  none\n"));
    }
}

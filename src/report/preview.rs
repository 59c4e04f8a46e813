//! `--dry-run`: what a run would do, as text of 80 columns.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::words::{count, thousands};
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
    /// Of a part of a run.
    pub stages: Option<Stages>,
    /// Outputs that an earlier run has kept, which are not written again.
    pub kept: u64,
}

/// In how many stages the parts of a run are better written.
pub struct Stages {
    pub are_two: bool,
    pub why: String,
    /// Bytes of all buckets, where there are two.
    pub buckets: u64,
}

pub struct Planned {
    pub path: PathBuf,
    pub rows: u64,
    pub bytes: u64,
    /// Of a Zarr store, the files in it, where they can be told before.
    pub files: Option<u64>,
}

/// The version of the object that [`Preview::json`] gives: fields are added within a version.
const SCHEMA: u32 = 1;

impl Preview {
    /// The same for a program, sizes in bytes.
    pub fn json(&self) -> Value {
        let outputs = self.outputs.iter().map(|output| {
            json!({
                "path": output.path.to_string_lossy(),
                "rows": output.rows,
                "bytes": output.bytes,
                "files": output.files,
            })
        });
        json!({
            "schema": SCHEMA,
            "from": self.from,
            "outputs": outputs.collect::<Vec<_>>(),
            "kept": self.kept,
            "reading": self.reading,
            "memory_bytes": self.memory,
            "scratch_bytes": self.scratch,
            "threads": self.threads,
            "stages": self.stages.as_ref().map(|stages| {
                json!({
                    "better": if stages.are_two { 2 } else { 1 },
                    "why": stages.why,
                    "bucket_bytes": stages.buckets,
                })
            }),
        })
    }

    pub fn text(&self) -> String {
        let rows: u64 = self.outputs.iter().map(|o| o.rows).sum();
        let files = count(self.outputs.len() as u64, "file");
        let mut text = format!(
            "Plan: {} of {} into {files}\n\n",
            count(rows, "cell"),
            self.from
        );
        let mut line = |cells: &str, bytes: &str, file: &str| {
            let _ = writeln!(text, "{cells:>12}  {bytes:>8}  {file}");
        };
        line("cells", "size", "file");
        for output in &self.outputs {
            let (cells, size) = (thousands(output.rows), format_size(output.bytes));
            line(&cells, &size, &output.path.to_string_lossy());
        }
        if self.outputs.len() > 1 {
            let bytes = self.outputs.iter().map(|o| o.bytes);
            let bytes = bytes.fold(0, u64::saturating_add);
            line(&thousands(rows), &format_size(bytes), "in all");
        }
        // Told only where they are known of all outputs.
        let files: Option<u64> = self.outputs.iter().map(|o| o.files).sum();
        if let Some(files) = files.filter(|files| *files > 0) {
            let _ = writeln!(text, "\nfiles    {}", thousands(files));
        }
        let scratch = match self.scratch {
            0 => "none".into(),
            bytes => format_size(bytes),
        };
        let gap = if files.is_some_and(|files| files > 0) {
            ""
        } else {
            "\n"
        };
        let stages = self.stages.as_ref().map_or(String::new(), Stages::text);
        let kept = match self.kept {
            0 => String::new(),
            kept => format!(
                "kept     {} of an earlier run, not in this table\n",
                count(kept, "file")
            ),
        };
        text + &format!(
            "{gap}reading  {}\nmemory   about {}\nscratch  {scratch}\nthreads  {}\n{stages}{kept}\n\
             Sizes are estimates without compression. Nothing was written.\n",
            self.reading,
            format_size(self.memory),
            self.threads
        )
    }
}

impl Stages {
    fn text(&self) -> String {
        if !self.are_two {
            return format!("stages   one: {}\n", self.why);
        }
        format!(
            "stages   two: {}\n         --stage scatter, then --stage gather; buckets take {} in all\n",
            self.why,
            format_size(self.buckets)
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
            files: None,
        });
        Preview {
            from: "atlas.h5ad".into(),
            outputs: planned.collect(),
            reading: "in 3 passes of up to 2.0 GB".into(),
            memory: 2_500_000_000,
            scratch: 12_300_000_000,
            threads: 8,
            stages: None,
            kept: 0,
        }
    }

    #[test]
    fn a_plan_is_a_table_and_what_it_takes() {
        let plan = preview(&[
            ("out/atlas_shard_0.h5ad", 1_000_000, 9_300_000_000),
            ("out/atlas_shard_1.h5ad", 40, 812),
        ]);
        let expected = "\
Plan: 1,000,040 cells of atlas.h5ad into 2 files

       cells      size  file
   1,000,000    9.3 GB  out/atlas_shard_0.h5ad
          40     812 B  out/atlas_shard_1.h5ad
   1,000,040    9.3 GB  in all

reading  in 3 passes of up to 2.0 GB
memory   about 2.5 GB
scratch  12 GB
threads  8

Sizes are estimates without compression. Nothing was written.
";
        assert_eq!(plan.text(), expected);
        assert_eq!(plan.json()["outputs"][1]["bytes"], 812);
        assert_eq!(plan.json()["schema"], 1);
        assert!(expected.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn the_files_of_zarr_stores_are_told() {
        let mut plan = preview(&[("a.zarr", 3, 5), ("b.zarr", 3, 5)]);
        plan.outputs.iter_mut().for_each(|o| o.files = Some(700));
        assert!(plan.text().contains("\n\nfiles    1,400\nreading  in 3"));
        assert_eq!(plan.json()["outputs"][1]["files"], 700);
        plan.outputs[0].files = None;
        assert!(!plan.text().contains("files    "));
    }

    #[test]
    fn the_stages_of_parts_are_told() {
        let mut plan = preview(&[("out.h5ad", 3, 5)]);
        plan.stages = Some(Stages {
            are_two: true,
            why: "alone each part decodes 98 % of the compressed matrices".into(),
            buckets: 5_000_000,
        });
        let text = plan.text();
        let told = "threads  8\nstages   two: alone each part decodes 98 % of the compressed matrices\n         \
            --stage scatter, then --stage gather; buckets take 5.0 MB in all\n\nSizes";
        assert!(text.contains(told), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert_eq!(plan.json()["stages"]["bucket_bytes"], 5_000_000);
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

//! What the name of an output tells of others: the shards of one run are called `PREFIX_shard_N.h5ad`, or `.zarr`,
//! where zeros may stand before the number.
//!
//! By it slips are seen that would lose data: an output that was forgotten, so that the first shard stands in its place,
//! and shards of an earlier run that a pattern would take too.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use super::resolve;
use crate::store::{self, Format};

const SHARD: &str = "_shard_";

/// The prefix and the number of a file that is called like a shard.
fn shard_of(path: &Path) -> Option<(PathBuf, u64)> {
    let stem = path.file_stem()?.to_str()?;
    let (prefix, number) = stem.rsplit_once(SHARD)?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_number);
    Some((path.with_file_name(prefix), number?))
}

/// The prefix of a shard, however its folder is typed.
fn prefix_of(path: &Path) -> Option<PathBuf> {
    let (prefix, _) = shard_of(path)?;
    Some(folder(path).join(prefix.file_name()?))
}

/// Whether all are called like shards of one prefix.
pub fn are_shards(paths: &[PathBuf]) -> bool {
    let mut prefixes = paths.iter().map(|path| Some(shard_of(path)?.0));
    let first = prefixes.next().flatten();
    first.is_some() && prefixes.all(|prefix| prefix == first)
}

/// Numbers between the least and the greatest that shards of one prefix lack: `(first, last, how many)`.
pub fn missing_shards(paths: &[PathBuf]) -> Option<(u64, u64, u64)> {
    if !are_shards(paths) {
        return None;
    }
    let mut numbers: Vec<u64> = paths
        .iter()
        .filter_map(|path| Some(shard_of(path)?.1))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    // The first shard is that of number 0.
    let pairs = numbers.iter().scan(0, |next, &number| {
        let gap = (*next, number);
        *next = number.saturating_add(1);
        Some(gap)
    });
    let gaps: Vec<(u64, u64)> = pairs.filter(|(from, to)| from < to).collect();
    let count = gaps.iter().map(|(from, to)| to - from).sum();
    Some((gaps.first()?.0, gaps.last()?.1 - 1, count))
}

/// Shards that stand beside those of a run, which replaces none of them: by prefix and number.
pub struct OtherShards {
    /// Of the prefix of the run, or of those of its outputs: an earlier run wrote them.
    pub older: Vec<PathBuf>,
    /// Of longer prefixes, as those of an earlier split, or of another file.
    pub longer: Vec<PathBuf>,
}

/// The shards of this format beside `outputs`, which are of this prefix.
pub fn other_shards(prefix: &Path, outputs: &[PathBuf], format: Format) -> OtherShards {
    let first = super::named_path(prefix, "shard_0", format);
    let of_outputs = outputs.iter().filter_map(|path| shard_of(path));
    let mut wanted: HashSet<PathBuf> = of_outputs.map(|(prefix, _)| prefix).collect();
    wanted.extend(shard_of(&first).map(|(prefix, _)| prefix));
    let entries = fs::read_dir(store::folder_above(&first));
    let new: HashSet<&OsStr> = outputs.iter().filter_map(|path| path.file_name()).collect();
    let entries = entries.into_iter().flatten().flatten();
    let is_shard = |entry: &DirEntry| match format {
        Format::H5ad => entry.file_type().is_ok_and(|kind| kind.is_file()),
        Format::Zarr => {
            entry.file_type().is_ok_and(|kind| kind.is_dir()) && store::is_zarr(&entry.path())
        }
    };
    let files = entries.filter(is_shard);
    let mut found: Vec<((PathBuf, u64), PathBuf)> = files
        .map(|entry| first.with_file_name(entry.file_name()))
        .filter(|path| path.extension() == first.extension())
        .filter(|path| path.file_name().is_some_and(|name| !new.contains(name)))
        .filter_map(|path| Some((shard_of(&path)?, path)))
        .collect();
    found.sort();
    let (older, others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|((prefix, _), _)| wanted.contains(prefix));
    let start = format!("{}_", prefix.display());
    let is_longer = |prefix: &Path| prefix.to_string_lossy().starts_with(&start);
    let longer = others
        .into_iter()
        .filter(|((prefix, _), _)| is_longer(prefix));
    OtherShards {
        older: older.into_iter().map(|(_, path)| path).collect(),
        longer: longer.map(|(_, path)| path).collect(),
    }
}

/// Refuses an output of a merge that exists and looks like one of the inputs: the output was forgotten, and the first
/// input stands in its place. `again` says whether it looks like the result of this same command, and `is_earlier`
/// whether it has cells of the inputs, as each earlier result has.
pub fn refuse_forgotten(
    output: &Path,
    inputs: &[PathBuf],
    again: impl Fn() -> bool,
    is_earlier: impl Fn() -> bool,
) -> Result<()> {
    if !output.exists() {
        return Ok(());
    }
    let end = output.extension().unwrap_or_default().to_string_lossy();
    let own = prefix_of(output);
    let pattern = if own.is_some() && inputs.iter().any(|input| prefix_of(input) == own) {
        shard_of(output).map(|(prefix, _)| format!("{}{SHARD}*", prefix.display()))
    } else {
        listed(output, inputs).filter(|_| !again())
    };
    let Some(pattern) = pattern else {
        ensure!(
            !is_alike(output, inputs) || is_earlier(),
            "Output {} exists, and by its cells it is no earlier merge of the inputs: was the output forgotten? It comes \
             first: annslicer merge OUTPUT {} ...; if the inputs have changed since, --overwrite replaces it",
            output.display(),
            output.display()
        );
        return Ok(());
    };
    bail!(
        "Output {} exists and looks like one of the inputs. The output comes first: annslicer merge OUTPUT \
         '{pattern}.{end}'; or give --overwrite to replace it",
        output.display()
    )
}

/// Whether the output is in the folder of the inputs, however that is typed, or called as they are.
fn is_alike(output: &Path, inputs: &[PathBuf]) -> bool {
    let all = |same: &dyn Fn(&Path) -> bool| inputs.iter().all(|input| same(input));
    let own = folder(output);
    all(&|input| folder(input) == own) || all(&|input| input.file_name() == output.file_name())
}

/// The folder of a file, without links and dots.
fn folder(path: &Path) -> PathBuf {
    let folder = store::folder_above(path);
    resolve(folder).unwrap_or_else(|_| folder.to_owned())
}

/// Refuses an output of a filter that exists and looks like an input: their order is wrong. `is_earlier` as
/// [`refuse_forgotten`] has it.
pub fn refuse_turned(
    output: &Path,
    inputs: &[PathBuf],
    is_earlier: impl Fn() -> bool,
) -> Result<()> {
    ensure!(
        !output.exists() || !is_alike(output, inputs) || is_earlier(),
        "Output {} exists, and has cells that the input lacks. The input comes first: annslicer filter INPUT OUTPUT; if \
         the input has changed since, --overwrite replaces it",
        output.display()
    );
    Ok(())
}

/// Refuses an output of a filter that is a shard of the run that the input is of.
pub fn refuse_shard(output: &Path, input: &Path) -> Result<()> {
    let own = prefix_of(output);
    let is_shard = own.is_some() && own == prefix_of(input);
    ensure!(
        !(is_shard && output.exists()),
        "Output {} exists and is a shard like the input. filter takes one input: annslicer filter {} OUTPUT; or \
         give --overwrite to replace it",
        output.display(),
        input.display()
    );
    Ok(())
}

/// The start that all names have in common, where output and inputs are in order as a shell puts them.
fn listed(output: &Path, inputs: &[PathBuf]) -> Option<String> {
    let all: Vec<&str> = [output]
        .into_iter()
        .chain(inputs.iter().map(PathBuf::as_path))
        .map(Path::to_str)
        .collect::<Option<_>>()?;
    let is_alike =
        |path: &PathBuf| path.parent() == output.parent() && path.extension() == output.extension();
    if !all.is_sorted() || !inputs.iter().all(is_alike) {
        return None;
    }
    let (first, last) = (all.first()?, all.last()?);
    let common = first
        .bytes()
        .zip(last.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    // In order, so that what the first and the last have in common all have.
    let end = first.get(..common)?.rfind('_')?;
    let name = first[..end].rsplit('/').next()?;
    (!name.is_empty()).then(|| format!("{}_*", &first[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn names_of_shards_tell_prefix_and_number() {
        assert_eq!(
            shard_of(Path::new("out/p_shard_12.h5ad")),
            Some(("out/p".into(), 12))
        );
        assert_eq!(
            shard_of(Path::new("a_shard_1_shard_2.h5ad")),
            Some(("a_shard_1".into(), 2))
        );
        assert_eq!(
            shard_of(Path::new("p_shard_007.h5ad")),
            Some(("p".into(), 7))
        );
        for other in [
            "p_shard_.h5ad",
            "p_shard_+1.h5ad",
            "p_shard_1x.h5ad",
            "p.h5ad",
            "shard_1.h5ad",
        ] {
            assert_eq!(shard_of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn gaps_between_shards_are_found() {
        let of = |names: &[&str]| missing_shards(&paths(names));
        assert_eq!(of(&["p_shard_0.h5ad", "p_shard_1.h5ad"]), None);
        assert_eq!(of(&["p_shard_4.h5ad", "p_shard_1.h5ad"]), Some((0, 3, 3)));
        assert_eq!(
            of(&["p_shard_002.h5ad", "p_shard_000.h5ad"]),
            Some((1, 1, 1))
        );
        assert_eq!(of(&["p_shard_1.h5ad", "q_shard_3.h5ad"]), None);
        assert_eq!(of(&["a.h5ad"]), None);
    }

    #[test]
    fn older_shards_are_those_of_the_very_pattern() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [
            "p_shard_0",
            "p_shard_2",
            "p_shard_10",
            "p_shard_07",
            "p_shard_x",
            "p_all",
            "p_val_shard_1",
            "pp_shard_3",
        ] {
            fs::write(at(&format!("{name}.h5ad")), "").unwrap();
        }
        fs::write(at("p_shard_4.h5ad.bak"), "").unwrap();
        fs::create_dir(at("p_shard_5.h5ad")).unwrap();
        let OtherShards { older, longer } =
            other_shards(&at("p"), &[at("p_shard_0.h5ad")], Format::H5ad);
        assert_eq!(longer, [at("p_val_shard_1.h5ad")]);
        let numbered = ["p_shard_2", "p_shard_07", "p_shard_10"];
        assert_eq!(older, numbered.map(|name| at(&format!("{name}.h5ad"))));
        let parts = [at("p_all_shard_00.h5ad"), at("pp_shard_1.h5ad")];
        let older = other_shards(&at("q"), &parts, Format::H5ad).older;
        assert_eq!(older, [at("pp_shard_3.h5ad")]);
        for name in ["p_shard_3.zarr", "p_shard_4.zarr"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("p_shard_4.zarr/.zgroup"), "{}").unwrap();
        let older = other_shards(&at("p"), &[], Format::Zarr).older;
        assert_eq!(older, [at("p_shard_4.zarr")], "of folders, only stores");
    }

    #[test]
    fn a_forgotten_output_is_refused_and_the_same_command_again_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let all = |names: &[&str]| names.iter().map(|name| at(name)).collect::<Vec<_>>();
        for name in ["p_shard_0.h5ad", "d_A.h5ad", "whole.h5ad", "d_all.h5ad"] {
            fs::write(at(name), "").unwrap();
        }
        let refused = |output: &str, inputs: &[&str], again| {
            refuse_forgotten(&at(output), &all(inputs), || again, || true).is_err()
        };
        assert!(refused("p_shard_0.h5ad", &["p_shard_1.h5ad"], true));
        assert!(refused("p_shard_0.h5ad", &["x/../p_shard_1.h5ad"], true));
        assert!(refused("d_A.h5ad", &["d_B.h5ad", "d_C.h5ad"], false));
        assert!(
            !refused("d_A.h5ad", &["d_B.h5ad", "d_C.h5ad"], true),
            "the same command again"
        );
        assert!(
            !refused("d_all.h5ad", &["d_B.h5ad"], false),
            "not in the order of a shell"
        );
        assert!(!refused("whole.h5ad", &["x_shard_0.h5ad"], false));
        assert!(
            !refused("p_shard_9.h5ad", &["p_shard_1.h5ad"], false),
            "it does not exist"
        );
        let none = refuse_forgotten(&at("whole.h5ad"), &all(&["d_B.h5ad"]), || false, || false);
        let said = none.unwrap_err().to_string();
        assert!(said.contains("was the output forgotten?"), "{said}");
        let other = [at("x/../d_B.h5ad")];
        assert!(refuse_forgotten(&at("whole.h5ad"), &other, || false, || false).is_err());
        let named = refuse_forgotten(&at("d_A.h5ad"), &all(&["d_B.h5ad"]), || false, || true);
        let said = named.unwrap_err().to_string();
        assert!(
            said.contains(&format!("merge OUTPUT '{}'", at("d_*.h5ad").display())),
            "{said}"
        );
        assert!(refuse_shard(&at("p_shard_0.h5ad"), &at("p_shard_1.h5ad")).is_err());
        assert!(refuse_shard(&at("d_A.h5ad"), &at("d_B.h5ad")).is_ok());
    }
}

//! What this process may use: CPUs, memory and (in `room`) disk, and the way sizes are written.
//!
//! A batch system or container limits memory through control groups, which `/proc/meminfo` does
//! not show, so both are asked. Where a platform tells nothing, the defaults stay small.

mod room;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use self::room::{Need, ensure_room, existing_folder, explain};

/// Enough for full speed on most files, and little enough to share a machine.
const USUAL_MEMORY: u64 = 2 << 30;

/// CPUs this process may run on: the affinity mask and control group quotas count.
pub fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The threads that do all work.
pub fn pool(threads: usize) -> Result<ThreadPool> {
    /// Bytes of a thread's stack: what the first one has.
    const STACK: usize = 8 << 20;
    let pool = ThreadPoolBuilder::new().num_threads(threads);
    pool.stack_size(STACK)
        .build()
        .with_context(|| format!("Cannot start {threads} threads"))
}

/// Lets this process have so many files open beside those that it opens anyhow, as far as the system lets it.
pub fn allow_files(more: u64) {
    /// What is open beside: libraries, inputs, outputs.
    const OTHERS: u64 = 256;
    let limit = getrlimit(Resource::Nofile);
    let wanted = more.saturating_add(OTHERS);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = limit.maximum.map_or(wanted, |most| most.min(wanted));
        let raised = Rlimit {
            current: Some(current),
            ..limit
        };
        let _ = setrlimit(Resource::Nofile, raised); // then opening fails, and says so
    }
}

/// The memory to work in, in bytes, where none is asked for: half of what is free, 2 GiB at most.
pub fn default_memory_limit() -> u64 {
    memory_free().map_or(USUAL_MEMORY, |free| USUAL_MEMORY.min(free / 2))
}

/// The least of the machine's free memory, of what `ulimit -v` and `-d` leave, and of every control group's limit, where
/// known.
fn memory_free() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| meminfo_free(&text));
    let cgroup = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let groups = control_groups(&cgroup).into_iter();
    let limits = groups.filter_map(|group| group.free());
    limits.chain(machine).chain(limit_left()).min()
}

/// What the limit of this process's address space, or of its data, leaves beside what it takes already.
fn limit_left() -> Option<u64> {
    let limits = [Resource::As, Resource::Data].map(|resource| getrlimit(resource).current);
    let least = limits.into_iter().flatten().min()?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Some(least.saturating_sub(kib_field(&status, "VmSize:").unwrap_or(0)))
}

/// A control group that limits memory: its folder, and the names of its files and of the lines of `memory.stat`.
struct ControlGroup {
    folder: PathBuf,
    limit: &'static str,
    used: &'static str,
    cached: &'static str,
    shared: &'static str,
}

impl ControlGroup {
    fn v2(folder: PathBuf) -> ControlGroup {
        ControlGroup {
            folder,
            limit: "memory.max",
            used: "memory.current",
            cached: "file ",
            shared: "shmem ",
        }
    }

    fn v1(folder: PathBuf) -> ControlGroup {
        ControlGroup {
            folder,
            limit: "memory.limit_in_bytes",
            used: "memory.usage_in_bytes",
            cached: "total_cache ",
            shared: "total_shmem ",
        }
    }

    /// What its limit leaves beside what all its processes take, as a notebook beside this program may; `None` where it
    /// has no limit. Files that are cached give way; memory that is shared counts as cached, too, and does not.
    fn free(&self) -> Option<u64> {
        let read = |file: &str| fs::read_to_string(self.folder.join(file)).ok();
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let limit = number(&read(self.limit)?)?; // version 2 says "max" for none
        let used = read(self.used).and_then(|text| number(&text)).unwrap_or(0);
        let stat = read("memory.stat").unwrap_or_default();
        let field = |name| {
            let mut lines = stat.lines();
            lines.find_map(|line| number(line.strip_prefix(name)?))
        };
        let cached = field(self.cached).unwrap_or(used);
        let cached = cached.saturating_sub(field(self.shared).unwrap_or(0));
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    }
}

/// Every control group that `/proc/self/cgroup` puts this process in, from the innermost to the root: a limit anywhere
/// above applies too. Inside a container the inner ones may not be visible.
fn control_groups(proc_self_cgroup: &str) -> Vec<ControlGroup> {
    let mut groups = Vec::new();
    for line in proc_self_cgroup.lines() {
        // hierarchy-ID:controllers:path, cgroups(7); version 2 is the line "0::path"
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, of): (_, fn(PathBuf) -> ControlGroup) = match controllers {
            "" => ("/sys/fs/cgroup", ControlGroup::v2),
            some if some.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", ControlGroup::v1)
            }
            _ => continue,
        };
        let group = Path::new(path.trim_start_matches('/'));
        groups.extend(group.ancestors().map(|up| of(Path::new(root).join(up))));
    }
    groups
}

/// The most memory that this process has had, in bytes, where the kernel tells.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kib_field(&status, "VmHWM:")
}

/// Bytes available according to `/proc/meminfo`; the total on kernels that do not say.
fn meminfo_free(text: &str) -> Option<u64> {
    kib_field(text, "MemAvailable:").or_else(|| kib_field(text, "MemTotal:"))
}

/// The bytes of a line such as `MemTotal: 16000 kB` of a file in `/proc`.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Parses a size in bytes: `8000000000`, `8GB` (10^9 bytes each), `512MiB` (2^20), `1.5G`; K, M,
/// G and T in any case.
pub fn parse_size(text: &str) -> Result<u64> {
    let (number, unit) = split_unit(text.trim());
    let Some(unit) = unit_bytes(unit.trim()) else {
        bail!("give a size such as 16GB, 512MiB or 2000000000");
    };
    // Whole numbers do not go through a float, which would round those above 2^53.
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(unit),
        Err(_) => number
            .parse::<f64>()
            .ok()
            .map(|number| number * unit as f64)
            .filter(|&bytes| bytes < u64::MAX as f64)
            .map(|bytes| bytes as u64),
    };
    let bytes = bytes.context("give a size such as 16GB, 512MiB or 2000000000")?;
    ensure!(bytes > 0, "give a size above 0");
    Ok(bytes)
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    text.split_at(end.unwrap_or(text.len()))
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_uppercase();
    let prefix = unit.strip_suffix('B').unwrap_or(&unit);
    let (prefix, base) = match prefix.strip_suffix('I') {
        Some("") => return None,
        Some(prefix) => (prefix, 1024u64),
        None => (prefix, 1000),
    };
    let power = ["", "K", "M", "G", "T"].iter().position(|&p| p == prefix)?;
    base.checked_pow(power.try_into().ok()?)
}

/// A size for people, in powers of 1000: `812 B`, `1.5 GB`, `230 MB`.
pub fn format_size(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while size >= 999.5 {
        let Some(next) = units.next() else { break };
        (size, unit) = (size / 1000.0, next);
    }
    let decimals = usize::from(size < 9.95 && unit != "B");
    format!("{size:.decimals$} {unit}")
}

/// Bytes of a file, or of all in a folder; folders that are links are not looked into, and links that lead nowhere, as
/// editors leave them beside open files, have none.
pub fn size_on_disk(path: &Path) -> Result<u64> {
    let found = fs::metadata(path).with_context(|| path.display().to_string())?;
    if !found.is_dir() {
        return Ok(found.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_symlink() || path.is_file() {
            bytes += size_on_disk(&path)?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_in_either_base_and_any_case() {
        let cases = [
            ("1", 1),
            ("8000000000", 8_000_000_000),
            ("16GB", 16_000_000_000),
            ("16gib", 16 << 30),
            ("1.5GB", 1_500_000_000),
            ("1.5 Gi", 3 << 29),
            (" 2k ", 2000),
            ("100B", 100),
            (".5M", 500_000),
            ("3tIb", 3 << 40),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "GB",
            "-4GB",
            "0",
            "0.0001",
            "1.2.3",
            "inf",
            "nan",
            "1e9",
            "4XB",
            "4iB",
            "4GBB",
            "18446744073709551616",
            "99999999999TB",
            ".",
            "4 G B",
            "４GB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn plain_numbers_are_bytes(bytes in 1u64..) {
            prop_assert_eq!(parse_size(&bytes.to_string()).unwrap(), bytes);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_size(&text);
        }

        #[test]
        fn formatted_sizes_read_back_within_their_digits(bytes in 1u64..1 << 49) {
            let text = format_size(bytes);
            let back = parse_size(&text).unwrap();
            prop_assert!(back.abs_diff(bytes) as f64 <= 0.06 * bytes as f64, "{}", text);
        }
    }

    #[test]
    fn sizes_are_written_short() {
        let cases = [
            (0, "0 B"),
            (812, "812 B"),
            (1000, "1.0 kB"),
            (999_999, "1.0 MB"),
            (9_990_000, "10 MB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(format_size(bytes), text);
        }
        assert_eq!(format_size(1_530_000_000), "1.5 GB");
        assert_eq!(format_size(u64::MAX), "18 EB");
    }

    #[test]
    fn every_control_group_up_to_the_root_is_asked() {
        let limits = |text: &str| -> Vec<PathBuf> {
            let groups = control_groups(text).into_iter();
            groups.map(|g| g.folder.join(g.limit)).collect()
        };
        let v2 = limits("0::/system.slice/job_7\n");
        let expected = [
            "system.slice/job_7/memory.max",
            "system.slice/memory.max",
            "memory.max",
        ];
        assert_eq!(
            v2,
            expected.map(|file| Path::new("/sys/fs/cgroup").join(file))
        );

        let v1 = limits("5:cpu,cpuacct:/a\n4:hugetlb,memory:/slurm/a:b\nrubbish");
        let expected = ["slurm/a:b", "slurm", ""].map(|group| {
            Path::new("/sys/fs/cgroup/memory")
                .join(group)
                .join("memory.limit_in_bytes")
        });
        assert_eq!(v1, expected);
    }

    #[test]
    fn what_a_control_group_uses_is_not_free() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
        let group = |of: fn(PathBuf) -> ControlGroup| of(folder.path().into());
        assert_eq!(group(ControlGroup::v2).free(), None);
        write("memory.max", "max\n");
        assert_eq!(group(ControlGroup::v2).free(), None);
        write("memory.max", "4000\n");
        assert_eq!(group(ControlGroup::v2).free(), Some(4000));
        write("memory.current", "3500\n");
        write(
            "memory.stat",
            "anon 1900\nfile 1500\nshmem 300\nfile_mapped 7\n",
        );
        // 1,200 of what is used are files that give way.
        assert_eq!(group(ControlGroup::v2).free(), Some(4000 - 2300));
        write("memory.limit_in_bytes", "9000");
        write("memory.usage_in_bytes", "5000");
        write("memory.stat", "cache 1\ntotal_cache 4000\ntotal_shmem 0\n");
        assert_eq!(group(ControlGroup::v1).free(), Some(8000));
    }

    #[test]
    fn meminfo_tells_what_is_available() {
        let text = "MemTotal:       16000 kB\nMemFree:  10 kB\nMemAvailable:    8000 kB\n";
        assert_eq!(meminfo_free(text), Some(8000 * 1024));
        assert_eq!(meminfo_free("MemTotal: 16000 kB\n"), Some(16000 * 1024));
        assert_eq!(meminfo_free("MemAvailable: many"), None);
    }

    #[test]
    fn this_machine_has_something_to_work_with() {
        assert!(cpus() >= 1);
        assert!((1..=USUAL_MEMORY).contains(&default_memory_limit()));
    }
}

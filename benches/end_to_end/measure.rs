//! Seconds and peak memory of a command and all that it starts.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Seconds, and bytes of memory at most.
pub type Run = (f64, u64);

/// The median of the times, and of the peaks.
pub fn median(runs: Vec<Run>) -> Run {
    let (mut seconds, mut peaks): (Vec<f64>, Vec<u64>) = runs.into_iter().unzip();
    seconds.sort_by(f64::total_cmp);
    peaks.sort_unstable();
    (seconds[seconds.len() / 2], peaks[peaks.len() / 2])
}

/// Runs a shell command with an empty folder `out`, after what earlier ones wrote has reached the disk.
pub fn run(command: &str, folder: &Path) -> Result<Run> {
    let ready = "rm -rf out && mkdir out && sync";
    let mut shell = Command::new("sh");
    let status = shell.args(["-c", ready]).current_dir(folder).status()?;
    ensure!(status.success(), "{ready}: {status}");
    let mut shell = Command::new("sh");
    let exec = if command.contains("&&") { "" } else { "exec " };
    shell.args(["-c", &format!("{exec}{command}")]);
    shell
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let began = Instant::now();
    let mut child = shell.spawn()?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak = peak.max(resident(child.id()));
        // Long enough to leave the processors alone, short beside the time so far.
        let wait = began.elapsed() / 50;
        thread::sleep(wait.clamp(Duration::from_micros(200), Duration::from_millis(5)));
    };
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.success(), "{command}: {status}");
    Ok((seconds, peak))
}

/// Bytes in memory of a process and those that it started; of one alone, the most it ever had.
fn resident(pid: u32) -> u64 {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let children = read(&format!("task/{pid}/children"));
    let children = children.split(' ').filter_map(|pid| pid.parse().ok());
    let children: u64 = children.map(resident).sum();
    let field = if children == 0 { "VmHWM:" } else { "VmRSS:" };
    let status = read("status");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024 + children
}

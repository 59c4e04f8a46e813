//! Tasks in their order over a few buffers, from many threads.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use rayon::prelude::*;

/// How many tasks may run at the same time that take about `bytes` each, and some times that for what is done with them.
pub fn lanes_of(bytes: u64) -> usize {
    /// Enough for any disk, and little for a machine of many processors.
    const MOST: u64 = 8 << 20;
    /// Of tasks that are larger.
    const LEAST: u64 = 4;
    (MOST / bytes.max(1)).max(LEAST) as usize
}

/// Runs `tasks` tasks, one for each thread of the pool and `most` at the same time, each with a buffer that those before
/// it have left: a lane takes the next task as it has done one. None is begun after one that failed.
pub fn in_lanes<B, F>(most: usize, tasks: u64, run: F) -> Result<()>
where
    B: Default,
    F: Fn(&mut B, u64) -> Result<()> + Sync,
{
    let next = AtomicU64::new(0);
    let lane = |_| {
        let mut buffer = B::default();
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return Ok(());
            }
            run(&mut buffer, task).inspect_err(|_| next.store(tasks, Ordering::Relaxed))?;
        }
    };
    let lanes = rayon::current_num_threads().min(most).max(1);
    let lanes = (0..lanes).into_par_iter().with_max_len(1);
    lanes.try_for_each(lane)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use anyhow::bail;

    use super::*;

    #[test]
    fn each_task_is_run_once_and_none_after_a_failure() {
        let seen = Mutex::new(vec![]);
        let run = |count: &mut u64, task| {
            *count += 1;
            seen.lock().unwrap().push(task);
            match task {
                70 => bail!("task {task}, number {count} of its lane"),
                _ => Ok(()),
            }
        };
        in_lanes(3, 50, run).unwrap();
        let mut all = std::mem::take(&mut *seen.lock().unwrap());
        all.sort_unstable();
        assert!(all.into_iter().eq(0..50));
        assert!(in_lanes(3, 1 << 40, run).is_err());
        assert!(seen.lock().unwrap().len() < 1 << 20);
    }
}

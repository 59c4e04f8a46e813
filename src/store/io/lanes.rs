//! Tasks in their order over a few buffers, from many threads.
//!
//! A lane is a loop on one thread of the pool: it takes the number of the next task, and keeps its buffer from one to
//! the next. So memory is that of the lanes, not of the tasks, and tasks begin in their order, though they end in any.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

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
    thread_local! {
        /// Whether this thread is in a lane, maybe waiting for what that has handed to the pool.
        static INSIDE: Cell<bool> = const { Cell::new(false) };
    }
    let (next, failed) = (AtomicU64::new(0), Mutex::new(None));
    let lane = || {
        let was_inside = INSIDE.replace(true);
        let mut buffer = B::default();
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            if let Err(error) = run(&mut buffer, task) {
                next.store(tasks, Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
            }
        }
        INSIDE.set(was_inside);
    };
    // Another thread is woken only where there is a task for it.
    let most = most.min(usize::try_from(tasks).unwrap_or(usize::MAX));
    let lanes = rayon::current_num_threads().min(most).max(1);
    rayon::scope(|scope| {
        for _ in 1..lanes {
            // In a lane that waits, a second one would hold up the first until all is done.
            scope.spawn(|_| {
                if !INSIDE.get() {
                    lane();
                }
            });
        }
        lane();
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

/// How many threads are at some work that takes much memory, so that others wait before they make more of it.
pub struct Busy {
    threads: Mutex<usize>,
    fewer: Condvar,
}

/// A thread that is counted until this is dropped.
struct Counted<'a>(&'a Busy);

impl Busy {
    pub const fn new() -> Busy {
        Busy {
            threads: Mutex::new(0),
            fewer: Condvar::new(),
        }
    }

    /// Does such work. It must not wait for work of other threads that [`Busy::wait`].
    pub fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        *self.threads() += 1;
        let _counted = Counted(self);
        work()
    }

    /// Until fewer than `most` threads, at least 1, are at it.
    pub fn wait(&self, most: usize) {
        let threads = self.threads();
        drop(self.fewer.wait_while(threads, |threads| *threads >= most));
    }

    fn threads(&self) -> MutexGuard<'_, usize> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        *self.0.threads() -= 1;
        self.0.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use anyhow::bail;

    use super::*;

    #[test]
    fn threads_wait_until_fewer_are_busy() {
        let (busy, done) = (Busy::new(), AtomicU64::new(0));
        let work = || {
            std::thread::yield_now();
            done.fetch_add(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..50).for_each(|_| {
                        busy.wait(2);
                        busy.with(work);
                    })
                });
            }
        });
        assert_eq!(done.into_inner(), 400);
        let panics = || busy.with(|| panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        busy.wait(1);
        busy.with(|| assert_eq!(*busy.threads(), 1));
    }

    #[test]
    fn no_lane_is_begun_without_a_task() {
        static BEGUN: AtomicU64 = AtomicU64::new(0);
        struct Counted;
        impl Default for Counted {
            fn default() -> Counted {
                BEGUN.fetch_add(1, Ordering::Relaxed);
                Counted
            }
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build();
        pool.unwrap().install(|| {
            (0..50).for_each(|_| in_lanes(4, 1, |_: &mut Counted, _| Ok(())).unwrap());
        });
        assert_eq!(BEGUN.load(Ordering::Relaxed), 50);
    }

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

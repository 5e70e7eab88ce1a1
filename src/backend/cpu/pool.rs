use crate::error::{Error, Result};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A host's way to run jobs: `(jobs, job)` runs `job(0..jobs)` on any threads and returns when all are done.
pub type ParallelFn = dyn Fn(usize, &(dyn Fn(usize) + Sync)) + Send + Sync;

/// How often an idle worker looks for work before it sleeps: about 50 microseconds, longer than the gap
/// between two layers, shorter than a scheduler's tick.
const SPINS: u32 = 4000;

/// Threads that run the parts of an operation. Parts write disjoint memory and are cut without regard to the
/// number of threads, so the result is the same on any count.
///
/// A pool may be used from many threads at once: the parallel sections of concurrent calls take turns.
pub struct Pool {
    threads: usize,
    kind: Kind,
}

enum Kind {
    Inline,
    Own { shared: Arc<Shared>, workers: Vec<JoinHandle<()>> },
    Host(Box<ParallelFn>),
}

/// The job in flight. `ticket` is (epoch << 32 | jobs not yet claimed): a claim is a decrement, and it can
/// only succeed while the epoch's job is alive, because the owner waits for every claimed job.
struct Shared {
    turn: Mutex<()>,
    ticket: AtomicU64,
    total: AtomicUsize,
    done: AtomicUsize,
    job: AtomicPtr<Job<'static>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    alarm: Condvar,
    stop: AtomicBool,
}

struct Job<'a>(&'a (dyn Fn(usize) + Sync));

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No invariant spans a panic here: all shared state is atomics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool of `threads` threads, the calling one included (0: one a physical core).
    ///
    /// # Errors
    /// `OutOfMemory` when the system refuses a thread.
    pub fn new(threads: usize) -> Result<Pool> {
        let threads = if threads == 0 { default_threads() } else { threads };
        if threads == 1 {
            return Ok(Pool { threads, kind: Kind::Inline });
        }
        let shared = Arc::new(Shared {
            turn: Mutex::new(()),
            ticket: AtomicU64::new(0),
            total: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            job: AtomicPtr::new(std::ptr::null_mut()),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            bed: Mutex::new(()),
            alarm: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let mut pool = Pool { threads, kind: Kind::Own { shared: Arc::clone(&shared), workers: Vec::new() } };
        for index in 1..threads {
            let mine = Arc::clone(&shared);
            let worker = std::thread::Builder::new()
                .name(format!("fqgan-{index}"))
                .spawn(move || mine.work())
                .map_err(|e| {
                    Error::out_of_memory(format!("could not start thread {index} of {threads}: {e}"))
                })?;
            if let Kind::Own { workers, .. } = &mut pool.kind {
                workers.push(worker);
            }
        }
        Ok(pool)
    }

    /// A pool over a host's job system; `threads` says in how many parts to cut (0: one a physical core).
    pub fn host(parallel: Box<ParallelFn>, threads: usize) -> Pool {
        let threads = if threads == 0 { default_threads() } else { threads };
        Pool { threads, kind: Kind::Host(parallel) }
    }

    /// How many jobs can run at once.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `job(0..jobs)` and returns when all are done. A panic of a job is passed on, after all are done.
    pub fn run(&self, jobs: usize, job: impl Fn(usize) + Sync) {
        if jobs <= 1 || INSIDE.get() {
            return (0..jobs).for_each(job);
        }
        match &self.kind {
            Kind::Inline => (0..jobs).for_each(job),
            Kind::Own { shared, .. } => shared.run(jobs, &job),
            Kind::Host(parallel) => {
                let panic = Mutex::new(None);
                // No unwinding through frames of the host.
                parallel(jobs, &|index| {
                    if let Err(cause) = catch_unwind(AssertUnwindSafe(|| job(index))) {
                        lock(&panic).get_or_insert(cause);
                    }
                });
                if let Some(cause) = lock(&panic).take() {
                    resume_unwind(cause);
                }
            }
        }
    }

    /// Runs `part(lane, block)` for every block of `0..blocks`. A lane is never in two blocks at once and is
    /// below [`Pool::threads`], so scratch memory can be one piece a lane. Free lanes take the next block:
    /// a slow thread holds nobody up.
    pub fn blocks(&self, blocks: usize, part: impl Fn(usize, usize) + Sync) {
        let next = AtomicUsize::new(0);
        self.run(self.threads.min(blocks), |lane| {
            loop {
                let block = next.fetch_add(1, Ordering::Relaxed);
                if block >= blocks {
                    return;
                }
                part(lane, block);
            }
        });
    }

    /// As [`Pool::blocks`], each lane on a run of neighbouring blocks of its own, one after the other: for blocks
    /// that read long memory once, which a processor fetches ahead only while it goes on. A lane that is done
    /// takes from the far ends of the others' runs. `part(lane, block, fresh)`: `fresh` says that the lane's last block
    /// was not the one before.
    pub fn runs(&self, blocks: usize, part: impl Fn(usize, usize, bool) + Sync) {
        let lanes = self.threads.min(blocks).min(MOST_RUNS);
        if lanes <= 1 || u32::try_from(blocks).is_err() {
            return self.blocks(blocks, |lane, block| part(lane, block, block == 0 || lanes > 1));
        }
        let runs: [Run; MOST_RUNS] = std::array::from_fn(|lane| {
            let at = |lane: usize| (lane.min(lanes) * blocks / lanes) as u64;
            Run(AtomicU64::new(at(lane) << 32 | at(lane + 1)))
        });
        self.run(lanes, |lane| {
            for other in (lane..lanes).chain(0..lane) {
                let mut fresh = true;
                while let Some(block) = runs[other].take(other == lane) {
                    part(lane, block, fresh);
                    fresh = other != lane;
                }
            }
        });
    }
}

/// Lanes that have a run of their own.
const MOST_RUNS: usize = 32;

/// Blocks that are still to do: (first << 32 | end). In a cache line of its own.
#[repr(align(64))]
struct Run(AtomicU64);

impl Run {
    /// Takes the first or the last block.
    fn take(&self, first: bool) -> Option<usize> {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let (next, end) = (now >> 32, now & 0xFFFF_FFFF);
            if next >= end {
                return None;
            }
            let (block, then) = if first { (next, now + (1 << 32)) } else { (end - 1, now - 1) };
            match self.0.compare_exchange_weak(now, then, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(block as usize),
                Err(other) => now = other,
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Kind::Own { shared, workers } = &mut self.kind {
            shared.stop.store(true, Ordering::SeqCst);
            drop(lock(&shared.bed));
            shared.alarm.notify_all();
            for worker in workers.drain(..) {
                // A worker never panics: its jobs are caught.
                let _ = worker.join();
            }
        }
    }
}

impl Shared {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let turn = lock(&self.turn);
        let job = Job(job);
        // Only a claim dereferences the pointer, and this function does not return before all claimed jobs
        // are done, so the lifetime that is cast away outlives every use.
        self.job.store(std::ptr::from_ref(&job).cast_mut().cast(), Ordering::Relaxed);
        self.total.store(jobs, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        let epoch = (self.ticket.load(Ordering::Relaxed) >> 32).wrapping_add(1) & 0xFFFF_FFFF;
        self.ticket.store(epoch << 32 | jobs as u64, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.bed));
            self.alarm.notify_all();
        }
        while self.claim() {}
        let mut spins = 0u32;
        while self.done.load(Ordering::Acquire) < jobs {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let panic = lock(&self.panic).take();
        drop(turn);
        if let Some(cause) = panic {
            resume_unwind(cause);
        }
    }

    /// Takes and runs one job if there is one.
    fn claim(&self) -> bool {
        let mut ticket = self.ticket.load(Ordering::Acquire);
        loop {
            let left = ticket & 0xFFFF_FFFF;
            if left == 0 {
                return false;
            }
            match self.ticket.compare_exchange_weak(ticket, ticket - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let index = self.total.load(Ordering::Relaxed) - left as usize;
                    // SAFETY: the claim succeeded, so the owner of this epoch waits in `run` for `done`, and
                    // the job it stored before the ticket is alive.
                    let job = unsafe { &*self.job.load(Ordering::Relaxed) };
                    INSIDE.set(true);
                    let result = catch_unwind(AssertUnwindSafe(|| (job.0)(index)));
                    INSIDE.set(false);
                    if let Err(cause) = result {
                        lock(&self.panic).get_or_insert(cause);
                    }
                    self.done.fetch_add(1, Ordering::Release);
                    return true;
                }
                Err(now) => ticket = now,
            }
        }
    }

    fn work(&self) {
        loop {
            let mut spins = 0;
            while !self.claim() {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                    continue;
                }
                let mut bed = lock(&self.bed);
                self.sleepers.fetch_add(1, Ordering::SeqCst);
                while self.ticket.load(Ordering::SeqCst) & 0xFFFF_FFFF == 0
                    && !self.stop.load(Ordering::SeqCst)
                {
                    bed = self.alarm.wait(bed).unwrap_or_else(PoisonError::into_inner);
                }
                self.sleepers.fetch_sub(1, Ordering::SeqCst);
                spins = 0;
            }
        }
    }
}

/// One thread a physical core, no more than this process may use.
fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    num_cpus::get_physical().clamp(1, allowed)
}

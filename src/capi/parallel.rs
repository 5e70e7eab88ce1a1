//! A host's job system in the shape that the pool wants.

use super::guard::Inside;
use super::runtime::fqgan_parallel_fn;
use crate::backend::cpu::ParallelFn;
use crate::error::Error;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Host {
    function: unsafe extern "C-unwind" fn(
        *mut c_void,
        usize,
        Option<unsafe extern "C" fn(*mut c_void, usize)>,
        *mut c_void,
    ),
    user: *mut c_void,
}

// SAFETY: the host promises that its function may be called from any thread with this pointer.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// One run of jobs. The host's indices only count: each call takes the next job, so that a host that repeats
/// or invents an index cannot make two threads write one place.
struct Run<'a> {
    job: &'a (dyn Fn(usize) + Sync),
    jobs: usize,
    next: AtomicUsize,
    done: AtomicUsize,
}

/// The host's function for [`crate::backend::cpu::Cpu::with_host`]; `None` when it has none.
pub(super) fn wrap(function: fqgan_parallel_fn, user: *mut c_void) -> Option<Box<ParallelFn>> {
    let host = Host { function: function?, user };
    Some(Box::new(move |jobs, job| host.run(jobs, job)))
}

impl Host {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let run = Run { job, jobs, next: AtomicUsize::new(0), done: AtomicUsize::new(0) };
        let context = std::ptr::from_ref(&run).cast_mut().cast::<c_void>();
        // SAFETY: the host's function, with its pointer; `run` outlives all jobs that began before the wait
        // below ends, and the contract forbids others to begin.
        let call = || unsafe { (self.function)(self.user, jobs, Some(execute), context) };
        let called = catch_unwind(AssertUnwindSafe(call));
        // A host that returns early breaks the contract; jobs in flight still use this stack frame.
        let begun = run.next.swap(jobs, Ordering::AcqRel).min(jobs);
        while run.done.load(Ordering::Acquire) < begun {
            std::thread::yield_now();
        }
        if let Err(cause) = called {
            resume_unwind(cause);
        }
        if begun < jobs {
            resume_unwind(Box::new(Error::invalid(format!(
                "the parallel function returned after it had run {begun} of {jobs} jobs"
            ))));
        }
    }
}

/// What the host calls for each job, on any thread.
unsafe extern "C" fn execute(context: *mut c_void, _index: usize) {
    // SAFETY: the context of `Host::run`, which waits for this job.
    let run = unsafe { &*context.cast::<Run<'_>>() };
    let index = run.next.fetch_add(1, Ordering::AcqRel);
    if index < run.jobs {
        let _inside = Inside::enter();
        // The pool catches a job's panic; this one is the last resort, since unwinding ends here.
        let _ = catch_unwind(AssertUnwindSafe(|| (run.job)(index)));
        run.done.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Pool;
    use std::sync::atomic::AtomicU32;

    type Job = Option<unsafe extern "C" fn(*mut c_void, usize)>;

    unsafe extern "C-unwind" fn honest(_: *mut c_void, jobs: usize, job: Job, context: *mut c_void) {
        let (job, context) = (job.unwrap(), context as usize);
        std::thread::scope(|scope| {
            for index in 0..jobs {
                // SAFETY: as the contract says.
                scope.spawn(move || unsafe { job(context as *mut c_void, index) });
            }
        });
    }

    unsafe extern "C-unwind" fn repeats(_: *mut c_void, jobs: usize, job: Job, context: *mut c_void) {
        for _ in 0..2 * jobs + 3 {
            // SAFETY: as the contract says, but for the index.
            unsafe { job.unwrap()(context, usize::MAX) };
        }
    }

    unsafe extern "C-unwind" fn forgets(_: *mut c_void, _: usize, job: Job, context: *mut c_void) {
        // SAFETY: as the contract says.
        unsafe { job.unwrap()(context, 0) };
    }

    unsafe extern "C-unwind" fn panics(_: *mut c_void, _: usize, job: Job, context: *mut c_void) {
        // SAFETY: as the contract says.
        unsafe { job.unwrap()(context, 0) };
        panic!("the host's own");
    }

    fn counts(function: fqgan_parallel_fn) -> [u32; 5] {
        let pool = Pool::host(wrap(function, std::ptr::null_mut()).unwrap(), 5);
        let counts = [const { AtomicU32::new(0) }; 5];
        pool.run(5, |index| {
            counts[index].fetch_add(1, Ordering::Relaxed);
        });
        counts.map(AtomicU32::into_inner)
    }

    #[test]
    fn each_job_runs_once() {
        assert_eq!(counts(Some(honest)), [1; 5]);
        assert_eq!(counts(Some(repeats)), [1; 5]);
    }

    #[test]
    fn forgotten_jobs_are_an_error() {
        let cause = catch_unwind(|| counts(Some(forgets))).unwrap_err();
        let error = crate::capi::guard::describe(cause);
        assert_eq!(error.message(), "the parallel function returned after it had run 1 of 5 jobs");
        assert_eq!(error.status(), crate::Status::InvalidArgument);
    }

    #[test]
    fn panics_come_back_on_the_calling_thread() {
        let cause = catch_unwind(|| counts(Some(panics))).unwrap_err();
        assert_eq!(cause.downcast_ref::<&str>(), Some(&"the host's own"));
        let pool = Pool::host(wrap(Some(honest), std::ptr::null_mut()).unwrap(), 4);
        let job = |index| assert!(index != 2, "job {index} failed");
        let cause = catch_unwind(AssertUnwindSafe(|| pool.run(4, job))).unwrap_err();
        assert_eq!(cause.downcast_ref::<String>().unwrap(), "job 2 failed");
        pool.run(4, |_| {});
    }
}

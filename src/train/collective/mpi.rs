//! MPI, the system's: one thread makes all exchanges, in order, while others compute.

use super::{Carrier, PATIENCE, Pending};
use crate::backend::Workspace;
use crate::error::{Error, Result};
use crate::tensor::{Desc, Tensor};
use mpi::ffi;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two looks at an exchange that is under way: the processor has other work.
const NAP: Duration = Duration::from_micros(100);
/// The tag of "I am waiting at exchange number so and so".
const WAITING: c_int = 7;
/// The most elements that a process gives to one exchange; what is longer goes in parts. MPI counts them in a C int.
const MOST: usize = 1 << 22;
/// Bytes of a machine's name.
const NAME: usize = 256;

/// What the thread is asked for.
enum Command {
    Sum(Vec<f32>, Sender<Vec<f32>>),
    Gather(Vec<u8>, Sender<Vec<u8>>),
    End,
}

/// All processes that `mpirun` started.
pub struct World(Arc<Shared>);

struct Shared {
    rank: usize,
    hosts: Vec<String>,
    /// Whether this thread may speak while the other one waits.
    free: bool,
    commands: Mutex<Sender<Command>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Exchanges that were waited for.
    number: AtomicU64,
    /// When the last of them ended.
    last: Mutex<Instant>,
    /// Nanoseconds for which they were waited for.
    waited: AtomicU64,
}

impl World {
    /// Starts MPI.
    ///
    /// # Errors
    /// `Device` when it does not start.
    pub fn start() -> Result<World> {
        let (commands, orders) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let work = move || {
            if let Some(comm) = begin(&tell) {
                serve(comm, &orders);
            }
        };
        let thread = thread::Builder::new().name("fqgan-mpi".into());
        let thread =
            thread.spawn(work).map_err(|e| Error::out_of_memory(format!("no thread for MPI: {e}")))?;
        let (rank, free, hosts) = told.recv().map_err(|_| Error::device("MPI did not start"))?;
        Ok(World(Arc::new(Shared {
            rank,
            hosts,
            free,
            commands: Mutex::new(commands),
            thread: Mutex::new(Some(thread)),
            number: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
            waited: AtomicU64::new(0),
        })))
    }
}

impl Carrier for World {
    fn rank(&self) -> usize {
        self.0.rank
    }

    fn size(&self) -> usize {
        self.0.hosts.len()
    }

    fn host(&self, rank: usize) -> &str {
        self.0.hosts.get(rank).map_or("no host", String::as_str)
    }

    fn start_sum(&self, tensors: Vec<Tensor>, _: &Workspace) -> Result<Box<dyn Pending>> {
        let mut values = Vec::with_capacity(tensors.iter().map(|tensor| tensor.shape().count()).sum());
        for tensor in &tensors {
            values.extend_from_slice(tensor.data::<f32>()?);
        }
        let (reply, answer) = mpsc::channel();
        self.0.order(Command::Sum(values, reply))?;
        let descs = tensors.iter().map(|tensor| *tensor.desc()).collect();
        Ok(Box::new(Sum { world: self.0.clone(), descs, answer }))
    }

    fn gather(&self, mine: Vec<u8>) -> Result<Vec<u8>> {
        let (reply, answer) = mpsc::channel();
        self.0.order(Command::Gather(mine, reply))?;
        self.0.wait(&answer)
    }

    fn waited(&self) -> f64 {
        Duration::from_nanos(self.0.waited.load(Ordering::Relaxed)).as_secs_f64()
    }

    fn leave(&self) -> Result<()> {
        self.0.order(Command::End)?;
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.map_or(Ok(()), JoinHandle::join).map_err(|_| Error::internal("the thread of MPI panicked"))
    }
}

struct Sum {
    world: Arc<Shared>,
    descs: Vec<Desc>,
    answer: Receiver<Vec<f32>>,
}

impl Pending for Sum {
    fn wait(self: Box<Self>, memory: &Workspace) -> Result<Vec<Tensor>> {
        let sums = self.world.wait(&self.answer)?;
        let mut rest = &sums[..];
        let mut all = Vec::with_capacity(self.descs.len());
        for desc in self.descs {
            let (mine, others) = rest
                .split_at_checked(desc.shape.count())
                .ok_or_else(|| Error::internal("a bucket came back shorter than it left"))?;
            let mut sum = memory.tensor(desc)?;
            sum.data_mut::<f32>()?.copy_from_slice(mine);
            all.push(sum);
            rest = others;
        }
        Ok(all)
    }
}

impl Shared {
    fn order(&self, command: Command) -> Result<()> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.send(command).map_err(|_| Error::device("MPI has ended"))
    }

    /// Waits for an exchange, and tells who does not come to it.
    fn wait<T>(&self, answer: &Receiver<T>) -> Result<T> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let lock = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let half = PATIENCE / 2 + lock().elapsed();
        let began = Instant::now();
        let found = match answer.recv_timeout(half) {
            Err(RecvTimeoutError::Timeout) => self.roll_call(number, half, answer),
            Err(RecvTimeoutError::Disconnected) => Err(Error::device("MPI has ended")),
            Ok(found) => Ok(found),
        };
        self.waited.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        *lock() = Instant::now();
        found
    }

    /// Tells the others that this process waits, and hears who else does: the missing ones are those that do not.
    fn roll_call<T>(&self, number: u64, time: Duration, answer: &Receiver<T>) -> Result<T> {
        let mut here = vec![!self.free; self.hosts.len()];
        here[self.rank] = true;
        if self.free {
            (0..self.hosts.len()).filter(|&rank| rank != self.rank).for_each(|rank| tell(rank, number));
        }
        let until = Instant::now() + time;
        while Instant::now() < until {
            match answer.recv_timeout(Duration::from_millis(50)) {
                Ok(found) => return Ok(found),
                Err(RecvTimeoutError::Disconnected) => return Err(Error::device("MPI has ended")),
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Some((rank, at)) = if self.free { heard() } else { None } {
                // One that waits for a later exchange has been at this one.
                if at >= number && rank < here.len() {
                    here[rank] = true;
                }
            }
        }
        let missing: Vec<String> = (0..here.len())
            .filter(|&rank| !here[rank])
            .map(|rank| format!("rank {rank} on {}", self.hosts[rank]))
            .collect();
        let missing = if missing.is_empty() { "another rank".into() } else { missing.join(", ") };
        Err(Error::device(format!(
            "{missing} did not come to exchange {number} within {:.0} s: it hangs, or cannot be reached",
            2.0 * time.as_secs_f64()
        )))
    }
}

/// Starts MPI on this thread, and tells what it says of the world.
fn begin(tell: &Sender<(usize, bool, Vec<String>)>) -> Option<ffi::MPI_Comm> {
    let (mut provided, mut rank, mut size) = (0, 0, 0);
    let mut name = [0u8; NAME];
    let mut all = Vec::new();
    // SAFETY: MPI is started once in this process, by this thread, without arguments; then its world is asked for
    // numbers, and for the machine's name, which is shorter than NAME (MPI_MAX_PROCESSOR_NAME is 256).
    let (comm, most) = unsafe {
        let most = ffi::RSMPI_THREAD_MULTIPLE;
        if ffi::MPI_Init_thread(std::ptr::null_mut(), std::ptr::null_mut(), most, &mut provided) != 0 {
            return None;
        }
        let comm = ffi::RSMPI_COMM_WORLD;
        ffi::MPI_Comm_rank(comm, &mut rank);
        ffi::MPI_Comm_size(comm, &mut size);
        let mut length = 0;
        ffi::MPI_Get_processor_name(name.as_mut_ptr().cast(), &mut length);
        (comm, most)
    };
    gather(comm, &name, &mut all, size as usize);
    let hosts = all
        .chunks_exact(NAME)
        .map(|name| {
            let end = name.iter().position(|&c| c == 0).unwrap_or(NAME);
            String::from_utf8_lossy(&name[..end]).into_owned()
        })
        .collect();
    tell.send((rank as usize, provided >= most, hosts)).ok()?;
    Some(comm)
}

/// Makes the exchanges that are asked for, one after the other.
fn serve(comm: ffi::MPI_Comm, orders: &Receiver<Command>) {
    let mut size = 0;
    // SAFETY: the world is there, see `begin`.
    unsafe { ffi::MPI_Comm_size(comm, &mut size) };
    for command in orders {
        match command {
            Command::Sum(values, reply) => {
                let mut sums = vec![0.0f32; values.len()];
                for (mine, sums) in values.chunks(MOST).zip(sums.chunks_mut(MOST)) {
                    complete(|request| {
                        // SAFETY: both buffers have so many floats, and live until the exchange is complete.
                        unsafe {
                            ffi::MPI_Iallreduce(
                                mine.as_ptr().cast(),
                                sums.as_mut_ptr().cast(),
                                mine.len() as c_int,
                                ffi::RSMPI_FLOAT,
                                ffi::RSMPI_SUM,
                                comm,
                                request,
                            )
                        }
                    });
                }
                // Nobody waits any more when the run failed.
                let _ = reply.send(sums);
            }
            Command::Gather(mine, reply) => {
                let mut all = Vec::new();
                gather(comm, &mine, &mut all, size as usize);
                let _ = reply.send(all);
            }
            Command::End => {
                // SAFETY: by the thread that began, after all exchanges.
                unsafe { ffi::MPI_Finalize() };
                return;
            }
        }
    }
}

/// What all give, in the order of ranks.
fn gather(comm: ffi::MPI_Comm, mine: &[u8], all: &mut Vec<u8>, size: usize) {
    all.resize(mine.len() * size, 0);
    // All give as many. Buffers of nothing may be one place, which MPI refuses.
    if mine.is_empty() {
        return;
    }
    if mine.len() <= MOST {
        return gather_some(comm, mine, all);
    }
    let mut some = Vec::new();
    for (number, part) in mine.chunks(MOST).enumerate() {
        some.resize(part.len() * size, 0);
        gather_some(comm, part, &mut some);
        for (rank, part) in some.chunks_exact(part.len()).enumerate() {
            all[rank * mine.len() + number * MOST..][..part.len()].copy_from_slice(part);
        }
    }
}

/// The same of at most [`MOST`] bytes; `all` has room for as many of each process.
fn gather_some(comm: ffi::MPI_Comm, mine: &[u8], all: &mut [u8]) {
    complete(|request| {
        // SAFETY: both buffers live until the exchange is complete, and have `mine.len()` bytes a process.
        unsafe {
            ffi::MPI_Iallgather(
                mine.as_ptr().cast(),
                mine.len() as c_int,
                ffi::RSMPI_UINT8_T,
                all.as_mut_ptr().cast(),
                mine.len() as c_int,
                ffi::RSMPI_UINT8_T,
                comm,
                request,
            )
        }
    });
}

/// Begins an exchange and sees it through. What fails ends the process, as MPI's default has it.
fn complete(begin: impl FnOnce(*mut ffi::MPI_Request) -> c_int) {
    // SAFETY: the request is filled by `begin`, and tested until it is done.
    unsafe {
        let mut request = ffi::RSMPI_REQUEST_NULL;
        begin(&mut request);
        let mut done = 0;
        loop {
            ffi::MPI_Test(&mut request, &mut done, ffi::RSMPI_STATUS_IGNORE);
            if done != 0 {
                return;
            }
            thread::sleep(NAP);
        }
    }
}

/// Tells a process which exchange this one waits for.
fn tell(rank: usize, number: u64) {
    // The message outlives the call: it may be on its way until the end.
    let number: &'static u64 = Box::leak(Box::new(number));
    let mut request = MaybeUninit::uninit();
    // SAFETY: the buffer is never freed; MPI allows calls from several threads, see `Shared::free`. The request is
    // forgotten: whether it is done is not of interest.
    unsafe {
        ffi::MPI_Isend(
            std::ptr::from_ref(number).cast::<c_void>(),
            1,
            ffi::RSMPI_UINT64_T,
            rank as c_int,
            WAITING,
            ffi::RSMPI_COMM_WORLD,
            request.as_mut_ptr(),
        );
    }
}

/// Who waits, and for which exchange, if somebody has told.
fn heard() -> Option<(usize, u64)> {
    let mut there = 0;
    let mut status = MaybeUninit::<ffi::MPI_Status>::uninit();
    let mut number = 0u64;
    // SAFETY: MPI allows calls from several threads, see `Shared::free`; the status is filled where a message is there,
    // and the message is one number.
    unsafe {
        let comm = ffi::RSMPI_COMM_WORLD;
        ffi::MPI_Iprobe(ffi::RSMPI_ANY_SOURCE, WAITING, comm, &mut there, status.as_mut_ptr());
        if there == 0 {
            return None;
        }
        let rank = status.assume_init().MPI_SOURCE;
        let to = std::ptr::from_mut(&mut number).cast::<c_void>();
        ffi::MPI_Recv(to, 1, ffi::RSMPI_UINT64_T, rank, WAITING, comm, ffi::RSMPI_STATUS_IGNORE);
        Some((usize::try_from(rank).ok()?, number))
    }
}

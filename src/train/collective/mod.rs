//! Several processes that train one model: who takes part, and how they exchange what a step needs.
//!
//! MPI starts the processes and carries the bytes (feature `mpi`); tensors of GPUs go by NCCL (feature `cuda`), for
//! which other launchers will do too. Without any, a [`Group`] is one process, and every exchange is the identity.

mod batch_statistics;
mod gather;
// Without GPUs the processes that it tells of are refused, and never meet.
#[cfg_attr(not(feature = "cuda"), expect(dead_code))]
mod launch;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "cuda")]
mod nccl;
mod reduction;
mod shards;
mod together;

pub use batch_statistics::{OfAll, SharedCoefficients};
pub use gather::GatherRows;
pub use reduction::{BUCKET, Reduction};

use crate::backend::{Device, Workspace};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use launch::Told;
use std::sync::Arc;
#[cfg(any(feature = "mpi", feature = "cuda"))]
use std::time::Duration;

/// How long others may take longer than this process did.
#[cfg(any(feature = "mpi", feature = "cuda"))]
const PATIENCE: Duration = Duration::from_secs(20);

/// The processes of a run. Every exchange is one that all of them make, in the same order.
#[derive(Clone, Default)]
pub struct Group(Option<Arc<dyn Carrier>>);

/// What carries the bytes of more than one process.
trait Carrier: Send + Sync {
    /// This process's number, from 0.
    fn rank(&self) -> usize;
    /// How many there are.
    fn size(&self) -> usize;
    /// The machine that a process runs on.
    fn host(&self, rank: usize) -> &str;
    /// Begins to add these tensors of f32 over all processes. A device's are of `memory`, and the sums are.
    fn start_sum(&self, tensors: Vec<Tensor>, memory: &Workspace) -> Result<Box<dyn Pending>>;
    /// What every process gives, `mine.len()` bytes each, in the order of ranks.
    fn gather(&self, mine: Vec<u8>) -> Result<Vec<u8>>;
    /// Whether it carries anything: some only know of the processes, until their GPUs have met.
    fn carries(&self) -> bool {
        true
    }
    /// What the first process gives; all give as many bytes.
    #[cfg(feature = "cuda")]
    fn of_first(&self, mine: Vec<u8>) -> Result<Vec<u8>> {
        let bytes = mine.len();
        let mut all = self.gather(mine)?;
        all.truncate(bytes);
        Ok(all)
    }
    /// What the first process gave has been of use.
    #[cfg(feature = "cuda")]
    fn all_met(&self) {}
    /// Seconds for which this process has waited for exchanges.
    fn waited(&self) -> f64;
    /// Ends it in good order, when all do.
    fn leave(&self) -> Result<()>;
}

/// A sum that is under way.
trait Pending {
    /// Waits for it. A device's work that is started then may read it.
    fn wait(self: Box<Self>, memory: &Workspace) -> Result<Vec<Tensor>>;
}

/// What launchers tell a process of how many there are.
const LAUNCHERS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE"];

/// What they tell a process of its number on its machine.
const LOCAL: [&str; 4] = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "LOCAL_RANK", "SLURM_LOCALID"];

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Group {
    /// The processes that `mpirun` or another launcher started together, or this one alone.
    ///
    /// # Errors
    /// `Unsupported` when there are several and this build has no MPI; `Device` when MPI does not start.
    pub fn join() -> Result<Group> {
        match (Group::told(), Told::read(variable)) {
            (1, _) => Ok(Group::default()),
            // MPI's words come first: it can do more.
            (_, Some(told)) if Group::told_by_mpi() == 1 || !cfg!(feature = "mpi") => {
                Ok(Group(Some(Arc::new(told))))
            }
            (size, _) => Group::several(size),
        }
    }

    /// How many processes the launcher started together, this one among them.
    pub fn told() -> usize {
        Told::read(variable).map_or(1, |told| told.size()).max(Group::told_by_mpi())
    }

    fn told_by_mpi() -> usize {
        let told = LAUNCHERS.iter().filter_map(|name| variable(name)?.parse().ok());
        told.max().unwrap_or(1).max(1)
    }

    /// The device of a name as [`Device::named`] has it; where several processes of a machine say `cuda`, each has
    /// another GPU.
    ///
    /// # Errors
    /// As [`Device::named`].
    pub fn device(&self, name: &str, threads: usize) -> Result<Device> {
        let number = LOCAL.iter().find_map(|name| variable(name)?.parse::<usize>().ok());
        match number.filter(|_| self.size() > 1) {
            Some(number) if name == "cuda" => Device::named(&format!("cuda:{number}"), threads),
            Some(number) if name == "auto" => {
                Device::named(&format!("cuda:{number}"), threads).or_else(|_| Device::named("cpu", threads))
            }
            _ => Device::named(name, threads),
        }
    }

    /// The same processes, whose tensors are that device's: GPUs meet by NCCL.
    ///
    /// # Errors
    /// `Unsupported` where nothing carries the processor's tensors; `Device` when GPUs do not meet, or some have one and
    /// others not.
    pub fn on(self, device: &Device) -> Result<Group> {
        match self.0 {
            None => Ok(Group(None)),
            Some(carrier) if device.name() == "cpu" => match carrier.carries() {
                true => Group(Some(carrier)).with_kinds(device),
                false => Err(launch::no_carrier()),
            },
            #[cfg(feature = "cuda")]
            Some(carrier) => {
                let group = Group(Some(carrier.clone()));
                if carrier.carries() {
                    group.with_kinds(device)?;
                }
                Ok(Group(Some(Arc::new(nccl::Gpus::meet(device, carrier)?))))
            }
            #[cfg(not(feature = "cuda"))]
            Some(_) => Err(Error::internal("a GPU without CUDA")),
        }
    }

    /// Itself, if all processes have the same kind of device.
    fn with_kinds(self, device: &Device) -> Result<Group> {
        self.agree("kind of device", u32::from(device.name() == "cpu"))?;
        Ok(self)
    }

    #[cfg(feature = "mpi")]
    fn several(_: usize) -> Result<Group> {
        Ok(Group(Some(Arc::new(mpi::World::start()?))))
    }

    #[cfg(not(feature = "mpi"))]
    fn several(size: usize) -> Result<Group> {
        Err(Error::unsupported(format!(
            "{size} processes were started together, and this build has no MPI: build it with --features mpi"
        )))
    }

    /// This process's number, from 0.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |carrier| carrier.rank())
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |carrier| carrier.size())
    }

    /// Whether this is the process that writes and speaks.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// `"rank 1 on HOST"`: for messages; nothing for a process that is alone.
    pub fn name(&self, rank: usize) -> String {
        self.0.as_ref().map_or_else(String::new, |carrier| format!("rank {rank} on {}", carrier.host(rank)))
    }

    /// Seconds for which this process has waited for others up to now: what an exchange takes while it computes is not
    /// among them.
    pub fn waited(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |carrier| carrier.waited())
    }

    /// What every process gives, in the order of ranks; all give as many bytes.
    ///
    /// # Errors
    /// `Device` when a process does not come.
    pub fn gather(&self, mine: Vec<u8>) -> Result<Vec<u8>> {
        match &self.0 {
            Some(carrier) => carrier.gather(mine),
            None => Ok(mine),
        }
    }

    /// The run is over for all. A process that ends without it takes the others with it, by `mpirun`.
    ///
    /// # Errors
    /// `Device` when MPI has ended before.
    pub fn leave(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |carrier| carrier.leave())
    }

    /// The numbers of every process, in the order of ranks; all give as many.
    ///
    /// # Errors
    /// As [`Group::gather`].
    pub fn gather_numbers(&self, mine: &[f64]) -> Result<Vec<Vec<f64>>> {
        if self.size() == 1 {
            return Ok(vec![mine.to_vec()]);
        }
        let all = self.gather(mine.iter().flat_map(|x| x.to_le_bytes()).collect())?;
        let numbers: Vec<f64> = all
            .chunks_exact(size_of::<f64>())
            .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap_or_default()))
            .collect();
        if numbers.len() != mine.len() * self.size() {
            return Err(Error::internal("ranks gave numbers of different counts"));
        }
        Ok(match mine.len() {
            0 => vec![Vec::new(); self.size()],
            each => numbers.chunks_exact(each).map(<[f64]>::to_vec).collect(),
        })
    }

    /// Codes of every process, in the order of ranks; all give as many.
    ///
    /// # Errors
    /// As [`Group::gather`].
    pub fn gather_codes(&self, mine: &[u32]) -> Result<Vec<u32>> {
        if self.size() == 1 {
            return Ok(mine.to_vec());
        }
        let all = self.gather(mine.iter().flat_map(|x| x.to_le_bytes()).collect())?;
        let words = all.chunks_exact(size_of::<u32>());
        Ok(words.map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default())).collect())
    }

    /// Codes of every process, in the order of ranks, of each as many as it has.
    ///
    /// # Errors
    /// As [`Group::gather`].
    pub fn gather_lists(&self, mine: &[u32]) -> Result<Vec<u32>> {
        let all = self.gather_each(mine.iter().flat_map(|x| x.to_le_bytes()).collect())?;
        let words =
            |bytes: &Vec<u8>| bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
        Ok(all.iter().flat_map(|bytes| -> Vec<u32> { words(bytes) }).collect())
    }

    /// Whether any process says so.
    ///
    /// # Errors
    /// As [`Group::gather`].
    pub fn any(&self, mine: bool) -> Result<bool> {
        Ok(self.gather(vec![u8::from(mine)])?.contains(&1))
    }

    /// Refuses to go on unless all processes say the same of `what`.
    ///
    /// # Errors
    /// `InvalidArgument` that names the first process that says another thing than rank 0; as [`Group::gather`].
    pub fn agree(&self, what: &str, mine: u32) -> Result<()> {
        let all = self.gather(mine.to_le_bytes().to_vec())?;
        let mut said = all.chunks_exact(size_of::<u32>());
        let first = said.next().map(<[u8]>::to_vec);
        match said.position(|other| Some(other) != first.as_deref()) {
            Some(at) => Err(Error::invalid(format!(
                "{} has another {what} than {}: all processes of a run need the same",
                self.name(at + 1),
                self.name(0)
            ))),
            None => Ok(()),
        }
    }

    /// This process's part of a batch.
    ///
    /// # Errors
    /// `InvalidArgument` when the batch is not as many for each.
    pub fn share(&self, batch: usize) -> Result<usize> {
        match batch % self.size() {
            0 => Ok(batch / self.size()),
            _ => Err(Error::invalid(format!(
                "run.batch = {batch} pictures for {} processes: not as many for each",
                self.size()
            ))),
        }
    }
}

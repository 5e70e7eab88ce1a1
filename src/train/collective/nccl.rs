//! NCCL: tensors go from GPU to GPU, beside what those compute. MPI, where it started the processes, carries what the
//! processor has to say; without it that goes by the GPUs too.

use super::{Carrier, PATIENCE, Pending};
use crate::backend::{Device, Exchange, Link, LinkId, Workspace, Workspaces};
use crate::error::{Error, Result};
use crate::tensor::{DType, Desc, Tensor};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at an exchange that is under way.
const NAP: Duration = Duration::from_micros(50);
/// Bytes of a machine's name.
const NAME: usize = 64;

/// The GPUs of all processes.
pub struct Gpus {
    /// What told of the processes, and carries bytes of the processor's if it can.
    under: Arc<dyn Carrier>,
    hosts: Vec<String>,
    world: Arc<World>,
}

struct World {
    device: Device,
    link: Arc<Link>,
    /// Of what is gathered.
    workspaces: Workspaces,
    /// Exchanges that were waited for.
    number: AtomicU64,
    /// When the last of them ended.
    last: Mutex<Instant>,
    /// Nanoseconds for which they were waited for.
    waited: AtomicU64,
}

impl Gpus {
    /// Meets the other processes' GPUs.
    ///
    /// # Errors
    /// `Device` without NCCL, or when they do not meet.
    pub fn meet(device: &Device, under: Arc<dyn Carrier>) -> Result<Gpus> {
        let id = match under.rank() {
            0 => device.link_id()?,
            _ => [0; size_of::<LinkId>()],
        };
        let id = LinkId::try_from(under.of_first(id.to_vec())?)
            .map_err(|_| Error::internal("an id of another size"))?;
        let link = device.link(&id, [under.rank(), under.size()])?;
        under.all_met();
        let world = Arc::new(World {
            device: device.clone(),
            link,
            workspaces: Workspaces::new(device.clone(), None),
            number: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
            waited: AtomicU64::new(0),
        });
        let hosts = match under.carries() {
            true => (0..under.size()).map(|rank| under.host(rank).to_string()).collect(),
            false => {
                let mut name = under.host(under.rank()).as_bytes().to_vec();
                name.resize(NAME, 0);
                let text = |name: &[u8]| String::from_utf8_lossy(name).trim_end_matches('\0').to_string();
                world.gather(&name)?.chunks_exact(NAME).map(text).collect()
            }
        };
        Ok(Gpus { under, hosts, world })
    }
}

impl Carrier for Gpus {
    fn rank(&self) -> usize {
        self.under.rank()
    }

    fn size(&self) -> usize {
        self.under.size()
    }

    fn host(&self, rank: usize) -> &str {
        self.hosts.get(rank).map_or("no host", String::as_str)
    }

    fn start_sum(&self, tensors: Vec<Tensor>, memory: &Workspace) -> Result<Box<dyn Pending>> {
        let exchange = self.world.link.start_sum(tensors, memory)?;
        Ok(Box::new(Sum { world: Arc::clone(&self.world), exchange }))
    }

    fn gather(&self, mine: Vec<u8>) -> Result<Vec<u8>> {
        match self.under.carries() {
            true => self.under.gather(mine),
            false => self.world.gather(&mine),
        }
    }

    fn waited(&self) -> f64 {
        self.under.waited() + Duration::from_nanos(self.world.waited.load(Ordering::Relaxed)).as_secs_f64()
    }

    fn leave(&self) -> Result<()> {
        self.under.leave()
    }
}

struct Sum {
    world: Arc<World>,
    exchange: Exchange,
}

impl Pending for Sum {
    fn wait(self: Box<Self>, _: &Workspace) -> Result<Vec<Tensor>> {
        self.world.wait(&self.exchange)?;
        self.exchange.take()
    }
}

impl World {
    /// Waits for an exchange, but not for ever.
    fn wait(&self, exchange: &Exchange) -> Result<()> {
        // What this GPU still computes is no waiting for others.
        exchange.wait_ready()?;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let lock = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, patience) = (Instant::now(), PATIENCE + lock().elapsed());
        while !exchange.is_done()? {
            if began.elapsed() > patience {
                self.link.give_up();
                return Err(Error::device(format!(
                    "another rank's GPU did not come to exchange {number} within {:.0} s: it hangs, or cannot be reached",
                    patience.as_secs_f64()
                )));
            }
            std::thread::sleep(NAP);
        }
        self.waited.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        *lock() = Instant::now();
        Ok(())
    }

    /// Bytes of all processes. They travel as the bits of floats, which nobody computes with.
    fn gather(&self, mine: &[u8]) -> Result<Vec<u8>> {
        let mut padded = mine.to_vec();
        padded.resize(mine.len().next_multiple_of(size_of::<f32>()), 0);
        let words = padded.as_chunks::<{ size_of::<f32>() }>().0;
        let workspace = self.workspaces.take();
        let mut sent = workspace.host_tensor(Desc::plain([words.len()], DType::F32))?;
        sent.data_mut::<f32>()?.iter_mut().zip(words).for_each(|(to, word)| *to = f32::from_le_bytes(*word));
        let sent = self.device.upload(&sent, &workspace)?;
        let exchange = self.link.start_gather(sent, &*workspace)?;
        self.wait(&exchange)?;
        let found = exchange.take()?;
        let found = found.first().ok_or_else(|| Error::internal("nothing was gathered"))?.on_host()?;
        let all = found.data::<f32>()?.chunks_exact(words.len().max(1));
        Ok(all.flat_map(|words| words.iter().flat_map(|x| x.to_le_bytes()).take(mine.len())).collect())
    }
}

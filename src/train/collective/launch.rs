//! Processes that a launcher without MPI started, torchrun or Slurm: who they are, and how they meet. It carries no more
//! than the first bytes; all others go from GPU to GPU.

use super::{Carrier, Pending};
use crate::backend::Workspace;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// For how long others may take to come.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks for them.
const NAP: Duration = Duration::from_millis(50);
/// What a process says that comes to meet the first one.
const GREETING: &[u8; 8] = b"fqgan\0\0\x01";

/// A process's place, as the environment tells it.
#[derive(Debug, PartialEq)]
pub struct Told {
    rank: usize,
    size: usize,
    way: Way,
    /// This process's machine; of the others nothing is known before they have met.
    host: String,
}

/// Bytes of a machine's name.
const NAME: usize = 64;

/// This machine's name.
fn host() -> String {
    let mut name = [0u8; NAME];
    // SAFETY: at most so many bytes are written.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0;
    let text = String::from_utf8_lossy(&name).trim_end_matches('\0').to_string();
    if failed || text.is_empty() { "an unnamed machine".into() } else { text }
}

/// How processes meet.
#[derive(Debug, PartialEq)]
enum Way {
    /// The first writes a file that all see.
    File(PathBuf),
    /// The first listens at this address.
    Address(String, u16),
}

impl Told {
    /// What the environment says of several processes: nothing unless it tells both the places (`RANK` and `WORLD_SIZE`,
    /// or Slurm's) and where to meet (`FQGAN_NCCL_ID_FILE`, or `MASTER_ADDR` and `MASTER_PORT`).
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Option<Told> {
        let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
        let place = |names: [&str; 2]| Some((number(names[0])?, number(names[1])?));
        let (rank, size) =
            place(["RANK", "WORLD_SIZE"]).or_else(|| place(["SLURM_PROCID", "SLURM_NTASKS"]))?;
        let way = match variable("FQGAN_NCCL_ID_FILE").filter(|path| !path.is_empty()) {
            Some(path) => Way::File(path.into()),
            // torchrun holds the port itself, so it is the next one.
            None => {
                let port = u16::try_from(number("MASTER_PORT")?).ok()?.checked_add(1)?;
                Way::Address(variable("MASTER_ADDR")?, port)
            }
        };
        (size > 1 && rank < size).then(|| Told { rank, size, way, host: host() })
    }

    fn late(&self, what: &str) -> Error {
        Error::device(format!("rank {} waited {} s in vain {what}", self.rank, PATIENCE.as_secs()))
    }

    fn meet_by_file(&self, path: &PathBuf, mine: &[u8]) -> Result<Vec<u8>> {
        let io = |what: &str, e: &std::io::Error| Error::io(format_args!("{what} {}", path.display()), e);
        if self.rank == 0 {
            if path.exists() {
                return Err(Error::invalid(format!(
                    "FQGAN_NCCL_ID_FILE: {} is there already: expected a name for each run",
                    path.display()
                )));
            }
            // Nobody sees it half written.
            let part = path.with_extension("part");
            fs::write(&part, mine).map_err(|e| io("writing", &e))?;
            fs::rename(&part, path).map_err(|e| io("writing", &e))?;
            return Ok(mine.to_vec());
        }
        let until = Instant::now() + PATIENCE;
        while !path.exists() {
            if Instant::now() > until {
                return Err(self.late(&format!("for the file {}", path.display())));
            }
            std::thread::sleep(NAP);
        }
        fs::read(path).map_err(|e| io("reading", &e))
    }

    fn listen(&self, address: (&str, u16), mine: &[u8]) -> Result<()> {
        let at = || format!("{}:{}", address.0, address.1);
        // Rank 0's own machine may know itself by other names.
        let listener = TcpListener::bind(("0.0.0.0", address.1))
            .map_err(|e| Error::io(format_args!("listening at {}", at()), &e))?;
        let io = |e: std::io::Error| Error::io(format_args!("meeting the others at {}", at()), &e);
        listener.set_nonblocking(true).map_err(io)?;
        let until = Instant::now() + PATIENCE;
        let mut missing: Vec<usize> = (1..self.size).collect();
        while !missing.is_empty() {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    if Instant::now() > until {
                        return Err(self.late(&format!("at {} for ranks {missing:?}", at())));
                    }
                    std::thread::sleep(NAP);
                    continue;
                }
                Err(e) => return Err(io(e)),
            };
            // Whoever else calls at the port is none of ours.
            let (mut greeting, mut rank) = ([0; GREETING.len()], [0; 4]);
            let quick =
                stream.set_nonblocking(false).and(stream.set_read_timeout(Some(Duration::from_secs(2))));
            let said = quick
                .and_then(|()| stream.read_exact(&mut greeting))
                .and_then(|()| stream.read_exact(&mut rank));
            let rank = u32::from_le_bytes(rank) as usize;
            if said.is_ok() && greeting == *GREETING && stream.write_all(mine).is_ok() {
                missing.retain(|&other| other != rank);
            }
        }
        Ok(())
    }

    fn call(&self, address: (&str, u16), bytes: usize) -> Result<Vec<u8>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let ask = || -> std::io::Result<Vec<u8>> {
                let mut stream = TcpStream::connect(address)?;
                stream.write_all(GREETING)?;
                stream.write_all(&(self.rank as u32).to_le_bytes())?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                let mut found = vec![0; bytes];
                stream.read_exact(&mut found)?;
                Ok(found)
            };
            match ask() {
                Ok(found) => return Ok(found),
                Err(e) if Instant::now() > until => {
                    return Err(self.late(&format!("for rank 0 at {}:{}: {e}", address.0, address.1)));
                }
                // It may not listen yet.
                Err(_) => std::thread::sleep(NAP),
            }
        }
    }
}

impl Carrier for Told {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn host(&self, rank: usize) -> &str {
        if rank == self.rank { &self.host } else { "a machine not met yet" }
    }

    fn carries(&self) -> bool {
        false
    }

    #[cfg(feature = "cuda")]
    fn of_first(&self, mine: Vec<u8>) -> Result<Vec<u8>> {
        let found = match &self.way {
            Way::File(path) => self.meet_by_file(path, &mine)?,
            Way::Address(name, port) if self.rank == 0 => {
                self.listen((name, *port), &mine)?;
                mine.clone()
            }
            Way::Address(name, port) => self.call((name, *port), mine.len())?,
        };
        match found.len() == mine.len() {
            true => Ok(found),
            false => {
                Err(Error::invalid(format!("{} bytes to meet by, expected {}", found.len(), mine.len())))
            }
        }
    }

    #[cfg(feature = "cuda")]
    fn all_met(&self) {
        if let (0, Way::File(path)) = (self.rank, &self.way) {
            // It is of no use any more; that it stays would only be in the next run's way.
            let _ = fs::remove_file(path);
        }
    }

    fn start_sum(&self, _: Vec<Tensor>, _: &Workspace) -> Result<Box<dyn Pending>> {
        Err(no_carrier())
    }

    fn gather(&self, _: Vec<u8>) -> Result<Vec<u8>> {
        Err(no_carrier())
    }

    fn waited(&self) -> f64 {
        0.0
    }

    fn leave(&self) -> Result<()> {
        Ok(())
    }
}

/// Why there is no exchange.
pub fn no_carrier() -> Error {
    Error::unsupported(
        "several processes without MPI exchange by their GPUs alone: they compute on the processor",
    )
}

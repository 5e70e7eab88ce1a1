use super::Npz;
use crate::error::{Error, Result};
use flate2::read::DeflateDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::sync::{Mutex, PoisonError};

/// The rows of an array of bytes along its first axis, read one by one.
///
/// Those of an array that is not compressed are read in place, in any order. A compressed one is unpacked on the way: in
/// order that takes one pass, and a step back begins anew.
#[derive(Debug)]
pub struct Rows {
    name: String,
    shape: Vec<usize>,
    state: Mutex<State>,
    first: u64,
    packed: Option<(u64, u64, u64)>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Of a compressed array: what is left of it, and the row that comes next.
    stream: Option<(DeflateDecoder<Take<BufReader<File>>>, usize)>,
}

impl Rows {
    /// The rows of an array of that name, of unsigned bytes.
    ///
    /// # Errors
    /// `Format` when there is none, or one of another type, order, or fewer than two axes; `Io`.
    pub fn open(npz: &Npz, name: &str) -> Result<Rows> {
        let shown = npz.path().display();
        let Some(array) = npz.array(name) else {
            let names: Vec<&str> = npz.arrays().iter().map(|a| a.name.as_str()).collect();
            return Err(Error::format(format!("{shown}: no array {name}, it has {}", names.join(", "))));
        };
        if array.dtype != "|u1" || !array.is_c_order || array.shape.len() < 2 {
            return Err(Error::format(format!(
                "{shown}: {name} is {:?} of {}{}, expected rows of |u1",
                array.shape,
                array.dtype,
                if array.is_c_order { "" } else { " in Fortran's order" }
            )));
        }
        let io = |e| Error::io(format_args!("reading {shown}"), &e);
        let file = File::open(npz.path()).map_err(io)?;
        let (begin, len) = array.place;
        let bytes = array.shape.iter().product::<usize>() as u64;
        let end =
            if array.is_stored { begin.checked_add(array.header + bytes) } else { begin.checked_add(len) };
        if end.is_none_or(|end| file.metadata().is_ok_and(|about| end > about.len())) {
            return Err(Error::format(format!("{shown}: cut short: {name} ends after the file")));
        }
        Ok(Rows {
            name: format!("{shown}: {name}"),
            shape: array.shape.clone(),
            state: Mutex::new(State { file, stream: None }),
            first: begin + array.header,
            packed: (!array.is_stored).then_some((begin, len, array.header)),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shape[0]
    }

    /// Extents of a row.
    pub fn shape(&self) -> &[usize] {
        &self.shape[1..]
    }

    /// The bytes of a row.
    ///
    /// # Errors
    /// `Io`; `Format` for damaged bytes; `OutOfMemory`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn read(&self, row: usize) -> Result<Vec<u8>> {
        assert!(row < self.count(), "row {row} of {}", self.count());
        let each = self.shape().iter().product::<usize>();
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(each)
            .map_err(|_| Error::out_of_memory(format!("{}: no memory for {each} bytes", self.name)))?;
        bytes.resize(each, 0);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let read = match self.packed {
            None => {
                let place = self.first + row as u64 * each as u64;
                state.file.seek(SeekFrom::Start(place)).and_then(|_| state.file.read_exact(&mut bytes))
            }
            Some(packed) => state.unpack(packed, row, &mut bytes),
        };
        match read {
            Ok(()) => Ok(bytes),
            Err(e) => {
                state.stream = None;
                Err(Error::format(format!("{}, row {row}: {e}", self.name)))
            }
        }
    }
}

impl State {
    fn unpack(&mut self, (begin, len, header): (u64, u64, u64), row: usize, to: &mut [u8]) -> io::Result<()> {
        if self.stream.as_ref().is_none_or(|(_, next)| *next > row) {
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(begin))?;
            let mut decoder = DeflateDecoder::new(BufReader::with_capacity(1 << 16, file).take(len));
            skip(&mut decoder, header)?;
            self.stream = Some((decoder, 0));
        }
        let Some((decoder, next)) = &mut self.stream else { unreachable!("set above") };
        skip(decoder, (row - *next) as u64 * to.len() as u64)?;
        decoder.read_exact(to)?;
        *next = row + 1;
        Ok(())
    }
}

fn skip(from: &mut impl Read, bytes: u64) -> io::Result<()> {
    match io::copy(&mut from.take(bytes), &mut io::sink())? {
        skipped if skipped == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

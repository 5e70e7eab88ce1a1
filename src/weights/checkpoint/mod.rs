//! Checkpoints as `torch.save` writes them (`.pt`): a zip archive of a pickle and the tensors' storages.

mod archive;
mod globals;
mod legacy;
mod pickle;

use super::listing::Info;
use super::store::Store;
use crate::error::{Context, Error, Result};
use crate::tensor::{Allocate, Desc, HeapAllocator, Tensor};
use archive::{Archive, Member};
use globals::TensorView;
use pickle::{Node, Pickle, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest pickle that is read. One of a thousand tensors with its optimizer has half a megabyte.
const MAX_PICKLE: u64 = 32 << 20;
/// Where training scripts put the weights, in the order of preference.
pub(super) const PARTS: [&str; 4] = ["ema", "model", "module", "state_dict"];
/// A tensor that only the generator has. Its weights are never taken from `ema`.
const GENERATOR: &str = "cls_embedding.embedding_table.weight";

/// An open checkpoint.
pub(super) struct Checkpoint {
    /// None of a file of before PyTorch 1.6.
    archive: Option<Archive>,
    store: Arc<Store>,
    tensors: BTreeMap<String, (Info, View)>,
    /// Under which of the file's keys the weights are; empty when they are all there is.
    pub part: Vec<String>,
    /// What else the file holds beside that part.
    pub others: Vec<String>,
}

/// Where a tensor's elements are. Checked: each lies inside the member.
struct View {
    member: Member,
    size: usize,
    offset: usize,
    strides: Vec<usize>,
}

/// Whether a file that begins like this is a zip archive. A safetensors file with a header of 67,324,752 bytes
/// begins alike, but has a brace where an archive has its compression method.
pub(super) fn is_archive(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04") && start.get(8) != Some(&b'{')
}

/// Whether a file that begins like this was saved by a PyTorch before 1.6, as bare pickles.
pub(super) fn is_legacy(start: &[u8]) -> bool {
    legacy::begins(start)
}

impl Checkpoint {
    pub fn open(store: Arc<Store>, parts: &[&str]) -> Result<Checkpoint> {
        let archive = Archive::open(store.clone())?;
        let names = archive.names();
        let pickle = names.iter().find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
        let pickle =
            pickle.ok_or_else(|| Error::format("the zip archive is no checkpoint: it has no data.pkl"))?;
        let folder = pickle.trim_end_matches("data.pkl");
        if names.iter().any(|name| name.strip_prefix(folder) == Some("constants.pkl")) {
            return Err(Error::unsupported("a TorchScript program, expected a checkpoint of weights"));
        }
        let order = format!("{folder}byteorder");
        if names.contains(&order) && read_all(&archive, &order, 16)? != b"little" {
            return Err(Error::unsupported("a checkpoint of a big-endian machine"));
        }
        let code = read_all(&archive, pickle, MAX_PICKLE)?;
        let pickle = Pickle::read(&code)?;
        let member = |key: &str| archive.find(&format!("{folder}data/{key}"));
        let (tensors, part, others) = gathered(&pickle, parts, member)?;
        Ok(Checkpoint { archive: Some(archive), store, tensors, part, others })
    }

    /// Of a PyTorch before 1.6.
    pub fn open_legacy(store: Arc<Store>, parts: &[&str]) -> Result<Checkpoint> {
        let head = store.read(0, store.len().min(MAX_PICKLE) as usize)?;
        let (pickle, end) = legacy::state(&head)?;
        let members = legacy::members(&head, &pickle, end, &store)?;
        let member = |key: &str| {
            let found = members.get(key).copied();
            found.ok_or_else(|| Error::format(format!("the file has no storage {key}")))
        };
        let (tensors, part, others) = gathered(&pickle, parts, member)?;
        Ok(Checkpoint { archive: None, store, tensors, part, others })
    }

    /// Names and what is known of the tensors.
    pub fn infos(&self) -> impl Iterator<Item = (&str, &Info)> {
        self.tensors.iter().map(|(name, (info, _))| (name.as_str(), info))
    }

    /// The tensor of that name, which has to be there: the file's own memory where it is mapped and in order.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let missing = || Error::internal(format!("tensor {name} is listed but not there"));
        let (info, view) = self.tensors.get(name).ok_or_else(missing)?;
        let (dtype, shape) = info.readable()?;
        let desc = Desc::plain(shape, dtype);
        let len = desc.bytes().ok_or_else(|| Error::format("too large to address"))?;
        let in_order = len == 0 || row_major(&info.shape, &view.strides);
        let first = (view.offset * view.size) as u64; // At most the member's length.
        match view.member.stored_at {
            Some(at) if in_order => Tensor::new(desc, self.store.storage(at + first, len, view.size)?),
            _ if in_order && first == 0 => {
                let mut own = HeapAllocator.allocate(len)?;
                self.unpack(view.member, &mut own.unique_mut()?[..len])?;
                Tensor::new(desc, own)
            }
            _ => self.gather(view, desc, len),
        }
    }

    /// The first bytes of a member that is compressed, or not in the way of mapping.
    fn unpack(&self, member: Member, to: &mut [u8]) -> Result<()> {
        match &self.archive {
            Some(archive) => archive.read(member, to),
            None => Err(Error::internal("a compressed member without an archive")),
        }
    }

    /// A row-major copy of a tensor that is not row-major, or lies within a compressed member.
    fn gather(&self, view: &View, desc: Desc, len: usize) -> Result<Tensor> {
        let whole = usize::try_from(view.member.len).map_err(|_| Error::format("too large to address"))?;
        if len > whole {
            return Err(Error::unsupported(format!(
                "an expanded tensor: {len} bytes of {whole} that were stored"
            )));
        }
        let from = match view.member.stored_at {
            Some(at) => self.store.storage(at, whole, 1)?,
            None => {
                let mut own = HeapAllocator.allocate(whole)?;
                self.unpack(view.member, &mut own.unique_mut()?[..whole])?;
                own
            }
        };
        let mut to = HeapAllocator.allocate(len)?;
        copy_strided(view, &desc.shape, from.as_bytes()?, &mut to.unique_mut()?[..len]);
        Tensor::new(desc, to)
    }
}

/// Tensors with where they are, the part of the pickle that they stand in, and what else there is.
type Gathered = (BTreeMap<String, (Info, View)>, Vec<String>, Vec<String>);

fn gathered(
    pickle: &Pickle<'_>,
    parts: &[&str],
    mut find: impl FnMut(&str) -> Result<Member>,
) -> Result<Gathered> {
    let found = State::find(pickle, parts)?;
    let mut members: BTreeMap<&str, Member> = BTreeMap::new();
    let mut tensors = BTreeMap::new();
    for (name, view) in found.tensors {
        let Some(Node::Storage(storage)) = pickle.node(view.storage) else {
            return Err(Error::internal("a tensor without a storage")); // Checked when it was made.
        };
        let member = match members.get(storage.key) {
            Some(member) => *member,
            None => {
                let member = find(storage.key).context(|| format!("tensor {name}"))?;
                members.insert(storage.key, member);
                member
            }
        };
        let view_of = checked(view, storage, member).context(|| format!("tensor {name}"))?;
        let info = Info { dtype: storage.element.file_type(), shape: view.shape.clone() };
        tensors.insert(name.to_string(), (info, view_of));
    }
    let part = found.part.into_iter().map(String::from).collect();
    let others = found.others.into_iter().map(String::from).collect();
    Ok((tensors, part, others))
}

/// Copies the elements one by one, the last axis fastest.
fn copy_strided(view: &View, shape: &[usize], from: &[u8], to: &mut [u8]) {
    let size = view.size;
    let mut index = vec![0usize; shape.len()];
    let mut at = view.offset;
    for element in to.chunks_exact_mut(size) {
        element.copy_from_slice(&from[at * size..][..size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += view.strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= shape[axis] * view.strides[axis];
            index[axis] = 0;
        }
    }
}

fn row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&extent, &stride)| {
        let fits = extent == 1 || stride == expected;
        expected *= extent; // The product is checked.
        fits
    })
}

/// The view, once its last element lies inside the member and its extents can be multiplied.
fn checked(view: &TensorView, storage: &globals::Storage<'_>, member: Member) -> Result<View> {
    let size = storage.element.size;
    let too_large = || Error::format(format!("shape {:?} is too large to address", view.shape));
    let count = view.shape.iter().try_fold(size, |n, &e| n.checked_mul(e)).ok_or_else(too_large)? / size;
    // One past the last element; an empty tensor has none, and may claim to begin anywhere.
    let mut end = 0usize;
    if count > 0 {
        let steps = view.shape.iter().zip(&view.strides);
        let last =
            steps.map(|(&e, &s)| (e - 1).checked_mul(s)).try_fold(view.offset, |n, s| n.checked_add(s?));
        end = last.and_then(|n| n.checked_add(1)).ok_or_else(too_large)?;
    }
    let held = member.len / size as u64;
    if end as u64 > held || end > storage.count {
        return Err(Error::format(format!(
            "needs {end} elements of storage {}, which has {} and a file of {} bytes",
            storage.key, storage.count, member.len
        )));
    }
    let offset = if count > 0 { view.offset } else { 0 };
    // The stride of a single step is never taken, so nothing has bounded it.
    let strides = view.shape.iter().zip(&view.strides).map(|(&e, &s)| if e > 1 { s } else { 0 }).collect();
    Ok(View { member, size, offset, strides })
}

/// All of a member of at most `most` bytes.
fn read_all(archive: &Archive, name: &str, most: u64) -> Result<Vec<u8>> {
    let member = archive.find(name)?;
    if member.len > most {
        return Err(Error::format(format!(
            "member {name} has {} bytes, at most {most} are read",
            member.len
        )));
    }
    let mut all = vec![0; member.len as usize]; // At most `most`.
    archive.read(member, &mut all)?;
    Ok(all)
}

/// The weights among all that a pickle holds.
struct State<'a, 'p> {
    tensors: Vec<(&'a str, &'p TensorView)>,
    part: Vec<&'a str>,
    others: Vec<&'a str>,
}

impl<'a, 'p> State<'a, 'p> {
    /// Goes down the first of `parts` as long as there is one, and takes the tensors that stand there.
    fn find(pickle: &'p Pickle<'a>, parts: &[&str]) -> Result<State<'a, 'p>> {
        let (mut at, mut part, mut others) = (pickle.root, Vec::new(), Vec::new());
        loop {
            let state = pickle.dict(at).ok_or_else(|| {
                Error::format(
                    "the checkpoint is no dictionary: expected weights by their names, or under one of ema, \
                     model, module, state_dict",
                )
            })?;
            let keys: Vec<&'a str> = state.iter().filter_map(|(key, _)| pickle.text(*key)).collect();
            // Nobody nests deeper, and a dictionary that holds itself would go on for ever.
            let inner = parts.iter().find_map(|key| {
                let kept = keys.iter().find(|kept| *kept == key)?;
                Some((*kept, usable(pickle, state, key)?))
            });
            if let Some((key, value)) = inner.filter(|_| part.len() < 3) {
                others.extend(keys.into_iter().filter(|k| *k != key));
                part.push(key);
                at = value;
                continue;
            }
            let tensors = tensors(pickle, state);
            if tensors.is_empty() {
                return Err(Error::format(format!(
                    "no weights in the checkpoint: expected ema, model, module or state_dict, found {}",
                    if keys.is_empty() { "nothing".into() } else { summary(&keys) }
                )));
            }
            return Ok(State { tensors, part, others });
        }
    }
}

/// The dictionary under a key, if it may be the part with the weights.
fn usable(pickle: &Pickle<'_>, state: &[(Value, Value)], key: &str) -> Option<Value> {
    let (_, value) = state.iter().rev().find(|(k, _)| pickle.text(*k) == Some(key))?;
    let dict = pickle.dict(*value)?;
    let generator = || dict.iter().any(|(k, _)| pickle.text(*k) == Some(GENERATOR));
    let unfit = dict.is_empty() || key == "ema" && generator();
    (!unfit).then_some(*value)
}

fn tensors<'a, 'p>(pickle: &'p Pickle<'a>, state: &[(Value, Value)]) -> Vec<(&'a str, &'p TensorView)> {
    let named = state.iter().filter_map(|(key, value)| match pickle.node(*value) {
        Some(Node::Tensor(view)) => Some((pickle.text(*key)?, view)),
        _ => None,
    });
    named.collect()
}

fn summary(keys: &[&str]) -> String {
    let shown: Vec<&str> = keys.iter().take(8).copied().collect();
    let more = if keys.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

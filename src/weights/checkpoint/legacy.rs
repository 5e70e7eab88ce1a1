//! Checkpoints of a PyTorch before 1.6, as torchvision's and lpips's published weights still are: five pickles one
//! after the other (a magic number, the protocol, the machine, the state, the keys of the storages), then for each
//! key the number of elements in 64 bits and the elements.

use super::archive::Member;
use super::globals;
use super::pickle::{Node, Pickle};
use crate::error::{Context, Error, Result};
use crate::weights::store::Store;
use std::collections::BTreeMap;

/// The magic number and protocol 1001, as every such file pickles them.
const BEGIN: &[u8] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";

/// Whether a file begins like this.
pub(super) fn begins(start: &[u8]) -> bool {
    matches!(start, [0x80, 2..=5, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, ..])
}

/// The state's pickle, and where it ends.
pub(super) fn state(head: &[u8]) -> Result<(Pickle<'_>, usize)> {
    if !head.starts_with(BEGIN) {
        return Err(Error::unsupported(
            "a checkpoint of a PyTorch before 1.6, of another protocol than 1001",
        ));
    }
    let (_, machine) = Pickle::read_first(&head[BEGIN.len()..])?;
    let at = BEGIN.len() + machine;
    let (state, len) = Pickle::read_first(&head[at..])?;
    Ok((state, at + len))
}

/// Where the storages are, by their keys, from the end of the state on.
pub(super) fn members(
    head: &[u8],
    state: &Pickle<'_>,
    from: usize,
    store: &Store,
) -> Result<BTreeMap<String, Member>> {
    let (keys, len) = Pickle::read_first(&head[from..]).context(|| "the keys of the storages")?;
    let Some(Node::List(keys_of)) = keys.node(keys.root) else {
        return Err(Error::format("the keys of the storages are no list"));
    };
    let known: BTreeMap<&str, &globals::Storage<'_>> = state.storages().map(|s| (s.key, s)).collect();
    let mut at = (from + len) as u64;
    let mut members = BTreeMap::new();
    for &key in keys_of {
        let key = keys.text(key).ok_or_else(|| Error::format("the key of a storage is no text"))?;
        let storage = known.get(key).ok_or_else(|| Error::format(format!("storage {key} has no type")))?;
        let mut count = [0; 8];
        store.read_into(at, &mut count).context(|| format!("storage {key}"))?;
        let bytes = u64::from_le_bytes(count).checked_mul(storage.element.size as u64);
        let end = bytes.and_then(|bytes| (at + 8).checked_add(bytes)).filter(|&end| end <= store.len());
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(Error::format(format!("storage {key} ends after the file: it was cut short")));
        };
        members.insert(key.to_string(), Member::stored(at + 8, bytes));
        at = end;
    }
    Ok(members)
}

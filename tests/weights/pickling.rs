//! Pickles and archives built by hand, each piece the code that leaves one value on the stack.

use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

pub fn none() -> Vec<u8> {
    b"N".to_vec()
}

pub fn int(n: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &n.to_le_bytes()].concat()
}

pub fn text(t: &str) -> Vec<u8> {
    [&b"X"[..], &(t.len() as u32).to_le_bytes(), t.as_bytes()].concat()
}

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn tuple(members: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), members.concat(), b"t".to_vec()].concat()
}

pub fn dict(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<Vec<u8>> =
        members.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(".to_vec(), members.concat(), b"u".to_vec()].concat()
}

fn numbers(all: &[usize]) -> Vec<u8> {
    tuple(&all.iter().map(|&n| int(n as i64)).collect::<Vec<_>>())
}

/// An f32 view of storage `key`.
pub fn tensor(key: &str, count: usize, offset: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    tensor_of(key, count, int(offset as i64), numbers(shape), numbers(strides))
}

pub fn tensor_of(key: &str, count: usize, offset: Vec<u8>, shape: Vec<u8>, strides: Vec<u8>) -> Vec<u8> {
    tensor_typed("FloatStorage", key, count, offset, shape, strides)
}

pub fn tensor_typed(
    storage: &str,
    key: &str,
    count: usize,
    offset: Vec<u8>,
    shape: Vec<u8>,
    strides: Vec<u8>,
) -> Vec<u8> {
    let id = tuple(&[text("storage"), global("torch", storage), text(key), text("cpu"), int(count as i64)]);
    let storage = [id, b"Q".to_vec()].concat();
    let arguments = tuple(&[storage, offset, shape, strides, none(), none()]);
    [global("torch._utils", "_rebuild_tensor_v2"), arguments, b"R".to_vec()].concat()
}

/// Tensors of four elements, all of the same storage.
pub fn state_dict(names: &[&str], key: &str) -> Vec<u8> {
    dict(&names.iter().map(|name| (*name, tensor(key, 4, 0, &[4], &[1]))).collect::<Vec<_>>())
}

/// A pickle of one value.
pub fn whole(value: Vec<u8>) -> Vec<u8> {
    [b"\x80\x02".to_vec(), value, b".".to_vec()].concat()
}

/// A checkpoint of a pickle and its storages.
pub fn archive(pickle: &[u8], storages: &[(&str, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("archive/data/{key}")).collect();
    let mut members = vec![("archive/data.pkl", pickle)];
    members.extend(names.iter().zip(storages).map(|(name, (_, bytes))| (name.as_str(), bytes.as_slice())));
    zip(&members, method)
}

pub fn zip(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        out.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        out.write_all(bytes).unwrap();
    }
    out.finish().unwrap().into_inner()
}

pub fn unzip(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let member = |i| {
        let mut file = archive.by_index(i).unwrap();
        let mut all = Vec::new();
        file.read_to_end(&mut all).unwrap();
        (file.name().to_string(), all)
    };
    (0..ZipArchive::new(Cursor::new(bytes)).unwrap().len()).map(member).collect()
}

pub fn repack(bytes: &[u8], method: CompressionMethod) -> Vec<u8> {
    let members = unzip(bytes);
    let members: Vec<(&str, &[u8])> = members.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    zip(&members, method)
}

/// A checkpoint whose packed storage 0 says that it has `claim` bytes.
pub fn bomb(pickle: &[u8], claim: u64) -> Vec<u8> {
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content, method) in [
        ("a/data.pkl", pickle, CompressionMethod::Stored),
        ("a/data/0", &[0; 1000], CompressionMethod::Deflated),
    ] {
        out.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        out.write_all(content).unwrap();
    }
    let mut bytes = out.finish().unwrap().into_inner();
    let entry = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    // The size of 32 bits saturated, one of 64 bits in an extra field after the name.
    bytes[entry + 24..entry + 28].copy_from_slice(&[0xFF; 4]);
    let name = u16::from_le_bytes([bytes[entry + 28], bytes[entry + 29]]) as usize;
    let extra = u16::from_le_bytes([bytes[entry + 30], bytes[entry + 31]]) as usize;
    let field = [&[1, 0, 8, 0][..], &claim.to_le_bytes()].concat();
    bytes.splice(entry + 46 + name..entry + 46 + name + extra, field.iter().copied());
    bytes[entry + 30..entry + 32].copy_from_slice(&(field.len() as u16).to_le_bytes());
    let end = bytes.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    let size =
        u32::from_le_bytes(bytes[end + 12..end + 16].try_into().unwrap()) + field.len() as u32 - extra as u32;
    bytes[end + 12..end + 16].copy_from_slice(&size.to_le_bytes());
    bytes
}

//! What several test binaries share: the golden cases' manifests, and weight files made of them.

#![allow(dead_code)] // Each test binary uses a part.

use fqgan::tensor::{DType, Shape};
use fqgan::weights::formula::Entry;
use fqgan::weights::{self, FileType, Info, Listing, Metadata};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

/// A golden case's weights: which tensors, and the formula's numbers for each.
pub struct Manifest {
    pub seed: u64,
    pub parameters: usize,
    pub entries: Vec<Entry>,
}

impl Manifest {
    /// `tests/golden/manifests/NAME.json`.
    pub fn read(name: &str) -> Manifest {
        let path = manifests().join(format!("{name}.json"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let number = |v: &serde_json::Value| v.as_f64().unwrap() as f32;
        let entry = |(name, v): (&String, &serde_json::Value)| {
            let shape: Vec<usize> =
                v["shape"].as_array().unwrap().iter().map(|e| e.as_u64().unwrap() as usize).collect();
            Entry {
                name: name.clone(),
                shape: Shape::try_from_slice(&shape).unwrap(),
                offset: number(&v["offset"]),
                scale: number(&v["scale"]),
            }
        };
        Manifest {
            seed: json["seed"].as_u64().unwrap(),
            parameters: json["parameters"].as_u64().unwrap() as usize,
            entries: json["tensors"].as_object().unwrap().iter().map(entry).collect(),
        }
    }

    /// Names and shapes, as a file of f32 would list them.
    pub fn listing(&self) -> Listing {
        let info = |e: &Entry| Info { dtype: FileType::Known(DType::F32), shape: e.shape.to_vec() };
        self.entries.iter().map(|e| (e.name.clone(), info(e))).collect()
    }
}

/// A folder with what tests read of the sources, programs and what tests make, elsewhere than where this was built
/// (`scripts/gpu-suite.sh`).
fn elsewhere() -> Option<PathBuf> {
    std::env::var_os("FQGAN_ROOT").map(PathBuf::from)
}

/// The sources' folder.
pub fn root() -> PathBuf {
    elsewhere().unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

/// A program of this package, which cargo built there.
pub fn program(name: &str, built: &str) -> PathBuf {
    elsewhere().map_or_else(|| built.into(), |root| root.join(name))
}

/// A file beside the golden cases.
pub fn golden(name: &str) -> PathBuf {
    root().join("tests/golden").join(name)
}

/// The folder of all manifests.
pub fn manifests() -> PathBuf {
    golden("manifests")
}

/// A safetensors file of a manifest's formula weights, f32, all tensors. Made once and kept with the build;
/// tests of any process may ask at the same time.
pub fn formula_file(name: &str) -> PathBuf {
    let manifest = Manifest::read(name);
    let made = elsewhere().unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let folder = made.join("formula");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.safetensors"));
    let lock = File::create(folder.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap(); // Until it is dropped.
    let bytes: usize = manifest.entries.iter().map(|e| e.shape.count() * 4).sum();
    if fs::metadata(&path).is_ok_and(|m| m.len() > bytes as u64) {
        return path;
    }
    // Not `save`: these files need not survive a lost power, and flushing gigabytes takes long.
    let part = folder.join(format!("{name}.part"));
    let descs: Vec<_> = manifest.entries.iter().map(|e| (e.name.as_str(), e.desc())).collect();
    let make = |i: usize| manifest.entries[i].tensor(manifest.seed);
    weights::write_with(File::create(&part).unwrap(), &descs, &Metadata::new(), make).unwrap();
    fs::rename(&part, &path).unwrap();
    path
}

/// Bytes that begin at any alignment.
pub fn shifted(bytes: &[u8], by: usize) -> Arc<dyn fqgan::tensor::Bytes> {
    struct Shifted(Vec<u64>, usize, usize);
    impl fqgan::tensor::Bytes for Shifted {
        fn bytes(&self) -> &[u8] {
            // SAFETY: the words are initialised and `new` made them cover the range.
            unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<u8>().add(self.1), self.2) }
        }
    }
    let mut raw = vec![0u8; by];
    raw.extend_from_slice(bytes);
    raw.resize(raw.len().next_multiple_of(8), 0);
    let words = raw.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
    Arc::new(Shifted(words, by, bytes.len()))
}

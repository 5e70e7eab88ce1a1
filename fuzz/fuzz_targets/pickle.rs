//! A checkpoint whose archive is whole and whose pickle is any bytes, so that the fuzzer is not stopped by
//! checksums: it is refused, or each of its tensors has its elements.

#![no_main]

use fqgan::weights::Source;
use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Write};
use std::sync::Arc;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fuzz_target!(|pickle: &[u8]| {
    let mut out = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[0; 96]), ("a/data/1", &[1; 7])] {
        out.start_file(name, options).unwrap();
        out.write_all(bytes).unwrap();
    }
    let archive = out.finish().unwrap().into_inner();
    let Ok(source) = Source::from_bytes(Arc::new(archive)) else { return };
    for name in source.names() {
        if let Ok(Some(tensor)) = source.get(name) {
            assert!(tensor.desc().bytes().unwrap() <= tensor.storage().len());
        }
    }
});

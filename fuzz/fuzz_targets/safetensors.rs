//! A weight file of any bytes (what begins as a zip archive is read as a checkpoint): it is refused, or each of
//! its tensors has its elements, and names and shapes can be asked for a model.

#![no_main]

use fqgan::weights::Source;
use fqgan::{far, tokenizer};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let Ok(source) = Source::from_bytes(Arc::new(bytes.to_vec())) else { return };
    for name in source.names() {
        if let Ok(Some(tensor)) = source.get(name) {
            assert!(tensor.desc().bytes().unwrap() <= tensor.storage().len());
        }
    }
    let _ = tokenizer::Config::infer(&source);
    let _ = far::Config::infer(&source);
});

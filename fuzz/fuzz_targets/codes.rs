//! A code file of any bytes, also with its checksum made right, so that the fuzzer is not stopped by it: it is
//! refused, or it is what its codes are packed to again.

#![no_main]

use fqgan::codes::Codes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if let Some((body, sum)) = bytes.to_vec().split_last_chunk_mut::<4>() {
        *sum = crc32fast::hash(body).to_le_bytes();
        check(&[body, &sum[..]].concat());
    }
});

fn check(bytes: &[u8]) {
    if let Ok(codes) = Codes::unpack(bytes) {
        assert_eq!(codes.pack().unwrap(), bytes);
    }
}

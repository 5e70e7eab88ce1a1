//! Codes and their files: sizes, round trips, damage.

use fqgan::codes::{Codes, HEADER, Info, pack_into, unpack_info, unpack_into};
use fqgan::{Error, Status};
use proptest::prelude::*;

const DUAL: Info = Info { count: 2, k: 2, height: 3, width: 4, codebook_size: 16384 };

fn some(info: Info) -> Codes {
    let n = info.codebook_size as u64;
    let data = (0..info.len().unwrap() as u64).map(|i| (i * 0x9E37_79B9 % n) as u32).collect();
    Codes::new(info, data).unwrap()
}

fn says(error: &Error, status: Status, words: &[&str]) {
    assert_eq!(error.status(), status, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{error:?} does not say {word:?}");
    }
}

/// The bytes that `docs/formats.md` describes, written by hand: the format cannot change unseen.
#[test]
fn the_file_is_as_documented() {
    let info = Info { count: 1, k: 1, height: 1, width: 3, codebook_size: 1000 };
    let bytes = Codes::new(info, vec![1, 999, 512]).unwrap().pack().unwrap();
    // 10 bits each: 1 | 999 << 10 | 512 << 20 = 0x200F9C01.
    let mut want =
        b"\x89FQC\r\n\x1a\n\x01\0\0\0\x01\0\0\0\xe8\x03\0\0\x01\0\0\0\x03\0\0\0\x01\0\0\0".to_vec();
    want.extend([0x01, 0x9c, 0x0f, 0x20]);
    want.extend(crc32fast::hash(&want).to_le_bytes());
    assert_eq!(bytes, want);
    assert_eq!(bytes.len(), info.packed_len().unwrap());
    let picture = Info { count: 1, k: 2, height: 16, width: 16, codebook_size: 16384 };
    assert_eq!(picture.packed_len().unwrap(), 932);
}

#[test]
fn bits_of_a_code() {
    let bits = |codebook_size| Info { codebook_size, ..DUAL }.code_bits();
    assert_eq!([1, 2, 3, 4, 5, 16384, 16385].map(bits), [1, 1, 2, 2, 3, 14, 15]);
    assert_eq!(bits(u32::MAX as usize), 32);
}

#[test]
fn codes_outside_the_codebook_are_named_by_place() {
    let mut data = some(DUAL).into_data();
    data[12 + 4 + 3] = 16384;
    let error = Codes::new(DUAL, data.clone()).unwrap_err();
    says(
        &error,
        Status::InvalidArgument,
        &["16384", "image 0, sub-codebook 1, row 1, column 3", "codebook of 16384"],
    );
    data[19] = 0;
    data[24] = u32::MAX;
    let error = Codes::new(DUAL, data.clone()).unwrap_err();
    says(&error, Status::InvalidArgument, &["4294967295", "image 1, sub-codebook 0, row 0, column 0"]);
    data.pop();
    says(&Codes::new(DUAL, data).unwrap_err(), Status::InvalidArgument, &["48", "47"]);
}

#[test]
fn impossible_sizes_are_refused() {
    for info in [
        Info { count: 0, ..DUAL },
        Info { k: 0, ..DUAL },
        Info { height: 0, ..DUAL },
        Info { width: 0, ..DUAL },
        Info { codebook_size: 0, ..DUAL },
        Info { width: 1 << 32, ..DUAL },
        Info { count: 1 << 31, k: 1 << 31, ..DUAL },
        Info { count: u32::MAX as usize, k: u32::MAX as usize, ..DUAL },
    ] {
        says(&info.len().unwrap_err(), Status::InvalidArgument, &[]);
        says(&info.packed_len().unwrap_err(), Status::InvalidArgument, &[]);
        says(&info.check(&[]).unwrap_err(), Status::InvalidArgument, &[]);
        says(&Codes::new(info, vec![]).unwrap_err(), Status::InvalidArgument, &[]);
        says(&pack_into(&info, &[], &mut [0; 64]).unwrap_err(), Status::InvalidArgument, &[]);
    }
}

#[test]
fn small_buffers_are_named_and_not_overrun() {
    let codes = some(DUAL);
    let need = DUAL.packed_len().unwrap();
    let mut short = vec![7; need - 1];
    let error = pack_into(&DUAL, codes.data(), &mut short).unwrap_err();
    says(&error, Status::InvalidArgument, &[&need.to_string(), &(need - 1).to_string()]);
    let mut long = vec![7; need + 3];
    assert_eq!(pack_into(&DUAL, codes.data(), &mut long).unwrap(), need);
    assert_eq!(long[need..], [7; 3]);
    let mut few = [9; 47];
    says(&unpack_into(&long[..need], &mut few).unwrap_err(), Status::InvalidArgument, &["48", "47"]);
    let mut many = [9; 50];
    assert_eq!(unpack_into(&long[..need], &mut many).unwrap(), DUAL);
    assert_eq!((&many[..48], &many[48..]), (codes.data(), &[9, 9][..]));
}

/// A file with these header numbers (from version on) and a right checksum.
fn forged(numbers: [u32; 6], payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x89FQC\r\n\x1a\n".to_vec();
    bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend(payload);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

#[test]
fn wrong_files_say_what_is_wrong() {
    let whole = some(DUAL).pack().unwrap();
    let refused = |bytes: &[u8], status, words: &[&str]| {
        says(&Codes::unpack(bytes).unwrap_err(), status, words);
        says(&unpack_into(bytes, &mut [0; 64]).unwrap_err(), status, words);
    };
    refused(&[], Status::Format, &["not a code file"]);
    refused(b"\x89PNG\r\n\x1a\n and so on, for more than a header", Status::Format, &["not a code file"]);
    refused(&whole[..20], Status::Format, &["20 bytes", "cut short"]);
    refused(&whole[..HEADER], Status::Format, &["cut short", &whole.len().to_string()]);
    refused(&[&whole[..], &[0; 5]].concat(), Status::Format, &["5 bytes past its end"]);
    refused(&forged([2, 1, 4, 1, 1, 1], &[0]), Status::Unsupported, &["version 2", "reads 1"]);
    refused(&forged([1, 1, 3, 1, 1, 1], &[3]), Status::Format, &["code 3", "codebook of 3"]);
    refused(&forged([1, 1, 4, 1, 1, 1], &[4]), Status::Format, &["not zero"]);
    for zero in 1..6 {
        let mut numbers = [1; 6];
        numbers[zero] = 0;
        refused(&forged(numbers, &[0]), Status::Format, &["0 "]);
    }
    // A header that asks for more than there is memory must not allocate it.
    refused(&forged([1, 60000, 2, 60000, 60000, 60000], &[0; 99]), Status::Format, &[]);
    refused(&forged([1, 1, 1, u32::MAX, 99999, 1], &[0; 99]), Status::Format, &["cut short"]);
    refused(&forged([1, u32::MAX, 2, u32::MAX, u32::MAX, u32::MAX], &[]), Status::Format, &["too many"]);
}

#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.fqc");
    let codes = some(DUAL);
    codes.save(&path).unwrap();
    codes.save(&path).unwrap();
    assert_eq!(Codes::load(&path).unwrap(), codes);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    let mut bytes = std::fs::read(&path).unwrap();
    bytes.push(0);
    std::fs::write(&path, &bytes).unwrap();
    says(&Codes::load(&path).unwrap_err(), Status::Format, &["a.fqc", "past its end"]);
    says(&Codes::load(folder.path().join("b.fqc")).unwrap_err(), Status::Io, &["b.fqc"]);
    says(&Codes::load(folder.path()).unwrap_err(), Status::Io, &["reading"]);
    says(&codes.save(folder.path().join("no/a.fqc")).unwrap_err(), Status::Io, &["no/a.fqc"]);
    says(&codes.save("/").unwrap_err(), Status::InvalidArgument, &["no file name"]);
}

/// Writers of one path at once: whoever is last, the file is whole.
#[test]
fn concurrent_writers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.fqc");
    let all: Vec<Codes> = (1..5).map(|count| some(Info { count, ..DUAL })).collect();
    std::thread::scope(|s| {
        for codes in &all {
            s.spawn(|| (0..20).for_each(|_| codes.save(&path).unwrap()));
        }
    });
    assert!(all.contains(&Codes::load(&path).unwrap()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

fn any_info() -> impl Strategy<Value = Info> {
    let books = prop_oneof![1usize..20, Just(16384), Just(u32::MAX as usize), 1..(u32::MAX as usize)];
    (1usize..4, 1usize..4, 1usize..6, 1usize..6, books)
        .prop_map(|(count, k, height, width, codebook_size)| Info { count, k, height, width, codebook_size })
}

proptest! {
    #[test]
    fn round_trip(info in any_info(), seed in any::<u64>()) {
        let n = info.codebook_size as u64;
        let mut mix = seed;
        let mut code = || {
            mix = mix.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((mix >> 33) % n) as u32
        };
        let codes = Codes::new(info, (0..info.len().unwrap()).map(|_| code()).collect()).unwrap();
        let bytes = codes.pack().unwrap();
        prop_assert_eq!(bytes.len(), info.packed_len().unwrap());
        prop_assert_eq!(unpack_info(&bytes).unwrap(), info);
        prop_assert_eq!(&Codes::unpack(&bytes).unwrap(), &codes);
        prop_assert_eq!(codes.images().flatten().copied().collect::<Vec<_>>(), codes.data());
    }

    #[test]
    fn any_flipped_bit_is_noticed(info in any_info(), at in any::<prop::sample::Index>()) {
        let mut bytes = some(info).pack().unwrap();
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = Codes::unpack(&bytes).unwrap_err();
        let version = (8 * 8..12 * 8).contains(&bit);
        prop_assert_eq!(error.status(), if version { Status::Unsupported } else { Status::Format }, "{}", error);
    }

    #[test]
    fn any_cut_is_noticed(info in any_info(), at in any::<prop::sample::Index>()) {
        let bytes = some(info).pack().unwrap();
        let error = Codes::unpack(&bytes[..at.index(bytes.len())]).unwrap_err();
        prop_assert_eq!(error.status(), Status::Format, "{}", error);
    }

    /// Arbitrary numbers in a header, with a right checksum: an error or codes, never a panic.
    #[test]
    fn forged_headers(numbers in any::<[u32; 6]>(), small in any::<[bool; 6]>(), payload in any::<Vec<u8>>()) {
        let mut numbers = numbers;
        for (number, small) in numbers.iter_mut().zip(small) {
            if small {
                *number %= 4;
            }
        }
        let bytes = forged(numbers, &payload);
        if let Ok(codes) = Codes::unpack(&bytes) {
            prop_assert_eq!(codes.pack().unwrap(), bytes);
        }
    }
}

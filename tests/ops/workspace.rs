//! Memory that is handed out again, and in pieces.

use crate::table::device;
use fqgan::Status;
use fqgan::backend::Workspace;
use fqgan::backend::cpu::Isa;
use fqgan::tensor::{DType, Desc, Tensor};
use proptest::prelude::*;

const MB: usize = 1 << 20;

fn workspace(limit: Option<usize>) -> Workspace {
    device(Isa::best(), 1).workspace(limit)
}

/// So many bytes of a value.
fn filled(workspace: &Workspace, bytes: usize, value: u8) -> Tensor {
    let mut tensor = workspace.tensor(Desc::plain([bytes], DType::U8)).unwrap();
    tensor.data_mut::<u8>().unwrap().fill(value);
    tensor
}

#[test]
fn what_is_dropped_serves_again() {
    let workspace = workspace(None);
    let place = filled(&workspace, MB, 1).storage().as_ptr();
    // Not of a kind that is counted closely: any buffer that is large enough.
    assert_eq!(filled(&workspace, 1000, 2).storage().as_ptr(), place);
    assert_eq!(workspace.bytes(), MB);
    let held = filled(&workspace, MB, 1);
    assert_ne!(filled(&workspace, MB, 2).storage().as_ptr(), place);
    assert_eq!((held.storage().as_ptr(), workspace.bytes()), (place, 2 * MB));
}

#[test]
fn a_limit_is_kept() {
    for tight in [false, true] {
        let workspace = workspace(Some(20 * MB));
        let workspace = if tight { workspace.tight() } else { workspace };
        let held = filled(&workspace, 8 * MB, 1);
        drop(filled(&workspace, 12 * MB, 2));
        // Of what is free, pieces or whole, something else is made.
        drop(filled(&workspace, MB, 3));
        drop(filled(&workspace, 2 * MB, 4));
        drop(filled(&workspace, 11 * MB, 5));
        let error = workspace.tensor(Desc::plain([13 * MB], DType::U8)).err().unwrap();
        assert_eq!(error.status(), Status::OutOfMemory);
        assert!(workspace.bytes() <= 20 * MB && held.data::<u8>().unwrap().iter().all(|&x| x == 1));
    }
}

/// Rounds of large tensors, then of many small ones, want no more than the larger of the two.
#[test]
fn small_ones_come_where_large_ones_were() {
    let workspace = workspace(None).tight();
    for round in 0..3 {
        workspace.rest();
        let large: Vec<Tensor> = (0..3).map(|i| filled(&workspace, 16 * MB, i)).collect();
        drop(large);
        let small: Vec<Tensor> = (0..40).map(|i| filled(&workspace, MB, i)).collect();
        assert_eq!(workspace.bytes(), 48 * MB, "round {round}");
        drop(small);
    }
    // One piece that is held keeps its whole from serving, and no other.
    let piece = filled(&workspace, MB, 1);
    let large: Vec<Tensor> = (0..3).map(|i| filled(&workspace, 16 * MB, i)).collect();
    assert_eq!(workspace.bytes(), 64 * MB);
    assert!(piece.data::<u8>().unwrap().iter().all(|&x| x == 1));
    drop((large, piece));
    // What is small stays for itself: it may be kept for long.
    drop(filled(&workspace, 1000, 1));
    assert_eq!(workspace.bytes(), 64 * MB + 1000);
}

/// A piece outlives what it was cut from, and is written by whoever holds it alone.
#[test]
fn pieces_are_memory_like_any_other() {
    let mut piece = {
        let workspace = workspace(None).tight();
        drop(filled(&workspace, 16 * MB, 1));
        let piece = filled(&workspace, 2 * MB, 7);
        assert_eq!(workspace.bytes(), 16 * MB);
        piece
    };
    let shared = piece.clone();
    assert!(piece.data_mut::<u8>().is_err());
    drop(shared);
    assert!(piece.data_mut::<u8>().unwrap().iter().all(|&x| x == 7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// No two tensors that live at one time share a byte, whatever is made and dropped.
    #[test]
    fn nothing_overlaps(steps in proptest::collection::vec((0usize..8, 0usize..14, 0usize..24), 1..120)) {
        const SIZES: [usize; 8] = [64, 5000, 300 << 10, 301 << 10, MB, 3 * MB, 5 * MB, 16 * MB];
        let workspace = workspace(None).tight();
        let mut live: Vec<(usize, usize, Tensor)> = Vec::new();
        for (size, what, which) in steps {
            match what {
                0 => workspace.rest(),
                1..6 if !live.is_empty() => _ = live.swap_remove(which % live.len()),
                _ => {
                    let tensor = workspace.tensor(Desc::plain([SIZES[size]], DType::U8)).unwrap();
                    let begin = tensor.storage().as_ptr() as usize;
                    let end = begin + tensor.storage().len();
                    prop_assert!(tensor.storage().len() >= SIZES[size]);
                    prop_assert!(live.iter().all(|(b, e, _)| end <= *b || *e <= begin));
                    live.push((begin, end, tensor));
                }
            }
        }
    }
}

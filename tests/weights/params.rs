//! A layer's weights: shape and type are checked, and a message names both.

use fqgan::nn::param;
use fqgan::tensor::Tensor;
use fqgan::weights::{Metadata, Source};

#[test]
fn shapes_and_types_are_checked() {
    let source = Source::from_tensors(
        [
            ("w".to_string(), Tensor::from_slice([2, 3], &[0f32; 6]).unwrap()),
            ("h".to_string(), Tensor::from_slice([2], &[half::bf16::ONE; 2]).unwrap()),
            ("steps".to_string(), Tensor::from_slice([2], &[1i64, 2]).unwrap()),
        ],
        Metadata::new(),
    );
    assert_eq!(param(&source, "w", &[2, 3]).unwrap().name(), "w");
    assert!(param(&source, "h", &[2]).is_ok());
    let message = |name, shape: &[usize]| param(&source, name, shape).unwrap_err().to_string();
    assert_eq!(
        message("w", &[3, 2]),
        "weights in memory: tensor w is f32 [2, 3]: expected f32, f16 or bf16 [3, 2]"
    );
    assert_eq!(
        message("steps", &[2]),
        "weights in memory: tensor steps is i64 [2]: expected f32, f16 or bf16 [2]"
    );
    assert_eq!(message("x", &[1]), "weights in memory: tensor x is missing: expected f32, f16 or bf16 [1]");
}

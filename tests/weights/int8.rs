use fqgan::Status;
use fqgan::tensor::{DType, Tensor};
use fqgan::weights::{cast, quantize};
use half::bf16;
use proptest::prelude::*;

fn matrix(n: usize, k: usize, values: &[f32]) -> Tensor {
    Tensor::from_slice([n, k], values).unwrap()
}

/// Each element is the nearest of the row's 255 values, and the row's largest is kept.
#[track_caller]
fn check(n: usize, k: usize, values: &[f32]) {
    let (bytes, scale) = quantize(&matrix(n, k, values)).unwrap();
    assert_eq!((bytes.shape()[..].to_vec(), scale.shape()[..].to_vec()), (vec![n, k], vec![n]));
    let (bytes, scale) = (bytes.data::<i8>().unwrap(), scale.data::<f32>().unwrap());
    for (row, x) in values.chunks(k.max(1)).enumerate() {
        let largest = x.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let back = f64::from(scale[row]) * 127.0;
        assert!((back - f64::from(largest)).abs() <= f64::from(largest) * 1e-6, "row {row}");
        for (&q, &x) in bytes[row * k..].iter().zip(x) {
            let error = (f64::from(q) * f64::from(scale[row]) - f64::from(x)).abs();
            assert!(
                q >= -127 && error <= f64::from(scale[row]) * 0.500_01,
                "{x} became {q} of {}",
                scale[row]
            );
        }
    }
}

#[test]
fn corners() {
    check(1, 1, &[0.0]);
    check(2, 3, &[0.0, -0.0, 0.0, -5.0, 2.5, 1e-9]);
    check(2, 2, &[f32::MAX, -f32::MAX, 1e30, 1.0]);
    check(0, 4, &[]);
    check(3, 0, &[]);
    // Enough rows for several threads.
    let values: Vec<f32> = (0..1100 * 500).map(|i| ((i * 7919 % 10007) as f32 - 5000.0) / 77.0).collect();
    check(1100, 500, &values);
    // Almost nothing: zeros will do.
    let (bytes, _) = quantize(&matrix(1, 2, &[1e-42, -1e-42])).unwrap();
    assert_eq!(bytes.data::<i8>().unwrap(), [0, 0]);
}

#[test]
fn of_other_types() {
    let values = [0.5f32, -1.0, 0.25, 0.125, 3.0, -0.75];
    let (bytes, scale) = quantize(&matrix(2, 3, &values)).unwrap();
    for dtype in [DType::BF16, DType::F16] {
        let (b, s) = quantize(&cast(&matrix(2, 3, &values), dtype).unwrap()).unwrap();
        assert_eq!(b.data::<i8>().unwrap(), bytes.data::<i8>().unwrap());
        assert_eq!(s.data::<f32>().unwrap(), scale.data::<f32>().unwrap());
    }
    assert_eq!(quantize(&bytes).unwrap_err().status(), Status::Unsupported);
    let row = Tensor::from_slice([3], &[bf16::ONE; 3]).unwrap();
    assert_eq!(quantize(&row).unwrap_err().status(), Status::InvalidArgument);
}

#[test]
fn what_is_no_number() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in 0..6 {
            let mut values = [1.0; 6];
            values[at] = bad;
            let error = quantize(&matrix(2, 3, &values)).unwrap_err();
            assert!(
                error.status() == Status::InvalidArgument && error.message().contains("finite"),
                "{error}"
            );
        }
    }
}

proptest! {
    #[test]
    fn any(n in 1usize..8, values in prop::collection::vec(-1e3f32..1e3, 1..200)) {
        let k = values.len() / n;
        check(n, k, &values[..n * k]);
    }
}

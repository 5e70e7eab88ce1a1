use fqgan::backend::Device;
use fqgan::backend::cuda::{Cuda, Graph};
use fqgan::exec::Eager;
use fqgan::ops::add::Add;
use fqgan::tensor::Tensor;
use std::sync::Arc;

/// x <- x + y, noted down once and started again and again: nothing else runs in between.
#[test]
fn work_is_repeated() {
    let cuda = Arc::new(Cuda::new(0).unwrap());
    let device = Device::Cuda(Arc::clone(&cuda));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let ones = Tensor::from_slice([1000], &[1.0f32; 1000]).unwrap();
    let y = device.keep(&ones).unwrap();
    let mut x = device.keep(&ones).unwrap();
    let mut work = || {
        let [sum] = e.run(&Add, &[&x, &y])?;
        cuda.copy(&sum, &mut x)
    };
    // Memory is taken in the first run, and is there when the graph is captured.
    work().unwrap();
    let graph = Graph::capture(&cuda, work).unwrap();
    let now = |x: &Tensor| x.on_host().unwrap().data::<f32>().unwrap()[999];
    assert_eq!(now(&x), 2.0);
    for _ in 0..5 {
        graph.start().unwrap();
    }
    assert_eq!(now(&x), 7.0);
}

/// What cannot be noted down says so, and the stream works as before.
#[test]
fn waiting_is_refused() {
    let cuda = Arc::new(Cuda::new(0).unwrap());
    assert!(Graph::capture(&cuda, || cuda.synchronize()).is_err());
    cuda.synchronize().unwrap();
}

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

/// Other threads go on meanwhile: what they start is not part of what is noted down.
#[test]
fn one_thread_is_noted_down() {
    let cuda = Arc::new(Cuda::new(0).unwrap());
    let device = Device::Cuda(Arc::clone(&cuda));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let ones = Tensor::from_slice([9], &[1.0f32; 9]).unwrap();
    let (x, mut y) = (device.keep(&ones).unwrap(), device.keep(&ones).unwrap());
    e.run(&Add, &[&x, &x]).unwrap();
    let now = |t: &Tensor| t.on_host().unwrap().data::<f32>().unwrap()[0];
    let elsewhere = || {
        let workspace = device.workspace(None);
        let [sum] = Eager::new(&device, &workspace).run(&Add, &[&x, &x]).unwrap();
        now(&sum)
    };
    let graph = Graph::capture(&cuda, || {
        assert!(cuda.capturing() && Graph::capture(&cuda, || Ok(())).is_err());
        let other = std::thread::scope(|scope| scope.spawn(elsewhere).join().unwrap());
        assert_eq!(other, 2.0);
        let [sum] = e.run(&Add, &[&x, &x])?;
        cuda.copy(&sum, &mut y)
    })
    .unwrap();
    assert!(!cuda.capturing());
    assert_eq!(now(&y), 1.0);
    graph.start().unwrap();
    assert_eq!(now(&y), 2.0);
    // One that fails leaves nothing behind.
    assert!(Graph::capture(&cuda, || device.upload(&ones, &workspace).map(drop)).is_err());
    assert!(!cuda.capturing());
    assert_eq!(elsewhere(), 2.0);
}

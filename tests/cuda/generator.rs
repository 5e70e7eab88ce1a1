use crate::{close, cpu, cuda, relative, tiny};
use fqgan::backend::Device;
use fqgan::backend::cuda::{Counts, Cuda};
use fqgan::far::{Generation, Generator, Options, Sampling};
use fqgan::nn::Precision;
use fqgan::tensor::Tensor;
use fqgan::weights::{Map, Source};
use std::sync::Arc;

fn open(device: &Device) -> Generator {
    open_in(device, Precision::F32)
}

fn open_in(device: &Device, precision: Precision) -> Generator {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::open(tiny::generator(folder.path()), Map::On).unwrap();
    Generator::open(device, &source, &Options { precision, ..Options::default() }).unwrap()
}

/// Logits of known codes, at once and out of the cache, and how surprising the codes are.
fn logits(generator: &Generator) -> [Vec<f32>; 3] {
    let classes = [1, 4, 5];
    let codes: Vec<u32> = (0..3 * 2 * 12).map(|i| i * 37 % 64).collect();
    let mut all = [vec![0.0; codes.len() * 64], vec![0.0; codes.len() * 64], vec![0.0; codes.len()]];
    let [forced, cached, nats] = &mut all;
    generator.logits_into(&classes, &codes, forced).unwrap();
    generator.cached_logits_into(&classes, &codes, cached).unwrap();
    generator.surprise_into(&classes, &codes, nats).unwrap();
    all
}

#[test]
fn the_same_logits_as_on_the_processor() {
    let (want, got) = (open(&cpu()), open(&cuda()));
    let ([forced, cached, nats], [w_forced, _, w_nats]) = (logits(&got), logits(&want));
    close("logits", &forced, &w_forced);
    close("logits out of the cache", &cached, &w_forced);
    close("surprise", &nats, &w_nats);
}

/// Of the same rounded weights. Values between the layers are rounded on a GPU alone, which must show, but not much.
#[test]
fn logits_of_bf16() {
    let [want, got] = [cpu(), cuda()].map(|device| logits(&open_in(&device, Precision::Bf16)));
    for (what, (got, want)) in
        ["logits", "logits out of the cache", "surprise"].iter().zip(got.iter().zip(&want))
    {
        let error = relative(got, want);
        println!("{what} in bf16: {error:.1e}");
        assert!((1e-4..2e-2).contains(&error), "{what}: {error:.2e}");
    }
    // In bytes, nothing else is rounded.
    let [want, got] = [cpu(), cuda()].map(|device| logits(&open_in(&device, Precision::Int8)));
    let error = relative(&got[0], &want[0]);
    assert!(error < 1e-3, "int8: {error:.2e}");
}

#[test]
fn the_same_pictures_as_on_the_processor() {
    let (want, got) = (open(&cpu()), open(&cuda()));
    for sampling in [
        Sampling { top_k: 1, ..Sampling::default() },
        Sampling { guidance: 1.0, top_k: 20, seed: 3, ..Sampling::default() },
        Sampling { top_p: 0.9, temperature: 0.8, seed: 4, first_image: 7, ..Sampling::default() },
    ] {
        let [want, got] = [&want, &got].map(|g| g.generate(&[0, 3, 3], &sampling).unwrap());
        assert_eq!(got.data(), want.data(), "{sampling:?}");
    }
}

#[test]
fn a_beginning_is_finished() {
    let [want, got] = [cpu(), cuda()].map(|device| {
        let generator = open(&device);
        let sampling = Sampling { given: 5, seed: 9, ..Sampling::default() };
        let given: Vec<u32> = (0..2 * 12).map(|i| i * 11 % 64).collect();
        let mut generation = generator.start(&[2], &sampling, &given).unwrap();
        for position in generation.by_ref() {
            position.unwrap();
        }
        let first = generation.codes().unwrap().to_vec();
        generation.rewind(7, 10).unwrap();
        for position in generation.by_ref() {
            position.unwrap();
        }
        [first, generation.codes().unwrap().to_vec()]
    });
    assert_eq!(got, want);
    assert_ne!(got[0], got[1]);
}

/// The positions of a generation up to the last but one, of which nine are a graph each; the counts before these.
fn nine_graphs(cuda: &Cuda, generation: &mut Generation<'_>) -> Counts {
    // The first position is other work, and the second finds what memory the step takes.
    assert_eq!(generation.by_ref().take(2).filter(|p| p.is_ok()).count(), 2);
    let before = cuda.counts();
    assert_eq!(generation.by_ref().take(9).filter(|p| p.is_ok()).count(), 9);
    assert_eq!(cuda.counts() - before, Counts { graphs: 9, ..Counts::default() });
    before
}

/// A step is one graph, which takes no memory, copies nothing to or from the processor and waits for nothing.
#[test]
fn a_step_is_a_graph() {
    let cuda = Arc::new(Cuda::new(0).unwrap());
    let generator = open(&Device::Cuda(Arc::clone(&cuda)));
    let sampling = Sampling { top_k: 9, seed: 5, ..Sampling::default() };
    let mut generation = generator.start(&[0, 3, 4], &sampling, &[]).unwrap();
    let before = nine_graphs(&cuda, &mut generation);
    // The last one waits for all, once for what may be wrong and once for the codes.
    generation.next().unwrap().unwrap();
    assert_eq!((cuda.counts() - before).graphs, 10);
    let want = open(&cpu()).generate(&[0, 3, 4], &sampling).unwrap();
    assert_eq!(generation.codes().unwrap(), want.data());
    // The same again from the middle on, looked at in between.
    generation.rewind(6, 5).unwrap();
    let before = cuda.counts();
    while generation.next().is_some() {
        generation.codes().unwrap();
    }
    assert_eq!((cuda.counts() - before).graphs, 6);
    assert_eq!(generation.codes().unwrap(), want.data());
}

/// Of values of bf16 too.
#[test]
fn a_step_of_bf16_is_a_graph() {
    let cuda = Arc::new(Cuda::new(0).unwrap());
    let generator = open_in(&Device::Cuda(Arc::clone(&cuda)), Precision::Bf16);
    let sampling = Sampling { top_k: 9, seed: 5, ..Sampling::default() };
    let mut generation = generator.start(&[0, 3, 4], &sampling, &[]).unwrap();
    nine_graphs(&cuda, &mut generation);
    generation.next().unwrap().unwrap();
    // A beginning goes through the layers many positions at once, and is finished in the same way.
    let whole = generation.codes().unwrap().to_vec();
    let given = Sampling { given: 5, ..sampling };
    let mut again = generator.start(&[0, 3, 4], &given, &whole).unwrap();
    assert_eq!(again.by_ref().filter(|p| p.is_ok()).count(), 7);
    for (codes, again) in whole.chunks(12).zip(again.codes().unwrap().chunks(12)) {
        assert_eq!(codes[..5], again[..5]);
    }
}

/// What only the device knows at first is said when somebody looks.
#[test]
fn weights_that_are_no_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::open(tiny::generator(folder.path()), Map::On).unwrap();
    let damaged = |name: &str| match name {
        "output_2.weight" => {
            let weight = source.tensor(name).unwrap();
            Tensor::from_slice(*weight.shape(), &vec![f32::NAN; weight.shape().count()]).unwrap()
        }
        _ => source.tensor(name).unwrap(),
    };
    let tensors: Vec<_> = source.names().map(|name| (name.to_owned(), damaged(name))).collect();
    let source = Source::from_tensors(tensors, tiny::generator_config().metadata());
    let generator = Generator::open(&cuda(), &source, &Options::default()).unwrap();
    let says = "image 0, position 0, sub-code 1 are not all finite";
    let error = generator.generate(&[0, 1], &Sampling::default()).unwrap_err();
    assert!(error.message().contains(says), "{error}");
    let mut generation = generator.start(&[0], &Sampling::default(), &[]).unwrap();
    generation.next().unwrap().unwrap();
    assert!(generation.codes().unwrap_err().message().contains(says));
}

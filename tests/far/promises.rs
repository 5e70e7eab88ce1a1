use crate::models::{AR, config, device, open, open_with, precisions, some_codes, source};
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Eager, Exec};
use fqgan::far::config::Head;
use fqgan::far::{Generator, Options, Sampling};
use fqgan::ops::sample::Sample;
use fqgan::tensor::Tensor;
use fqgan::{Error, Status};
use std::ops::ControlFlow;

const CLASSES: [u32; 10] = [0, 3, 4, 1, 0, 2, 4, 4, 1, 3];

fn made(generator: &Generator, classes: &[u32], sampling: &Sampling) -> Vec<u32> {
    generator.generate(classes, sampling).unwrap().into_data()
}

/// Codes of a call that `stop` may end, and how it ended.
fn stopped(generator: &Generator, sampling: &Sampling, stop: usize) -> (Vec<u32>, Result<(), Error>) {
    let mut codes = vec![77; CLASSES.len() * 2 * 12];
    let mut calls = 0;
    let mut last = 0;
    let result = generator.generate_into(&CLASSES, sampling, &mut codes, &mut |done, total| {
        assert!(done > last && done <= total && total == CLASSES.len() * 12);
        last = done;
        calls += 1;
        if calls == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (codes, result)
}

#[test]
fn a_picture_is_the_same_in_any_batch() {
    for options in precisions() {
        for guidance in [1.0, 2.0] {
            let sampling = Sampling { guidance, seed: 5, ..Sampling::default() };
            let all = made(&open_with(2, 2, &options), &CLASSES, &sampling);
            for threads in [1, 3] {
                assert_eq!(all, made(&open_with(2, threads, &options), &CLASSES, &sampling));
            }
            let generator = open_with(2, 2, &options);
            for (first, count) in [(0, 1), (3, 2), (4, 3), (7, 3), (1, 9)] {
                let sampling = Sampling { first_image: first as u32, ..sampling };
                let part = made(&generator, &CLASSES[first..first + count], &sampling);
                assert_eq!(part, all[first * 24..(first + count) * 24], "{options:?}, {first}..+{count}");
            }
            let other = made(&generator, &CLASSES, &Sampling { seed: 6, ..sampling });
            assert_ne!(all, other);
        }
    }
}

/// What generation draws is what the teacher-forced logits of its own codes say, bit for bit: so the cache
/// holds what it should, and the null rows are the null class's.
#[test]
fn draws_follow_from_forced_logits() {
    for isa in Isa::available() {
        for head in [AR, Head::Linear, Head::Mlp { hidden: 16 }] {
            for options in precisions() {
                let config = config(3, head);
                let generator = Generator::open(&device(isa, 2), &source(&config), &options).unwrap();
                for guidance in [1.0, 2.5] {
                    let sampling = Sampling {
                        guidance,
                        seed: 9,
                        temperature: 0.8,
                        top_k: 20,
                        top_p: 0.9,
                        ..Sampling::default()
                    };
                    let classes = &CLASSES[..3];
                    let codes = made(&generator, classes, &sampling);
                    let mut logits = vec![vec![0.0; codes.len() * 40]; 2];
                    generator.logits_into(classes, &codes, &mut logits[0]).unwrap();
                    generator.logits_into(&[5; 3], &codes, &mut logits[1]).unwrap();
                    for (at, &code) in codes.iter().enumerate() {
                        let (image, i, position) = (at / 36, at / 12 % 3, at % 12);
                        let rows: Vec<f32> = logits
                            .iter()
                            .take(if guidance > 1.0 { 2 } else { 1 })
                            .flat_map(|l| &l[at * 40..(at + 1) * 40])
                            .copied()
                            .collect();
                        let op = Sample {
                            guidance,
                            temperature: 0.8,
                            top_k: 20,
                            top_p: 0.9,
                            seed: 9,
                            image: image as u32,
                            position: position as u32,
                            sub_code: i as u32,
                        };
                        let device = device(isa, 1);
                        let workspace = device.workspace(None);
                        let rows = Tensor::from_slice([rows.len() / 40, 40], &rows).unwrap();
                        let [drawn] = Eager::new(&device, &workspace).apply(op, &[&rows]).unwrap();
                        assert_eq!(drawn.data::<u32>().unwrap(), [code], "{head:?} on {}, {at}", isa.name());
                    }
                }
            }
        }
    }
}

/// Position by position out of the cache, the logits are those of all positions at once, bit for bit.
#[test]
fn cached_logits_are_the_forced_ones() {
    for isa in Isa::available() {
        for (k, head) in [(3, AR), (2, Head::Linear), (2, Head::Mlp { hidden: 16 }), (1, AR)] {
            for options in precisions() {
                let config = config(k, head);
                let generator = Generator::open(&device(isa, 2), &source(&config), &options).unwrap();
                let codes = some_codes(&config, 3);
                let mut logits = vec![vec![0.0; codes.len() * 40]; 2];
                generator.logits_into(&[1, 5, 0], &codes, &mut logits[0]).unwrap();
                generator.cached_logits_into(&[1, 5, 0], &codes, &mut logits[1]).unwrap();
                assert!(logits[0] == logits[1], "{head:?} {options:?} on {}", isa.name());
            }
        }
    }
}

#[test]
fn position_by_position() {
    let generator = open(2);
    let sampling = Sampling { seed: 1, ..Sampling::default() };
    let all = made(&generator, &CLASSES[..3], &sampling);
    let mut generation = generator.start(&CLASSES[..3], &sampling, &[]).unwrap();
    assert_eq!((generation.done(), generation.total()), (0, 12));
    let mut seen = 0;
    while let Some(position) = generation.next() {
        assert_eq!(position.unwrap(), seen);
        seen += 1;
        assert_eq!(generation.done(), seen);
        for (now, then) in generation.codes().unwrap().chunks(12).zip(all.chunks(12)) {
            assert_eq!(now[..seen], then[..seen]);
            assert!(now[seen..].iter().all(|&c| c == 0));
        }
    }
    assert_eq!(seen, 12);
    assert!(generation.next().is_none());
    // Two at a time do not disturb each other.
    let (a, b) = (Sampling { seed: 2, ..sampling }, Sampling { seed: 3, guidance: 1.0, ..sampling });
    let mut first = generator.start(&[1], &a, &[]).unwrap();
    let mut second = generator.start(&[2, 3], &b, &[]).unwrap();
    while let (Some(x), Some(y)) = (first.next(), second.next()) {
        x.and(y).unwrap();
    }
    assert_eq!(first.codes().unwrap(), made(&generator, &[1], &a));
    assert_eq!(second.codes().unwrap(), made(&generator, &[2, 3], &b));
}

#[test]
fn fewer_steps_and_given_beginnings() {
    for k in [1, 2] {
        let generator = open(k);
        let sampling = Sampling { seed: 4, ..Sampling::default() };
        let classes = &CLASSES[..3];
        let all = made(&generator, classes, &sampling);
        for steps in 1..=12 {
            let some = made(&generator, classes, &Sampling { steps, ..sampling });
            for (some, all) in some.chunks(12).zip(all.chunks(12)) {
                assert_eq!(some[..steps], all[..steps]);
                assert!(some[steps..].iter().all(|&c| c == 0));
            }
        }
        for given in 0..=12 {
            // What follows the given positions does not matter, were it no code at all.
            let mut codes = all.clone();
            codes.chunks_mut(12).for_each(|c| c[given..].fill(u32::MAX));
            let mut calls = 0;
            let progress = &mut |done, total| {
                calls += 1;
                assert_eq!((done, total), (3 * (given + calls), 36));
                ControlFlow::Continue(())
            };
            generator.generate_into(classes, &Sampling { given, ..sampling }, &mut codes, progress).unwrap();
            assert_eq!((codes, calls), (all.clone(), 12 - given), "{given} given");
        }
        // Another beginning gives another end, and stays.
        let begun = some_codes(generator.config(), 3);
        let mut codes = begun.clone();
        let sampling = Sampling { given: 5, steps: 9, ..sampling };
        let go_on = &mut |_, _| ControlFlow::Continue(());
        generator.generate_into(classes, &sampling, &mut codes, go_on).unwrap();
        for (now, then) in codes.chunks(12).zip(begun.chunks(12)) {
            assert_eq!(now[..5], then[..5]);
            assert_eq!(now[9..], [0; 3]);
        }
        assert!(codes.chunks(12).zip(all.chunks(12)).any(|(a, b)| a[5..9] != b[5..9]));
    }
}

#[test]
fn other_ends_of_one_beginning() {
    let generator = open(2);
    let sampling = Sampling { seed: 4, ..Sampling::default() };
    let all = made(&generator, &CLASSES[..3], &sampling);
    let mut generation = generator.start(&CLASSES[..3], &sampling, &[]).unwrap();
    assert_eq!(generation.by_ref().take(7).map(Result::unwrap).count(), 7);
    assert!(generation.rewind(8, 1).unwrap_err().message().contains("back to position 8 of 7"));
    for (position, seed) in [(5, 6), (3, 7), (0, 8), (7, 9), (0, 4)] {
        generation.rewind(position.min(generation.done()), seed).unwrap();
        let position = generation.done();
        let mut codes = generation.codes().unwrap().to_vec();
        assert_eq!(generation.by_ref().count(), 12 - position);
        let with = Sampling { seed, given: position, ..sampling };
        let go_on = &mut |_, _| ControlFlow::Continue(());
        generator.generate_into(&CLASSES[..3], &with, &mut codes, go_on).unwrap();
        assert_eq!(generation.codes().unwrap(), codes);
    }
    assert_eq!(generation.codes().unwrap(), all);
}

#[test]
fn cancel_at_every_step() {
    let generator = open(2);
    let sampling = Sampling { seed: 8, ..Sampling::default() };
    let all = made(&generator, &CLASSES, &sampling);
    // Ten pictures are made eight and two abreast.
    for stop in 1..=24 {
        let (codes, result) = stopped(&generator, &sampling, stop);
        assert_eq!(result.unwrap_err().status(), Status::Cancelled);
        for (image, (codes, all)) in codes.chunks(24).zip(all.chunks(24)).enumerate() {
            let done = if image < 8 { stop.min(12) } else { stop.saturating_sub(12) };
            for (codes, all) in codes.chunks(12).zip(all.chunks(12)) {
                assert_eq!(codes[..done], all[..done]);
                assert!(codes[done..].iter().all(|&c| c == 0));
            }
        }
    }
    let (codes, result) = stopped(&generator, &sampling, 25);
    assert_eq!((codes, result), (all, Ok(())));
}

#[test]
fn memory() {
    for guidance in [1.0, 2.0] {
        let sampling = Sampling { guidance, ..Sampling::default() };
        let free = open(2);
        let needed = |count| free.memory_needed(count, &sampling);
        assert!(needed(1) < needed(2) && needed(8) == needed(100));
        let all = made(&free, &CLASSES, &sampling);
        for count in [1, 2, 5, 8] {
            // What it says it needs is enough, and a tenth of the cache less is not.
            let limited =
                |limit| open_with(2, 2, &Options { memory_limit: Some(limit), ..Options::default() });
            let generator = limited(needed(count));
            let mut generation = generator.start(&CLASSES[..count], &sampling, &[]).unwrap();
            assert!(generation.by_ref().all(|p| p.is_ok()), "{count} in {} bytes", needed(count));
            assert_eq!(generation.codes().unwrap(), &all[..count * 24]);
            drop(generation);
            // Fewer abreast, the same pictures.
            assert_eq!(made(&generator, &CLASSES, &sampling), all);
            let rows = count * if guidance > 1.0 { 2 } else { 1 };
            let cache = rows * 2 * (2 * 12 + 2 * 2) * 32 * 4;
            let tight = limited(cache * 9 / 10);
            let error = match tight.start(&CLASSES[..count], &sampling, &[]) {
                Err(error) => error,
                Ok(generation) => generation.last().unwrap().unwrap_err(),
            };
            assert_eq!(error.status(), Status::OutOfMemory, "{error}");
        }
    }
    // No null rows, half the memory.
    let (with, without) = (Sampling::default(), Sampling { guidance: 1.0, ..Sampling::default() });
    let of = |s| open(2).memory_needed(8, s);
    assert!(of(&without) < of(&with) * 6 / 10);
}

#[test]
fn nothing_to_do() {
    let generator = open(2);
    let mut calls = 0;
    let progress = &mut |_, _| {
        calls += 1;
        ControlFlow::Continue(())
    };
    generator.generate_into(&[], &Sampling::default(), &mut [], progress).unwrap();
    assert_eq!(calls, 0);
    generator.logits_into(&[], &[], &mut []).unwrap();
    generator.surprise_into(&[], &[], &mut []).unwrap();
    assert_eq!(generator.start(&[], &Sampling::default(), &[]).unwrap().count(), 12);
}

#[test]
fn from_many_threads() {
    let generator = open(2);
    let alone: Vec<_> = (0..4)
        .map(|seed| made(&generator, &CLASSES[..2], &Sampling { seed, ..Sampling::default() }))
        .collect();
    std::thread::scope(|scope| {
        for (seed, alone) in alone.iter().enumerate() {
            let generator = &generator;
            scope.spawn(move || {
                let sampling = Sampling { seed: seed as u64, ..Sampling::default() };
                assert_eq!(&made(generator, &CLASSES[..2], &sampling), alone);
            });
        }
    });
}

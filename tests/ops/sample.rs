use crate::table::{Case, Wide, check, check_narrow, device, exactly_rounded, noise, on, random, refuses};
use fqgan::backend::Device;
use fqgan::backend::cpu::Isa;
use fqgan::exec::Exec;
use fqgan::ops::sample::{Draw, Picks, Sample};
use fqgan::rng::Stream;
use fqgan::tensor::{DType, Tensor};
use fqgan::{Result, Status};
use proptest::prelude::*;

const PLAIN: Sample = Sample {
    guidance: 1.0,
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    seed: 7,
    image: 3,
    position: 5,
    sub_code: 1,
};

/// The probability of each code, by the definition.
fn distribution(op: Sample, conditional: &[f64], null: Option<&[f64]>) -> Vec<f64> {
    let logits: Vec<f64> = (0..conditional.len())
        .map(|i| {
            let guided =
                null.map_or(conditional[i], |u| u[i] + f64::from(op.guidance) * (conditional[i] - u[i]));
            guided / f64::from(op.temperature)
        })
        .collect();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let mut kept = logits.len();
    if op.top_k > 0 && op.top_k < kept {
        let floor = logits[order[op.top_k - 1]];
        kept = order.iter().take_while(|&&i| logits[i] >= floor).count();
    }
    let largest = logits[order[0]];
    let weight = |i: usize| (logits[i] - largest).exp();
    let whole: f64 = order[..kept].iter().map(|&i| weight(i)).sum();
    if op.top_p < 1.0 {
        let mut before = 0.0;
        let inside = order[..kept].iter().take_while(|&&i| {
            let inside = before <= f64::from(op.top_p) * whole;
            before += weight(i);
            inside
        });
        kept = inside.count();
    }
    let mut out = vec![0.0; logits.len()];
    let sum: f64 = order[..kept].iter().map(|&i| weight(i)).sum();
    order[..kept].iter().for_each(|&i| out[i] = weight(i) / sum);
    out
}

fn draw(op: Sample, all: &[Wide]) -> Vec<f64> {
    let [rows, n] = all[0].shape[..] else { panic!() };
    let images = if op.guidance > 1.0 { rows / 2 } else { rows };
    let row = |i: usize| &all[0].data[i * n..(i + 1) * n];
    let code = |image: usize| {
        let p = distribution(op, row(image), (op.guidance > 1.0).then(|| row(images + image)));
        let u = Stream::of_code(op.seed, op.image + image as u32, op.position, op.sub_code).uniform();
        let mut sum = 0.0;
        let passed = p.iter().position(|p| {
            sum += p;
            sum > f64::from(u)
        });
        passed.unwrap() as f64
    };
    (0..images).map(code).collect()
}

fn case(op: Sample, logits: Tensor) -> Case {
    Case::new(op, vec![logits], 0.0, move |all| vec![draw(op, all)])
}

/// A guided image's draw from all codes, plain and cut down.
pub fn published() -> Vec<Case> {
    let op = Sample { guidance: 2.0, ..PLAIN };
    let logits = random(1, &[2, 16384], DType::F32);
    [op, Sample { top_k: 100, ..op }, Sample { top_p: 0.9, ..op }]
        .map(|op| {
            let case = case(op, logits.clone());
            let name = format!("{} {op:?}", case.name);
            case.with_run(name, move |e, inputs| e.apply(op, &[&inputs[0]]).map(Vec::from))
        })
        .into()
}

/// Every mixture of settings draws what the definition draws.
#[test]
fn by_definition() {
    for n in [1, 2, 100, 1000] {
        for guidance in [0.0, 1.0, 2.0, 7.5] {
            for (temperature, top_k, top_p) in
                [(1.0, 0, 1.0), (0.3, 0, 1.0), (1.0, 7, 1.0), (2.0, 0, 0.4), (1.0, 30, 0.9), (1.0, 1, 1.0)]
            {
                let op = Sample { guidance, temperature, top_k, top_p, ..PLAIN };
                let logits: Vec<f32> = noise(n as u64, 6 * n).iter().map(|v| v * 5.0).collect();
                let case = || case(op, Tensor::from_slice([6, n], &logits).unwrap());
                check(&case());
                check_narrow(&exactly_rounded(case(), &[0]));
            }
        }
    }
    check(&case(PLAIN, random(1, &[0, 5], DType::F32)));
}

fn sample(op: Sample, rows: usize, logits: &[f32]) -> Result<Vec<u32>> {
    let logits = Tensor::from_slice([rows, logits.len() / rows], logits).unwrap();
    on(&device(Isa::best(), 2), |e| e.apply(op, &[&logits])).map(|[codes]| codes.data().unwrap().to_vec())
}

/// How often each of `n` codes comes, of `draws` images with the same logits.
fn counts(op: Sample, conditional: &[f32], null: Option<&[f32]>, draws: usize) -> Vec<usize> {
    let rows = [Some(conditional), null];
    let all: Vec<f32> = rows.into_iter().flatten().flat_map(|row| row.repeat(draws)).collect();
    let mut counts = vec![0; conditional.len()];
    let codes = sample(op, draws * (1 + usize::from(null.is_some())), &all).unwrap();
    codes.iter().for_each(|&c| counts[c as usize] += 1);
    counts
}

/// The 0.999 point of the chi-square distribution with `df` degrees of freedom (Wilson and Hilferty).
fn chi_square_limit(df: f64) -> f64 {
    let a = 2.0 / (9.0 * df);
    df * (1.0 - a + 3.0902 * a.sqrt()).powi(3)
}

#[test]
fn frequencies_are_probabilities() {
    let conditional: Vec<f32> = noise(1, 24).iter().map(|v| v * 2.0).collect();
    let null: Vec<f32> = noise(2, 24).iter().map(|v| v * 2.0).collect();
    let settings = [
        PLAIN,
        Sample { guidance: 2.0, ..PLAIN },
        Sample { temperature: 1.7, ..PLAIN },
        Sample { top_k: 6, ..PLAIN },
        Sample { guidance: 1.5, top_k: 12, top_p: 0.8, ..PLAIN },
    ];
    let draws = 40_000u32;
    for (i, op) in settings.into_iter().enumerate() {
        let op = Sample { seed: 100 + i as u64, ..op };
        let null = op.guided().then_some(&null[..]);
        let got = counts(op, &conditional, null, draws as usize);
        let wide = |row: &[f32]| row.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let p = distribution(op, &wide(&conditional), null.map(wide).as_deref());
        let (mut statistic, mut kinds) = (0.0, 0.0);
        let mut add = |got: f64, expected: f64| {
            statistic += (got - expected).powi(2) / expected;
            kinds += 1.0;
        };
        // The rare ones together, for the test wants at least five of a kind.
        let (mut rare, mut expected_rare) = (0.0, 0.0);
        for (&got, p) in got.iter().zip(p) {
            let (got, expected) = (got as f64, p * f64::from(draws));
            if p == 0.0 {
                assert_eq!(got, 0.0, "a code that was cut off, {op:?}");
            } else if expected > 5.0 {
                add(got, expected);
            } else {
                (rare, expected_rare) = (rare + got, expected_rare + expected);
            }
        }
        if expected_rare > 5.0 {
            add(rare, expected_rare);
        }
        assert!(statistic < chi_square_limit(kinds - 1.0), "{statistic} of {kinds} codes, {op:?}");
    }
}

#[test]
fn ties() {
    // Of four equal largest, top-k of 2 keeps all four; none of the rest ever comes.
    let logits = [1.0, 3.0, 3.0, 2.0, 3.0, 3.0];
    let got = counts(Sample { top_k: 2, ..PLAIN }, &logits, None, 4000);
    assert!(got[0] == 0 && got[3] == 0 && [1, 2, 4, 5].iter().all(|&i| got[i] > 850), "{got:?}");
    // -0 and 0 are equal.
    let got = counts(Sample { top_k: 2, ..PLAIN }, &[-0.0, 0.0, -0.0, -1.0], None, 3000);
    assert!(got[3] == 0 && got[..3].iter().all(|&c| c > 850), "{got:?}");
    // Four of probability 1/4: half is passed by the third, which stays; the lower numbers come first.
    let got = counts(Sample { top_p: 0.6, ..PLAIN }, &[0.0; 4], None, 3000);
    assert!(got[3] == 0 && got[..3].iter().all(|&c| c > 850), "{got:?}");
    // The most probable one stays however small p is, and what follows p exactly too.
    assert_eq!(counts(Sample { top_p: 1e-6, ..PLAIN }, &[0.0, 9.0, 1.0], None, 100), [0, 100, 0]);
    let got = counts(Sample { top_p: 0.5, ..PLAIN }, &[0.0; 4], None, 3000);
    assert!(got[3] == 0 && got[2] > 850, "{got:?}");
}

/// An image's code depends on its number, not on who is drawn with it.
#[test]
fn alone_and_in_company() {
    let logits = noise(5, 8 * 50);
    let op = Sample { guidance: 2.0, ..PLAIN };
    let all = sample(op, 8, &logits).unwrap();
    for image in 0..4 {
        let rows = [&logits[image * 50..][..50], &logits[(4 + image) * 50..][..50]].concat();
        let alone = sample(Sample { image: op.image + image as u32, ..op }, 2, &rows).unwrap();
        assert_eq!(alone, [all[image]]);
    }
    let other = |op| sample(op, 8, &logits).unwrap();
    let different = [
        Sample { seed: 8, ..op },
        Sample { image: 30, ..op },
        Sample { position: 6, ..op },
        Sample { sub_code: 0, ..op },
    ];
    assert!(different.into_iter().all(|d| other(d) != all));
}

#[test]
fn not_finite() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 19, 20, 39] {
            for guidance in [1.0, 2.0] {
                let mut logits = noise(1, 40);
                logits[at] = bad;
                let error = sample(Sample { guidance, ..PLAIN }, 4, &logits).unwrap_err();
                assert_eq!(error.status(), Status::Format);
                let image = 3 + if guidance > 1.0 { at / 10 % 2 } else { at / 10 };
                let place = format!("image {image}, position 5, sub-code 1 are not all finite");
                assert!(error.message().contains(&place), "{error}");
            }
        }
    }
}

/// Two sub-codes of some positions, drawn one after the other: those that `Sample` draws there, kept in order.
fn drawn_in_a_row(device: &Device) {
    let (positions, images, n) = (3, 2, 40);
    let op = Sample { guidance: 2.0, top_k: 12, image: 0, position: 0, sub_code: 0, ..PLAIN };
    on(device, |e| {
        let up = |t: &Tensor| e.cx().upload(t).unwrap();
        let down = |t: &Tensor| e.cx().download(t).unwrap().data::<u32>().unwrap().to_vec();
        let picks = Picks::new(e.cx(), [2 * images, images], [positions, 2]).unwrap();
        let mut want = Vec::new();
        for position in 0..positions as u32 {
            let mut here = vec![0; images * 2];
            for sub_code in [0, 1] {
                let seed = u64::from(2 * position + sub_code);
                let logits = up(&random(seed, &[2 * images, n], DType::F32));
                let [codes] =
                    e.run(&Draw { sample: Sample { sub_code, ..op }, picks: &picks }, &[&logits]).unwrap();
                let [alone] = e.run(&Sample { position, sub_code, ..op }, &[&logits]).unwrap();
                let alone = down(&alone);
                assert_eq!(down(&codes), [&alone[..], &alone[..]].concat());
                for (image, code) in alone.into_iter().enumerate() {
                    here[image * 2 + sub_code as usize] = code;
                }
            }
            assert_eq!(down(&picks.last()), [&here[..], &here[..]].concat());
            assert_eq!(down(&picks.place()), [position + 1]);
            want.extend(here);
        }
        assert_eq!(picks.read(e.cx(), &op).unwrap().data::<u32>().unwrap(), want);
        // Once more from the second position on, where the logits are no numbers.
        picks.go_to(e.cx(), 1, |last| last.fill(7)).unwrap();
        assert_eq!((down(&picks.place()), down(&picks.last())), (vec![1], vec![7; 8]));
        let bad = up(&Tensor::from_slice([2 * images, n], &vec![f32::NAN; 2 * images * n]).unwrap());
        let drawn = e.run(&Draw { sample: Sample { sub_code: 1, ..op }, picks: &picks }, &[&bad]);
        let error = drawn.err().or_else(|| picks.read(e.cx(), &op).err()).unwrap();
        assert_eq!(error.status(), Status::Format);
        assert!(error.message().contains("image 0, position 1, sub-code 1 are not all finite"), "{error}");
    });
}

#[test]
fn in_a_row() {
    drawn_in_a_row(&device(Isa::best(), 2));
    #[cfg(feature = "cuda")]
    drawn_in_a_row(crate::cuda::device());
    on(&device(Isa::best(), 1), |e| {
        let picks = Picks::new(e.cx(), [4, 2], [3, 2]).unwrap();
        let not = |sample, rows, says| {
            refuses(Draw { sample, picks: &picks }, &[&random(1, &[rows, 5], DType::F32)], says);
        };
        let op = Sample { guidance: 2.0, position: 0, sub_code: 0, ..PLAIN };
        not(op, 6, "3 images in 6 rows, expected 2 in 4");
        not(Sample { guidance: 1.0, ..op }, 4, "4 images in 4 rows, expected 2 in 4");
        not(Sample { sub_code: 2, ..op }, 4, "sub-code 2 of 2");
        not(Sample { position: 1, ..op }, 4, "position 1, expected one of those and 0");
    });
}

#[test]
fn refusals() {
    let logits = random(1, &[3, 5], DType::F32);
    let not = |op: Sample, says: &str| refuses(op, &[&logits], says);
    not(Sample { guidance: 2.0, ..PLAIN }, "as many null rows as others");
    not(Sample { guidance: f32::NAN, ..PLAIN }, "guidance is NaN");
    not(Sample { guidance: -1.0, ..PLAIN }, "guidance is -1");
    not(Sample { temperature: 0.0, ..PLAIN }, "temperature is 0");
    not(Sample { temperature: f32::INFINITY, ..PLAIN }, "temperature is inf");
    not(Sample { top_p: 0.0, ..PLAIN }, "top-p is 0");
    not(Sample { top_p: 1.5, ..PLAIN }, "top-p is 1.5");
    refuses(PLAIN, &[&random(1, &[3, 0], DType::F32)], "nothing to draw from");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_logits(seed in 0u64..1000, images in 1usize..5, n in 1usize..1500, guided: bool, top_k in 0usize..50,
                  nucleus in 1u32..=20) {
        let op = Sample {
            guidance: if guided { 2.0 } else { 1.0 },
            top_k,
            // Away from sums that rounding could put on either side.
            top_p: (nucleus as f32 / 20.0 - 0.0123).max(0.01),
            seed,
            ..PLAIN
        };
        check(&case(op, random(seed, &[images * if guided { 2 } else { 1 }, n], DType::F32)));
    }
}

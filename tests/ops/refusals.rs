//! Inputs of any number, rank, extent, type and layout: an operation either takes them, exactly when a second
//! reading of its contract says so, or refuses with a message. It never panics.

use crate::table::{cx, device, on};
use fqgan::Status;
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Eager, Exec, MAX_INPUTS, Prepare};
use fqgan::ops::add::Add;
use fqgan::ops::attention::Attention;
use fqgan::ops::code_embedding::CodeEmbedding;
use fqgan::ops::group_norm::{Apply, Coefficients};
use fqgan::ops::layer_norm::LayerNorm;
use fqgan::ops::nearest_code::{Codebook, NearestCode};
use fqgan::tensor::{Allocate, DType, Desc, HeapAllocator, Layout, Shape, Tensor};
use proptest::prelude::*;

type Run = fn(&Eager<'_>, &[&Tensor]) -> fqgan::Result<Desc>;

/// An operation, inputs that it takes, and when it takes others.
struct Contract {
    run: Run,
    inputs: Vec<Desc>,
    takes: fn(&[Desc]) -> bool,
}

/// The first output's description, from the tensor that came.
macro_rules! run {
    ($op:expr) => {
        |e, inputs| e.apply($op, inputs).map(|[out]| *out.desc())
    };
}

const F32: DType = DType::F32;

fn plain(desc: &Desc, dtypes: &[DType], rank: usize) -> bool {
    desc.layout == Layout::Plain && dtypes.contains(&desc.dtype) && desc.shape.len() == rank
}

fn is(desc: &Desc, shape: &[usize]) -> bool {
    plain(desc, &[F32], shape.len()) && desc.shape[..] == *shape
}

/// Descriptions from shapes; u32 where it says so.
fn descs(all: &[(&[usize], DType)]) -> Vec<Desc> {
    all.iter().map(|(shape, dtype)| Desc::plain(Shape::try_from_slice(shape).unwrap(), *dtype)).collect()
}

fn contracts() -> Vec<Contract> {
    let codebook = Desc { layout: Layout::Packed(1), ..Desc::plain([3, 4], F32) };
    vec![
        Contract {
            run: run!(Add),
            inputs: descs(&[(&[2, 3, 4], F32), (&[3, 4], F32)]),
            takes: |all| {
                let [a, b] = all else { return false };
                let (long, short) = (a.shape.len(), b.shape.len());
                let suffix = short <= long && a.shape[long - short..] == b.shape[..];
                suffix && plain(a, &[F32, DType::BF16], long) && plain(b, &[a.dtype], short)
            },
        },
        Contract {
            run: run!(Attention { heads: 2, causal: false }),
            inputs: descs(&[(&[2, 3, 4], F32), (&[2, 3, 4], F32), (&[2, 3, 4], F32)]),
            takes: |all| match all {
                [q, k, v] => {
                    let width = q.shape.last().copied().unwrap_or(0);
                    plain(q, &[F32], 3) && is(k, &q.shape) && is(v, &q.shape) && width > 0 && width % 2 == 0
                }
                [x] => plain(x, &[F32], 3) && x.shape[2] > 0 && x.shape[2].is_multiple_of(6),
                _ => false,
            },
        },
        Contract {
            run: run!(Attention { heads: 1, causal: true }),
            inputs: descs(&[(&[2, 3, 6], F32)]),
            takes: |all| match all {
                [q, k, v] => plain(q, &[F32], 3) && is(k, &q.shape) && is(v, &q.shape) && q.shape[2] > 0,
                [x] => plain(x, &[F32], 3) && x.shape[2] > 0 && x.shape[2].is_multiple_of(3),
                _ => false,
            },
        },
        Contract {
            run: run!(CodeEmbedding { mask: 2, narrow: false }),
            inputs: descs(&[(&[2, 2, 3, 4], DType::U32), (&[2, 3, 4], F32)]),
            takes: |all| {
                let [codes, table] = all else { return false };
                if !plain(codes, &[DType::U32], 4) || !plain(table, &[F32], 3) {
                    return false;
                }
                // All codes are 0 here: fine where there is an entry, or nothing to look up.
                let fits = codes.shape[1] == table.shape[0] && (2..=32).contains(&codes.shape[1]);
                fits && (table.shape[1] > 0 || codes.shape.contains(&0))
            },
        },
        Contract {
            run: run!(Coefficients { groups: 2, eps: 1e-6 }),
            inputs: descs(&[(&[2, 3, 2, 4], F32), (&[4], F32), (&[4], F32)]),
            takes: |all| {
                let [x, weight, bias, sums @ ..] = all else { return false };
                if !plain(x, &[F32, DType::BF16], 4) {
                    return false;
                }
                let [n, h, w, c] = x.shape[..] else { return false };
                let gathered = match sums {
                    [] => true,
                    [sums] => sums.shape.len() == 4 && is(sums, &[n, sums.shape[1], 4, c]),
                    _ => false,
                };
                gathered && h > 0 && w > 0 && c % 2 == 0 && is(weight, &[c]) && is(bias, &[c])
            },
        },
        Contract {
            run: run!(Apply { silu: true }),
            inputs: descs(&[(&[2, 3, 2, 4], DType::BF16), (&[2, 2, 4], F32)]),
            takes: |all| {
                let [x, coefficients, added @ ..] = all else { return false };
                let added = match added {
                    [] => true,
                    [added] => plain(added, &[x.dtype], 4) && added.shape == x.shape,
                    _ => false,
                };
                added && plain(x, &[F32, DType::BF16], 4) && is(coefficients, &[x.shape[0], 2, x.shape[3]])
            },
        },
        Contract {
            run: run!(LayerNorm { eps: 1e-5 }),
            inputs: descs(&[(&[2, 3, 4], F32), (&[4], F32), (&[4], F32)]),
            takes: |all| {
                let [x, weight, bias] = all else { return false };
                let Some(&c) = x.shape.last() else { return false };
                plain(x, &[F32], x.shape.len()) && c > 0 && is(weight, &[c]) && is(bias, &[c])
            },
        },
        Contract {
            run: run!(NearestCode),
            inputs: vec![Desc::plain([2, 3, 4], F32), codebook],
            takes: |all| {
                let [z, codebook] = all else { return false };
                let Some(&d) = z.shape.last() else { return false };
                let layouts = [Layout::Packed(1), Layout::Plain];
                let packed = layouts.contains(&codebook.layout) && codebook.dtype == F32;
                // The storage of every packed tensor here holds up to 16 codes of up to 4 dimensions.
                let [n, width] = codebook.shape[..] else { return false };
                packed && plain(z, &[F32], z.shape.len()) && d == width && n > 0 && d > 0 && d <= 4
            },
        },
    ]
}

/// A tensor of zeros; a packed one is a codebook of (3, 4), whatever its description says.
fn tensor(e: &Eager<'_>, desc: Desc) -> Tensor {
    if let Layout::Packed(_) = desc.layout {
        let made = Codebook.prepare(cx(e), &Tensor::from_slice([3, 4], &[1.0f32; 12]).unwrap()).unwrap();
        return Tensor::new(desc, made.storage().clone()).unwrap();
    }
    Tensor::new(desc, HeapAllocator.allocate(desc.bytes().unwrap()).unwrap()).unwrap()
}

/// One thing that goes wrong, numbers to be taken modulo what is there.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Drop(usize),
    Repeat(usize),
    Extent(usize, usize, usize),
    /// An extent is another wherever it stands, which mostly still fits together.
    Everywhere(usize, usize),
    Rank(usize, bool),
    Type(usize, DType),
    Packed(usize, u16),
}

fn fault() -> impl Strategy<Value = Fault> {
    use DType::*;
    let which = || 0usize..8;
    let dtype = proptest::sample::select(vec![F32, F16, BF16, F64, I8, U8, I32, U32, I64, Bool]);
    prop_oneof![
        which().prop_map(Fault::Drop),
        which().prop_map(Fault::Repeat),
        (which(), 0usize..6, 0usize..7).prop_map(|(i, axis, e)| Fault::Extent(i, axis, e)),
        (2usize..5, 0usize..9).prop_map(|(from, to)| Fault::Everywhere(from, to)),
        (which(), any::<bool>()).prop_map(|(i, more)| Fault::Rank(i, more)),
        (which(), dtype).prop_map(|(i, dtype)| Fault::Type(i, dtype)),
        (which(), 0u16..3).prop_map(|(i, n)| Fault::Packed(i, n)),
    ]
}

fn spoil(inputs: &mut Vec<Desc>, fault: Fault) {
    let count = inputs.len();
    if count == 0 {
        return;
    }
    match fault {
        Fault::Drop(i) => drop(inputs.remove(i % count)),
        Fault::Repeat(i) => inputs.push(inputs[i % count]),
        Fault::Extent(i, axis, extent) => {
            let desc = &mut inputs[i % count];
            let mut shape = desc.shape.to_vec();
            if !shape.is_empty() {
                let axis = axis % shape.len();
                shape[axis] = extent;
                desc.shape = Shape::try_from_slice(&shape).unwrap();
            }
        }
        Fault::Everywhere(from, to) => {
            for desc in inputs {
                let mut shape = desc.shape.to_vec();
                shape.iter_mut().filter(|e| **e == from).for_each(|e| *e = to);
                desc.shape = Shape::try_from_slice(&shape).unwrap();
            }
        }
        Fault::Rank(i, more) => {
            let desc = &mut inputs[i % count];
            let mut shape = desc.shape.to_vec();
            match more {
                true => shape.insert(0, 1),
                false => shape.truncate(shape.len().saturating_sub(1)),
            }
            desc.shape = Shape::try_from_slice(&shape).unwrap_or(desc.shape);
        }
        Fault::Type(i, dtype) => inputs[i % count].dtype = dtype,
        Fault::Packed(i, n) => inputs[i % count].layout = Layout::Packed(n),
    }
}

fn judge(contract: &Contract, descs: &[Desc]) {
    on(&device(Isa::best(), 2), |e| {
        let tensors: Vec<Tensor> = descs.iter().map(|&d| tensor(e, d)).collect();
        let refs: Vec<&Tensor> = tensors.iter().collect();
        let result = (contract.run)(e, &refs);
        assert_eq!(result.is_ok(), (contract.takes)(descs), "{descs:?}: {result:?}");
        if let Err(error) = result {
            let kinds = [Status::InvalidArgument, Status::Unsupported, Status::Internal];
            assert!(kinds.contains(&error.status()), "{error:?}");
            assert!(error.message().contains(": "), "no operation before the message: {error:?}");
        }
    });
}

#[test]
fn what_they_take_and_too_many() {
    for contract in contracts() {
        assert!((contract.takes)(&contract.inputs));
        judge(&contract, &contract.inputs);
        judge(&contract, &[]);
        judge(&contract, &[contract.inputs[0]; MAX_INPUTS + 1]);
        for (from, to) in (2..5).flat_map(|from| (0..9).map(move |to| (from, to))) {
            let mut inputs = contract.inputs.clone();
            spoil(&mut inputs, Fault::Everywhere(from, to));
            judge(&contract, &inputs);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn anything(faults in prop::collection::vec(fault(), 1..4)) {
        for contract in contracts() {
            let mut inputs = contract.inputs.clone();
            faults.iter().for_each(|&f| spoil(&mut inputs, f));
            judge(&contract, &inputs);
        }
    }
}

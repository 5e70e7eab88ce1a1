use crate::table::{Case, check, check_narrow, device, on, random, refuses, rounded};
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Eager, Exec, Tape};
use fqgan::ops::straight_through::StraightThrough;
use fqgan::tensor::{DType, Tensor};
use std::collections::BTreeMap;

#[test]
fn the_value_is_the_code() {
    for shape in [&[1][..], &[3, 8], &[0], &[4097]] {
        let inputs = vec![random(1, shape, DType::F32), random(2, shape, DType::F32)];
        let case = || Case::new(StraightThrough, inputs.clone(), 2e-7, |all| vec![all[1].data.clone()]);
        check(&case());
        check_narrow(&rounded(case(), &[0, 1]));
    }
    let z = random(1, &[3], DType::F32);
    refuses(StraightThrough, &[&z, &random(2, &[4], DType::F32)], "q is f32 [4], expected f32 [3]");
}

#[test]
fn the_gradient_is_the_latent_s() {
    on(&device(Isa::best(), 1), |e| {
        let none = BTreeMap::new();
        let add = |e: &Eager<'_>, a: &Tensor, b: &Tensor| e.apply(fqgan::ops::add::Add, &[a, b]).map(|[y]| y);
        let tape = Tape::new(Eager::new(e.cx().device, e.cx().workspace), &none, add);
        let (z, q) =
            (tape.leaf("z", random(1, &[2, 3], DType::F32)), tape.leaf("q", random(2, &[2, 3], DType::F32)));
        let [y] = tape.apply(StraightThrough, &[&z, &q]).unwrap();
        let seed = random(3, &[2, 3], DType::F32);
        let grads = tape.backward(&y, seed.clone()).unwrap();
        assert_eq!(grads["z"].data::<f32>().unwrap(), seed.data::<f32>().unwrap());
        assert!(!grads.contains_key("q"));
    });
}

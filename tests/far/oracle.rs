//! The whole model in f64 and plain loops, from the definition, against the generator.

use crate::models::{AR, config, device, some_codes, tensors};
use fqgan::backend::cpu::Isa;
use fqgan::far::config::Head;
use fqgan::far::{Config, Generator, Options};
use fqgan::weights::Source;
use std::collections::HashMap;

type Row = Vec<f64>;

struct Model {
    config: Config,
    weights: HashMap<String, Vec<f64>>,
}

impl Model {
    fn product(&self, name: &str, x: &[f64]) -> Row {
        self.weights[name].chunks(x.len()).map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    }

    fn row(&self, name: &str, index: u32) -> &[f64] {
        &self.weights[name][index as usize * self.config.dim..][..self.config.dim]
    }

    fn norm(&self, name: &str, x: &[f64]) -> Row {
        let square = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        x.iter().zip(&self.weights[name]).map(|(x, w)| x / (square + 1e-5).sqrt() * w).collect()
    }

    /// Turns a head's pairs by what the position's row says; row 0 makes zeros.
    fn turn(&self, x: &mut [f64], row: usize) {
        let head = self.config.head_dim();
        for (pair, x) in x.chunks_exact_mut(2).enumerate() {
            let pair = pair % (head / 2);
            let (mut cos, mut sin) = (0.0, 0.0);
            if row > 0 {
                let (y, column) = ((row - 1) / self.config.grid_width, (row - 1) % self.config.grid_width);
                let at = if pair < head / 4 { y } else { column };
                let w = 10000f64.powf(-2.0 * (pair % (head / 4)) as f64 / (head / 2) as f64);
                (sin, cos) = (at as f64 * w).sin_cos();
            }
            (x[0], x[1]) = (x[0] * cos - x[1] * sin, x[1] * cos + x[0] * sin);
        }
    }

    /// A block over a whole sequence.
    fn block(&self, at: &str, xs: &mut [Row]) {
        let (dim, head) = (self.config.dim, self.config.head_dim());
        let qkv: Vec<Row> = xs
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let normed = self.norm(&format!("{at}.attention_norm.weight"), x);
                let mut qkv = self.product(&format!("{at}.attention.wqkv.weight"), &normed);
                self.turn(&mut qkv[..2 * dim], i);
                qkv
            })
            .collect();
        for i in 0..xs.len() {
            let mut mixed = vec![0.0; dim];
            for h in (0..dim).step_by(head) {
                let score = |j: usize| {
                    let (q, k) = (&qkv[i][h..h + head], &qkv[j][dim + h..dim + h + head]);
                    (q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (head as f64).sqrt()).exp()
                };
                let scores: Row = (0..=i).map(score).collect();
                for (j, score) in scores.iter().enumerate() {
                    for c in h..h + head {
                        mixed[c] += score / scores.iter().sum::<f64>() * qkv[j][2 * dim + c];
                    }
                }
            }
            let out = self.product(&format!("{at}.attention.wo.weight"), &mixed);
            xs[i].iter_mut().zip(out).for_each(|(x, o)| *x += o);
        }
        for x in xs {
            let normed = self.norm(&format!("{at}.ffn_norm.weight"), x);
            let of = |name: &str, x: &[f64]| self.product(&format!("{at}.feed_forward.{name}.weight"), x);
            let gated: Row = of("w1", &normed)
                .iter()
                .zip(of("w3", &normed))
                .map(|(a, b)| a / (1.0 + (-a).exp()) * b)
                .collect();
            let out = of("w2", &gated);
            x.iter_mut().zip(out).for_each(|(x, o)| *x += o);
        }
    }

    /// Logits (k, positions, N) of one picture.
    fn logits(&self, class: u32, codes: &[u32]) -> Vec<f64> {
        let c = &self.config;
        let (k, positions) = (c.codebooks, c.positions());
        let mut xs = vec![self.row("cls_embedding.embedding_table.weight", class).to_vec()];
        for position in 1..positions {
            let embedded: Row = (0..k)
                .flat_map(|i| {
                    self.row(&format!("tok_embeddings_{}.weight", i + 1), codes[i * positions + position - 1])
                })
                .copied()
                .collect();
            let bias = &self.weights["aggregation_layer.bias"];
            let out = self.product("aggregation_layer.weight", &embedded);
            xs.push(out.iter().zip(bias).map(|(o, b)| o + b).collect());
        }
        for layer in 0..c.layers {
            self.block(&format!("layers.{layer}"), &mut xs);
        }
        let mut out = vec![0.0; k * positions * c.codebook_size];
        for (position, h) in xs.into_iter().enumerate() {
            let mut slots = vec![h; k];
            if let Head::AutoRegressive { layers } = c.head {
                for i in 1..k {
                    let name = format!("tok_embeddings_{i}.weight");
                    slots[i] = self.row(&name, codes[(i - 1) * positions + position]).to_vec();
                }
                (0..layers).for_each(|layer| self.block(&format!("ar_head.{layer}"), &mut slots));
            }
            for (i, slot) in slots.iter().enumerate() {
                let normed = self.norm("norm.weight", slot);
                let name = |suffix: &str| format!("output_{}{suffix}.weight", i + 1);
                let logits = match c.head {
                    Head::Mlp { .. } => {
                        let gelu = |v: f64| v * 0.5 * (1.0 + erf(v / std::f64::consts::SQRT_2));
                        let hidden: Row = self.product(&name(".0"), &normed).into_iter().map(gelu).collect();
                        self.product(&name(".2"), &hidden)
                    }
                    _ => self.product(&name(""), &normed),
                };
                out[(i * positions + position) * c.codebook_size..][..c.codebook_size]
                    .copy_from_slice(&logits);
            }
        }
        out
    }
}

/// By its Maclaurin series, and by the continued fraction of erfc where that converges slowly.
fn erf(x: f64) -> f64 {
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let a = x.abs();
    let tail = (1..80).rev().fold(a, |f, n| a + f64::from(n) / 2.0 / f);
    x.signum() * (1.0 - (-a * a).exp() / (tail * std::f64::consts::PI.sqrt()))
}

#[test]
fn every_head_and_k() {
    let cases = [
        config(1, AR),
        config(2, AR),
        config(3, AR),
        config(9, Head::AutoRegressive { layers: 1 }),
        config(2, Head::Linear),
        config(3, Head::Mlp { hidden: 24 }),
        Config { grid_width: 1, grid_height: 1, ..config(2, AR) },
        Config { grid_width: 2, grid_height: 7, heads: 2, ..config(2, AR) },
    ];
    for config in cases {
        let tensors = tensors(&config);
        let wide = |t: &fqgan::tensor::Tensor| t.data::<f32>().unwrap().iter().map(|&v| v.into()).collect();
        let weights = tensors.iter().map(|(name, t)| (name.clone(), wide(t))).collect();
        let model = Model { config: config.clone(), weights };
        let source = Source::from_tensors(tensors, config.metadata());
        let codes = some_codes(&config, 3);
        // The last is the null class.
        let classes = [0, 4, 5];
        let each = config.codebooks * config.positions();
        let want: Vec<f64> =
            classes.iter().zip(codes.chunks(each)).flat_map(|(&c, codes)| model.logits(c, codes)).collect();
        for isa in Isa::available() {
            let generator = Generator::open(&device(isa, 2), &source, &Options::default()).unwrap();
            let mut logits = vec![0.0f32; want.len()];
            generator.logits_into(&classes, &codes, &mut logits).unwrap();
            let norm = want.iter().map(|w| w * w).sum::<f64>();
            let error = logits.iter().zip(&want).map(|(&g, w)| (f64::from(g) - w).powi(2)).sum::<f64>();
            let error = (error / norm).sqrt();
            assert!(error < 2e-6, "{config:?} on {}: off by {error:.2e}", isa.name());

            let mut nats = vec![0.0; codes.len()];
            generator.surprise_into(&classes, &codes, &mut nats).unwrap();
            for ((row, &code), &got) in want.chunks(config.codebook_size).zip(&codes).zip(&nats) {
                let sum: f64 = row.iter().map(|v| v.exp()).sum();
                let want = sum.ln() - row[code as usize];
                assert!((f64::from(got) - want).abs() < 1e-4, "{got}, not {want}");
            }
        }
    }
}

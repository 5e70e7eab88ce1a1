//! Configurations of names and shapes alone, for every published model and for many that were not.

use crate::common::{Manifest, manifests};
use fqgan::far;
use fqgan::tensor::DType;
use fqgan::tokenizer::{self, config::Branch};
use fqgan::weights::{self, FileType, Info, Listing, Metadata};
use fqgan::{Error, Status};

/// A complete file of a manifest's tensors.
fn file(manifest: &weights::Manifest) -> Listing {
    let info = |shape: &[usize]| Info { dtype: FileType::Known(DType::F32), shape: shape.to_vec() };
    manifest.iter().map(|(name, shape)| (name.to_string(), info(shape))).collect()
}

/// The file without one tensor, or with another in its place.
fn with(file: &Listing, name: &str, other: Option<Info>) -> Listing {
    let mut all: Vec<(String, Info)> =
        file.iter().filter(|(n, _)| *n != name).map(|(n, i)| (n.into(), i.clone())).collect();
    all.extend(other.map(|info| (name.to_string(), info)));
    all.into_iter().collect()
}

fn f32s(shape: &[usize]) -> Option<Info> {
    Some(Info { dtype: FileType::Known(DType::F32), shape: shape.to_vec() })
}

#[test]
fn published_tokenizers() {
    for (name, k, f) in [("dual", 2, 16), ("dual", 2, 8), ("triple", 3, 16), ("triple", 3, 8)] {
        let golden = Manifest::read(&format!("tokenizer_{name}_vq{f}"));
        let listing = golden.listing();
        assert!(tokenizer::Config::recognizes(&listing) && !far::Config::recognizes(&listing));
        let config = tokenizer::Config::from_listing(&listing).unwrap();
        assert_eq!(config, tokenizer::Config::published(k, f).unwrap());
        assert_eq!((config.downsample(), config.width(), config.image_size), (f, 512, 256));
        let order: Vec<&str> = config.names().collect();
        assert_eq!(order, if k == 2 { vec!["vis", "sem"] } else { vec!["vis", "sem_mid", "sem_high"] });
        // All that the file has is needed, but for what trains it.
        let found = config.manifest().compare(&listing);
        assert!(found.missing.is_empty() && found.wrong.is_empty());
        assert!(!found.left_over.is_empty());
        assert!(found.left_over.iter().all(|n| tokenizer::Config::only_for_training(n)), "{found:?}");
        let training: usize = golden
            .entries
            .iter()
            .filter(|e| tokenizer::Config::only_for_training(&e.name))
            .map(|e| e.shape.count())
            .sum();
        assert_eq!(config.manifest().parameters() as usize + training, golden.parameters);
    }
}

#[test]
fn published_generators() {
    for (name, k) in [("dual", 2), ("triple", 3)] {
        for size in ["b", "l"] {
            let golden = Manifest::read(&format!("far_{size}_{name}"));
            let listing = golden.listing();
            assert!(far::Config::recognizes(&listing) && !tokenizer::Config::recognizes(&listing));
            let config = far::Config::from_listing(&listing, &Metadata::new()).unwrap();
            assert_eq!(config, far::Config::published(size, k).unwrap());
            assert_eq!(config.manifest().parameters() as usize, golden.parameters);
            assert!(config.manifest().compare(&listing).left_over.is_empty());
        }
        // The tiny ones have another grid, which only strings can tell.
        let listing = Manifest::read(&format!("far_tiny_{name}")).listing();
        let strings =
            [("fqgan.grid_width", "8"), ("fqgan.grid_height", "8")].map(|(k, v)| (k.into(), v.into()));
        let config = far::Config::from_listing(&listing, &strings.into()).unwrap();
        assert_eq!((config.codebooks, config.codebook_size, config.classes), (k, 512, 10));
        assert_eq!((config.layers, config.dim, config.heads, config.hidden), (4, 256, 4, 768));
        assert_eq!(config.head, far::config::Head::AutoRegressive { layers: 2 });
        assert_eq!((config.positions(), config.head_dim()), (64, 64));
        assert_eq!(far::Config::from_listing(&listing, &config.metadata()).unwrap(), config);
    }
}

#[test]
fn other_files_are_neither() {
    for file in std::fs::read_dir(manifests()).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string();
        let listing = Manifest::read(&name).listing();
        assert_eq!(tokenizer::Config::recognizes(&listing), name.starts_with("tokenizer_"), "{name}");
        assert_eq!(far::Config::recognizes(&listing), name.starts_with("far_"), "{name}");
        assert_eq!(tokenizer::Config::from_listing(&listing).is_ok(), name.starts_with("tokenizer_"));
        assert_eq!(far::Config::from_listing(&listing, &Metadata::new()).is_ok(), name.starts_with("far_"));
    }
}

#[test]
fn any_number_of_sub_codebooks_width_and_depth() {
    let published = tokenizer::Config::published(3, 16).unwrap();
    let vis = published.branches[0].clone();
    let branch = |name: &str, head: &str, layers| {
        let mut branch = vis.clone();
        branch.name = name.into();
        let adapter = branch.adapter.as_mut().unwrap();
        (adapter.prefix, adapter.layers, adapter.hidden) = (format!("encoder.{head}.0"), layers, 384);
        branch
    };
    let plain = |name: &str| Branch { name: name.into(), adapter: None };
    let sets = [
        vec![plain("")],
        vec![plain("vis")],
        vec![plain("sem")],
        vec![branch("vis", "visual_head", 2)],
        vec![plain("vis"), branch("sem", "semantic_head", 1)],
        vec![plain("vis"), plain("sem_mid"), plain("sem_high")],
        vec![
            branch("vis", "visual_head", 1),
            branch("sem_high", "semantic_head_high", 1),
            branch("sem_low", "semantic_head_low", 3),
            branch("sem_mid", "semantic_head_mid", 2),
        ],
        vec![
            branch("vis", "visual_head", 1),
            branch("depth", "depth_head", 1),
            branch("sem_2", "semantic_head_2", 1),
            branch("sem_10", "semantic_head_10", 1),
        ],
        (0..32).map(|i| plain(&format!("sem_{i}"))).collect(),
    ];
    for branches in sets {
        for (ch, ch_mult, blocks) in [(32, vec![1], 1), (64, vec![1, 3, 2], 3), (96, vec![2, 4], 2)] {
            let config = tokenizer::Config {
                image_size: if branches.iter().any(|b| b.adapter.is_some()) {
                    5 << (ch_mult.len() - 1)
                } else {
                    256
                },
                branches: branches.clone(),
                codebook_size: 777,
                code_dim: 5,
                ch,
                ch_mult,
                num_res_blocks: blocks,
                z_channels: 48,
            };
            let found = tokenizer::Config::from_listing(&file(&config.manifest()));
            assert_eq!(found.as_ref(), Ok(&config));
        }
    }
    let vqgan = tokenizer::Config::published(1, 16).unwrap();
    assert_eq!(vqgan.names().collect::<Vec<_>>(), ["code"]);
    assert!(vqgan.manifest().iter().any(|(name, _)| name == "quant_conv.weight"));
    assert_eq!(tokenizer::Config::from_listing(&file(&vqgan.manifest())), Ok(vqgan));
}

#[test]
fn any_generator() {
    let base = far::Config::published("b", 2).unwrap();
    for head in [
        far::config::Head::AutoRegressive { layers: 1 },
        far::config::Head::Linear,
        far::config::Head::Mlp { hidden: 96 },
    ] {
        for k in [1, 2, 5, 31] {
            let config = far::Config {
                codebooks: k,
                codebook_size: 100,
                classes: 3,
                grid_width: 5,
                grid_height: 7,
                layers: 12,
                dim: 96,
                heads: 3,
                hidden: 256,
                head,
            };
            let found = far::Config::from_listing(&file(&config.manifest()), &config.metadata());
            assert_eq!(found.as_ref(), Ok(&config));
        }
    }
    assert_eq!(far::Config::from_listing(&file(&base.manifest()), &Metadata::new()), Ok(base));
}

/// Any one tensor of a complete file taken away or reshaped is named in the error.
#[test]
fn each_missing_or_wrong_tensor_is_named() {
    let tokenizer = tokenizer::Config::published(3, 8).unwrap().manifest();
    let far = far::Config::published("b", 2).unwrap().manifest();
    let as_tokenizer = |l: &Listing| tokenizer::Config::from_listing(l).map(drop);
    let as_far = |l: &Listing| far::Config::from_listing(l, &Metadata::new()).map(drop);
    type Check<'a> = &'a dyn Fn(&Listing) -> Result<(), Error>;
    for (manifest, check) in [(&tokenizer, &as_tokenizer as Check), (&far, &as_far)] {
        let whole = file(manifest);
        for (name, shape) in manifest.iter() {
            // Without its only weight a codebook or head is simply not there; then other things do not fit.
            let absorbed = ["quantize", "tok_embeddings_", "output_"].iter().any(|p| name.starts_with(p));
            let mut wrong = shape.to_vec();
            *wrong.last_mut().unwrap() += 1;
            for other in [None, f32s(&wrong), f32s(&vec![0; shape.len()]), f32s(&[]), f32s(&[usize::MAX; 4])]
            {
                let error = check(&with(&whole, name, other.clone())).unwrap_err();
                assert_eq!(error.status(), Status::Format);
                let told = error.to_string();
                assert!(
                    absorbed || told.contains(name.trim_end_matches(".weight")),
                    "{name} {other:?}: {told}"
                );
            }
            let integers = Info { dtype: FileType::Known(DType::I64), shape: shape.to_vec() };
            let told = check(&with(&whole, name, Some(integers))).unwrap_err().to_string();
            assert!(told.contains(&format!("tensor {name} is i64")), "{told}");
        }
    }
}

#[test]
fn messages() {
    let whole = file(&tokenizer::Config::published(2, 16).unwrap().manifest());
    let told = |name: &str, other| {
        tokenizer::Config::from_listing(&with(&whole, name, other)).unwrap_err().to_string()
    };
    assert_eq!(
        told("decoder.conv_out.bias", None),
        "not a complete tokenizer: 1 of 504 tensors missing: decoder.conv_out.bias"
    );
    assert_eq!(
        told("decoder.conv_out.bias", f32s(&[4])),
        "not a complete tokenizer: tensor decoder.conv_out.bias is f32 [4], expected f32, f16 or bf16 [3]"
    );
    assert_eq!(
        told("encoder.conv_in.weight", f32s(&[128])),
        "not a complete tokenizer: tensor encoder.conv_in.weight is f32 [128], expected 4 axes of 1 to 1048576 elements"
    );
    assert_eq!(
        told("encoder.visual_head.0.positional_embedding", f32s(&[255, 512])),
        "not a complete tokenizer: tensor encoder.visual_head.0.positional_embedding: 255 positions make no square grid"
    );
    assert_eq!(
        told("encoder.conv_blocks.2.res.0.conv1.weight", f32s(&[200, 128, 3, 3])),
        "not a complete tokenizer: channels of encoder.conv_blocks.2.res.0.conv1.weight by those of encoder.conv_in: 200 is no multiple of 128"
    );
    assert_eq!(
        told("quantize.embedding.weight", f32s(&[4, 2])),
        "not a complete tokenizer: quantize stands beside quantize_sem: expected one or the other"
    );
    let whole = file(&far::Config::published("b", 2).unwrap().manifest());
    let told = |key: &str, value: &str| {
        let strings = [(key.to_string(), value.to_string())].into();
        far::Config::from_listing(&whole, &strings).unwrap_err().to_string()
    };
    assert_eq!(
        told("fqgan.grid_width", "-8"),
        "not a complete generator: fqgan.grid_width is \"-8\", expected a number from 1 to 4096"
    );
    assert_eq!(
        told("fqgan.head_dim", "48"),
        "not a complete generator: width of cls_embedding.embedding_table.weight by fqgan.head_dim: 1024 is no multiple of 48"
    );
    assert!(told("fqgan.head_dim", "2").contains("2 is no multiple of 4"));
    assert!(told("fqgan.classes", "10").contains("fqgan.classes is 10, but"));
    let none = far::Config::from_listing(&Listing::default(), &Metadata::new()).unwrap_err().to_string();
    assert!(none.contains("tensor cls_embedding.embedding_table.weight is missing"), "{none}");
}

use fqgan::tokenizer::Config;
use fqgan::train::far::FarRecipe;
use fqgan::train::teacher::TeacherRecipe;
use fqgan::train::{Recipe, init};
use std::collections::BTreeMap;
use std::path::Path;

fn parse(text: &str, overrides: &[&str]) -> fqgan::Result<Recipe> {
    Recipe::parse(text, &overrides.iter().map(|s| s.to_string()).collect::<Vec<_>>())
}

#[test]
fn shipped_recipes_are_the_published_models() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        parse(&text, &[]).unwrap()
    };
    for (name, codebooks, downsample) in [
        ("tokenizer-dual-f16", 2, 16),
        ("tokenizer-dual-f8", 2, 8),
        ("tokenizer-triple-f16", 3, 16),
        ("tokenizer-triple-f8", 3, 8),
        ("table3-vqgan", 1, 16),
        ("table3-both", 2, 16),
    ] {
        let recipe = read(name);
        assert_eq!(
            recipe.model.config().unwrap(),
            Config::published(codebooks, downsample).unwrap(),
            "{name}"
        );
        // The whole recipe, defaults written out, says the same.
        assert_eq!(parse(&recipe.print().unwrap(), &[]).unwrap(), recipe);
    }
    let terms = |name: &str| {
        let loss = read(name).loss;
        (loss.disentangle_ratio > 0.0, !loss.semantic.is_empty())
    };
    assert_eq!(terms("table3-factorized"), (false, false));
    assert_eq!(terms("table3-disentangle"), (true, false));
    assert_eq!(terms("table3-semantic"), (false, true));
    assert_eq!(terms("table3-both"), (true, true));
    assert_eq!(read("table3-both"), read("tokenizer-dual-f16"));
}

/// The demo's and the ablation's fit together: what one makes the next one takes.
#[test]
fn recipes_of_demo_size_fit_together() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let text = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
    let tokenizer = parse(&text("demo-tokenizer"), &[]).unwrap();
    let config = tokenizer.model.config().unwrap();
    assert_eq!(parse(&text("demo-decoder"), &[]).unwrap().model.config().unwrap(), config);
    let grid = config.image_size / config.downsample();
    for name in ["demo-far", "ablation-far"] {
        let model = FarRecipe::parse(&text(name), &[]).unwrap().model;
        assert_eq!((model.codebooks, model.codebook_size), (config.branches.len(), config.codebook_size));
        assert_eq!(model.grid, [grid; 2]);
    }
    let teacher = TeacherRecipe::parse(&text("demo-teacher"), &[]).unwrap();
    let row = parse(&text("ablation-tokenizer"), &[]).unwrap();
    assert_eq!(teacher.model.image_size, row.model.image_size);
    // The row of no teacher has none.
    let plain = parse(&text("ablation-tokenizer"), &["loss.semantic=[]", "model.branches=[\"\"]"]).unwrap();
    assert!(plain.loss.semantic.is_empty() && plain.model.config().unwrap().branches.len() == 1);
    assert_eq!(TeacherRecipe::parse(&teacher.print().unwrap(), &[]).unwrap(), teacher);
}

#[test]
fn every_value_can_be_replaced() {
    let recipe =
        parse("", &["loss.entropy_ratio=0.5", "adversarial.game=non-saturating", "model.ch_mult=[1, 2]"]);
    let recipe = recipe.unwrap();
    assert_eq!(recipe.loss.entropy_ratio, 0.5);
    assert_eq!(recipe.model.ch_mult, [1, 2]);
    assert_ne!(recipe.adversarial.game, Recipe::default().adversarial.game);
    assert_eq!(parse("", &[]).unwrap(), Recipe::default());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (text, overrides, says) in [
        ("[loss]\nentropy = 1.0", &[][..], "unknown field `entropy`"),
        ("[loss", &[], "recipe:"),
        ("", &["loss.entropy_ratio"], "expected KEY=VALUE"),
        ("", &["loss.entropy_ratio=many"], "invalid type"),
        ("", &["loss.entropy_temperature=0.0"], "expected more than 0"),
        ("[[loss.semantic]]\nbranch = \"x\"\nhead = \"h\"\nteacher = \"t\"", &[], "no branch \"x\""),
        ("", &["run.steps=0"], "run.steps is 0, expected at least 1"),
        ("", &["run.floor=2.0"], "run.floor is 2, expected 0 to 1"),
        ("", &["run.schedule=sine"], "unknown variant `sine`"),
        ("", &["data.side=128"], "data.side is 128, expected model.image_size, 256"),
        ("", &["loss.entropy_ratio.deep=1"], "entropy_ratio is no table"),
    ] {
        let error = parse(text, overrides).unwrap_err();
        assert!(error.message().contains(says), "{:?} lacks {says:?}", error.message());
    }
    assert!(parse("", &["model.branches=[]"]).unwrap().model.config().is_err());
}

#[test]
fn fresh_weights_have_the_distributions_of_the_paper() {
    let text = "[[loss.semantic]]\nbranch = \"sem\"\nhead = \"feat_pred_head\"\nteacher = \"t\"";
    let recipe = parse(text, &["model.ch=32", "model.codebook_size=512"]).unwrap();
    let widths = BTreeMap::from([("t".to_string(), 64)]);
    let source = init::tokenizer(&recipe, &widths, 3).unwrap();
    let of = |name: &str| source.tensor(name).unwrap().data::<f32>().unwrap().to_vec();
    let deviation = |name: &str| {
        let all = of(name);
        (all.iter().map(|x| x * x).sum::<f32>() / all.len() as f32).sqrt()
    };
    let near = |a: f32, b: f32| assert!((a / b - 1.0).abs() < 0.05, "{a} {b}");
    for row in of("quantize_vis.embedding.weight").chunks_exact(8) {
        near(row.iter().map(|x| x * x).sum::<f32>(), 1.0);
    }
    // Uniform within 1 / sqrt(fan) has a deviation of that over sqrt 3.
    near(deviation("decoder.mid.0.conv1.weight"), 1.0 / (3.0f32 * 128.0 * 9.0).sqrt());
    let bias = of("decoder.mid.0.conv1.bias");
    assert!(bias.iter().all(|b| b.abs() <= 1.0 / (128.0f32 * 9.0).sqrt()) && bias.iter().any(|b| *b != 0.0));
    near(deviation("feat_pred_head.positional_embedding"), 1.0 / 8.0);
    near(deviation("feat_pred_head.transformer.0.attn.in_proj_weight"), (6.0f32 / 256.0 / 3.0).sqrt());
    assert!(of("encoder.mid.0.norm1.weight").iter().all(|&x| x == 1.0));
    assert!(of("encoder.visual_head.0.transformer.0.attn.out_proj.bias").iter().all(|&x| x == 0.0));
    // Another seed gives others, the same the same, whatever else there is.
    let again = |widths: usize, seed: u64| {
        let widths = BTreeMap::from([("t".to_string(), widths)]);
        let source = init::tokenizer(&recipe, &widths, seed).unwrap();
        source.tensor("decoder.conv_in.weight").unwrap().data::<f32>().unwrap().to_vec()
    };
    assert_eq!(again(32, 3), of("decoder.conv_in.weight"));
    assert_ne!(again(64, 4), of("decoder.conv_in.weight"));
    let error = init::tokenizer(&recipe, &BTreeMap::new(), 3).unwrap_err();
    assert!(error.message().contains("width of the teacher t"), "{error}");

    let source = init::discriminator(&parse("", &["adversarial.width=16"]).unwrap(), 1).unwrap();
    let weight = source.tensor("main.8.weight").unwrap();
    let values = weight.data::<f32>().unwrap();
    near((values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt(), 0.02);
}

//! Which recipe a command follows.

use fqgan::train::Recipe;
use fqgan::train::far::FarRecipe;
use fqgan::train::teacher::TeacherRecipe;
use fqgan::{Error, Result};
use std::path::Path;

/// The recipes that are built in.
const KNOWN: [(&str, &str); 20] = [
    ("ablation-far", include_str!("../../../recipes/ablation-far.toml")),
    ("ablation-tokenizer", include_str!("../../../recipes/ablation-tokenizer.toml")),
    ("demo-decoder", include_str!("../../../recipes/demo-decoder.toml")),
    ("demo-far", include_str!("../../../recipes/demo-far.toml")),
    ("demo-teacher", include_str!("../../../recipes/demo-teacher.toml")),
    ("demo-tokenizer", include_str!("../../../recipes/demo-tokenizer.toml")),
    ("far-b", include_str!("../../../recipes/far-b.toml")),
    ("far-l", include_str!("../../../recipes/far-l.toml")),
    ("table3-both", include_str!("../../../recipes/table3-both.toml")),
    ("table3-disentangle", include_str!("../../../recipes/table3-disentangle.toml")),
    ("table3-factorized", include_str!("../../../recipes/table3-factorized.toml")),
    ("table3-semantic", include_str!("../../../recipes/table3-semantic.toml")),
    ("table3-vqgan", include_str!("../../../recipes/table3-vqgan.toml")),
    ("table4-ar", include_str!("../../../recipes/table4-ar.toml")),
    ("table4-linear", include_str!("../../../recipes/table4-linear.toml")),
    ("table4-mlp", include_str!("../../../recipes/table4-mlp.toml")),
    ("tokenizer-dual-f16", include_str!("../../../recipes/tokenizer-dual-f16.toml")),
    ("tokenizer-dual-f8", include_str!("../../../recipes/tokenizer-dual-f8.toml")),
    ("tokenizer-triple-f16", include_str!("../../../recipes/tokenizer-triple-f16.toml")),
    ("tokenizer-triple-f8", include_str!("../../../recipes/tokenizer-triple-f8.toml")),
];

#[derive(clap::Args)]
pub struct Args {
    /// The recipe: one that is built in (tokenizer-dual-f16, ...), or a toml file
    #[arg(long)]
    recipe: String,
    /// Replace a value of the recipe: loss.entropy_ratio=0.1
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print the whole recipe, defaults included, and stop
    #[arg(long)]
    pub print_config: bool,
}

impl Args {
    /// A tokenizer's recipe.
    pub fn read(&self) -> Result<Recipe> {
        self.parse(Recipe::parse)
    }

    /// A generator's recipe.
    pub fn read_far(&self) -> Result<FarRecipe> {
        self.parse(FarRecipe::parse)
    }

    /// A teacher's recipe.
    pub fn read_teacher(&self) -> Result<TeacherRecipe> {
        self.parse(TeacherRecipe::parse)
    }

    /// What the recipe is of: `"far"`, `"teacher"`, or nothing for a tokenizer.
    pub fn kind(&self) -> Result<Option<String>> {
        self.parse(|text, _| {
            let table = text.parse::<toml::Table>().map_err(|e| Error::invalid(format!("recipe: {e}")))?;
            Ok(table.get("kind").and_then(|kind| kind.as_str()).map(str::to_string))
        })
    }

    fn parse<T>(&self, parse: impl Fn(&str, &[String]) -> Result<T>) -> Result<T> {
        if let Some((_, text)) = KNOWN.iter().find(|(name, _)| *name == self.recipe) {
            return parse(text, &self.overrides);
        }
        let path = Path::new(&self.recipe);
        let text = std::fs::read_to_string(path).map_err(|e| {
            let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
            let known = names.join(", ");
            Error::io(format_args!("reading the recipe {} (built in are {known})", path.display()), &e)
        })?;
        parse(&text, &self.overrides).map_err(|e| e.context(path.display()))
    }
}

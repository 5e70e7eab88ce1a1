use fqgan::Error;
use fqgan::Result;
use fqgan::teachers::{Lpips, Teacher};
use fqgan::train::{Recipe, Teachers};
use fqgan::weights::{Map, Source};
use std::path::PathBuf;

/// The frozen networks that losses are made with.
#[derive(clap::Args)]
pub struct Args {
    /// VGG16 with LPIPS's heads
    #[arg(long, value_name = "FILE")]
    lpips: Option<PathBuf>,
    /// The heads, where --lpips is torchvision's VGG16
    #[arg(long, value_name = "FILE", requires = "lpips")]
    lpips_heads: Option<PathBuf>,
    /// A tower, by the recipe's name
    #[arg(long = "teacher", value_name = "NAME=FILE", value_parser = pair)]
    teachers: Vec<(String, PathBuf)>,
}

fn pair(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=FILE")?;
    Ok((name.to_string(), path.into()))
}

impl Args {
    /// Those that were given.
    pub fn open(&self, recipe: &Recipe) -> Result<Teachers> {
        let open = |path: &PathBuf| Source::open(path, Map::On);
        let mut teachers = Teachers::default();
        for (name, path) in &self.teachers {
            if !recipe.loss.semantic.iter().any(|s| s.teacher == *name) {
                return Err(Error::invalid(format!("--teacher {name}: the recipe has no such teacher")));
            }
            teachers.towers.insert(name.clone(), Teacher::open(&open(path)?)?);
        }
        if let Some(path) = &self.lpips {
            let network = open(path)?;
            let heads = self.lpips_heads.as_ref().map(open).transpose()?;
            teachers.lpips = Some(Lpips::open(&network, heads.as_ref().unwrap_or(&network))?);
        }
        Ok(teachers)
    }
}

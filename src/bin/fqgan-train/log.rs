//! What a person and other programs see of a run.

use fqgan::image::Picture;
use fqgan::train::recipe::Run;
use fqgan::train::run::Watch;
use fqgan::train::{Report, Scalar};
use fqgan::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Of a terminal that is none, how often a line is printed.
const QUIET: Duration = Duration::from_secs(30);

pub struct Log {
    out: PathBuf,
    lines: Option<File>,
    bar: ProgressBar,
    batch: usize,
    steps: u64,
    /// The last line, and the step and time it was of.
    printed: Option<(u64, Instant)>,
}

impl Log {
    pub fn new(out: &Path, run: &Run) -> Result<Log> {
        let bar = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} (about {eta} left)");
            ProgressBar::new(run.steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        } else {
            ProgressBar::hidden()
        };
        Ok(Log { out: out.into(), lines: None, bar, batch: run.batch, steps: run.steps, printed: None })
    }

    pub fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    fn write(&mut self, step: u64, scalars: &[Scalar]) -> Result<()> {
        let path = self.out.join("scalars.jsonl");
        let io = |e: std::io::Error| Error::io(format_args!("writing {}", path.display()), &e);
        let file = match &mut self.lines {
            Some(file) => file,
            none => none.insert(OpenOptions::new().create(true).append(true).open(&path).map_err(io)?),
        };
        let mut line = Map::from_iter([("step".to_string(), json!(step))]);
        line.extend(scalars.iter().map(|s| (s.name.clone(), json!(s.value))));
        let line = Value::from(line).to_string() + "\n";
        file.write_all(line.as_bytes()).map_err(io)
    }
}

impl Watch for Log {
    fn step(&mut self, step: u64, report: &Report) -> Result<()> {
        self.write(step, &report.scalars)?;
        let now = Instant::now();
        let due = match self.printed {
            Some((_, when)) => {
                now - when >= if self.bar.is_hidden() { QUIET } else { Duration::from_millis(500) }
            }
            None => true,
        };
        if due {
            let mut text = String::new();
            for name in ["total", "reconstruction", "perceptual", "adversarial", "grad_norm"] {
                if let Some(value) = report.get(name) {
                    text += &format!("{name} {value:.4}  ");
                }
            }
            for scalar in report.scalars.iter().filter(|s| s.name.starts_with("usage")) {
                text += &format!("{} {:.0}%  ", scalar.name, 100.0 * scalar.value);
            }
            if let Some((before, when)) = self.printed {
                let rate = (step - before) as f64 * self.batch as f64 / (now - when).as_secs_f64();
                text += &format!("{rate:.1} images/s");
            }
            if self.bar.is_hidden() {
                eprintln!("{step}/{} {text}", self.steps);
            } else {
                self.bar.set_message(text);
            }
            self.printed = Some((step, now));
        }
        self.bar.set_position(step);
        Ok(())
    }

    fn validated(&mut self, step: u64, scalars: &[Scalar]) -> Result<()> {
        let text: Vec<String> = scalars.iter().map(|s| format!("{} {:.3}", s.name, s.value)).collect();
        self.say(&format!("step {step}: {}", text.join("  ")));
        self.write(step, scalars)
    }

    fn pictures(&mut self, step: u64, pictures: &[(String, Picture)]) -> Result<()> {
        let folder = self.out.join("pictures");
        fs::create_dir_all(&folder)
            .map_err(|e| Error::io(format_args!("making {}", folder.display()), &e))?;
        pictures
            .iter()
            .try_for_each(|(name, picture)| picture.save_png(folder.join(format!("{step:08}-{name}.png"))))
    }

    fn saved(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }

    fn warn(&mut self, message: &str) {
        self.say(&format!("warning: {message}"));
    }
}

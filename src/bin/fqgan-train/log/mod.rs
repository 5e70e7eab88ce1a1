//! What a person and other programs see of a run: a bar, `scalars.jsonl`, TensorBoard's events, curves, pictures.

mod curves;
mod events;

use curves::Curves;
use events::Events;
use fqgan::image::Picture;
use fqgan::train::recipe::Run;
use fqgan::train::run::Watch;
use fqgan::train::{Report, Scalar};
use fqgan::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a line is printed where no terminal looks on.
const QUIET: Duration = Duration::from_secs(30);
/// How often the bar's words change.
const LIVELY: Duration = Duration::from_millis(500);

pub struct Log {
    out: PathBuf,
    /// From the run's beginning on.
    files: Option<(File, Events)>,
    curves: Curves,
    bar: ProgressBar,
    run: Run,
    /// What the machine can do in a second, where that was asked.
    peak: f64,
    /// When words were last printed, after which step, what was waited before, and the arithmetic since.
    printed: Option<(u64, Instant, f64)>,
    flops: f64,
}

impl Log {
    /// Of a run into `out`; `peak` in operations a second.
    pub fn new(out: &Path, run: &Run, peak: f64) -> Log {
        let bar = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg} (about {eta} left)");
            ProgressBar::new(run.steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        } else {
            ProgressBar::hidden()
        };
        let curves = Curves::default();
        Log { out: out.into(), files: None, curves, bar, run: run.clone(), peak, printed: None, flops: 0.0 }
    }

    /// Prints a line beside the bar.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Of the lines of an earlier run keeps those of the steps that count, and reads them.
    fn lines(&mut self, after: u64) -> Result<File> {
        let path = self.out.join("scalars.jsonl");
        let io = |e: std::io::Error| Error::io(format_args!("writing {}", path.display()), &e);
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(&path).map_err(io)?;
        let mut kept = 0;
        let mut reader = BufReader::new(&mut file);
        let mut line = String::new();
        while reader.read_line(&mut line).map_err(io)? > 0 {
            // A line that was cut by a kill is the last one.
            let Ok(Value::Object(mut all)) = serde_json::from_str(&line) else { break };
            let Some(step) = all.remove("step").and_then(|step| step.as_u64()).filter(|&step| step <= after)
            else {
                break;
            };
            let scalar = |(name, value): (String, Value)| Some(Scalar { name, value: value.as_f64()? });
            self.curves.add(step, &all.into_iter().filter_map(scalar).collect::<Vec<_>>());
            kept += line.len() as u64;
            line.clear();
        }
        drop(reader);
        file.set_len(kept).map_err(io)?;
        Ok(file)
    }

    fn write(&mut self, step: u64, scalars: &[Scalar]) -> Result<()> {
        let Some((lines, events)) = &mut self.files else {
            return Err(Error::internal("a step before the beginning"));
        };
        let mut line = Map::from_iter([("step".to_string(), json!(step))]);
        // What is not finite is null in JSON.
        line.extend(scalars.iter().map(|s| (s.name.clone(), json!(s.value))));
        let line = Value::from(line).to_string() + "\n";
        lines
            .write_all(line.as_bytes())
            .map_err(|e| Error::io(format_args!("writing {}/scalars.jsonl", self.out.display()), &e))?;
        events.scalars(step, scalars)?;
        self.curves.add(step, scalars);
        Ok(())
    }

    /// The words of a step.
    fn words(&self, step: u64, report: &Report) -> String {
        let mut text = String::new();
        for name in ["total", "reconstruction", "perceptual", "adversarial", "discriminator", "grad_norm"] {
            if let Some(value) = report.get(name) {
                text += &format!("{name} {value:.4}  ");
            }
        }
        for scalar in report.scalars.iter().filter(|s| s.name.starts_with("usage")) {
            text += &format!("{} {:.0}%  ", scalar.name, 100.0 * scalar.value);
        }
        if let Some((before, when, waited)) = self.printed {
            let seconds = when.elapsed().as_secs_f64();
            let rate = (step - before) as f64 * self.run.batch as f64 / seconds;
            text += &format!("{rate:.1} images/s, {:.0}% of peak", 100.0 * self.flops / seconds / self.peak);
            if report.waited > 0.0 {
                text += &format!(", {:.1}% waiting", 100.0 * (report.waited - waited) / seconds);
            }
        }
        text
    }
}

impl Watch for Log {
    fn begins(&mut self, after: u64) -> Result<()> {
        let lines = self.lines(after)?;
        self.files = Some((lines, Events::create(&self.out, after)?));
        self.bar.set_position(after);
        self.curves.draw(&self.out.join("curves.svg"))
    }

    fn step(&mut self, step: u64, report: &Report) -> Result<()> {
        self.write(step, &report.scalars)?;
        self.flops += report.flops;
        let every = if self.bar.is_hidden() { QUIET } else { LIVELY };
        let due = self.printed.is_none_or(|(_, when, _)| when.elapsed() >= every);
        if due || step == self.run.steps {
            let text = self.words(step, report);
            match self.bar.is_hidden() {
                true => eprintln!("{step}/{} {text}", self.run.steps),
                false => self.bar.set_message(text),
            }
            self.printed = Some((step, Instant::now(), report.waited));
            self.flops = 0.0;
        }
        self.bar.set_position(step);
        Ok(())
    }

    fn validated(&mut self, step: u64, scalars: &[Scalar]) -> Result<()> {
        let text: Vec<String> = scalars.iter().map(|s| format!("{} {:.3}", s.name, s.value)).collect();
        if !text.is_empty() {
            self.say(&format!("step {step}: {}", text.join("  ")));
            self.write(step, scalars)?;
        }
        self.curves.draw(&self.out.join("curves.svg"))
    }

    fn pictures(&mut self, step: u64, pictures: &[(String, Picture)]) -> Result<()> {
        let folder = self.out.join("pictures");
        fs::create_dir_all(&folder)
            .map_err(|e| Error::io(format_args!("making {}", folder.display()), &e))?;
        for (name, picture) in pictures {
            picture.save_png(folder.join(format!("{step:08}-{name}.png")))?;
            let mut png = Vec::new();
            picture.write_png(&mut png)?;
            if let Some((_, events)) = &mut self.files {
                events.picture(step, name, [picture.width(), picture.height()], &png)?;
            }
        }
        Ok(())
    }

    fn warn(&mut self, message: &str) {
        self.say(&format!("warning: {message}"));
    }
}

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use adwp_base::output;
use adwp_train::{Progress, Reporter};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors alone.
    Quiet,
    /// What happens, with progress.
    Normal,
    /// Every metric of every epoch.
    Verbose,
}

/// Seconds between lines of progress where stderr is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Progress on stderr: a bar on a terminal, plain lines elsewhere.
pub(crate) struct Console {
    verbosity: Verbosity,
    terminal: bool,
    bar: Option<ProgressBar>,
    last_line: Instant,
    /// When the work outside of the steps began that is shown.
    aside_start: Instant,
}

impl Console {
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        Self {
            verbosity,
            terminal: stderr().is_terminal(),
            bar: None,
            last_line: Instant::now(),
            aside_start: Instant::now(),
        }
    }

    /// A line on stderr, above the bar where there is one.
    pub(crate) fn say(&mut self, text: &str) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| output::message(text)),
            None => output::message(text),
        }
    }

    fn show(&mut self, done: u64, total: u64, text: String) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{bar:16} {percent:>3}% {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(total).with_style(style)
            });
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(text);
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            output::message(&text);
        }
    }

    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Reporter for Console {
    fn step(&mut self, p: &Progress) {
        let (done, total) = (p.epoch * p.steps + p.step, p.epochs * p.steps);
        // What matters most comes first: a narrow terminal cuts the end off.
        let text = format!(
            "{}: epoch {}/{}, {} left, {:.0} images/s, loss {:.3}",
            p.phase,
            p.epoch + 1,
            p.epochs,
            duration(p.seconds_left),
            p.images_per_s,
            p.loss,
        );
        self.show(done as u64, total as u64, text);
    }

    fn aside(&mut self, what: &str, done: usize, total: usize) {
        if done <= 1 {
            self.aside_start = Instant::now();
        }
        let seconds = self.aside_start.elapsed().as_secs_f64();
        // What is over in a moment needs no bar.
        if seconds > 1.0 {
            let left = seconds / done as f64 * total.saturating_sub(done) as f64;
            self.show(
                done as u64,
                total as u64,
                format!("{what} {done}/{total}, {} left", duration(left)),
            );
        }
    }

    fn epoch(&mut self, metrics: &Map<String, Value>) {
        if self.verbosity == Verbosity::Verbose {
            let text = Value::Object(metrics.clone()).to_string();
            self.say(&text);
            return;
        }
        let text =
            |key: &str| metrics.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |key: &str| metrics.get(key).and_then(Value::as_f64);
        let mut line =
            format!("{}: epoch {}", text("phase"), number("epoch").unwrap_or_default() + 1.0);
        if let Some(stage) = metrics.get("stage").and_then(Value::as_str) {
            line += &format!(" ({stage})");
        }
        let shown = [
            ("train_loss", "loss", 1.0, ""),
            ("validation_accuracy", "validation accuracy", 100.0, "%"),
            ("validation_area", "validation area", 100.0, "%"),
            ("test_accuracy", "test accuracy", 100.0, "%"),
            ("superiority", "superiority", 1.0, ""),
            ("images_per_s", "images/s", 1.0, ""),
        ];
        for (key, label, factor, unit) in shown {
            if let Some(value) = number(key) {
                let digits = if key == "images_per_s" {
                    0
                } else if unit == "%" {
                    2
                } else {
                    4
                };
                line += &format!(", {label} {:.digits$}{unit}", value * factor);
            }
        }
        self.say(&line);
    }

    fn message(&mut self, text: &str) {
        self.say(text);
    }

    fn phase_end(&mut self) {
        self.clear();
    }
}

/// A duration for people: "42 s", "3 min 05 s", "2 h 10 min".
pub(crate) fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_well() {
        assert_eq!(
            [duration(-1.0), duration(59.4), duration(185.0), duration(7800.0)],
            ["0 s", "59 s", "3 min 05 s", "2 h 10 min"]
        );
    }
}

//! Whether the live map keeps its promises: what it costs, how true it is, how soon it shows a write, and how
//! still it can be.
//!
//! `cargo bench --bench live [-- SECTION|PROGRAM…] [--rounds N] [--seconds S] [--settle S] [--binary PATH]
//! [--window-ms N] [--exact] [--lazy] [--picture FILE]`. For by hand and for the night: it takes half an
//! hour, prints every median with its spread, and ends with status 1 where a bar is missed, and a list of
//! these.
//!
//! Sections are `cost`, `map`, `ceiling`, `prompt`, `sleep`, `exact` and `mappings`, all of them by default;
//! a program's name is `cost` of that program alone. `--binary` measures another build of the program, and
//! `--window-ms` configures it, in the sections that start it (`cost`, `prompt`, `sleep`). With `--exact`,
//! the maps of `map` are made without a budget: what is missing to 1 then is not for want of one. With
//! `--lazy`, its programs sleep between their writes. `--picture FILE` writes a picture of redis under load,
//! as the session shows it, and nothing else.

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../viewer/mod.rs"]
mod viewer;

#[path = "live/bars.rs"]
mod bars;
#[path = "live/cost.rs"]
mod cost;
#[path = "live/exact.rs"]
mod exact;
#[path = "live/map.rs"]
mod map;
#[path = "live/programs.rs"]
mod programs;
#[path = "live/seen.rs"]
mod seen;
#[path = "live/session.rs"]
mod session;
#[path = "live/still.rs"]
mod still;
#[path = "live/watch.rs"]
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bars::Bars;
use memory_glass::capture::MonitorConfig;
use programs::PROGRAMS;
use session::Program;

/// What was asked for.
pub struct Options {
    program: Program,
    /// How often what is measured in rounds is; as the section thinks best where nothing is said.
    rounds: Option<usize>,
    /// Processor time of a run.
    seconds: f64,
    /// Processor time that a watched target works before it counts.
    settle: f64,
    /// No budget.
    exact: bool,
    lazy: bool,
    picture: Option<PathBuf>,
    names: Vec<String>,
}

type Section = (&'static str, fn(&Options, &mut Bars));

const SECTIONS: [Section; 7] = [
    ("cost", cost::cost),
    ("map", map::recorded),
    ("ceiling", map::ceiling),
    ("prompt", still::prompt),
    ("sleep", still::sleep),
    ("exact", exact::exact),
    ("mappings", exact::mappings),
];

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let program = Program { binary: env!("CARGO_BIN_EXE_memory-glass").into(), window_ms: None };
        let mut options = Options {
            program,
            rounds: None,
            seconds: 3.0,
            settle: 2.0,
            exact: false,
            lazy: false,
            picture: None,
            names: Vec::new(),
        };
        fn value<T: FromStr>(option: &str, word: Option<String>) -> Result<T, String> {
            let word = word.ok_or_else(|| format!("{option} needs a value"))?;
            word.parse().map_err(|_| format!("{option} cannot be {word}"))
        }
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => {}
                "--rounds" => options.rounds = Some(value::<usize>(&word, words.next())?.max(1)),
                "--seconds" => options.seconds = value(&word, words.next())?,
                "--settle" => options.settle = value(&word, words.next())?,
                "--binary" => options.program.binary = value(&word, words.next())?,
                "--window-ms" => options.program.window_ms = Some(value(&word, words.next())?),
                "--picture" => options.picture = Some(value(&word, words.next())?),
                "--exact" => options.exact = true,
                "--lazy" => options.lazy = true,
                name if is_name(name) => options.names.push(word),
                _ => return Err(format!("{word} is none of {}", names().collect::<Vec<_>>().join(", "))),
            }
        }
        Ok(options)
    }

    fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or(usual)
    }

    /// How a process is watched in this process: as the session does by default.
    fn watched(&self) -> MonitorConfig {
        let usual = MonitorConfig::default();
        let window = self.program.window_ms.map(|window| Duration::from_millis(window.into()));
        let slowdown_budget = usual.slowdown_budget.filter(|_| !self.exact);
        MonitorConfig { window: window.unwrap_or(usual.window), slowdown_budget, ..usual }
    }

    fn wants_program(&self, name: &str) -> bool {
        let chosen = |wanted: &&String| PROGRAMS.iter().any(|loaded| loaded.name == **wanted);
        !self.names.iter().any(|wanted| chosen(&wanted)) || self.names.iter().any(|wanted| wanted == name)
    }

    fn wants_section(&self, name: &str) -> bool {
        let program = name == "cost"
            && self.names.iter().any(|wanted| PROGRAMS.iter().any(|loaded| loaded.name == wanted));
        self.names.is_empty() || program || self.names.iter().any(|wanted| wanted == name)
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().map(|(name, _)| *name).chain(PROGRAMS.iter().map(|loaded| loaded.name))
}

fn is_name(word: &str) -> bool {
    names().any(|name| name == word)
}

/// How long somebody on this machine has waited for a processor so far.
fn stalled() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = text.lines().find(|line| line.starts_with("some"))?;
    Some(Duration::from_micros(some.split_once("total=")?.1.parse().ok()?))
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{}; load before {}", options.program.binary.display(), load.trim());
    let mut bars = Bars::default();
    if let Some(file) = &options.picture {
        still::picture(&options, file, &mut bars);
        return bars.end();
    }
    for (name, section) in SECTIONS {
        if options.wants_section(name) {
            let (begun, before) = (Instant::now(), stalled());
            section(&options, &mut bars);
            let stalled = stalled().zip(before).map(|(now, before)| now.saturating_sub(before));
            if let Some(stalled) = stalled {
                let share = 100.0 * stalled.as_secs_f64() / begun.elapsed().as_secs_f64();
                println!("(for {share:.0} % of that time, somebody on this machine waited for a processor)");
            }
        }
    }
    bars.end()
}

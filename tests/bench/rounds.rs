//! Throughput: limits and figures take turns, round by round.

use crate::engine;
use crate::limit::{Limit, Pace};
use crate::measure::median;
use crate::report::{Figure, Wanted};
use crate::stage::{Programs, Stage};
use crate::{Options, Section, say, turns};

/// How many of everything.
pub(crate) struct Counts {
    pub forks: usize,
    turns: usize,
    pub fresh: usize,
    warm: usize,
}

impl Counts {
    pub(crate) const fn of(options: &Options) -> Self {
        if options.quick {
            Self {
                forks: 2000,
                turns: 20_000,
                fresh: 1000,
                warm: 5000,
            }
        } else {
            Self {
                forks: 10_000,
                turns: 60_000,
                fresh: 5000,
                warm: 40_000,
            }
        }
    }
}

/// One value per round of everything that was asked for.
#[derive(Default)]
struct Values {
    forks: Vec<Pace>,
    zygote: Vec<Pace>,
    turns: Vec<f64>,
    fresh: Vec<Pace>,
    dynamic: Vec<Pace>,
    warm: Vec<Pace>,
    threads: Vec<Pace>,
    futures: Vec<Pace>,
    naps: Vec<Pace>,
}

pub(crate) fn measure(
    options: &Options,
    fixed: &Programs,
    dynamic: &Programs,
) -> anyhow::Result<Vec<Figure>> {
    let counts = Counts::of(options);
    let store = options.store;
    let wants = |section| options.wants(section);
    let mut values = Values::default();
    for round in 1..=options.rounds {
        say(&format!("throughput, round {round} of {}", options.rounds))?;
        if wants(Section::Fork) {
            values.forks.push(Limit::Forks.measure(counts.forks)?);
        }
        if wants(Section::Zygote) || wants(Section::Fresh) {
            values.zygote.push(Limit::Zygote.measure(counts.forks)?);
        }
        if wants(Section::Fresh) {
            let burst = |programs| engine::burst(store, programs, counts.fresh, 1);
            values.fresh.push(burst(fixed)?);
            values.dynamic.push(burst(dynamic)?);
        }
        if wants(Section::Turns) || wants(Section::Warm) {
            let stage = Stage::new(store)?;
            let path = stage.path("turns.db");
            values.turns.push(turns::measure(&path, counts.turns)?);
        }
        if wants(Section::Warm) {
            let warm = engine::burst(store, fixed, counts.warm, 0)?;
            values.warm.push(warm);
        }
        if wants(Section::Groups) {
            let group = |task, options: &[&str]| {
                let program = ("bench-tasks", task);
                engine::burst_of(store, fixed, program, counts.warm, options)
            };
            let threads = ["--processes", "1", "--groups", "1", "--threads", "8"];
            values.threads.push(group("echo_thread", &threads)?);
            let futures = ["--processes", "1", "--groups", "1", "--async-tasks", "100"];
            values.futures.push(group("nap", &futures)?);
            values.naps.push(Limit::Naps.measure(counts.warm)?);
        }
    }
    Ok(values.figures())
}

impl Values {
    fn figures(&self) -> Vec<Figure> {
        let speeds = |paces: &[Pace]| paces.iter().map(|pace| pace.per_second).collect();
        let costs = |paces: &[Pace]| paces.iter().map(|pace| pace.cpu_seconds_per_1000).collect();
        let limit = |name: &str, values| Figure::plain(name, "/s", values, Wanted::Nothing);
        let speed = |name: &str, paces: &[Pace], limits: Vec<f64>, wanted| Figure {
            name: name.into(),
            unit: "jobs/s",
            values: speeds(paces),
            limits,
            wanted,
        };
        let cost = |name: &str, paces: &[Pace], limits: Vec<f64>| Figure {
            name: format!("CPU per 1,000 jobs, {name}"),
            unit: "s",
            values: costs(paces),
            limits,
            wanted: Wanted::Nothing,
        };
        let (zygote, turns) = (speeds(&self.zygote), self.turns.clone());
        let bare: Vec<f64> = costs(&self.zygote);
        let figures = [
            limit("limit: fork, _exit, wait, window 8", speeds(&self.forks)),
            limit(
                "limit: bare zygote, 200 B in and out, window 8",
                zygote.clone(),
            ),
            limit("limit: bare SQLite turns of 64, jobs", turns.clone()),
            limit(
                "limit: bare runtime, 10 ms, 100 at once",
                speeds(&self.naps),
            ),
            speed(
                "a fresh process each, static",
                &self.fresh,
                zygote.clone(),
                Wanted::Ratio(0.6),
            ),
            speed(
                "a fresh process each, dynamic",
                &self.dynamic,
                zygote,
                Wanted::Nothing,
            ),
            speed(
                "--tasks-per-process 0",
                &self.warm,
                turns,
                Wanted::Ratio(0.25),
            ),
            speed(
                "--groups 1 --threads 8",
                &self.threads,
                Vec::new(),
                Wanted::Nothing,
            ),
            speed(
                "async, 10 ms each, 100 in flight",
                &self.futures,
                speeds(&self.naps),
                Wanted::Ratio(0.8),
            ),
            cost("fresh, static", &self.fresh, bare.clone()),
            cost("fresh, dynamic", &self.dynamic, bare),
            cost("--tasks-per-process 0", &self.warm, Vec::new()),
        ];
        let is_there = |figure: &Figure| !median(&figure.values).is_nan();
        figures.into_iter().filter(is_there).collect()
    }
}

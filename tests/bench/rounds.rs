//! Throughput: limits and figures take turns, round by round.

use crate::engine::{self, Burst};
use crate::limit::Limit;
use crate::measure::median;
use crate::report::{Figure, Wanted};
use crate::stage::{Programs, Stage};
use crate::{Options, Section, say, turns};

/// How many of everything.
struct Counts {
    forks: usize,
    turns: usize,
    fresh: usize,
    warm: usize,
}

impl Counts {
    const fn of(options: &Options) -> Self {
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
    forks: Vec<f64>,
    zygote: Vec<f64>,
    turns: Vec<f64>,
    fresh: Vec<Burst>,
    dynamic: Vec<Burst>,
    warm: Vec<Burst>,
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
    }
    Ok(values.figures())
}

impl Values {
    fn figures(&self) -> Vec<Figure> {
        let jobs = |bursts: &[Burst]| -> Vec<f64> {
            bursts.iter().map(|burst| burst.jobs_per_second).collect()
        };
        let cpu = |bursts: &[Burst]| -> Vec<f64> {
            bursts
                .iter()
                .map(|burst| burst.cpu_seconds_per_1000)
                .collect()
        };
        let limit = |name: &str, values: &[f64]| {
            Figure::plain(name, "/s", values.to_vec(), Wanted::Nothing)
        };
        let against = |name: &str, bursts: &[Burst], limits: &[f64], wanted| Figure {
            name: name.into(),
            unit: "jobs/s",
            values: jobs(bursts),
            limits: limits.to_vec(),
            wanted,
        };
        let per_thousand =
            |name: &str, bursts: &[Burst]| Figure::plain(name, "s", cpu(bursts), Wanted::Nothing);
        let figures = vec![
            limit("limit: fork, _exit, wait, window 8", &self.forks),
            limit(
                "limit: bare zygote, 200 B in and out, window 8",
                &self.zygote,
            ),
            limit("limit: bare SQLite turns of 64, jobs", &self.turns),
            against(
                "a fresh process each, static",
                &self.fresh,
                &self.zygote,
                Wanted::Ratio(0.6),
            ),
            against(
                "a fresh process each, dynamic",
                &self.dynamic,
                &self.zygote,
                Wanted::Nothing,
            ),
            against(
                "--tasks-per-process 0",
                &self.warm,
                &self.turns,
                Wanted::Ratio(0.25),
            ),
            per_thousand("CPU per 1,000 jobs, fresh, static", &self.fresh),
            per_thousand("CPU per 1,000 jobs, fresh, dynamic", &self.dynamic),
            per_thousand("CPU per 1,000 jobs, --tasks-per-process 0", &self.warm),
        ];
        figures
            .into_iter()
            .filter(|figure| !median(&figure.values).is_nan())
            .collect()
    }
}

//! What isolation costs: the same jobs under each profile, a fresh process each.

use crate::engine;
use crate::limit::Limit;
use crate::measure::{percentile, rest};
use crate::report::{Figure, Wanted};
use crate::rounds::Counts;
use crate::stage::{PATIENCE, Programs, Stage, job_for};
use crate::{Options, say};

use std::time::Duration;

/// The profiles, and what part of a bare zygote's speed is wanted of each.
const PROFILES: [(&str, Wanted); 3] = [
    ("none", Wanted::Nothing),
    ("process", Wanted::Ratio(0.55)),
    ("strict", Wanted::Ratio(0.25)),
];

/// Jobs whose start is measured after so many.
const WARM: usize = 20;

pub(crate) fn measure(options: &Options, programs: &Programs) -> anyhow::Result<Vec<Figure>> {
    let counts = Counts::of(options);
    let mut zygotes = Vec::new();
    let mut speeds = [const { Vec::new() }; PROFILES.len()];
    let mut starts = [const { Vec::new() }; PROFILES.len()];
    for round in 1..=options.rounds {
        say(&format!("profiles, round {round} of {}", options.rounds))?;
        zygotes.push(Limit::Zygote.measure(counts.forks)?.per_second);
        for (place, (profile, _)) in PROFILES.iter().enumerate() {
            let arguments = ["--processes", "8", "--sandbox", profile];
            let program = ("child", "echo");
            let pace =
                engine::burst_of(options.store, programs, program, counts.fresh, &arguments)?;
            speeds[place].push(pace.per_second);
            let mut times = first_instructions(options, programs, profile)?;
            starts[place].push(percentile(&mut times, 0.5));
        }
    }
    let mut figures = vec![Figure::plain(
        "limit: bare zygote beside the profiles",
        "/s",
        zygotes.clone(),
        Wanted::Nothing,
    )];
    for ((profile, wanted), values) in PROFILES.into_iter().zip(speeds) {
        figures.push(Figure {
            name: format!("--sandbox {profile}, a fresh process each"),
            unit: "jobs/s",
            values,
            limits: zygotes.clone(),
            wanted,
        });
    }
    for ((profile, _), values) in PROFILES.into_iter().zip(starts) {
        let name = format!("--sandbox {profile}, submit to first instruction, idle, p50");
        figures.push(Figure::plain(&name, "us", values, Wanted::Nothing));
    }
    Ok(figures)
}

/// From the call of `submit` to the first line of the task, in microseconds, by the one clock of
/// this machine.
fn first_instructions(
    options: &Options,
    programs: &Programs,
    profile: &str,
) -> anyhow::Result<Vec<f64>> {
    let count = if options.quick { 50 } else { 200 };
    let stage = Stage::new(options.store)?;
    let client = stage.client()?;
    let arguments = ["--processes", "2", "--sandbox", profile];
    let supervisor = stage.supervisor(programs, "bench-tasks", &arguments)?;
    let mut times = Vec::with_capacity(count);
    for place in 0..WARM + count {
        let before = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
        let uuid = client.submit(job_for("clock"))?;
        let started: i64 = client.result_as(uuid, Some(PATIENCE))?;
        let before = before.tv_sec() * 1_000_000_000 + before.tv_nsec();
        if place >= WARM {
            #[expect(clippy::cast_precision_loss, reason = "some milliseconds at the most")]
            times.push((started - before) as f64 / 1e3);
        }
        // Long enough for the slot to have its next process.
        rest(Duration::from_millis(10));
    }
    supervisor.stop()?;
    Ok(times)
}

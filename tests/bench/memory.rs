//! What an idle tree of processes takes, and what a long queue costs its supervisor.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::Store;
use crate::measure::rest;
use crate::report::{Figure, Wanted};
use crate::stage::{Programs, Stage, wait_until};

/// Slots of the idle tree.
const SLOTS: usize = 8;

/// One line of `/proc/PID/smaps_rollup`, in MB.
fn rollup(pid: u32, line: &str) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text =
        fs::read_to_string(&path).with_context(|| format!("reading {path} (run as root)"))?;
    let found = text
        .lines()
        .find_map(|text| text.strip_prefix(line)?.trim().strip_suffix("kB"));
    let kb: f64 = found.context("a line of smaps_rollup")?.trim().parse()?;
    Ok(kb / 1024.0)
}

/// The children of a process's main thread.
fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    text.split_whitespace()
        .map(|pid| Ok(pid.parse()?))
        .collect()
}

/// Shared memory counted in parts: the supervisor, its zygote and eight processes that wait.
pub(crate) fn idle_tree(
    store: Store,
    programs: &Programs,
    rounds: usize,
) -> anyhow::Result<Figure> {
    let mut sums = Vec::new();
    for _ in 0..rounds {
        let stage = Stage::new(store)?;
        let options = ["--processes", &SLOTS.to_string()];
        let supervisor = stage.supervisor(programs, "child", &options)?;
        let pid = supervisor.pid();
        wait_until("eight idle processes", || {
            Ok((children(pid)?.len() == SLOTS + 1).then_some(()))
        })?;
        rest(Duration::from_millis(1500));
        let all = children(pid)?;
        ensure!(all.len() == SLOTS + 1, "the tree changed while it was idle");
        let parts = std::iter::once(pid)
            .chain(all)
            .map(|pid| rollup(pid, "Pss:"));
        sums.push(parts.sum::<anyhow::Result<f64>>()?);
        supervisor.stop()?;
    }
    let name = format!("memory (PSS) of the idle tree, {SLOTS} slots");
    Ok(Figure::plain(name, "MB", sums, Wanted::AtMost(12.0)))
}

/// Anonymous memory of a supervisor that works on the jobs of `stage`, at its most.
pub(crate) fn long_queue(
    stage: &Stage,
    programs: &Programs,
    queued: usize,
    rounds: usize,
) -> anyhow::Result<Figure> {
    let mut most = Vec::new();
    for _ in 0..rounds {
        let options = ["--processes", "8", "--tasks-per-process", "0"];
        let supervisor = stage.supervisor(programs, "child", &options)?;
        let mut highest: f64 = 0.0;
        for _ in 0..30 {
            rest(Duration::from_millis(100));
            highest = highest.max(rollup(supervisor.pid(), "Anonymous:")?);
        }
        most.push(highest);
        supervisor.stop()?;
    }
    let name = format!("anonymous memory of the supervisor, {queued} queued");
    Ok(Figure::plain(name, "MB", most, Wanted::AtMost(20.0)))
}

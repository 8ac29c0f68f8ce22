//! What one job consumed, measured by its own process.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bulkhead_shared::frame::ReportedUsage;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::context::now;

/// Measures jobs. A process that runs a single one leaves the peak to its supervisor, who sees
/// it when the process is reaped.
#[derive(Debug)]
pub(crate) struct Meter {
    /// What a process has spent is then its only job's, as its supervisor reckons too.
    is_of_one: bool,
    peak: Option<Peak>,
    /// When the last job ended, and what had been spent by then.
    last: Option<(Instant, Start)>,
}

/// A job that comes this soon after another began where that ended: to ask what was spent in between
/// would take as long as it.
const SOON: Duration = Duration::from_millis(1);

/// The peak of resident memory, as far as this kernel and sandbox show it.
#[derive(Debug)]
struct Peak {
    reset: File,
    /// Where it stands, if the cheaper account does not follow the reset: it knows the program that
    /// this process was before an exec as well.
    status: Option<File>,
}

/// Where a job began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Start {
    user_us: u64,
    system_us: u64,
    is_peak_reset: bool,
}

impl Start {
    const fn at(spent: &Spent) -> Self {
        Self {
            user_us: spent.user_us,
            system_us: spent.system_us,
            is_peak_reset: false,
        }
    }
}

/// What this process, and its children that were waited for, have taken.
#[derive(Debug, Default)]
struct Spent {
    user_us: u64,
    system_us: u64,
    /// Of this process alone, as the kernel's account of it has it.
    peak_kb: Option<u64>,
}

impl Meter {
    /// For a process that runs one job.
    pub(crate) const fn of_one_job() -> Self {
        Self {
            is_of_one: true,
            peak: None,
            last: None,
        }
    }

    /// For a process that may run several.
    pub(crate) fn of_many_jobs() -> Self {
        Self {
            is_of_one: false,
            peak: Peak::open(),
            last: None,
        }
    }

    /// A job begins.
    pub(crate) fn start(&mut self) -> Start {
        if self.is_of_one {
            return Start::default();
        }
        let last = self.last.filter(|(at, _)| now() - *at < SOON);
        Start {
            is_peak_reset: self.peak.as_mut().is_some_and(Peak::reset),
            ..last.map_or_else(|| Start::at(&Spent::so_far()), |(_, start)| start)
        }
    }

    /// It has ended.
    pub(crate) fn stop(&mut self, start: Start) -> ReportedUsage {
        let spent = Spent::so_far();
        if !self.is_of_one {
            self.last = Some((now(), Start::at(&spent)));
        }
        let peak = self.peak.as_ref().filter(|_| start.is_peak_reset);
        ReportedUsage {
            cpu_user_us: spent.user_us.saturating_sub(start.user_us),
            cpu_system_us: spent.system_us.saturating_sub(start.system_us),
            max_rss_kb: peak.and_then(|peak| peak.read(&spent)),
        }
    }
}

/// CPU time of this thread so far: user, system, in microseconds.
pub(crate) fn thread_cpu_us() -> (u64, u64) {
    getrusage(UsageWho::RUSAGE_THREAD).map_or((0, 0), |usage| {
        (micros(usage.user_time()), micros(usage.system_time()))
    })
}

/// What a job of a group reports: its own CPU time, and the peak of the process it shares.
pub(crate) fn shared((cpu_user_us, cpu_system_us): (u64, u64)) -> ReportedUsage {
    ReportedUsage {
        cpu_user_us,
        cpu_system_us,
        max_rss_kb: Spent::so_far().peak_kb,
    }
}

impl Peak {
    fn open() -> Option<Self> {
        let reset = File::options()
            .write(true)
            .open("/proc/self/clear_refs")
            .ok()?;
        let status = Some(File::open("/proc/self/status").ok()?);
        let mut peak = Self { reset, status };
        let spent = peak.reset().then(Spent::so_far);
        if let Some(spent) = spent
            && spent.peak_kb? <= peak.read(&spent)?
        {
            peak.status = None;
        }
        Some(peak)
    }

    fn reset(&mut self) -> bool {
        // "5" sets the peak back to what is resident now (proc(5)).
        self.reset.write_all(b"5").is_ok()
    }

    fn read(&self, spent: &Spent) -> Option<u64> {
        let Some(status) = &self.status else {
            return spent.peak_kb;
        };
        let mut buffer = [0; 4096];
        let len = status.read_at(&mut buffer, 0).ok()?;
        peak_kb(std::str::from_utf8(buffer.get(..len)?).ok()?)
    }
}

fn peak_kb(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

impl Spent {
    fn so_far() -> Self {
        let mut spent = Self::default();
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let Ok(usage) = getrusage(who) else { continue };
            spent.user_us += micros(usage.user_time());
            spent.system_us += micros(usage.system_time());
            if matches!(who, UsageWho::RUSAGE_SELF) {
                spent.peak_kb = u64::try_from(usage.max_rss()).ok();
            }
        }
        spent
    }
}

fn micros(time: TimeVal) -> u64 {
    u64::try_from(time.num_microseconds()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_kernels_table() {
        assert_eq!(peak_kb("VmPeak:\t 9 kB\nVmHWM:\t    1234 kB\n"), Some(1234));
        assert_eq!(peak_kb("VmPeak:\t 9 kB\n"), None);
    }

    #[test]
    fn burnt_cpu_time_is_seen() {
        let mut meter = Meter::of_many_jobs();
        let start = meter.start();
        while meter.stop(start).cpu_user_us + meter.stop(start).cpu_system_us == 0 {}
    }

    #[test]
    fn what_was_spent_before_is_charged_only_to_the_one_job_of_a_process() {
        let spent = |spent: &ReportedUsage| spent.cpu_user_us + spent.cpu_system_us;
        let mut burnt = Spent::so_far();
        while burnt.user_us + burnt.system_us < 1000 {
            burnt = Spent::so_far();
        }
        let mut one = Meter::of_one_job();
        let start = one.start();
        let usage = one.stop(start);
        assert!(spent(&usage) >= 1000);
        assert_eq!(usage.max_rss_kb, None);
        let mut many = Meter::of_many_jobs();
        assert!(many.start().user_us + many.start().system_us >= 1000);
    }

    #[test]
    fn what_is_spent_between_two_jobs_is_charged_to_neither_unless_they_come_close() {
        let sum = |start: &Start| start.user_us + start.system_us;
        let mut meter = Meter::of_many_jobs();
        let first = meter.start();
        meter.stop(first);
        let (end, at) = (sum(&Start::at(&Spent::so_far())), now());
        let mut burnt = end;
        while burnt < end + 1000 || now() - at < 2 * SOON {
            burnt = sum(&Start::at(&Spent::so_far()));
        }
        assert!(sum(&meter.start()) >= burnt);
    }
}

//! What one job consumed, measured by its own process.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use bulkhead_shared::frame::ReportedUsage;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Measures jobs. A process that runs a single one leaves the peak to its supervisor, who sees
/// it when the process is reaped.
#[derive(Debug)]
pub(crate) struct Meter {
    peak: Option<Peak>,
}

/// The peak of resident memory, as far as this kernel and sandbox show it.
#[derive(Debug)]
struct Peak {
    reset: File,
    /// Where it stands, if the cheaper account does not follow the reset: it knows the program that
    /// this process was before an exec as well.
    status: Option<File>,
}

/// Where a job began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    user_us: u64,
    system_us: u64,
    is_peak_reset: bool,
}

impl Meter {
    /// For a process that runs one job.
    pub(crate) const fn of_one_job() -> Self {
        Self { peak: None }
    }

    /// For a process that may run several.
    pub(crate) fn of_many_jobs() -> Self {
        Self { peak: Peak::open() }
    }

    /// A job begins.
    pub(crate) fn start(&mut self) -> Start {
        let (user_us, system_us) = cpu_us();
        Start {
            user_us,
            system_us,
            is_peak_reset: self.peak.as_mut().is_some_and(Peak::reset),
        }
    }

    /// It has ended.
    pub(crate) fn stop(&self, start: Start) -> ReportedUsage {
        let (user_us, system_us) = cpu_us();
        let peak = self.peak.as_ref().filter(|_| start.is_peak_reset);
        ReportedUsage {
            cpu_user_us: user_us.saturating_sub(start.user_us),
            cpu_system_us: system_us.saturating_sub(start.system_us),
            max_rss_kb: peak.and_then(Peak::read),
        }
    }
}

/// CPU time of this thread so far: user, system, in microseconds.
pub(crate) fn thread_cpu_us() -> (u64, u64) {
    getrusage(UsageWho::RUSAGE_THREAD).map_or((0, 0), |usage| {
        let micros = |time: nix::sys::time::TimeVal| u64::try_from(time.num_microseconds());
        (
            micros(usage.user_time()).unwrap_or(0),
            micros(usage.system_time()).unwrap_or(0),
        )
    })
}

/// What a job of a group reports: its own CPU time, and the peak of the process it shares.
pub(crate) fn shared((cpu_user_us, cpu_system_us): (u64, u64)) -> ReportedUsage {
    ReportedUsage {
        cpu_user_us,
        cpu_system_us,
        max_rss_kb: own_peak_kb(),
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
        if peak.reset() && own_peak_kb()? <= peak.read()? {
            peak.status = None;
        }
        Some(peak)
    }

    fn reset(&mut self) -> bool {
        // "5" sets the peak back to what is resident now (proc(5)).
        self.reset.write_all(b"5").is_ok()
    }

    fn read(&self) -> Option<u64> {
        let Some(status) = &self.status else {
            return own_peak_kb();
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

/// The peak as the kernel's account of this process has it.
fn own_peak_kb() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    u64::try_from(usage.max_rss()).ok()
}

/// User and system time of this process and of its children that were waited for.
fn cpu_us() -> (u64, u64) {
    let mut sum = (0, 0);
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        if let Ok(usage) = getrusage(who) {
            sum.0 += u64::try_from(usage.user_time().num_microseconds()).unwrap_or(0);
            sum.1 += u64::try_from(usage.system_time().num_microseconds()).unwrap_or(0);
        }
    }
    sum
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
        let mut meter = Meter::of_one_job();
        let start = meter.start();
        while meter.stop(start).cpu_user_us + meter.stop(start).cpu_system_us == 0 {}
        assert_eq!(meter.stop(start).max_rss_kb, None);
    }
}

//! What a server says about itself, and what follows from it.

use std::collections::HashMap;

use redis::Value;

use super::address::Address;
use super::answer::{bytes, list};
use super::call::Call;
use super::line::Line;
use super::trouble::Trouble;
use crate::finding::{Finding, Severity};
use crate::time::Timestamp;
use crate::units::Size;

/// Settings that matter.
const SETTINGS: [&str; 4] = ["appendonly", "appendfsync", "save", "maxmemory-policy"];

/// Percent of the memory, or of the connections, from which on there is little left, and none.
const LITTLE: u64 = 80;
const NONE: u64 = 95;

/// `INFO`, and the settings; each as far as it may be read.
#[derive(Debug, Default)]
pub(super) struct Facts {
    info: Option<HashMap<String, String>>,
    settings: Option<HashMap<String, String>>,
}

impl Facts {
    /// Asks the server. Those of a provider may forbid some of it.
    pub(super) fn read(line: &mut Line) -> Result<Self, Trouble> {
        let info = allowed(line, Call::plain(&[b"INFO"]))?;
        let info = info.and_then(|text| bytes(text).ok());
        let mut config = Call::plain(&[b"CONFIG", b"GET"]);
        for setting in SETTINGS {
            config.arg(setting);
        }
        let settings = allowed(line, config)?;
        Ok(Self {
            info: info.map(|text| parse(&String::from_utf8_lossy(&text))),
            settings: settings.and_then(pairs),
        })
    }

    fn info(&self, name: &str) -> &str {
        let found = self.info.as_ref().and_then(|info| info.get(name));
        found.map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.info(name).parse().unwrap_or(0)
    }

    fn setting(&self, name: &str) -> Option<&str> {
        let found = self.settings.as_ref()?.get(name)?;
        Some(found)
    }

    /// Which server it is.
    pub(super) fn version(&self, place: &str) -> Finding {
        let valkey = self.info("valkey_version");
        let version = match (valkey, self.info("redis_version")) {
            ("", "") => "a server that does not tell its version".into(),
            ("", version) => format!("Redis {version}"),
            (version, _) => format!("Valkey {version}"),
        };
        Finding::ok("store", format!("{place}, {version}"))
    }

    /// All else.
    pub(super) fn findings(&self, address: &Address) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.info.is_none() || self.settings.is_none() {
            findings.push(self.unreadable());
        }
        if self.info.is_some() {
            findings.push(self.role(address));
            findings.push(self.memory());
            findings.push(self.connections());
            findings.push(self.persistence());
        }
        findings.extend(self.eviction());
        if !matches!(address, Address::Server(_)) && self.info("role") == "master" {
            findings.push(self.failover());
        }
        findings
    }

    fn unreadable(&self) -> Finding {
        let what = match (&self.info, &self.settings) {
            (None, None) => "`INFO` and `CONFIG GET` are",
            (None, _) => "`INFO` is",
            _ => "`CONFIG GET` is",
        };
        let why = "what the server keeps on disk, and what it evicts, is only known as far as it \
                   says so by itself";
        Finding::ok("settings", format!("{what} not allowed to this user"))
            .because(Severity::Hint, why)
            .way_out("ask the provider whether it evicts nothing and keeps an append-only file")
    }

    fn role(&self, address: &Address) -> Finding {
        let is_cluster = matches!(address, Address::Cluster(_));
        let finding = Finding::ok("role", self.info("role"));
        if self.info("role") == "slave" && !is_cluster {
            let master = format!("{}:{}", self.info("master_host"), self.info("master_port"));
            Finding::ok("role", format!("a replica of {master}"))
                .because(Severity::Error, "a replica takes no jobs and no endings")
                .way_out("name its master, or its sentinels with redis+sentinel://")
        } else {
            finding
        }
    }

    fn memory(&self) -> Finding {
        let (used, most) = (self.number("used_memory"), self.number("maxmemory"));
        let (most, whose) = match most {
            0 => (self.number("total_system_memory"), "its machine"),
            most => (most, "maxmemory"),
        };
        let found = format!("{} used of {} ({whose})", Size(used), Size(most));
        let finding = Finding::ok("memory", found);
        let why = "a server without memory takes no new jobs; one that takes more than its machine \
                   has is killed";
        let way_out = "give it more, or keep results and dead letters for a shorter time";
        match percent(used, most) {
            NONE.. => finding.because(Severity::Error, why).way_out(way_out),
            LITTLE.. => finding.because(Severity::Warning, why).way_out(way_out),
            _ => finding,
        }
    }

    fn connections(&self) -> Finding {
        let (open, most) = (self.number("connected_clients"), self.number("maxclients"));
        let finding = Finding::ok("connections", format!("{open} of {most}"));
        if percent(open, most) >= LITTLE {
            finding
                .because(
                    Severity::Warning,
                    "a supervisor or producer more may not get in",
                )
                .way_out("raise `maxclients`, and see who holds so many (`CLIENT LIST`)")
        } else {
            finding
        }
    }

    fn eviction(&self) -> Option<Finding> {
        let policy = self.setting("maxmemory-policy");
        let policy = policy.unwrap_or_else(|| self.info("maxmemory_policy"));
        if policy.is_empty() {
            return None;
        }
        let finding = Finding::ok("eviction", policy);
        if policy == "noeviction" {
            return Some(finding);
        }
        let is_limited = self.number("maxmemory") > 0;
        let (severity, why) = match (policy.starts_with("allkeys"), is_limited) {
            (true, true) => (
                Severity::Error,
                "when memory is short jobs vanish, any of them",
            ),
            (true, false) => (
                Severity::Warning,
                "as soon as there is a `maxmemory` and it is short, jobs vanish, any of them",
            ),
            (false, _) => (
                Severity::Warning,
                "when memory is short results and ended jobs vanish before their time, and \
                 what supervisors say about themselves",
            ),
        };
        Some(
            finding
                .because(severity, why)
                .way_out("`CONFIG SET maxmemory-policy noeviction`, then `CONFIG REWRITE`"),
        )
    }

    fn failover(&self) -> Finding {
        let replicas = self.number("connected_slaves");
        let finding = Finding::ok("failover", format!("replicas: {replicas}"));
        if replicas == 0 {
            return finding
                .because(
                    Severity::Warning,
                    "nothing takes over when this server dies",
                )
                .way_out("start a replica of it");
        }
        let why = "a replica is behind by what is on its way: a failover may take the last jobs \
                   that were submitted, and endings, whose jobs then run again";
        finding.because(Severity::Hint, why)
    }

    /// What is lost when the server dies, before it does.
    fn persistence(&self) -> Finding {
        if self.info("aof_last_write_status") == "err"
            || self.info("rdb_last_bgsave_status") == "err"
        {
            return Finding::ok("persistence", "the last write to its disk has failed")
                .because(
                    Severity::Error,
                    "it may take no more writes, and what it takes may be lost",
                )
                .way_out("read the server's log; its disk may be full");
        }
        if self.info("aof_enabled") == "1" {
            return self.append_only();
        }
        let keep = "`CONFIG SET appendonly yes` and `CONFIG SET appendfsync always` (or \
                    `everysec`, to lose no more than about the last second), then `CONFIG REWRITE`";
        let save = self.setting("save");
        let lost = |found: String, why: &str| {
            Finding::ok("persistence", found)
                .because(Severity::Warning, why)
                .way_out(keep)
        };
        if save == Some("") {
            return lost(
                "appendonly no, and no snapshots: nothing is kept on disk".into(),
                "a crash or a restart of Redis loses everything since it was started: every job \
                 that waits or runs, dead letters and results",
            );
        }
        let saved = self.number("rdb_last_save_time").saturating_mul(1000);
        let ago = Timestamp::now().since(Timestamp::from_millis(saved));
        let changes = self.number("rdb_changes_since_last_save");
        let when = save.map_or_else(
            || "snapshots, if any".into(),
            |save| format!("save `{save}`"),
        );
        lost(
            format!(
                "appendonly no, {when}: {changes} changes since {} s ago are in no snapshot",
                ago.as_secs()
            ),
            "a crash of Redis loses everything since the last snapshot: jobs that were submitted, \
             and endings, whose jobs then run again",
        )
    }

    fn append_only(&self) -> Finding {
        let last = "jobs that were just submitted, and endings, whose jobs then run again";
        let (found, severity, why) = match self.setting("appendfsync") {
            Some("always") => {
                let found = "appendonly yes, appendfsync always: a crash of Redis loses nothing";
                return Finding::ok("persistence", found);
            }
            Some("everysec") => (
                "appendonly yes, appendfsync everysec",
                Severity::Hint,
                format!("a crash of Redis and its machine loses about the last second: {last}"),
            ),
            Some(_) => (
                "appendonly yes, appendfsync no",
                Severity::Warning,
                format!(
                    "a crash of Redis and its machine loses what the kernel has not written yet, \
                     about the last 30 seconds: {last}"
                ),
            ),
            None => (
                "appendonly yes; how often it is written through cannot be read",
                Severity::Hint,
                format!("a crash of Redis and its machine may lose about the last second: {last}"),
            ),
        };
        Finding::ok("persistence", found)
            .because(severity, why)
            .way_out("`CONFIG SET appendfsync always`, then `CONFIG REWRITE`")
    }
}

/// The answer, or `None` if the server does not allow it or does not know it.
fn allowed(line: &mut Line, call: Call) -> Result<Option<Value>, Trouble> {
    match line.run(&[call]) {
        Ok(mut answers) => Ok(Some(answers.swap_remove(0))),
        Err(Trouble::Answer(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

fn percent(used: u64, most: u64) -> u64 {
    used.saturating_mul(100).checked_div(most).unwrap_or(0)
}

fn parse(info: &str) -> HashMap<String, String> {
    let pairs = info
        .lines()
        .filter_map(|line| line.trim_end().split_once(':'));
    pairs.map(|(k, v)| (k.into(), v.into())).collect()
}

fn pairs(answer: Value) -> Option<HashMap<String, String>> {
    let text = |value| Some(String::from_utf8_lossy(&bytes(value).ok()?).into_owned());
    let all: Option<Vec<String>> = match answer {
        Value::Map(pairs) => pairs
            .into_iter()
            .flat_map(|(k, v)| [text(k), text(v)])
            .collect(),
        answer => list(answer).ok()?.into_iter().map(text).collect(),
    };
    let all = all?;
    let pairs = all.chunks_exact(2);
    Some(pairs.map(|two| (two[0].clone(), two[1].clone())).collect())
}

#[cfg(test)]
mod tests;

//! What can be wrong with a server, before it goes wrong.

use std::time::Duration;

use redis::Value;

use super::address::Address;
use super::answer::{Items, bytes};
use super::call::Call;
use super::control::scan;
use super::facts::Facts;
use super::foreign;
use super::line::Line;
use super::store::Store;
use super::trouble::Trouble;
use crate::broker::BrokerError;
use crate::finding::{Depth, Finding, Severity};
use crate::time::{Now, Timestamp};

/// Round trips that are timed, and what one of them may take without slowing down any job.
const TIMED: usize = 5;
const SLOW: Duration = Duration::from_millis(20);

/// Clocks that differ by less are as good as one, ...
const SAME_TIME: Duration = Duration::from_millis(500);

/// ... and from here on delays are not what their producers meant.
const OTHER_TIME: Duration = Duration::from_secs(5);

/// Queues whose keys are looked at quickly.
const QUEUES: usize = 100;

/// Foreign keys that are named.
const SHOWN: usize = 3;

/// Why a foreign key matters.
const FOREIGN: &str = "a command that meets it fails: its queue, or all of them, stand still";

impl Store {
    pub(super) fn findings(&self, depth: Depth) -> Result<Vec<Finding>, BrokerError> {
        let mut findings = Vec::new();
        let nodes: Vec<Address> = match &self.lines.address {
            Address::Cluster(nodes) => nodes.iter().cloned().map(Address::Server).collect(),
            one => vec![one.clone()],
        };
        let is_alone = nodes.len() == 1;
        let mut foreign = self.foreign_in_tables(depth)?;
        for node in &nodes {
            match self.look(node, depth, &mut foreign) {
                Ok(found) => {
                    let name = (!is_alone).then(|| node.show());
                    merge(&mut findings, found, name.as_deref());
                }
                Err(trouble) if is_alone => return Err(self.say(&trouble)),
                Err(trouble) => {
                    let found = trouble.translate(&node.show()).to_string();
                    let why = "it is needed when the others in the URL are away";
                    let finding = Finding::ok("reachable", found)
                        .because(Severity::Warning, why)
                        .way_out("start it, or leave it out of the URL");
                    merge(&mut findings, vec![finding], None);
                }
            }
        }
        findings.push(keys(&foreign));
        Ok(findings)
    }

    /// One server.
    fn look(
        &self,
        node: &Address,
        depth: Depth,
        foreign: &mut Vec<String>,
    ) -> Result<Vec<Finding>, Trouble> {
        let mut line = Line::open(node)?;
        let times = round_trips(&mut line)?;
        let clock = clock(&mut line)?;
        let facts = Facts::read(&mut line)?;
        if depth == Depth::Thorough {
            self.foreign_by_scan(&mut line, foreign)?;
        }
        let mut findings = vec![facts.version(&node.show()), times, clock];
        findings.extend(facts.findings(&self.lines.address));
        Ok(findings)
    }

    /// Keys that have a place of ours and another type.
    fn foreign_in_tables(&self, depth: Depth) -> Result<Vec<String>, BrokerError> {
        let common = self.common_tag();
        let mut foreign = Vec::new();
        let look = |tag: &str| -> Result<Option<String>, BrokerError> {
            let answers = self.lines.run_again(&foreign::types_of(tag))?;
            Ok(foreign::first(tag, &answers))
        };
        foreign.extend(look(&common)?);
        // Nothing can be said of queues if their list is not ours.
        if foreign.is_empty() {
            let most = if depth == Depth::Quick {
                QUEUES
            } else {
                usize::MAX
            };
            for queue in self.all_queues()?.iter().take(most) {
                foreign.extend(look(&self.tag(queue))?);
            }
        }
        Ok(foreign)
    }

    /// The same for all keys of the namespace that one server has, whatever they are called.
    fn foreign_by_scan(&self, line: &mut Line, foreign: &mut Vec<String>) -> Result<(), Trouble> {
        let pattern = format!("{{{}|*", self.namespace);
        let mut cursor = b"0".to_vec();
        loop {
            let (next, keys) = scan(line, &cursor, &pattern)?;
            let calls: Vec<_> = keys
                .iter()
                .map(|key| Call::plain(&[b"TYPE", key]))
                .collect();
            let types = if calls.is_empty() {
                Vec::new()
            } else {
                line.run(&calls)?
            };
            for (key, found) in keys.iter().zip(types) {
                let key = String::from_utf8_lossy(key);
                if let Value::SimpleString(found) = found {
                    let strange = foreign::strange(&key, &found);
                    foreign.extend(strange.filter(|one| !foreign.contains(one)));
                }
            }
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }
}

/// Adds what another server has been found to be: of two findings about one thing the worse.
fn merge(findings: &mut Vec<Finding>, more: Vec<Finding>, node: Option<&str>) {
    for mut finding in more {
        if let Some(node) = node
            && !finding.found.contains(node)
        {
            finding.found = format!("{node}: {}", finding.found);
        }
        match findings.iter_mut().find(|one| one.check == finding.check) {
            Some(known) if known.severity < finding.severity => *known = finding,
            Some(_) => {}
            None => findings.push(finding),
        }
    }
}

fn keys(foreign: &[String]) -> Finding {
    if foreign.is_empty() {
        return Finding::ok("keys", "all that were looked at are ours");
    }
    let shown = foreign[..foreign.len().min(SHOWN)].join("; ");
    let found = format!("{shown}; in all {}", foreign.len());
    Finding::ok("keys", found)
        .because(Severity::Error, FOREIGN)
        .way_out("find out whose they are and remove them, or name another --namespace")
}

fn round_trips(line: &mut Line) -> Result<Finding, Trouble> {
    let mut times = Vec::with_capacity(TIMED);
    for _ in 0..TIMED {
        let start = Now::read().mono;
        line.run(&[Call::plain(&[b"PING"])])?;
        times.push(Now::read().mono - start);
    }
    times.sort();
    Ok(latency(times[TIMED / 2]))
}

fn latency(median: Duration) -> Finding {
    let found = format!("a round trip takes {:.2} ms", median.as_secs_f64() * 1000.0);
    let finding = Finding::ok("latency", found);
    if median > SLOW {
        finding
            .because(
                Severity::Warning,
                "every claim and every ending waits for one",
            )
            .way_out("bring supervisors and server together, and see that neither is overloaded")
    } else {
        finding
    }
}

fn clock(line: &mut Line) -> Result<Finding, Trouble> {
    let before = Timestamp::now();
    let answer = line.run(&[Call::plain(&[b"TIME"])])?.swap_remove(0);
    let after = Timestamp::now();
    let mut items = Items::of(answer)?;
    let mut part = || -> Result<Option<u64>, Trouble> {
        let text = String::from_utf8(bytes(items.next()?)?).ok();
        Ok(text.and_then(|text| text.parse().ok()))
    };
    let (seconds, micros) = (part()?, part()?);
    let millis = seconds
        .zip(micros)
        .map(|(seconds, micros)| seconds * 1000 + micros / 1000);
    let server = Timestamp::from_millis(millis.unwrap_or_default());
    Ok(skew(before, server, after))
}

/// The server's clock was read between two looks at ours.
fn skew(before: Timestamp, server: Timestamp, after: Timestamp) -> Finding {
    let (ahead, behind) = (server.since(after), before.since(server));
    let by = ahead.max(behind);
    let way = if ahead > behind { "ahead" } else { "behind" };
    let finding = match by {
        Duration::ZERO => Finding::ok("clock", "the server's clock agrees with ours"),
        by => Finding::ok(
            "clock",
            format!(
                "the server's clock is {:.1} s {way} of ours",
                by.as_secs_f64()
            ),
        ),
    };
    let why = "the server's clock decides: delays and expiries that a producer reckons by its own \
               come so much too early or too late, and so do times that are shown";
    if by >= OTHER_TIME {
        finding
            .because(Severity::Warning, why)
            .way_out("let both machines follow the same time server")
    } else if by >= SAME_TIME {
        finding.because(Severity::Hint, why)
    } else {
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_is_certain() {
        let at = Timestamp::from_millis;
        for (before, server, after, severity) in [
            (1000, 1001, 1002, Severity::Ok),
            (1000, 1400, 1002, Severity::Ok),
            // Read at any moment of a slow answer.
            (1000, 8000, 9000, Severity::Ok),
            (2000, 1000, 2100, Severity::Hint),
            (9000, 1000, 9001, Severity::Warning),
            (1000, 9000, 1001, Severity::Warning),
        ] {
            let finding = skew(at(before), at(server), at(after));
            assert_eq!(finding.severity, severity, "{finding:?}");
        }
        let ahead = skew(at(0), at(7000), at(1));
        assert!(ahead.found.contains("7.0 s ahead"), "{ahead:?}");
    }

    #[test]
    fn of_several_servers_the_worst_is_told_with_its_name() {
        let mut findings = Vec::new();
        let bad = || Finding::ok("memory", "little").because(Severity::Warning, "why");
        merge(
            &mut findings,
            vec![Finding::ok("memory", "much")],
            Some("a"),
        );
        merge(&mut findings, vec![bad()], Some("b"));
        merge(
            &mut findings,
            vec![Finding::ok("memory", "much")],
            Some("c"),
        );
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].found, "b: little");
    }

    #[test]
    fn a_slow_round_trip_is_a_warning() {
        assert_eq!(latency(Duration::from_millis(1)).severity, Severity::Ok);
        assert_eq!(latency(SLOW * 2).severity, Severity::Warning);
    }
}

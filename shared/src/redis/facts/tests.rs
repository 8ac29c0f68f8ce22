use super::*;

fn facts(info: &str, settings: Option<&[(&str, &str)]>) -> Facts {
    let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    Facts {
        info: Some(parse(info)),
        settings: settings.map(|all| all.iter().map(own).collect()),
    }
}

#[test]
fn what_a_crash_loses_is_told_of_each_kind_of_server() {
    let always = [("appendfsync", "always"), ("save", "")];
    let second = [("appendfsync", "everysec"), ("save", "")];
    let never = [("appendfsync", "no"), ("save", "")];
    let snapshots = [("save", "3600 1")];
    for (info, settings, severity, word) in [
        ("aof_enabled:1", Some(&always[..]), Severity::Ok, "nothing"),
        (
            "aof_enabled:1",
            Some(&second[..]),
            Severity::Hint,
            "last second",
        ),
        (
            "aof_enabled:1",
            Some(&never[..]),
            Severity::Warning,
            "30 seconds",
        ),
        ("aof_enabled:1", None, Severity::Hint, "may lose"),
        (
            "aof_enabled:0",
            Some(&never[..]),
            Severity::Warning,
            "since it was started",
        ),
        (
            "aof_enabled:0",
            Some(&snapshots[..]),
            Severity::Warning,
            "last snapshot",
        ),
        ("aof_enabled:0", None, Severity::Warning, "last snapshot"),
        ("aof_last_write_status:err", None, Severity::Error, "disk"),
        ("rdb_last_bgsave_status:err", None, Severity::Error, "disk"),
    ] {
        let finding = facts(info, settings).persistence();
        assert_eq!(finding.severity, severity, "{finding:?}");
        let said = format!("{finding:?}");
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_server_that_evicts_is_worse_the_more_it_may_evict() {
    for (policy, most, severity) in [
        ("noeviction", 9, Severity::Ok),
        ("volatile-lru", 9, Severity::Warning),
        ("allkeys-lru", 0, Severity::Warning),
        ("allkeys-lru", 9, Severity::Error),
    ] {
        let info = format!("maxmemory:{most}\r\nmaxmemory_policy:{policy}\r\n");
        let finding = facts(&info, None).eviction().unwrap();
        assert_eq!(finding.severity, severity, "{finding:?}");
    }
    assert_eq!(facts("", None).eviction(), None);
}

#[test]
fn memory_is_measured_against_its_limit_or_its_machine() {
    for (most, machine, severity) in [
        (1000, 10, Severity::Ok),
        (120, 10, Severity::Warning),
        (101, 10, Severity::Error),
        (0, 1000, Severity::Ok),
        (0, 120, Severity::Warning),
        (0, 0, Severity::Ok),
    ] {
        let info = format!("used_memory:100\nmaxmemory:{most}\ntotal_system_memory:{machine}");
        let finding = facts(&info, None).memory();
        assert_eq!(finding.severity, severity, "{finding:?}");
    }
}

#[test]
fn a_replica_is_an_error_and_its_master_is_named() {
    let info = "role:slave\r\nmaster_host:over.there\r\nmaster_port:7";
    let alone = Address::parse("redis://here").unwrap();
    let finding = facts(info, None).role(&alone);
    assert_eq!(finding.severity, Severity::Error);
    assert!(finding.found.contains("over.there:7"), "{finding:?}");
    let cluster = Address::parse("redis+cluster://here").unwrap();
    assert_eq!(facts(info, None).role(&cluster).severity, Severity::Ok);
}

#[test]
fn what_may_not_be_read_is_a_hint() {
    let silent = Facts::default();
    let alone = Address::parse("redis://here").unwrap();
    let findings = silent.findings(&alone);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Hint);
}

#[test]
fn a_failover_is_explained_where_one_may_be() {
    let group = Address::parse("redis+sentinel://here/main").unwrap();
    for (replicas, severity) in [(0, Severity::Warning), (1, Severity::Hint)] {
        let info = format!("role:master\nconnected_slaves:{replicas}");
        let findings = facts(&info, None).findings(&group);
        let failover = findings.iter().find(|one| one.check == "failover");
        assert_eq!(failover.unwrap().severity, severity);
    }
}

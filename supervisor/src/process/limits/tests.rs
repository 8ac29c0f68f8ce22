use super::*;

#[test]
fn the_own_cgroup_of_a_hierarchy_is_found_also_in_a_container() {
    let mounts = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  32 31 0:29 /docker/1 /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let groups = "4:memory:/a/b\n2:cpu,cpuacct:/docker/1/x\n0::/\n";
    let of = |name| place_of(name, mounts, groups);
    assert_eq!(
        of("memory").unwrap(),
        Path::new("/sys/fs/cgroup/memory/a/b")
    );
    assert_eq!(
        of("cpu").unwrap(),
        Path::new("/sys/fs/cgroup/cpu,cpuacct/x")
    );
    assert_eq!(of("pids"), None);
}

fn cages(version: Version, below: &Path) -> Cages {
    let places = ALL
        .map(|controller| (controller, below.to_owned()))
        .to_vec();
    Cages::new(Controllers { version, places }, "x").unwrap()
}

/// A cage of version 2 below `dir` for a process of these amounts, and where it lies.
fn begun(dir: &Path, amounts: Amounts) -> (Cage, PathBuf) {
    let cage = cages(Version::V2, dir).cage(3).unwrap();
    cage.begin(amounts).unwrap();
    (cage, dir.join("bulkhead-x.limits/slot-3"))
}

#[test]
fn amounts_are_written_as_each_version_wants_them() {
    let amounts = Amounts {
        memory: Some(1 << 20),
        processes: Some(7),
        cpu_percent: Some(150),
    };
    for (version, memory, cpu) in [
        (Version::V1, "memory.limit_in_bytes", None),
        (Version::V2, "memory.max", Some("150000 100000")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let cage = cages(version, dir.path()).cage(3).unwrap();
        let slot = dir.path().join("bulkhead-x.limits/slot-3");
        cage.begin(amounts).unwrap();
        let read = |name: &str| fs::read_to_string(slot.join(name)).unwrap();
        assert_eq!(
            (read(memory), read("pids.max")),
            ("1048576".into(), "7".into())
        );
        if let Some(cpu) = cpu {
            assert_eq!(read("cpu.max"), cpu);
        }
        cage.begin(Amounts::default()).unwrap();
        assert_eq!(read("pids.max"), "max");
    }
}

#[test]
fn memory_is_lowered_for_the_present_process_and_never_raised() {
    let dir = tempfile::tempdir().unwrap();
    let cage = cages(Version::V2, dir.path()).cage(3).unwrap();
    let file = dir.path().join("bulkhead-x.limits/slot-3/memory.max");
    let limit = || fs::read_to_string(&file).unwrap();
    let amounts = Amounts {
        memory: Some(64),
        ..Amounts::default()
    };
    cage.begin(amounts).unwrap();
    for (most, kept) in [(128, "64"), (32, "32"), (48, "32")] {
        cage.lower_memory(most).unwrap();
        assert_eq!(limit(), kept);
    }
    cage.begin(amounts).unwrap();
    assert_eq!(limit(), "64");
}

#[test]
fn memory_is_never_lowered_below_what_is_in_use() {
    for (version, usage, limit) in [
        (
            Version::V1,
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
        ),
        (Version::V2, "memory.current", "memory.max"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let cages = cages(version, dir.path());
        let slot = dir.path().join("bulkhead-x.limits/slot-3");
        fs::create_dir(&slot).unwrap();
        fs::write(slot.join(usage), "50\n").unwrap();
        let cage = cages.cage(3).unwrap();
        cage.begin(Amounts {
            memory: Some(64),
            ..Amounts::default()
        })
        .unwrap();
        for (used, most, kept) in [("50\n", 32, "50"), ("20\n", 32, "32"), ("40\n", 30, "32")] {
            fs::write(slot.join(usage), used).unwrap();
            cage.lower_memory(most).unwrap();
            assert_eq!(fs::read_to_string(slot.join(limit)).unwrap(), kept);
        }
    }
}

#[test]
fn cgroups_to_which_earlier_processes_have_left_much_are_used_up() {
    let dir = tempfile::tempdir().unwrap();
    let cages = cages(Version::V2, dir.path());
    let slot = dir.path().join("bulkhead-x.limits/slot-3");
    fs::create_dir(&slot).unwrap();
    fs::write(slot.join("memory.current"), "0\n").unwrap();
    let cage = cages.cage(3).unwrap();
    assert!(!cage.is_used_up());
    fs::write(slot.join("memory.current"), format!("{}\n", LEFT_MOST + 1)).unwrap();
    assert!(cage.is_used_up());
}

#[test]
fn after_a_write_that_failed_the_next_process_has_its_own_limit() {
    let dir = tempfile::tempdir().unwrap();
    let amounts = Amounts {
        memory: Some(64),
        processes: Some(7),
        ..Amounts::default()
    };
    let (cage, slot) = begun(dir.path(), amounts);
    // Its writes fail.
    fs::remove_file(slot.join("pids.max")).unwrap();
    fs::create_dir(slot.join("pids.max")).unwrap();
    let lower = Amounts {
        memory: Some(32),
        processes: Some(5),
        ..amounts
    };
    assert!(cage.begin(lower).is_err());
    fs::remove_dir(slot.join("pids.max")).unwrap();
    cage.begin(amounts).unwrap();
    assert_eq!(fs::read_to_string(slot.join("memory.max")).unwrap(), "64");
}

#[test]
fn only_what_differs_is_written_for_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let amounts = Amounts {
        memory: Some(64),
        processes: Some(7),
        cpu_percent: Some(50),
    };
    let (cage, slot) = begun(dir.path(), amounts);
    for name in ["pids.max", "cpu.max"] {
        fs::remove_file(slot.join(name)).unwrap();
    }
    cage.lower_memory(32).unwrap();
    cage.begin(amounts).unwrap();
    assert_eq!(fs::read_to_string(slot.join("memory.max")).unwrap(), "64");
    assert!(!slot.join("pids.max").exists() && !slot.join("cpu.max").exists());
}

#[test]
fn what_the_kernel_counts_is_told_from_the_process_on() {
    let dir = tempfile::tempdir().unwrap();
    let cages = cages(Version::V2, dir.path());
    let slot = dir.path().join("bulkhead-x.limits/slot-3");
    fs::create_dir(&slot).unwrap();
    let happen = |killed: u64, refused: u64| {
        fs::write(
            slot.join("memory.events"),
            format!("oom 1\noom_kill {killed}\n"),
        )
        .unwrap();
        fs::write(slot.join("pids.events"), format!("max {refused}\n")).unwrap();
    };
    happen(2, 5);
    let cage = cages.cage(3).unwrap();
    cage.begin(Amounts::default()).unwrap();
    assert_eq!((cage.bumps().killed, cage.bumps().refused), (0, 0));
    happen(3, 9);
    assert_eq!((cage.bumps().killed, cage.bumps().refused), (1, 4));
}

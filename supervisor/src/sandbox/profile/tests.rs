use proptest::prelude::*;
use serde_json::json;

use super::*;

fn written(value: serde_json::Value) -> Written {
    serde_json::from_value(value).unwrap()
}

fn declared(all: &[(&str, serde_json::Value)]) -> Result<Profiles, ProfileError> {
    let all = all
        .iter()
        .map(|(name, value)| ((*name).to_owned(), written(value.clone())));
    Profiles::declare(&all.collect())
}

fn refused(value: serde_json::Value) -> String {
    declared(&[("mine", value)]).unwrap_err().to_string()
}

#[test]
fn three_profiles_are_built_in_each_looser_than_the_next() {
    let all = Profiles::default();
    assert_eq!(
        all.names().collect::<Vec<_>>(),
        ["none", "process", "strict"]
    );
    let get = |name| all.get(name).unwrap();
    for (looser, stricter) in [
        ("none", "process"),
        ("process", "strict"),
        ("none", "strict"),
    ] {
        assert!(get(looser).looser_than(get(stricter)).is_some(), "{looser}");
        assert_eq!(get(stricter).looser_than(get(looser)), None, "{stricter}");
    }
}

#[test]
fn a_profile_has_what_it_says_and_inherits_the_rest() {
    let all = declared(&[
        (
            "media",
            json!({"inherits": "base", "tmp": "1GiB", "cpu-time": "30s"}),
        ),
        (
            "base",
            json!({"inherits": "strict", "read-only": ["/srv"], "network": "loopback", "memory": "none"}),
        ),
    ]);
    let all = all.unwrap();
    let media = all.get("media").unwrap();
    assert_eq!(media.tmp, Some(1 << 30));
    assert_eq!(media.cpu_time, Some(Duration::from_secs(30)));
    assert_eq!((media.network, media.memory), (Network::Loopback, None));
    assert!(
        media.read_only.contains(&PathBuf::from("/usr")),
        "of strict"
    );
    assert!(
        media.required.contains(&PathBuf::from("/srv")),
        "named by somebody"
    );
    assert!(!media.required.contains(&PathBuf::from("/usr")));
    assert_eq!(media.root, RootKind::Minimal);
}

#[test]
fn what_a_profile_leaves_out_is_that_of_process() {
    let all = declared(&[("mine", json!({"open-files": 100}))]).unwrap();
    let mine = all.get("mine").unwrap();
    let expected = Profile {
        name: "mine".into(),
        open_files: Some(100),
        ..Profile::process()
    };
    assert_eq!(*mine, expected);
}

#[test]
fn outputs_and_users_are_inherited_and_compared() {
    let all = declared(&[
        ("quiet", json!({"output": "1KiB", "user": "own"})),
        ("same", json!({"inherits": "quiet"})),
        ("loud", json!({"inherits": "quiet", "output": 1_048_576})),
        ("kept", json!({"inherits": "quiet", "user": "keep"})),
        ("named", json!({"inherits": "quiet", "user": "somebody"})),
    ]);
    let all = all.unwrap();
    let get = |name| all.get(name).unwrap();
    assert_eq!(
        (get("same").output, &get("same").user),
        (1024, &Some(User::Own))
    );
    assert_eq!(get("loud").looser_than(get("quiet")), Some("output"));
    assert_eq!(get("kept").looser_than(get("quiet")), Some("user"));
    assert_eq!(get("named").looser_than(get("quiet")), Some("user"));
    assert_eq!(get("named").looser_than(get("kept")), None);
    assert_eq!(get("quiet").looser_than(get("loud")), None);
    // What it inherits from the option may be the supervisor's.
    let usual = all.get("process").unwrap();
    let own = Profile {
        user: Some(User::Own),
        ..Profile::process()
    };
    assert_eq!(usual.looser_than(&own), Some("user"));
    assert_eq!(own.looser_than(usual), None);
}

#[test]
fn what_a_list_of_calls_still_allows_and_how_many_files_there_may_be_is_compared() {
    let all = declared(&[
        (
            "mute",
            json!({"deny-syscalls": ["socket", "connect", "bpf"]}),
        ),
        ("listed", json!({"syscalls": "allowlist"})),
        (
            "both",
            json!({"inherits": "listed", "deny-syscalls": ["socket", "connect"]}),
        ),
        (
            "more",
            json!({"inherits": "both", "allow-syscalls": ["bpf"]}),
        ),
        ("few", json!({"inherits": "strict", "tmp-files": 10})),
    ]);
    let all = all.unwrap();
    let get = |name| all.get(name).unwrap();
    assert_eq!(
        get("listed").looser_than(get("mute")),
        Some("deny-syscalls")
    );
    assert_eq!(get("both").looser_than(get("mute")), None);
    assert_eq!(get("more").looser_than(get("mute")), Some("deny-syscalls"));
    assert_eq!(get("strict").looser_than(get("few")), Some("tmp-files"));
    assert_eq!(get("few").looser_than(get("strict")), None);
    // Without a directory of its own a task has the host's.
    assert_eq!(get("few").looser_than(get("process")), None);
}

#[test]
fn a_profile_that_says_nothing_confines_no_more_than_the_one_it_inherits() {
    let all = declared(&[
        ("same", json!({"inherits": "none"})),
        ("more", json!({"inherits": "none", "network": "none"})),
    ]);
    let all = all.unwrap();
    assert!(!all.get("same").unwrap().confined);
    assert!(all.get("more").unwrap().confined);
}

#[test]
fn mistakes_are_told_with_the_profile_and_a_way_out() {
    for (value, word) in [
        (json!({"inherits": "lost"}), "no such profile"),
        (json!({"inherits": "mine"}), "circle"),
        (json!({"read-only": ["srv"]}), "not absolute"),
        (json!({"root": "minimal"}), "`tmp`"),
        (json!({"root": "minimal", "tmp": "1MiB"}), "`/proc`"),
        (json!({"inherits": "strict", "cwd": "/srv"}), "`cwd`"),
        (json!({"cpu-time": "10ms"}), "at least `1s`"),
        (json!({"memory": "1MiB"}), "16MiB"),
        (json!({"processes": 1}), "`processes`"),
        (json!({"output": "2MiB"}), "1MiB"),
        (json!({"deny-syscalls": ["opne"]}), "`opne`"),
        (json!({"may": ["locks(a", "progress"]}), "`locks(a`"),
    ] {
        let error = refused(value);
        assert!(
            error.contains("`mine`") || error.contains("`lost`"),
            "{error}"
        );
        assert!(error.contains(word), "{word}: {error}");
    }
    let error = declared(&[("process", json!({}))]).unwrap_err().to_string();
    assert!(error.contains("built in"), "{error}");
    let error = declared(&[("a b", json!({}))]).unwrap_err().to_string();
    assert!(error.contains("letters"), "{error}");
}

#[test]
fn a_chain_of_profiles_and_their_number_are_bounded() {
    let link = |n: usize| {
        (
            format!("p{n}"),
            written(json!({"inherits": format!("p{}", n + 1)})),
        )
    };
    let mut chain: BTreeMap<_, _> = (0..40).map(link).collect();
    chain.insert("p40".into(), written(json!({})));
    let error = Profiles::declare(&chain).unwrap_err().to_string();
    // Those at the end are found first, by their names.
    assert!(error.contains("16 steps"), "{error}");
    let many: BTreeMap<_, _> = (0..100)
        .map(|n| (format!("p{n}"), Written::default()))
        .collect();
    let error = Profiles::declare(&many).unwrap_err().to_string();
    assert!(error.contains("64 profiles"), "{error}");
}

#[test]
fn unknown_keys_and_values_of_the_wrong_kind_are_errors() {
    for value in [
        json!({"memroy": "1GiB"}),
        json!({"tmp": true}),
        json!({"network": "internet"}),
        json!({"namespaces": ["mount"]}),
        json!({"output": "none"}),
        json!({"user": "auto"}),
        json!({"user": ""}),
        json!({"user": 0}),
    ] {
        let parsed: Result<Written, _> = serde_json::from_value(value.clone());
        assert!(parsed.is_err(), "{value}");
    }
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let limit = || proptest::option::of(1_u64..3);
    let places = ["/a", "/a/b", "/c"];
    let paths = || {
        proptest::collection::btree_set(0..places.len(), 0..3)
            .prop_map(move |set| set.into_iter().map(|n| PathBuf::from(places[n])).collect())
    };
    let shape = (
        0..3_usize,
        0..2_usize,
        0..3_usize,
        0..3_usize,
        any::<bool>(),
    );
    let users = [
        None,
        Some(User::Own),
        Some(User::Keep),
        Some(User::Name("a".into())),
        Some(User::Name("b".into())),
    ];
    let calls = || {
        let known = ["bpf", "read", "socket"].map(String::from);
        proptest::sample::subsequence(known.to_vec(), 0..=3).prop_map(BTreeSet::from_iter)
    };
    let more = (0..users.len(), 0..3_u32, 0..2_u64, calls(), calls());
    let shape = (shape, more);
    (shape, limit(), limit(), limit(), paths(), paths()).prop_map(
        move |(
            ((network, root, landlock, calls, single_use), (user, output, tmp_files, allow, deny)),
            memory,
            processes,
            tmp,
            read,
            write,
        )| {
            Profile {
                network: [Network::None, Network::Loopback, Network::Host][network],
                root: [RootKind::Minimal, RootKind::Host][root],
                landlock: [Landlock::Files, Landlock::Scope, Landlock::Off][landlock],
                syscalls: [Syscalls::Allowlist, Syscalls::Denylist, Syscalls::All][calls],
                single_use,
                user: users[user].clone(),
                output,
                tmp_files,
                allow_syscalls: allow,
                deny_syscalls: deny,
                memory,
                processes,
                tmp,
                read_only: read,
                writable: write,
                ..Profile::process()
            }
        },
    )
}

proptest! {
    #[test]
    fn no_profile_is_looser_than_itself(profile in any_profile()) {
        prop_assert_eq!(profile.looser_than(&profile), None);
    }

    #[test]
    fn what_is_not_looser_than_a_stricter_one_is_not_looser_than_a_looser_one(
        a in any_profile(), b in any_profile(), c in any_profile(),
    ) {
        if a.looser_than(&b).is_none() && b.looser_than(&c).is_none() {
            prop_assert_eq!(a.looser_than(&c), None, "{:#?}\n{:#?}\n{:#?}", a, b, c);
        }
    }
}

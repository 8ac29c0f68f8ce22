//! The table of attacks as the docs have it: written from the expectations that the tests check.

use crate::stage::Who;
use crate::table::{ALL, Attack};

/// Where it stands, from here.
const PAGE: &str = "../shared/docs/attacks.md";

/// Set to write the page anew.
const WRITE: &str = "BULKHEAD_WRITE_DOCS";

fn cell(attack: &Attack, profile: &str) -> String {
    let words = [Who::Root, Who::User].map(|who| attack.expected(profile, who).word());
    match words {
        [root, user] if root == user => root.into(),
        [root, user] => format!("{root} / {user}"),
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Attacks\n\n\
         What attacks by tasks come to under the profiles that are built in, as the tests see it\n\
         (`tests/attacks`; this page is written by them). Where two words stand, the first is of a\n\
         supervisor that runs as root, the second of an ordinary user's.\n\n\
         - `refused`: the kernel or the supervisor says no.\n\
         - `held`: the task is ended by its limit or its deadline, or the attack comes to nothing.\n\
         - `gained`: it succeeds.\n\
         - `host`: that is up to the kernel and its settings.\n\n\
         | attack | what it tries | `none` | `process` | `strict` |\n|---|---|---|---|---|\n",
    );
    for attack in ALL {
        let cells = ["none", "process", "strict"].map(|profile| cell(attack, profile));
        let cells = cells.join(" | ");
        page.push_str(&format!(
            "| {} | {} | {cells} |\n",
            attack.name, attack.tries
        ));
    }
    page
}

#[test]
fn the_page_of_attacks_is_what_the_tests_expect() {
    let expected = page();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the tests expect: run this test with {WRITE}=1",
        path.display()
    );
}

//! Holds the pages for those who come from elsewhere to their word: each row has a counterpart with a
//! test, or a reason.

use crate::sources::{Source, root, rust};

/// The pages; fewer rows than these are not the whole of them.
const PAGES: [(&str, usize); 3] = [
    ("shared/docs/coming_from_alsek.md", 400),
    ("shared/docs/coming_from_runnel.md", 77),
    ("shared/docs/coming_from_slipstream.md", 46),
];

/// How heads of tables begin.
const HEADS: [&str; 3] = ["| Alsek |", "| Reference |", "|---"];

/// Shorter than this is no reason.
const REASON: usize = 15;

/// The cells of each row, without heads and rules of tables.
fn rows(page: &str) -> Vec<(usize, Vec<&str>)> {
    let lines = page.lines().enumerate();
    lines
        .filter(|(_, line)| line.starts_with('|'))
        .filter(|(_, line)| !HEADS.iter().any(|head| line.starts_with(head)))
        .map(|(index, line)| {
            let cells = line.trim().trim_matches('|').split('|');
            (index + 1, cells.map(str::trim).collect())
        })
        .collect()
}

/// The tests that a cell links: path and function.
fn links(cell: &str) -> Vec<(&str, &str)> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|link| link.split_once("::"))
        .filter(|(path, _)| path.ends_with(".rs"))
        .collect()
}

/// Whether the file has a test of that name, on its own or for each backend.
fn has_test(file: &Source, name: &str) -> bool {
    let dense: String = file.text.split_whitespace().collect();
    file.text.contains(&format!("fn {name}("))
        || dense.contains(&format!("for_each_backend!({name},"))
}

fn offences(page: &str, files: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for (line, cells) in rows(page) {
        let [_, counterpart, proof] = cells[..] else {
            found.push(format!("{line}: {} cells instead of three", cells.len()));
            continue;
        };
        if cells.iter().any(|cell| cell.is_empty()) {
            found.push(format!("{line}: a cell is blank"));
        }
        if cells.iter().any(|cell| cell.contains("MISSING")) {
            found.push(format!("{line}: {} is not there yet", cells[0]));
        }
        let links = links(proof);
        match counterpart {
            "none" if proof.len() < REASON => found.push(format!("{line}: no reason is given")),
            "none" => {}
            _ if links.is_empty() => found.push(format!("{line}: no test is linked")),
            _ => {}
        }
        for (path, name) in links {
            let file = files.iter().find(|file| file.path == path);
            if !file.is_some_and(|file| has_test(file, name)) {
                found.push(format!("{line}: no test `{name}` in {path}"));
            }
        }
    }
    found
}

#[test]
fn each_row_of_the_page_has_a_test_or_a_reason() {
    let files = [
        Source::made_up("tests/a.rs", "#[test]\nfn it_works() {}\n"),
        Source::made_up(
            "tests/b.rs",
            "for_each_backend!(\n    it_holds,\n    |s| {});",
        ),
    ];
    let good = "| Alsek | Bulkhead | Test or reason |\n|---|---|---|\n\
                | `a` | `b` | `tests/a.rs::it_works`, `tests/b.rs::it_holds` |\n\
                | `c` | none | Python only: it pickles. |\n";
    assert_eq!(offences(good, &files), [""; 0]);
    for bad in [
        "| `a` |  | `tests/a.rs::it_works` |",
        "| `a` | `b` | it is there |",
        "| `a` | none | no |",
        "| `a` | `b` | `tests/a.rs::it_worked` |",
        "| `a` | `b` | `tests/c.rs::it_works` |",
        "| `a` | `b` |",
        "| `a` | MISSING | `tests/a.rs::it_works` |",
    ] {
        assert_eq!(offences(bad, &files).len(), 1, "{bad}");
    }

    for (path, fewest) in PAGES {
        let page = std::fs::read_to_string(root().join(path)).unwrap();
        let count = rows(&page).len();
        assert!(count >= fewest, "only {count} rows are left of {path}");
        assert_eq!(offences(&page, &rust()), [""; 0]);
    }
}

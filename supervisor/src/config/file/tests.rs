use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Table, FileError> {
    Table::parse(Path::new("b.toml"), text)
}

fn parsed(text: &str) -> Table {
    parse(text).unwrap()
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    for (text, place) in [
        ("a = 1\nb = = 2\n", "b.toml:2: "),
        ("a = \"x\n", "b.toml:1: "),
        ("[t\n", "b.toml:1: "),
        ("a = 1\n\na = 2\n", "b.toml:3: "),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_value_of_another_kind_is_refused_with_line_key_and_what_it_takes() {
    let table = parsed("\n\n[task.a]\ntimeout = 5\ncommand = [\"x\", 1]\nshell = \"no\"\n");
    let task = table.named("task").unwrap()[0].1;
    let error = task.text("timeout").unwrap_err();
    assert_eq!(
        error.to_string(),
        "b.toml:4: `task.a.timeout` is a number, but takes a text (in quotation marks)"
    );
    let error = task.texts("command").unwrap_err();
    assert_eq!((error.line, error.column), (5, 17));
    assert!(error.reason.contains("list of texts"));
    let error = task.flag("shell").unwrap_err();
    assert_eq!((error.line, error.key.as_str()), (6, "task.a.shell"));
    assert!(table.text("task").unwrap_err().reason.contains("a table"));
    assert!(parsed("task = 1").named("task").is_err());
    assert!(parsed("[task]\na = 1").named("task").is_err());
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_or_all_that_are_known() {
    let table = parsed("pateince = 1\n\"a b\" = 2\n");
    let errors = table.strangers(&["patience", "grace"]);
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "b.toml:2: `\"a b\"` is unknown (known here: patience, grace)",
            "b.toml:1: `pateince` is unknown (did you mean `patience`?)",
        ]
    );
}

#[test]
fn values_of_the_right_kind_are_given() {
    let table =
        parsed("t = 'x'\nn = 0x10\nf = true\nl = ['a', 'b']\n[in]\nk = 1.5\nd = 1979-05-27\n");
    assert_eq!(table.text("t").unwrap(), Some("x"));
    assert_eq!(table.integer("n").unwrap(), Some(16));
    assert_eq!(table.flag("f").unwrap(), Some(true));
    assert_eq!(table.texts("l").unwrap(), Some(vec!["a", "b"]));
    assert_eq!(table.text("none").unwrap(), None);
    let inner = table.table("in").unwrap().unwrap();
    assert!(inner.integer("k").unwrap_err().reason.contains("fraction"));
    assert!(inner.integer("d").unwrap_err().reason.contains("a date"));
    let large = parsed("n = 9223372036854775808");
    assert!(large.integer("n").unwrap_err().reason.contains("64 bits"));
}

#[test]
fn a_file_that_everybody_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.toml");
    fs::write(&path, "").unwrap();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o666);
    let error = File::read(&path, true).unwrap_err();
    assert!(error.to_string().contains("chmod o-w"), "{error}");
    mode(0o644);
    assert!(!File::read(&path, false).unwrap().is_private);
    mode(0o600);
    assert!(File::read(&path, false).unwrap().is_private);
    let error = File::read(&dir.path().join("none"), true).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}

proptest! {
    #[test]
    fn no_text_is_too_strange_to_be_read_or_refused(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn pieces_of_toml_are_read_or_refused_at_a_line_that_exists(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "a", "=", "[", "]", "\n", "\"", "'", "'''", "{", "}", ".", ",", "1", "0x", "-", "e9",
            "#", "true", "\u{e9}", "\\u00e9", "\r\n", "[[", "]]", "1979-05-27", " ", "b", "=1\n",
        ]), 0..40)
    ) {
        let text = pieces.concat();
        if let Err(error) = parse(&text) {
            prop_assert!(error.line <= text.matches('\n').count() + 1);
        }
    }

    #[test]
    fn the_nearest_word_is_near(typed in "[a-z]{1,12}") {
        prop_assert_eq!(distance(&typed, &typed), 0);
        prop_assert_eq!(distance(&typed, ""), typed.len());
    }
}

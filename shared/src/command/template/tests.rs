use super::*;
use proptest::prelude::*;
use serde_json::json;

fn arguments(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn filled(template: &str, value: &Value) -> Result<String, FillError> {
    let template = Template::parse(template).unwrap();
    let filled = template.fill(&arguments(value), |name| Some(format!("/secret/{name}")));
    filled.map(|filled| filled.text)
}

fn words(templates: &[&str], value: &Value) -> Result<Vec<String>, FillError> {
    let parse = |text: &&str| Template::parse(text).unwrap();
    let templates: Vec<_> = templates.iter().map(parse).collect();
    fill_words(&templates, false, &arguments(value), |_| None)
}

#[test]
fn placeholders_take_texts_numbers_and_flags() {
    let value = json!({"w": 100, "h": "20", "f": true, "x": 1.5});
    assert_eq!(filled("{w}x{h}", &value).unwrap(), "100x20");
    assert_eq!(filled("-f={f}{x}", &value).unwrap(), "-f=true1.5");
    assert_eq!(filled("{{{w}}}", &value).unwrap(), "{100}");
    assert_eq!(filled("", &value).unwrap(), "");
    assert_eq!(
        filled("-K{secret.api-key}", &value).unwrap(),
        "-K/secret/api-key"
    );
}

#[test]
fn what_is_no_template_is_refused_with_a_way_out() {
    for (text, word) in [
        ("{", "without a `}`"),
        ("a}b", "without a `{`"),
        ("{a", "without a `}`"),
        ("{}", "no placeholder"),
        ("{a b}", "no placeholder"),
        ("{1}", "no placeholder"),
        ("{a.b}", "no placeholder"),
        ("{secret.}", "no placeholder"),
        ("{secret.a/b}", "no placeholder"),
        ("{a{b}}", "no placeholder"),
        ("a\0", "NUL"),
    ] {
        let error = Template::parse(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn values_that_are_no_word_are_refused_and_named() {
    for value in [
        json!({}),
        json!({"a": null}),
        json!({"a": []}),
        json!({"a": {}}),
        json!({"a": "x\u{0}"}),
    ] {
        let error = filled("{a}", &value).unwrap_err().to_string();
        assert!(error.contains("`a`"), "{error}");
    }
    let long = json!({"a": "x".repeat(WORD_LIMIT + 1)});
    assert_eq!(
        filled("{a}", &long),
        Err(FillError::Long {
            len: WORD_LIMIT + 1
        })
    );
    let most = json!({"a": "x".repeat(WORD_LIMIT)});
    assert!(filled("{a}", &most).is_ok());
}

#[test]
fn an_argument_is_never_taken_for_an_option_by_accident() {
    let hostile = json!({"a": "-rf", "n": -1, "e": ""});
    let refused =
        |templates: &[&str]| matches!(words(templates, &hostile), Err(FillError::Dash { .. }));
    assert!(refused(&["{a}"]));
    assert!(refused(&["{n}"]));
    assert!(refused(&["{e}{a}"]));
    assert!(refused(&["x", "--", "y"].map(|_| "{a}")));
    assert_eq!(words(&["--", "{a}"], &hostile).unwrap(), ["--", "-rf"]);
    assert_eq!(words(&["-x={a}"], &hostile).unwrap(), ["-x=-rf"]);
    // The dash of the template is the operator's.
    assert_eq!(words(&["-{e}"], &hostile).unwrap(), ["-"]);
}

#[test]
fn a_list_becomes_a_word_for_each_of_its_items_where_it_stands_alone() {
    let value = json!({"l": ["a b", 1, true, ""], "none": [], "o": ["-x"], "e": "x"});
    let all = ["a b", "1", "true", ""];
    assert_eq!(words(&["{l}"], &value).unwrap(), all);
    assert_eq!(
        words(&["-q", "{none}", "{e}"], &value).unwrap(),
        ["-q", "x"]
    );
    assert_eq!(
        words(&["--", "{o}", "{o}"], &value).unwrap(),
        ["--", "-x", "-x"]
    );
    let dash = words(&["{e}", "{o}"], &value).unwrap_err();
    assert_eq!(dash, FillError::Dash { param: "o".into() });
    // Beside anything else, or in a variable, it is no list of words.
    for template in ["x{l}", "{l}{e}", "{none}."] {
        let error = words(&[template], &value).unwrap_err().to_string();
        assert!(error.contains("a list"), "{template}: {error}");
    }
    assert!(filled("{l}", &value).is_err());
}

#[test]
fn what_is_in_a_list_is_no_less_looked_at() {
    for item in [json!(null), json!([]), json!({}), json!("x\u{0}")] {
        let error = words(&["{l}"], &json!({"l": ["a", item]})).unwrap_err();
        assert!(error.to_string().contains("`l`"), "{error}");
    }
    // What looks like a template, or like the end of options, is neither.
    let value = json!({"l": ["{e}", "{{"], "d": ["--", "x"], "e": "y"});
    assert_eq!(words(&["{l}"], &value).unwrap(), ["{e}", "{{"]);
    assert!(words(&["{d}"], &value).is_err());
    let many = json!({"l": vec![0; LIST_LIMIT + 1]});
    let error = words(&["{l}"], &many).unwrap_err();
    assert_eq!(
        error,
        FillError::Many {
            param: "l".into(),
            count: LIST_LIMIT + 1
        }
    );
}

/// Values that somebody who wants something else would try.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC*",
        prop::sample::select(vec![
            "{a}",
            "{{",
            "}}",
            "{secret.x}",
            "$(reboot)",
            "`id`",
            "; rm -rf /",
            "a b",
            "\n",
            "\t",
            "'",
            "\"",
            "*",
            "~",
            "../../etc/passwd",
            "@/etc/passwd",
            "%s",
            "\\",
            "-x",
            "--",
            "|",
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn any_text_is_a_template_or_refused_and_keeps_its_meaning(text in "[{}a-c.\\PC]*") {
        if let Ok(template) = Template::parse(&text) {
            let written = template.to_string();
            prop_assert_eq!(Template::parse(&written).unwrap(), template);
        }
    }

    #[test]
    fn an_argument_stays_itself_within_its_one_word(a in hostile(), b in hostile()) {
        prop_assume!(!a.contains('\0') && !b.contains('\0'));
        let templates = ["--", "pre{a}post", "{b}", "{a}{b}", "{{{b}}}"];
        let found = words(&templates, &json!({"a": a, "b": b})).unwrap();
        let expected = ["--".into(), format!("pre{a}post"), b.clone(), format!("{a}{b}"), format!("{{{b}}}")];
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn each_item_of_a_list_stays_itself_within_its_own_word(list in prop::collection::vec(hostile(), 0..5)) {
        prop_assume!(!list.iter().any(|item| item.contains('\0')));
        let found = words(&["--", "{l}", "end"], &json!({"l": list})).unwrap();
        let mut expected = vec!["--".to_owned()];
        expected.extend(list);
        expected.push("end".into());
        prop_assert_eq!(found, expected);
    }
}

//! Command templates, and the arguments that are put into them.

use bulkhead_shared::command::{CommandSpec, Template};
use proptest::prelude::*;
use serde_json::{Map, Value};

fn specs() -> Vec<Vec<u8>> {
    vec![
        br#"{"program":"/bin/x","words":["-a","{a}","--","{b}x{a}","{{}}","{secret.k}"],"env":[["A","{a}"]],"stdin":{"form":"text","param":"c"},"files":[["f",{"form":"json","param":null}]],"output":{"form":"bytes","file":"o","limit":5},"success":[0],"retry":null,"dashes":false,"defaults":{"a":1}}"#.to_vec(),
    ]
}

fn arguments() -> Vec<Vec<u8>> {
    vec![
        br#"{"a":"x","b":"{a}","c":"-y"}"#.to_vec(),
        br#"{"a":-1,"b":true,"c":null,"d":["{{"]}"#.to_vec(),
        br#"{"a":"\u0000","b":"$(x)\n","c":"{secret.k}"}"#.to_vec(),
    ]
}

proptest! {
    #[test]
    fn any_declaration_with_any_arguments_gives_one_word_for_each_template(
        spec in crate::hostile(specs()),
        arguments in crate::hostile(arguments()),
    ) {
        let spec = serde_json::from_slice::<CommandSpec>(&spec);
        let arguments = serde_json::from_slice::<Map<String, Value>>(&arguments);
        let (Ok(spec), Ok(arguments)) = (spec, arguments) else {
            return Ok(());
        };
        let _ = spec.check();
        let again = serde_json::to_vec(&spec).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<CommandSpec>(&again).unwrap(), &spec);
        if let Ok(words) = spec.fill(&arguments, |name| Some(format!("/fd/{name}"))) {
            prop_assert_eq!(words.len(), spec.words.len());
            prop_assert!(words.iter().all(|word| !word.contains('\0')));
        }
    }

    #[test]
    fn any_text_is_a_template_or_refused(text in crate::hostile(specs())) {
        let text = String::from_utf8_lossy(&text);
        if let Ok(template) = Template::parse(&text) {
            prop_assert_eq!(&Template::parse(&template.to_string()).unwrap(), &template);
        }
    }
}

//! Command templates, and the arguments that are put into them.

use bulkhead_shared::command::{CommandSpec, Template};
use proptest::prelude::*;
use serde_json::{Map, Value};

fn specs() -> Vec<Vec<u8>> {
    vec![
        br#"{"program":"/bin/x","words":["-a","{a}","--","{b}x{a}","{d}","{{}}","{secret.k}"],"env":[["A","{a}"]],"stdin":{"form":"text","param":"c"},"files":[["f",{"form":"json","param":null}]],"output":{"form":"bytes","file":"o","limit":5},"success":[0],"retry":null,"dashes":false,"defaults":{"a":1,"d":["x",2,true]}}"#.to_vec(),
        br#"{"program":"x","words":["{d}"],"env":[],"stdin":null,"files":[],"output":null,"success":[0,3],"retry":[75],"dashes":true,"defaults":{"d":[]}}"#.to_vec(),
    ]
}

fn arguments() -> Vec<Vec<u8>> {
    vec![
        br#"{"a":"x","b":"{a}","c":"-y"}"#.to_vec(),
        br#"{"a":-1,"b":true,"c":null,"d":["{{"]}"#.to_vec(),
        br#"{"a":["-x","--"],"d":["{a}",1.5,false,"-y"],"b":[]}"#.to_vec(),
        br#"{"a":"\u0000","b":"$(x)\n","c":"{secret.k}"}"#.to_vec(),
    ]
}

/// How many words a template becomes.
fn count(template: &Template, arguments: &Map<String, Value>) -> usize {
    let list = template
        .as_param()
        .and_then(|param| arguments[param].as_array());
    list.map_or(1, Vec::len)
}

proptest! {
    #[test]
    fn any_declaration_with_any_arguments_gives_the_words_of_its_templates(
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
        let args: Vec<_> = arguments.values().cloned().collect();
        let Ok(bound) = spec.bind(args, []).or_else(|_| spec.bind(Vec::new(), arguments)) else {
            return Ok(());
        };
        if let Ok(words) = spec.fill(&bound, |name| Some(format!("/fd/{name}"))) {
            prop_assert!(spec.words.iter().flat_map(Template::params).all(|param| bound.contains_key(param)));
            prop_assert_eq!(words.len(), spec.words.iter().map(|word| count(word, &bound)).sum::<usize>());
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

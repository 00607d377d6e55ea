use proptest::prelude::*;
use serde_json::json;

use super::*;

fn container() -> Value {
    json!({
        "Name": "/web",
        "State": {"Status": "running", "Pid": 7, "OOMKilled": false},
        "Config": {"Labels": {"com.example.role": "front"}, "Cmd": null},
        "NetworkSettings": {"Networks": {"a": {"IPAddress": "10.0.0.2"},
                                         "b": {"IPAddress": "10.0.1.2"}}},
        "Args": ["x", "y"],
    })
}

fn print(template: &str) -> Result<String, TemplateError> {
    template.parse::<Template>()?.render(&container())
}

#[test]
fn what_scripts_ask_docker_for_is_answered() {
    let cases = [
        ("{{.Name}}", "/web"),
        ("{{ .State.Status }} {{.State.Pid}} {{.State.OOMKilled}}", "running 7 false"),
        ("{{range .NetworkSettings.Networks}}{{.IPAddress}}\\n{{end}}", "10.0.0.2\n10.0.1.2\n"),
        ("{{index .Config.Labels \"com.example.role\"}}", "front"),
        ("{{json .Args}}", r#"["x","y"]"#),
        ("{{range .Args}}<{{.}}>{{end}}", "<x><y>"),
        ("{{.Config.Cmd}}\\t|", "<no value>\t|"),
        ("no braces", "no braces"),
        ("{{range .Config.Cmd}}never{{end}}", ""),
    ];
    for (template, text) in cases {
        assert_eq!(print(template).as_deref(), Ok(text), "{template}");
    }
}

#[test]
fn what_is_not_served_is_refused_with_a_way_out() {
    let unserved = ["{{if .Name}}x{{end}}", "{{.Name | upper}}", "{{len .Args}}", "{{$x}}", "{{}}"];
    for template in unserved {
        let error = print(template).unwrap_err().to_string();
        assert!(error.contains("--format json"), "{template}: {error}");
    }
    let unclosed = ["{{.Name", "{{range .Args}}x", "{{end}}"];
    for template in unclosed {
        let error = print(template).unwrap_err().to_string();
        assert!(error.starts_with("invalid template"), "{template}: {error}");
    }
}

#[test]
fn a_field_that_is_not_there_is_answered_with_those_that_are() {
    let error = print("{{.State.Health}}").unwrap_err().to_string();
    assert_eq!(error, "no field \"Health\" here: there are OOMKilled, Pid, Status");
    assert!(print("{{.Name.First}}").is_err());
    assert!(print("{{range .Name}}{{end}}").is_err());
}

proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in "([{}.a-z \"\\\\]|range|end|index|json){0,40}") {
        if let Ok(template) = text.parse::<Template>() {
            let _printed_or_refused = template.render(&container());
        }
    }
}

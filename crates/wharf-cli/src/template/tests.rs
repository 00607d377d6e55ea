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
        "Ports": {"80/tcp": [{"HostIp": "::", "HostPort": "8080"}]},
    })
}

fn print(template: &str) -> Result<String, TemplateError> {
    template.parse::<Template>()?.render(&container()).map(|columns| columns.concat())
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
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{index .Args 1}} {{json (index .Args 0)}}", "y \"x\""),
        ("{{range (index .Ports \"80/tcp\")}}{{.HostIp}}{{end}}", "::"),
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
    let error = print("{{index .Args 2}}").unwrap_err().to_string();
    assert_eq!(error, "no field \"2\" here: there are 2 entries");
    assert!(print("{{.Name.First}}").is_err());
    assert!(print("{{range .Name}}{{end}}").is_err());
}

#[test]
fn a_table_has_headings_of_its_fields_and_columns_between_tabs() {
    let table: Template =
        "table {{.Name}}\\t{{.State.OOMKilled}} {{.State.Pid}}\\tx".parse().unwrap();
    let headings = ["NAME", "OOMKILLED PID", ""].map(str::to_owned);
    assert_eq!(table.headings().as_deref(), Some(headings.as_slice()));
    assert_eq!(table.render(&container()).unwrap(), ["/web", "false 7", "x"]);
    assert_eq!(heading("CreatedAt"), "CREATED AT");
    assert_eq!("{{.Name}}".parse::<Template>().unwrap().headings(), None);
}

proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in "([{}().a-z0 \"\\\\]|range|end|index|json){0,40}") {
        if let Ok(template) = text.parse::<Template>() {
            let _printed_or_refused = template.render(&container());
        }
    }
}

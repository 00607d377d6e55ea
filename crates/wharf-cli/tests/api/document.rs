//! The OpenAPI document, and whether the daemon keeps it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::site::Site;

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json")
}

#[test]
fn the_committed_document_is_what_the_daemon_gives() {
    let Some(site) = Site::new("document") else { return };
    let _daemon = site.wharf.daemon().unwrap();
    let served = site.get("/v1/openapi.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&served).unwrap());
    if std::env::var_os("WHARF_BLESS").is_some() {
        std::fs::write(committed(), text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(committed()).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json is not the daemon's: run this test with WHARF_BLESS=1"
    );
}

/// The methods of a path, and of each the description.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(|(method, what)| (path.clone(), method.to_uppercase(), what.clone()))
    });
    all.collect()
}

#[test]
fn every_path_that_can_be_asked_is_served_as_described() {
    let Some(site) = Site::new("paths") else { return };
    let id = site.run("web");
    site.wharf.ok(["create", "--name", "idle", "wharf/whoami"]);
    site.wharf.ok(["volume", "create", "data"]);
    let document = site.get("/v1/openapi.json");
    let mut asked = 0;
    for (path, method, what) in operations(&document) {
        let name = match path.as_str() {
            path if path.starts_with("/v1/images") || path.starts_with("/v1/history") => {
                "wharf/whoami"
            }
            path if path.starts_with("/v1/networks") => "wharf",
            path if path.starts_with("/v1/volumes") => "data",
            _ => &id,
        };
        let place = path.replace("{name}", name).replace("{id}", "0");
        assert!(!place.contains('{'), "{path}: a parameter this test does not know");
        assert!(what["description"].is_string() || what["summary"].is_string(), "{method} {path}");
        // The stream of events has no end; it is read in another test, and so are files.
        if method != "GET" || path == "/v1/events" || path.contains("/files") {
            continue;
        }
        asked += 1;
        let answer = site.call("GET", &place, None);
        assert_eq!(answer.status, 200, "{place}: {}", answer.text());
        if what.pointer("/responses/200/content/application~1json").is_some() {
            let kind = answer.header("content-type").unwrap();
            assert_eq!(kind, "application/json", "{place}");
            conforms(
                &document,
                what.pointer("/responses/200/content/application~1json/schema").unwrap(),
                &answer.json().unwrap(),
                &place,
            );
        }
    }
    assert!(asked >= 10, "{asked}");
}

/// Whether `value` has what `schema` requires, and nothing that it does not know.
fn conforms(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(&name[1..]).unwrap_or_else(|| panic!("{name} is not there"));
        return conforms(document, schema, value, place);
    }
    if let Some(items) = value.as_array() {
        assert!(schema.get("items").is_some(), "{place}: an array where {schema} is promised");
        for (index, item) in items.iter().enumerate() {
            conforms(document, &schema["items"], item, &format!("{place}[{index}]"));
        }
        return;
    }
    let (Some(known), Some(found)) = (schema["properties"].as_object(), value.as_object()) else {
        return;
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(found.contains_key(required.as_str().unwrap()), "{place} lacks {required}");
    }
    for (key, value) in found {
        let schema = known.get(key).unwrap_or_else(|| panic!("{place}.{key} is not described"));
        conforms(document, schema, value, &format!("{place}.{key}"));
    }
}

#[test]
fn every_refusal_has_a_code_and_a_message() {
    let Some(site) = Site::new("refusals") else { return };
    site.run("web");
    let create = |text: Value| Some(text.to_string());
    let cases: [(&str, &str, Option<String>, u16, &str); 15] = [
        ("GET", "/v1/containers/nobody", None, 404, "not_found"),
        ("GET", "/v1/images/no/such/image", None, 404, "not_found"),
        ("GET", "/v1/networks/none", None, 404, "not_found"),
        ("GET", "/v1/nothing", None, 404, "not_found"),
        ("GET", "/", None, 404, "not_found"),
        ("PUT", "/v1/containers", None, 405, "invalid"),
        ("DELETE", "/v1/containers/web", None, 409, "conflict"),
        ("DELETE", "/v1/containers/web?force=perhaps", None, 400, "invalid"),
        ("POST", "/v1/containers/web/kill?signal=LOUD", None, 400, "invalid"),
        ("POST", "/v1/containers/web/stop?time=soon", None, 400, "invalid"),
        ("POST", "/v1/containers", Some("{not json".into()), 400, "invalid"),
        (
            "POST",
            "/v1/containers",
            create(json!({"image": "wharf/whoami", "colour": 1})),
            400,
            "invalid",
        ),
        (
            "POST",
            "/v1/containers",
            create(json!({"image": "wharf/whoami", "name": "web"})),
            409,
            "conflict",
        ),
        (
            "POST",
            "/v1/containers",
            create(json!({"image": "wharf/whoami", "publish": ["x:80"]})),
            400,
            "invalid",
        ),
        ("POST", "/v1/containers", create(json!({"image": "nothing/here"})), 404, "not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let answer = site.call(method, path, body.as_deref());
        let what = format!("{method} {path} {body:?}: {} {}", answer.status, answer.text());
        assert_eq!(answer.status, status, "{what}");
        let error = answer.json().unwrap_or_else(|_| panic!("not JSON: {what}"));
        assert_eq!(error["code"], code, "{what}");
        assert!(error["message"].as_str().is_some_and(|it| it.len() > 5), "{what}");
    }
    let _held = site.host.tcp_listen("0.0.0.0:9000").unwrap();
    let request = json!({"image": "wharf/whoami", "name": "late", "publish": ["9000:80"]});
    site.call("POST", "/v1/containers", Some(&request.to_string()));
    let answer = site.call("POST", "/v1/containers/late/start", None);
    assert_eq!((answer.status, &answer.json().unwrap()["code"]), (409, &json!("port_in_use")));
    let request = json!({"image": site.image(), "name": "wrong", "command": ["/nope"]});
    site.call("POST", "/v1/containers", Some(&request.to_string()));
    let answer = site.call("POST", "/v1/containers/wrong/start", None);
    assert_eq!((answer.status, &answer.json().unwrap()["exit_code"]), (400, &json!(127)));
}

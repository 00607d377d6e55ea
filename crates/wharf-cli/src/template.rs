//! `--format '{{…}}'`: the part of Go's templates that scripts written for Docker use most.
//!
//! Served are fields (`{{.Name}}`, `{{.State.Status}}`), a key with any character in it
//! (`{{index .Config.Labels "a.b"}}`), an entry of a list (`{{(index .Mounts 0).Source}}`),
//! `{{json .Field}}`, and
//! `{{range .Field}}…{{end}}` over a list or the values of an object. `table ` in front makes a table
//! of it, with tabs between columns. Whatever else Go's templates can do is refused, with a pointer
//! to `--format json`.

use std::str::FromStr;

use serde_json::Value;

mod parse;
#[cfg(test)]
mod tests;

/// A template, read and found to be one that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    /// One, or those of a table.
    columns: Vec<Vec<Node>>,
    is_table: bool,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// Printed as it is.
    Text(String),
    /// A value, for people.
    Field(Vec<String>),
    /// A value as JSON.
    Json(Vec<String>),
    /// The nodes, once for each value in the one named.
    Range(Vec<String>, Vec<Node>),
}

/// Why a template is not served, or does not fit what it is to print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// Something of Go's that is not served.
    #[error(
        "{{{{{0}}}}} is not served in --format: use {{{{.Field}}}}, {{{{json .Field}}}}, \
         {{{{index .Field \"key\"}}}} or {{{{range .Field}}}}…{{{{end}}}}, or --format json with jq"
    )]
    Unserved(String),
    /// No way to print.
    #[error("{0:?} is no format: use table, json, or a template such as '{{{{.Names}}}}'")]
    Unknown(String),
    /// Braces that do not match, or a range without its end.
    #[error("invalid template: {0}")]
    Unclosed(&'static str),
    /// A value that is not there.
    #[error("no field {name:?} here: there are {there}")]
    NoField {
        /// What was asked for.
        name: String,
        /// What could be.
        there: String,
    },
    /// Something that has no fields, or nothing to go through.
    #[error("{0:?} is no {1}: see --format json for what there is")]
    Kind(String, &'static str),
}

// === impl Template ===

impl Template {
    /// Prints `value`, column by column.
    pub(crate) fn render(&self, value: &Value) -> Result<Vec<String>, TemplateError> {
        let column = |nodes: &Vec<Node>| {
            let mut text = String::new();
            render(nodes, value, &mut text).map(|()| text)
        };
        self.columns.iter().map(column).collect()
    }

    /// What stands above each column, if it is a table.
    pub(crate) fn headings(&self) -> Option<Vec<String>> {
        let heading = |nodes: &Vec<Node>| {
            let fields = nodes.iter().filter_map(|node| match node {
                Node::Field(path) | Node::Json(path) => path.last().map(|name| heading(name)),
                Node::Text(_) | Node::Range(..) => None,
            });
            fields.collect::<Vec<_>>().join(" ")
        };
        self.is_table.then(|| self.columns.iter().map(heading).collect())
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let Some(columns) = text.strip_prefix("table ") else {
            return Ok(Self { columns: vec![parse::parse(text)?], is_table: false });
        };
        // A shell passes `\t` on as it is.
        let columns = columns.replace("\\t", "\t");
        let columns = columns.trim().split('\t').map(parse::parse).collect::<Result<_, _>>()?;
        Ok(Self { columns, is_table: true })
    }
}

/// `CREATED AT` for `CreatedAt`, and Docker's words where its headings have others.
fn heading(field: &str) -> String {
    match field {
        "RunningFor" | "CreatedSince" => return "CREATED".to_owned(),
        _ => {}
    }
    let mut text = String::new();
    let mut was_lower = false;
    for letter in field.chars() {
        if was_lower && letter.is_ascii_uppercase() {
            text.push(' ');
        }
        was_lower = letter.is_ascii_lowercase();
        text.push(letter.to_ascii_uppercase());
    }
    text
}

fn render(nodes: &[Node], value: &Value, text: &mut String) -> Result<(), TemplateError> {
    for node in nodes {
        match node {
            Node::Text(plain) => text.push_str(plain),
            Node::Field(path) => text.push_str(&shown(find(value, path)?)),
            Node::Json(path) => text.push_str(&find(value, path)?.to_string()),
            Node::Range(path, nodes) => {
                for item in items(find(value, path)?, path)? {
                    render(nodes, item, text)?;
                }
            }
        }
    }
    Ok(())
}

fn find<'a>(value: &'a Value, path: &[String]) -> Result<&'a Value, TemplateError> {
    path.iter().try_fold(value, |value, name| match value {
        Value::Object(fields) => fields.get(name).ok_or_else(|| no_field(name, fields)),
        Value::Array(list) => {
            let entry = name.parse::<usize>().ok().and_then(|number| list.get(number));
            let there = || format!("{} entries", list.len());
            entry.ok_or_else(|| TemplateError::NoField { name: name.clone(), there: there() })
        }
        // Go finds nothing in nothing.
        Value::Null => Ok(value),
        _ => Err(TemplateError::Kind(name.clone(), "field of a plain value")),
    })
}

fn no_field(name: &str, fields: &serde_json::Map<String, Value>) -> TemplateError {
    let there: Vec<&str> = fields.keys().map(String::as_str).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    TemplateError::NoField { name: name.to_owned(), there }
}

fn items<'a>(value: &'a Value, path: &[String]) -> Result<Vec<&'a Value>, TemplateError> {
    match value {
        Value::Array(list) => Ok(list.iter().collect()),
        Value::Object(fields) => Ok(fields.values().collect()),
        Value::Null => Ok(Vec::new()),
        _ => Err(TemplateError::Kind(path.join("."), "list")),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".to_owned(),
        other => other.to_string(),
    }
}

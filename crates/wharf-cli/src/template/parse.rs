//! Reading templates.

use super::{Node, TemplateError};

type Read<T> = Result<T, TemplateError>;

/// Deeper ranges than these are no template anybody wrote.
const DEPTH_LIMIT: usize = 16;

/// A range that has begun: what it goes through, and what it is made of so far.
type Open = (Vec<String>, Vec<Node>);

pub(super) fn parse(text: &str) -> Read<Vec<Node>> {
    let mut rest = text;
    let mut nodes = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    while let Some((before, after)) = rest.split_once("{{") {
        plain(before, &mut nodes);
        let (action, left) =
            after.split_once("}}").ok_or(TemplateError::Unclosed("\"{{\" without \"}}\""))?;
        rest = left;
        take(action.trim(), &mut nodes, &mut open)?;
    }
    plain(rest, &mut nodes);
    if open.is_empty() { Ok(nodes) } else { Err(TemplateError::Unclosed("range without end")) }
}

/// Escapes are Docker's, which a shell's single quotes keep from being what they mean.
fn plain(text: &str, nodes: &mut Vec<Node>) {
    if !text.is_empty() {
        nodes.push(Node::Text(text.replace("\\t", "\t").replace("\\n", "\n")));
    }
}

fn take(action: &str, nodes: &mut Vec<Node>, open: &mut Vec<Open>) -> Read<()> {
    let unserved = || TemplateError::Unserved(action.to_owned());
    let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
    let rest = rest.trim();
    match word {
        "range" => {
            if open.len() >= DEPTH_LIMIT {
                return Err(unserved());
            }
            let path = path(rest).ok_or_else(unserved)?;
            open.push((path, std::mem::take(nodes)));
        }
        "end" if rest.is_empty() => {
            let (path, before) = open.pop().ok_or(TemplateError::Unclosed("end without range"))?;
            let inner = std::mem::replace(nodes, before);
            nodes.push(Node::Range(path, inner));
        }
        "json" => nodes.push(Node::Json(path(rest).ok_or_else(unserved)?)),
        "index" => nodes.push(Node::Field(index(rest).ok_or_else(unserved)?)),
        _ => nodes.push(Node::Field(path(action).ok_or_else(unserved)?)),
    }
    Ok(())
}

/// `.`, or names each with a dot before it.
fn path(text: &str) -> Option<Vec<String>> {
    if text == "." {
        return Some(Vec::new());
    }
    let names: Vec<String> = text.strip_prefix('.')?.split('.').map(str::to_owned).collect();
    let is_name =
        |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    names.iter().all(is_name).then_some(names)
}

/// `.Field "key"…`
fn index(text: &str) -> Option<Vec<String>> {
    let (field, mut keys) = text.split_once(char::is_whitespace)?;
    let mut path = path(field)?;
    while !keys.trim().is_empty() {
        let (key, rest) = keys.trim_start().strip_prefix('"')?.split_once('"')?;
        path.push(key.to_owned());
        keys = rest;
    }
    Some(path)
}

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
            let path = whole(rest).ok_or_else(unserved)?;
            open.push((path, std::mem::take(nodes)));
        }
        "end" if rest.is_empty() => {
            let (path, before) = open.pop().ok_or(TemplateError::Unclosed("end without range"))?;
            let inner = std::mem::replace(nodes, before);
            nodes.push(Node::Range(path, inner));
        }
        "json" => nodes.push(Node::Json(whole(rest).ok_or_else(unserved)?)),
        _ => nodes.push(Node::Field(whole(action).ok_or_else(unserved)?)),
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

/// The whole of `text`: see [`expression`].
fn whole(text: &str) -> Option<Vec<String>> {
    let (path, rest) = expression(text, DEPTH_LIMIT)?;
    rest.trim().is_empty().then_some(path)
}

/// A field, or `index` with one and its keys; what is left of `text` behind it.
fn expression(text: &str, depth: usize) -> Option<(Vec<String>, &str)> {
    let text = text.trim_start();
    match text.strip_prefix("index") {
        Some(rest) if rest.starts_with([' ', '(']) => {
            let (mut path, mut rest) = operand(rest, depth)?;
            while let Some((key, left)) = key(rest) {
                path.push(key);
                rest = left;
            }
            Some((path, rest))
        }
        _ => operand(text, depth),
    }
}

/// `.Field`, or an expression in brackets and fields of that.
fn operand(text: &str, depth: usize) -> Option<(Vec<String>, &str)> {
    let text = text.trim_start();
    let Some(inner) = text.strip_prefix('(') else {
        let end = text.find([' ', ')', '(']).unwrap_or(text.len());
        let (field, rest) = text.split_at(end);
        return Some((path(field)?, rest));
    };
    let (mut found, rest) = expression(inner, depth.checked_sub(1)?)?;
    let rest = rest.trim_start().strip_prefix(')')?;
    let end = rest.find([' ', ')', '(']).unwrap_or(rest.len());
    let (fields, rest) = rest.split_at(end);
    if !fields.is_empty() {
        found.extend(path(fields)?);
    }
    Some((found, rest))
}

/// `"key"` of an object, or the number of an entry of a list.
fn key(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix('"') {
        let (key, rest) = rest.split_once('"')?;
        return Some((key.to_owned(), rest));
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (!number.is_empty()).then(|| (number.to_owned(), rest))
}

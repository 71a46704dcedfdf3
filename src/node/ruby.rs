//! Values as Ruby literals: the only way anything gets into `gitlab.rb`.
//!
//! Whatever goes in comes out of Ruby unchanged. Texts stand in single quotes, in which Ruby reads nothing but `\\`
//! and `\'`; a text with control characters stands in double quotes, all of them escaped, because Ruby would turn a
//! carriage return in the source into a line feed, and a text of its own line could be `__END__`.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Map, Value};

/// Longer than this, a list or a hash gets a line for each member.
const WIDTH: usize = 96;

/// The literal that Ruby reads as this value. Hashes keep their order.
pub fn literal(value: &Value) -> String {
    lines(value, 0)
}

/// An assignment: `gitlab_rails['time_zone'] = 'UTC'`. The section is a name that Ruby takes for a method, which the
/// caller has from the table of known sections.
pub fn assignment(section: &str, path: &[&str], value: &Value) -> String {
    let mut text = section.to_owned();
    for member in path {
        let _ = write!(text, "[{}]", quoted(member));
    }
    format!("{text} = {}", literal(value))
}

fn lines(value: &Value, depth: usize) -> String {
    let short = on_one_line(value);
    if short.len() + 2 * depth <= WIDTH {
        return short;
    }
    let indent = "  ".repeat(depth + 1);
    let members: Vec<String> = match value {
        Value::Array(values) => values
            .iter()
            .map(|value| format!("{indent}{}", lines(value, depth + 1)))
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| format!("{indent}{} => {}", quoted(key), lines(value, depth + 1)))
            .collect(),
        _ => return short,
    };
    let (open, close) = if value.is_array() {
        ('[', ']')
    } else {
        ('{', '}')
    };
    format!(
        "{open}\n{}\n{}{close}",
        members.join(",\n"),
        "  ".repeat(depth)
    )
}

fn on_one_line(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(on_one_line).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(map) => hash(map),
    }
}

fn hash(map: &Map<String, Value>) -> String {
    if map.is_empty() {
        return "{}".to_owned();
    }
    let members: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{} => {}", quoted(key), on_one_line(value)))
        .collect();
    format!("{{ {} }}", members.join(", "))
}

fn quoted(text: &str) -> String {
    if text.contains(char::is_control) {
        return doubly_quoted(text);
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        if matches!(c, '\\' | '\'') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

fn doubly_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\\' | '"' | '#' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{{{:x}}}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `{{ value | ruby }}`.
pub(super) fn filter(value: &Value, _arguments: &HashMap<String, Value>) -> tera::Result<Value> {
    Ok(Value::String(literal(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_ruby_would_read_otherwise_is_escaped() {
        for (value, ruby) in [
            (json!("it's"), r"'it\'s'"),
            (json!(r"C:\temp\"), r"'C:\\temp\\'"),
            (json!("#{`id`} \"quoted\""), "'#{`id`} \"quoted\"'"),
            (json!("one\ntwo #{x}\r\n"), "\"one\\ntwo \\#{x}\\u{d}\\n\""),
            (json!("schön 日本"), "'schön 日本'"),
            (json!(null), "nil"),
            (json!([1, -2.5, true]), "[1, -2.5, true]"),
            (json!({"b": 1, "a": {}}), "{ 'b' => 1, 'a' => {} }"),
        ] {
            assert_eq!(literal(&value), ruby);
        }
    }

    #[test]
    fn long_values_get_lines() {
        let value = json!({"targets": ["a".repeat(60), "b".repeat(60)], "port": 1});
        insta::assert_snapshot!(literal(&value), @r"
        {
          'targets' => [
            'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
            'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'
          ],
          'port' => 1
        }
        ");
    }

    #[test]
    fn settings_are_assigned_member_by_member() {
        assert_eq!(
            assignment("gitaly", &["configuration", "it's"], &json!("x")),
            r"gitaly['configuration']['it\'s'] = 'x'"
        );
    }
}

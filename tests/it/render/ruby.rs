//! A real Ruby: it reads our files, and it reads back our literals.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use gantry::node::ruby;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a file does.
#[derive(Debug, Deserialize)]
pub struct Evaluated {
    pub calls: Map<String, Value>,
    pub settings: Value,
    pub fetched: BTreeSet<String>,
    pub written: Map<String, Value>,
    pub env: Map<String, Value>,
    pub warnings: String,
}

/// Has Ruby read these files, with these secrets on the node.
pub fn evaluate(files: &BTreeMap<String, String>, secrets: &Value) -> BTreeMap<String, Evaluated> {
    let input = json!({ "files": files, "secrets": secrets }).to_string();
    let output = run(&["tests/support/gitlab/recorder.rb"], &input);
    serde_json::from_str(&output).unwrap()
}

fn run(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("ruby")
        .args(["-Ku"])
        .args(arguments)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need ruby: apt-get install ruby");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    // Ruby may have stopped before it read everything; its own message says more.
    let written = writer.join().unwrap();
    assert!(
        output.status.success(),
        "ruby failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    written.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*",
        "[\\\\'\"#{}$@`%<>=\n\r\t a-z\u{0}\u{7f}\u{85}\u{2028}éß日]{0,20}",
        Just("__END__\nrest".to_owned()),
        Just("=begin\n#{1 + 1}\\".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // What every reader of JSON agrees on: serde_json rounds the last digit of others.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 64.0)),
        prop_oneof![Just(1e300), Just(-0.1), Just(1e-7), Just(2.5e20)].prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((text(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever the value, Ruby reads from its literal the same value, members in the same order.
    #[test]
    fn literals_say_what_was_meant(values in proptest::collection::vec(value(), 1..60)) {
        let literals: Vec<String> = values.iter().map(ruby::literal).collect();
        let program = format!("require 'json'\nputs JSON.generate([\n{}\n])\n", literals.join(",\n"));
        let back: Vec<Value> = serde_json::from_str(&run(&["-"], &program)).unwrap();
        prop_assert_eq!(back.len(), values.len());
        for (one, other) in values.iter().zip(&back) {
            prop_assert_eq!(one, other);
            prop_assert_eq!(keys(one), keys(other));
        }
    }
}

/// Every key, in its order.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(keys).collect(),
        Value::Object(members) => members
            .iter()
            .flat_map(|(key, value)| std::iter::once(key.clone()).chain(keys(value)))
            .collect(),
        _ => Vec::new(),
    }
}

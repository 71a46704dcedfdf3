//! Policy documents: written the same way every time, and compared by what they mean.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// A policy of these statements. Sorted, so that the same statements always give the same text.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sid: String,
    effect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Value>,
    action: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<String, BTreeMap<String, String>>,
}

impl Statement {
    pub fn allow(sid: impl Into<String>) -> Self {
        Self::new(sid.into(), "Allow")
    }

    pub fn deny(sid: impl Into<String>) -> Self {
        Self::new(sid.into(), "Deny")
    }

    fn new(sid: String, effect: &'static str) -> Self {
        Self {
            sid,
            effect,
            principal: None,
            action: vec![],
            resource: vec![],
            condition: BTreeMap::new(),
        }
    }

    /// For an AWS service: `logs.eu-west-1.amazonaws.com`.
    #[must_use]
    pub fn for_service(mut self, service: impl Into<String>) -> Self {
        self.principal = Some(serde_json::json!({"Service": service.into()}));
        self
    }

    /// For an account, role or user by ARN.
    #[must_use]
    pub fn for_arn(mut self, arn: impl Into<String>) -> Self {
        self.principal = Some(serde_json::json!({"AWS": arn.into()}));
        self
    }

    /// For whoever meets the conditions.
    #[must_use]
    pub fn for_all(mut self) -> Self {
        self.principal = Some("*".into());
        self
    }

    #[must_use]
    pub fn actions<S: Into<String>>(mut self, actions: impl IntoIterator<Item = S>) -> Self {
        self.action.extend(actions.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn on<S: Into<String>>(mut self, resources: impl IntoIterator<Item = S>) -> Self {
        self.resource.extend(resources.into_iter().map(Into::into));
        self
    }

    /// Only when: `when("StringEquals", "aws:SourceAccount", "123456789012")`.
    #[must_use]
    pub fn when(
        mut self,
        operator: impl Into<String>,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.condition
            .entry(operator.into())
            .or_default()
            .insert(key.into(), value.into());
        self
    }
}

impl Policy {
    pub fn new(statements: impl IntoIterator<Item = Statement>) -> Self {
        let mut statements: Vec<Statement> = statements.into_iter().collect();
        for statement in &mut statements {
            for list in [&mut statement.action, &mut statement.resource] {
                list.sort();
                list.dedup();
            }
        }
        statements.sort_by(|a, b| a.sid.cmp(&b.sid));
        Self { statements }
    }

    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The document as AWS takes it.
    pub fn text(&self) -> String {
        self.value().to_string()
    }

    /// The document in the form that [`meaning`] gives, for comparing.
    pub fn meaning(&self) -> Value {
        normal(&self.value())
    }

    fn value(&self) -> Value {
        serde_json::json!({"Version": "2012-10-17", "Statement": self.statements})
    }
}

/// What a document that AWS gave back says: lists sorted, one-item lists and single texts alike, percent signs
/// of IAM undone. A text that is no JSON stays as it is, and so differs from every policy of ours.
pub fn meaning(text: &str) -> Value {
    let plain = if text.trim_start().starts_with('{') {
        text.to_owned()
    } else {
        percent_decoded(text)
    };
    serde_json::from_str(&plain).map_or(Value::String(plain), |v| normal(&v))
}

fn normal(document: &Value) -> Value {
    let Some(statements) = document.get("Statement") else {
        return document.clone();
    };
    let mut statements: Vec<Value> = match statements {
        Value::Array(list) => list.iter().map(statement).collect(),
        one => vec![statement(one)],
    };
    statements.sort_by_key(Value::to_string);
    let mut all = sorted(document);
    if let Value::Object(map) = &mut all {
        map.insert("Statement".into(), Value::Array(statements));
    }
    all
}

fn statement(value: &Value) -> Value {
    let Value::Object(map) = sorted(value) else {
        return value.clone();
    };
    map.into_iter()
        .map(|(k, v)| {
            let v = match k.as_str() {
                "Sid" | "Effect" => v,
                "Condition" => each(&v, |operator| each(operator, list)),
                "Principal" | "NotPrincipal" if v.is_object() => each(&v, list),
                _ => list(&v),
            };
            (k, v)
        })
        .collect::<Map<_, _>>()
        .into()
}

/// The same object with every value changed.
fn each(value: &Value, change: impl Fn(&Value) -> Value) -> Value {
    match sorted(value) {
        Value::Object(map) => map
            .into_iter()
            .map(|(k, v)| (k, change(&v)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// Keys in order, so that texts of equal objects are equal.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let keys: BTreeMap<&String, &Value> = map.iter().collect();
            keys.into_iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<Map<_, _>>()
                .into()
        }
        other => other.clone(),
    }
}

/// One text or many, as a sorted list of texts.
fn list(value: &Value) -> Value {
    let mut texts: Vec<String> = match value {
        Value::Array(items) => items.iter().map(word).collect(),
        one => vec![word(one)],
    };
    texts.sort();
    texts.into()
}

fn word(value: &Value) -> String {
    value.as_str().map_or(value.to_string(), str::to_owned)
}

/// IAM's answers carry documents percent-encoded.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy() -> Policy {
        Policy::new([
            Statement::allow("Read")
                .actions(["s3:GetObject", "s3:ListBucket"])
                .on(["arn:aws:s3:::b", "arn:aws:s3:::b/*"])
                .when("StringEquals", "aws:SourceAccount", "123456789012"),
            Statement::allow("Look")
                .actions(["ec2:DescribeTags"])
                .on(["*"]),
        ])
    }

    #[test]
    fn what_aws_gives_back_means_the_same() {
        let back = r#"{"Statement":[
            {"Resource":"*","Effect":"Allow","Action":"ec2:DescribeTags","Sid":"Look"},
            {"Sid":"Read","Effect":"Allow","Action":["s3:ListBucket","s3:GetObject"],"Resource":["arn:aws:s3:::b/*","arn:aws:s3:::b"],
             "Condition":{"StringEquals":{"aws:SourceAccount":["123456789012"]}}}],"Version":"2012-10-17"}"#;
        assert_eq!(meaning(back), policy().meaning());
        assert_eq!(meaning(&policy().text()), policy().meaning());
    }

    #[test]
    fn one_action_more_is_a_difference() {
        let wider = policy().text().replace("\"s3:GetObject\"", "\"s3:*\"");
        assert_ne!(meaning(&wider), policy().meaning());
    }

    #[test]
    fn iam_sends_documents_percent_encoded() {
        let encoded: String = policy()
            .text()
            .bytes()
            .map(|b| format!("%{b:02X}"))
            .collect();
        assert_eq!(meaning(&encoded), policy().meaning());
    }

    proptest! {
        #[test]
        fn the_order_in_which_things_are_said_does_not_matter(
            actions in proptest::collection::vec("[a-z]{2}:[A-Z][a-z]{3}", 1..6).prop_shuffle(),
        ) {
            let mut turned = actions.clone();
            turned.reverse();
            let say = |list: Vec<String>| Policy::new([Statement::allow("A").actions(list).on(["*"])]).text();
            prop_assert_eq!(say(actions), say(turned));
        }
    }
}

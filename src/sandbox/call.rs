//! One call to the strict cloud, whatever protocol it came in, and its answer.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::world::{Millis, World};

/// A call, decoded: parameters are nested JSON under the names the protocol uses.
#[derive(Debug, Clone)]
pub struct Call {
    /// The signing name: `ec2`, `elasticloadbalancing`, `monitoring`, …
    pub service: String,
    /// `CreateVpc`.
    pub action: String,
    pub region: String,
    pub now: Millis,
    pub p: Value,
    /// The HTTP request, for the REST protocols.
    pub http: Http,
}

/// What the REST protocols need of the request.
#[derive(Debug, Clone, Default)]
pub struct Http {
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Http {
    /// A query parameter.
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// A header, by its lower-case name.
    pub fn header(&self, key: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }
}

/// What comes back.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Fields of the answer; the codec of the protocol writes them.
    Fields(Value),
    /// A whole HTTP answer, for S3 objects and the like.
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::Fields(value)
    }
}

/// AWS's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// HTTP 400 with a code: most of AWS's refusals.
    pub fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// An action the engine does not know: says so, and names it.
    pub fn unknown_action(call: &Call) -> Self {
        Self::new(
            501,
            "NotImplemented",
            format!("the sandbox does not know {}:{}", call.service, call.action),
        )
    }
}

/// What a service's handler returns.
pub type Outcome = Result<Answer, Refusal>;

impl Call {
    /// A parameter by dotted path, `LaunchTemplate.LaunchTemplateId`.
    pub fn at(&self, path: &str) -> Option<&Value> {
        at(&self.p, path)
    }

    /// A text parameter that must be there.
    pub fn need(&self, path: &str) -> Result<&str, Refusal> {
        self.opt(path).ok_or_else(|| {
            let code = if self.service == "ec2" {
                "MissingParameter"
            } else {
                "ValidationError"
            };
            Refusal::bad(
                code,
                format!("The request must contain the parameter {path}"),
            )
        })
    }

    /// A text parameter; empty text counts as absent.
    pub fn opt(&self, path: &str) -> Option<&str> {
        self.at(path)?.as_str().filter(|s| !s.is_empty())
    }

    /// A parameter that means a boolean, in any protocol.
    pub fn flag(&self, path: &str) -> Option<bool> {
        match self.at(path)? {
            Value::Bool(b) => Some(*b),
            Value::String(s) => Some(s == "true"),
            _ => None,
        }
    }

    /// A parameter that means a whole number, in any protocol.
    pub fn int(&self, path: &str) -> Option<i64> {
        match self.at(path)? {
            Value::Number(n) => n.as_i64(),
            Value::String(s) => s.parse().ok(),
            _ => None,
        }
    }

    /// A list parameter; empty when absent.
    pub fn list(&self, path: &str) -> &[Value] {
        self.at(path)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// A list of texts.
    pub fn texts(&self, path: &str) -> Vec<&str> {
        self.list(path).iter().filter_map(Value::as_str).collect()
    }

    /// `Key`/`Value` pairs of a list parameter (`Tags`, `Tag`): as a map.
    pub fn pairs(&self, path: &str) -> std::collections::BTreeMap<String, String> {
        pairs(self.list(path))
    }

    /// Plays a client token: `Some(id)` when this very call was answered before.
    /// The same token with other parameters is refused as AWS does.
    pub fn replayed(&self, world: &World, token: &str) -> Result<Option<String>, Refusal> {
        match world.tokens.get(&self.token_key(token)) {
            None => Ok(None),
            Some((hash, id)) if *hash == self.hash() => Ok(Some(id.clone())),
            Some(_) => Err(Refusal::bad(
                "IdempotentParameterMismatch",
                "The client token has already been used with different parameters",
            )),
        }
    }

    /// Remembers what a client token made.
    pub fn remember(&self, world: &mut World, token: &str, id: &str) {
        world.dirty = true;
        world
            .tokens
            .insert(self.token_key(token), (self.hash(), id.to_owned()));
    }

    fn token_key(&self, token: &str) -> String {
        format!("{}/{}/{token}", self.region, self.action)
    }

    fn hash(&self) -> String {
        let digest = Sha256::digest(self.p.to_string());
        digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }
}

/// A value by dotted path.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |v, part| match v {
        Value::Object(map) => map.get(part),
        Value::Array(list) => list.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// `[{Key, Value}]` (or lower-case) as a map.
pub fn pairs(list: &[Value]) -> std::collections::BTreeMap<String, String> {
    list.iter()
        .filter_map(|t| {
            let key = t
                .get("Key")
                .or_else(|| t.get("key"))
                .or_else(|| t.get("TagKey"))?
                .as_str()?;
            let value = t
                .get("Value")
                .or_else(|| t.get("value"))
                .or_else(|| t.get("TagValue"));
            Some((
                key.to_owned(),
                value.and_then(Value::as_str).unwrap_or_default().to_owned(),
            ))
        })
        .collect()
}

//! AWS's wire protocols, both ways: query forms, XML, JSON and CBOR to nested JSON and back.
//!
//! One convention makes the XML writer simple: an array under a key is written as that element repeated, so
//! handlers say `{"vpcSet": {"item": [...]}}` and the answer looks as AWS's does.

use quick_xml::events::{BytesText, Event};
use quick_xml::{Reader, Writer};
use serde_json::{Map, Value, json};

use super::call::Refusal;

/// A form body as nested JSON: `Filter.1.Value.2=x` becomes `Filter[0].Value[1]`.
pub fn from_form(body: &[u8]) -> Value {
    let mut root = Value::Object(Map::new());
    for (key, value) in form_urlencoded::parse(body) {
        let mut place = &mut root;
        for part in key.split('.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            let Value::Object(map) = place else { break };
            place = map.entry(part.to_owned()).or_insert(Value::Null);
        }
        *place = Value::String(value.into_owned());
    }
    lists(root)
}

/// Names that only wrap the items of a list in the query protocol.
const WRAPPERS: &[&str] = &[
    "member",
    "Tag",
    "Filter",
    "Value",
    "Parameter",
    "ParameterNameValue",
    "SubnetIdentifier",
    "VpcSecurityGroupId",
    "SecurityGroupId",
    "AvailabilityZone",
    "DBSecurityGroupName",
    "entry",
];

/// Objects whose keys are all numbers become arrays; list wrappers go away.
fn lists(value: Value) -> Value {
    let Value::Object(map) = value else {
        return value;
    };
    let numbered = !map.is_empty() && map.keys().all(|k| k.parse::<usize>().is_ok());
    if numbered {
        let mut items: Vec<(usize, Value)> = map
            .into_iter()
            .map(|(k, v)| (k.parse().unwrap_or_default(), lists(v)))
            .collect();
        items.sort_by_key(|(n, _)| *n);
        return Value::Array(items.into_iter().map(|(_, v)| v).collect());
    }
    let mut map: Map<String, Value> = map.into_iter().map(|(k, v)| (k, lists(v))).collect();
    if map.len() == 1 {
        let wrapped = map
            .iter()
            .next()
            .is_some_and(|(k, v)| WRAPPERS.contains(&k.as_str()) && v.is_array());
        if wrapped {
            return map.values_mut().next().map(Value::take).unwrap_or_default();
        }
    }
    Value::Object(map)
}

/// An XML document as nested JSON: the root's children; repeated elements become arrays, text stays text.
pub fn from_xml(body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    let mut reader = Reader::from_str(&text);
    let mut stack: Vec<(String, Map<String, Value>, String)> =
        vec![(String::new(), Map::new(), String::new())];
    loop {
        match reader.read_event() {
            Ok(Event::Start(e)) => {
                stack.push((
                    String::from_utf8_lossy(e.local_name().as_ref()).into_owned(),
                    Map::new(),
                    String::new(),
                ));
            }
            Ok(Event::Empty(e)) => {
                let name = String::from_utf8_lossy(e.local_name().as_ref()).into_owned();
                if let Some((_, map, _)) = stack.last_mut() {
                    add(map, name, Value::String(String::new()));
                }
            }
            Ok(Event::Text(t)) => {
                if let Some((_, _, text)) = stack.last_mut() {
                    text.push_str(&t.decode().unwrap_or_default());
                }
            }
            Ok(Event::GeneralRef(r)) => {
                if let Some((_, _, text)) = stack.last_mut() {
                    let name = r.decode().unwrap_or_default().into_owned();
                    text.push_str(match name.as_str() {
                        "lt" => "<",
                        "gt" => ">",
                        "amp" => "&",
                        "quot" => "\"",
                        "apos" => "'",
                        _ => "",
                    });
                }
            }
            Ok(Event::End(_)) => {
                let Some((name, map, text)) = stack.pop() else {
                    break;
                };
                let value = if map.is_empty() {
                    Value::String(text)
                } else {
                    Value::Object(map)
                };
                match stack.last_mut() {
                    Some((_, parent, _)) => add(parent, name, value),
                    None => break,
                }
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let root = stack
        .into_iter()
        .next()
        .map(|(_, map, _)| map)
        .unwrap_or_default();
    root.into_iter().next().map(|(_, v)| v).unwrap_or_default()
}

fn add(map: &mut Map<String, Value>, name: String, value: Value) {
    match map.get_mut(&name) {
        None => {
            map.insert(name, value);
        }
        Some(Value::Array(list)) => list.push(value),
        Some(one) => {
            let first = one.take();
            *one = Value::Array(vec![first, value]);
        }
    }
}

/// Fields as XML under one root element.
pub fn to_xml(root: &str, namespace: Option<&str>, fields: &Value) -> String {
    let mut writer = Writer::new(Vec::new());
    let mut element = writer.create_element(root);
    if let Some(namespace) = namespace {
        element = element.with_attribute(("xmlns", namespace));
    }
    // Writing into memory cannot fail.
    let _ = element.write_inner_content(|w| children(w, fields));
    String::from_utf8_lossy(&writer.into_inner()).into_owned()
}

fn children(writer: &mut Writer<Vec<u8>>, fields: &Value) -> std::io::Result<()> {
    let Value::Object(map) = fields else {
        return Ok(());
    };
    for (name, value) in map {
        match value {
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    element(writer, name, item)?;
                }
            }
            one => element(writer, name, one)?,
        }
    }
    Ok(())
}

fn element(writer: &mut Writer<Vec<u8>>, name: &str, value: &Value) -> std::io::Result<()> {
    let start = writer.create_element(name);
    match value {
        Value::Object(_) => {
            start.write_inner_content(|w| children(w, value))?;
        }
        Value::String(text) => {
            start.write_text_content(BytesText::new(text))?;
        }
        Value::Null | Value::Array(_) => {}
        other => {
            start.write_text_content(BytesText::new(&other.to_string()))?;
        }
    }
    Ok(())
}

/// The answer of an EC2 call.
pub fn ec2_answer(action: &str, fields: &Value) -> String {
    let mut all = json!({"requestId": "00000000-0000-4000-8000-000000000000"});
    merge(&mut all, fields);
    to_xml(
        &format!("{action}Response"),
        Some("http://ec2.amazonaws.com/doc/2016-11-15/"),
        &all,
    )
}

/// The answer of a query-protocol call.
pub fn query_answer(action: &str, fields: &Value) -> String {
    let mut all = Map::new();
    all.insert(format!("{action}Result"), fields.clone());
    all.insert(
        "ResponseMetadata".into(),
        json!({"RequestId": "00000000-0000-4000-8000-000000000000"}),
    );
    to_xml(&format!("{action}Response"), None, &Value::Object(all))
}

/// EC2's form of a refusal.
pub fn ec2_refusal(refusal: &Refusal) -> String {
    let error = json!({"Errors": {"Error": {"Code": refusal.code, "Message": refusal.message}}, "RequestID": "0"});
    to_xml("Response", None, &error)
}

/// The query protocol's form of a refusal, also Route 53's.
pub fn query_refusal(refusal: &Refusal) -> String {
    let error = json!({"Error": {"Type": "Sender", "Code": refusal.code, "Message": refusal.message}, "RequestId": "0"});
    to_xml("ErrorResponse", None, &error)
}

/// S3's form of a refusal.
pub fn s3_refusal(refusal: &Refusal) -> String {
    to_xml(
        "Error",
        None,
        &json!({"Code": refusal.code, "Message": refusal.message, "RequestId": "0"}),
    )
}

/// CBOR as JSON; timestamps become seconds.
pub fn from_cbor(body: &[u8]) -> Value {
    ciborium::from_reader::<ciborium::Value, _>(body).map_or(Value::Null, cbor_to_json)
}

fn cbor_to_json(value: ciborium::Value) -> Value {
    match value {
        ciborium::Value::Integer(i) => json!(i64::try_from(i).unwrap_or_default()),
        ciborium::Value::Float(f) => json!(f),
        ciborium::Value::Text(t) => Value::String(t),
        ciborium::Value::Bool(b) => Value::Bool(b),
        ciborium::Value::Tag(_, inner) => cbor_to_json(*inner),
        ciborium::Value::Array(items) => {
            Value::Array(items.into_iter().map(cbor_to_json).collect())
        }
        ciborium::Value::Map(pairs) => Value::Object(
            pairs
                .into_iter()
                .filter_map(|(k, v)| Some((k.into_text().ok()?, cbor_to_json(v))))
                .collect(),
        ),
        _ => Value::Null,
    }
}

/// JSON as CBOR. `{"$time": seconds}` is a timestamp; whole numbers stay whole.
pub fn to_cbor(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing into memory cannot fail.
    let _ = ciborium::into_writer(&json_to_cbor(value), &mut out);
    out
}

fn json_to_cbor(value: &Value) -> ciborium::Value {
    match value {
        Value::Null => ciborium::Value::Null,
        Value::Bool(b) => ciborium::Value::Bool(*b),
        Value::Number(n) => match n.as_i64() {
            Some(i) => ciborium::Value::Integer(i.into()),
            None => ciborium::Value::Float(n.as_f64().unwrap_or_default()),
        },
        Value::String(s) => ciborium::Value::Text(s.clone()),
        Value::Array(items) => ciborium::Value::Array(items.iter().map(json_to_cbor).collect()),
        Value::Object(map) => match map.get("$time") {
            Some(seconds) => ciborium::Value::Tag(
                1,
                Box::new(ciborium::Value::Float(seconds.as_f64().unwrap_or(0.0))),
            ),
            None => ciborium::Value::Map(
                map.iter()
                    .map(|(k, v)| (ciborium::Value::Text(k.clone()), json_to_cbor(v)))
                    .collect(),
            ),
        },
    }
}

/// Adds the fields of `more` to `base`.
pub fn merge(base: &mut Value, more: &Value) {
    if let (Value::Object(base), Value::Object(more)) = (base, more) {
        base.extend(more.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_nest_and_number() {
        let form = b"Action=X&Filter.1.Name=tag%3Aa&Filter.1.Value.1=b&Filter.1.Value.2=c&Tags.member.1.Key=k&Tags.member.1.Value=v";
        assert_eq!(
            from_form(form),
            json!({"Action": "X", "Filter": [{"Name": "tag:a", "Value": ["b", "c"]}], "Tags": [{"Key": "k", "Value": "v"}]})
        );
    }

    #[test]
    fn xml_there_and_back() {
        let value = json!({"a": "x < y & z", "list": {"item": [{"k": "1"}, {"k": "2"}]}});
        assert_eq!(from_xml(to_xml("Root", None, &value).as_bytes()), value);
    }

    #[test]
    fn cbor_there_and_back() {
        let value =
            json!({"Name": "n", "Threshold": 1.5, "Periods": 3, "Actions": ["a"], "On": true});
        assert_eq!(from_cbor(&to_cbor(&value)), value);
    }
}

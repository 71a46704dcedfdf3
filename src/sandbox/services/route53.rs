//! Route 53: hosted zones that the account has from the start, and their records.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::codec;
use crate::sandbox::delays;
use crate::sandbox::world::{GLOBAL, Millis, Row, Table, World};

const ZONES: &str = "route53/hosted_zone";
const RECORDS: &str = "route53/record_set";

/// The domains whose zones every world has: what people use in samples.
pub const SEEDED: &[&str] = &["example.com", "acme.example", "example.org"];

pub const ACTIONS: &[&str] = &[
    "ListHostedZones",
    "ListHostedZonesByName",
    "GetHostedZone",
    "ListResourceRecordSets",
    "ChangeResourceRecordSets",
    "GetChange",
];

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "ListHostedZones" => list_zones(world, call),
        "ListHostedZonesByName" => zones_by_name(world, call),
        "GetHostedZone" => get_zone(world, call),
        "ListResourceRecordSets" => list_records(world, call),
        "ChangeResourceRecordSets" => change(world, call),
        "GetChange" => get_change(call),
        _ => Err(Refusal::unknown_action(call)),
    }
}

/// Finds action and parameters in method, path and body.
pub fn route(call: &mut Call) {
    let path = call.http.path.clone();
    let parts: Vec<&str> = path
        .trim_matches('/')
        .split('/')
        .skip(1)
        .filter(|p| !p.is_empty())
        .collect();
    let (action, id) = match (call.http.method.as_str(), parts.as_slice()) {
        ("GET", ["hostedzone"]) => ("ListHostedZones", ""),
        ("GET", ["hostedzonesbyname"]) => ("ListHostedZonesByName", ""),
        ("GET", ["hostedzone", id]) => ("GetHostedZone", *id),
        ("GET", ["hostedzone", id, "rrset"]) => ("ListResourceRecordSets", *id),
        ("POST", ["hostedzone", id, "rrset" | "rrset/"]) => ("ChangeResourceRecordSets", *id),
        ("GET", ["change", id]) => ("GetChange", *id),
        _ => (parts.first().copied().unwrap_or("Unknown"), ""),
    };
    call.action = action.to_owned();
    call.p = if call.http.body.is_empty() {
        json!({})
    } else {
        codec::from_xml(&call.http.body)
    };
    if let Value::Object(map) = &mut call.p {
        map.insert("Id".into(), json!(id));
        for (key, value) in &call.http.query {
            map.insert(key.clone(), json!(value));
        }
    }
}

/// The zones an account has before anybody makes anything.
pub fn seed(world: &mut World) {
    for domain in SEEDED {
        add_zone(world, domain);
    }
}

/// Adds a public zone with its own two records.
pub(in crate::sandbox) fn add_zone(world: &mut World, domain: &str) -> String {
    let id = format!("Z{}", world.hex(19).to_uppercase());
    let name = absolute(domain);
    let v = json!({"Id": format!("/hostedzone/{id}"), "Name": name, "CallerReference": format!("seed-{domain}"),
        "Config": {"PrivateZone": false}, "_seeded": true});
    world.table(GLOBAL, ZONES).insert(
        id.clone(),
        Row {
            v,
            ..Row::default()
        },
    );
    for (kind, ttl, values) in [
        (
            "NS",
            172_800,
            vec![
                "ns-1.awsdns-01.com.",
                "ns-2.awsdns-02.net.",
                "ns-3.awsdns-03.org.",
                "ns-4.awsdns-04.co.uk.",
            ],
        ),
        (
            "SOA",
            900,
            vec!["ns-1.awsdns-01.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"],
        ),
    ] {
        let records: Vec<Value> = values.iter().map(|v| json!({"Value": v})).collect();
        let v = json!({"Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": {"ResourceRecord": records},
            "_zone": id, "_seeded": true});
        world.table(GLOBAL, RECORDS).insert(
            record_key(&id, &name, kind),
            Row {
                v,
                ..Row::default()
            },
        );
    }
    id
}

/// Since when a CNAME of this name has this value, in any public zone.
pub(super) fn cname_since(world: &World, name: &str, value: &str) -> Option<Millis> {
    let (name, value) = (absolute(name), absolute(value));
    world
        .rows(GLOBAL, RECORDS)
        .find(|(_, r)| {
            r.text("Type") == "CNAME"
                && r.text("Name") == name
                && values_of(&r.v).iter().any(|v| absolute(v) == value)
        })
        .map(|(_, r)| r.born)
}

/// Lower case, with the closing dot, and a star as Route 53 writes it.
fn absolute(name: &str) -> String {
    let name = name.to_lowercase().replace('*', "\\052");
    if name.ends_with('.') {
        name
    } else {
        format!("{name}.")
    }
}

/// Route 53 sorts names from the right: `com.example.gitlab`.
fn reversed(name: &str) -> String {
    let mut labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
    labels.reverse();
    labels.join(".")
}

fn record_key(zone: &str, name: &str, kind: &str) -> String {
    // A blank sorts before every character of a name, so that a name comes before the names under it.
    format!("{zone} {} {kind}", reversed(name))
}

fn many(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(Value::String(s)) if s.is_empty() => vec![],
        Some(one) => vec![one],
        None => vec![],
    }
}

fn values_of(record: &Value) -> Vec<String> {
    many(record.pointer("/ResourceRecords/ResourceRecord"))
        .iter()
        .filter_map(|r| r["Value"].as_str().map(Into::into))
        .collect()
}

fn zone_shown(world: &World, id: &str, row: &Row) -> Value {
    let mut v = row.shown();
    let count = world
        .rows(GLOBAL, RECORDS)
        .filter(|(_, r)| r.text("_zone") == id)
        .count();
    v["ResourceRecordSetCount"] = json!(count);
    v
}

fn size(call: &Call, most: usize) -> usize {
    call.int("maxitems")
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0)
        .map_or(most, |n| n.min(most))
}

fn list_zones(world: &mut World, call: &Call) -> Outcome {
    let marker = call.opt("marker").unwrap_or_default();
    let size = size(call, 100);
    let all: Vec<(&String, &Row)> = world
        .rows(GLOBAL, ZONES)
        .filter(|(id, _)| id.as_str() >= marker)
        .collect();
    let page: Vec<Value> = all
        .iter()
        .take(size)
        .map(|(id, r)| zone_shown(world, id, r))
        .collect();
    let mut answer = json!({"HostedZones": {"HostedZone": page}, "Marker": marker,
        "IsTruncated": all.len() > size, "MaxItems": size});
    if let Some((next, _)) = all.get(size) {
        answer["NextMarker"] = json!(next);
    }
    Ok(answer.into())
}

fn zones_by_name(world: &mut World, call: &Call) -> Outcome {
    let from = call.opt("dnsname").map(|n| reversed(&absolute(n)));
    let from = from.unwrap_or_default();
    let size = size(call, 100);
    let mut all: Vec<(String, &String, &Row)> = world
        .rows(GLOBAL, ZONES)
        .map(|(id, r)| (reversed(r.text("Name")), id, r))
        .filter(|(name, _, _)| *name >= from)
        .collect();
    all.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let page: Vec<Value> = all
        .iter()
        .take(size)
        .map(|(_, id, r)| zone_shown(world, id, r))
        .collect();
    let mut answer = json!({"HostedZones": {"HostedZone": page}, "IsTruncated": all.len() > size, "MaxItems": size});
    if let Some((_, id, row)) = all.get(size) {
        answer["NextDNSName"] = json!(row.text("Name"));
        answer["NextHostedZoneId"] = json!(id);
    }
    Ok(answer.into())
}

fn need_zone<'w>(world: &'w World, call: &Call) -> Result<(String, &'w Row), Refusal> {
    let id = call.opt("Id").unwrap_or_default();
    match world.get(GLOBAL, ZONES, id) {
        Some(row) => Ok((id.to_owned(), row)),
        None => Err(Refusal::new(
            404,
            "NoSuchHostedZone",
            format!("No hosted zone found with ID: {id}"),
        )),
    }
}

fn get_zone(world: &mut World, call: &Call) -> Outcome {
    let (id, row) = need_zone(world, call)?;
    Ok(json!({"HostedZone": zone_shown(world, &id, row),
        "DelegationSet": {"NameServers": {"NameServer": ["ns-1.awsdns-01.com", "ns-2.awsdns-02.net"]}}})
    .into())
}

fn list_records(world: &mut World, call: &Call) -> Outcome {
    let (zone, _) = need_zone(world, call)?;
    let name = call.opt("name").map(absolute);
    let kind = call.opt("type").unwrap_or_default();
    if name.is_none() && !kind.is_empty() {
        return Err(Refusal::bad("InvalidInput", "A type needs a name"));
    }
    let from = name
        .map(|n| record_key(&zone, &n, kind))
        .unwrap_or_default();
    let size = size(call, 300);
    let all: Vec<&Row> = world
        .rows(GLOBAL, RECORDS)
        .filter(|(key, r)| r.text("_zone") == zone && **key >= from)
        .map(|(_, r)| r)
        .collect();
    let page: Vec<Value> = all.iter().take(size).map(|r| r.shown()).collect();
    let mut answer = json!({"ResourceRecordSets": {"ResourceRecordSet": page},
        "IsTruncated": all.len() > size, "MaxItems": size});
    if let Some(next) = all.get(size) {
        answer["NextRecordName"] = json!(next.text("Name"));
        answer["NextRecordType"] = json!(next.text("Type"));
    }
    Ok(answer.into())
}

fn refuse(message: String) -> Refusal {
    Refusal::bad("InvalidChangeBatch", format!("[{message}]"))
}

fn change(world: &mut World, call: &Call) -> Outcome {
    let (zone, row) = need_zone(world, call)?;
    let domain = row.text("Name").to_owned();
    let changes: Vec<Value> = many(call.at("ChangeBatch.Changes.Change"))
        .into_iter()
        .cloned()
        .collect();
    if changes.is_empty() {
        return Err(Refusal::bad("InvalidInput", "The change batch is empty"));
    }
    // All or nothing: the batch is tried on a copy.
    let mut table: Table = world
        .rows(GLOBAL, RECORDS)
        .map(|(k, r)| (k.clone(), r.clone()))
        .collect::<BTreeMap<_, _>>();
    for one in &changes {
        apply(world, call, &mut table, &zone, &domain, one)?;
    }
    *world.table(GLOBAL, RECORDS) = table;
    Ok(json!({"ChangeInfo": change_info(call.now, call.now)}).into())
}

fn apply(
    world: &World,
    call: &Call,
    table: &mut Table,
    zone: &str,
    domain: &str,
    one: &Value,
) -> Result<(), Refusal> {
    let record = &one["ResourceRecordSet"];
    let name = absolute(record["Name"].as_str().unwrap_or_default());
    let kind = record["Type"].as_str().unwrap_or_default();
    if name != domain && !name.ends_with(&format!(".{domain}")) {
        return Err(refuse(format!(
            "RRSet with DNS name {name} is not permitted in zone {domain}"
        )));
    }
    let key = record_key(zone, &name, kind);
    let shown = format!("[name='{name}', type='{kind}']");
    let wanted = row_of(world, call, zone, &name, kind, record)?;
    let have = table.get(&key).cloned();
    match (one["Action"].as_str().unwrap_or_default(), have) {
        ("CREATE", Some(_)) => Err(refuse(format!(
            "Tried to create resource record set {shown} but it already exists"
        ))),
        ("CREATE", None) | ("UPSERT", _) => {
            let rivals = table.values().any(|r| {
                r.text("_zone") == zone
                    && r.text("Name") == name
                    && r.text("Type") != kind
                    && (kind == "CNAME" || r.text("Type") == "CNAME")
            });
            if rivals {
                return Err(refuse(format!(
                    "RRSet of type {kind} with DNS name {name} is not permitted as it conflicts with other records with the same DNS name in zone {domain}"
                )));
            }
            let mut row = wanted;
            // What did not change has been there since it was made.
            if let Some(have) = table.get(&key)
                && same(&have.v, &row.v)
            {
                row.born = have.born;
            }
            table.insert(key, row);
            Ok(())
        }
        ("DELETE", None) => Err(refuse(format!(
            "Tried to delete resource record set {shown} but it was not found"
        ))),
        ("DELETE", Some(have)) => {
            if have.is("_seeded") {
                return Err(refuse(format!(
                    "A HostedZone must contain its {kind} record for the zone itself"
                )));
            }
            if !same(&have.v, &wanted.v) {
                return Err(refuse(format!(
                    "Tried to delete resource record set {shown} but the values provided do not match the current values"
                )));
            }
            table.remove(&key);
            Ok(())
        }
        (other, _) => Err(Refusal::bad(
            "InvalidInput",
            format!("'{other}' is not an action"),
        )),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    let mut values = (values_of(a), values_of(b));
    values.0.sort();
    values.1.sort();
    values.0 == values.1 && a["TTL"] == b["TTL"] && a["AliasTarget"] == b["AliasTarget"]
}

/// The record as it will be kept, checked.
fn row_of(
    world: &World,
    call: &Call,
    zone: &str,
    name: &str,
    kind: &str,
    record: &Value,
) -> Result<Row, Refusal> {
    let mut v = json!({"Name": name, "Type": kind});
    let values = values_of(record);
    if let Some(alias) = record.get("AliasTarget").filter(|a| a.is_object()) {
        let target = absolute(alias["DNSName"].as_str().unwrap_or_default());
        let target_zone = alias["HostedZoneId"].as_str().unwrap_or_default();
        if target.contains(".elb.") && !is_balancer(world, &target, target_zone) {
            return Err(refuse(format!(
                "Tried to create an alias that targets {target}, type {kind} in zone {target_zone}, but the alias target name does not lie within the target zone"
            )));
        }
        let health = alias["EvaluateTargetHealth"] == "true";
        v["AliasTarget"] =
            json!({"HostedZoneId": target_zone, "DNSName": target, "EvaluateTargetHealth": health});
    } else {
        let ttl = record["TTL"].as_str().and_then(|t| t.parse::<u32>().ok());
        let ttl = ttl.ok_or_else(|| {
            Refusal::bad(
                "InvalidInput",
                format!("Invalid request: missing field 'TTL' in Change of {name}"),
            )
        })?;
        if values.is_empty() {
            return Err(Refusal::bad(
                "InvalidInput",
                format!("Invalid request: no values for {name}"),
            ));
        }
        if kind == "A"
            && let Some(wrong) = values
                .iter()
                .find(|v| v.parse::<std::net::Ipv4Addr>().is_err())
        {
            return Err(refuse(format!(
                "Invalid Resource Record: 'FATAL problem: ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address) encountered with '{wrong}''"
            )));
        }
        let list: Vec<Value> = values.iter().map(|v| json!({"Value": v})).collect();
        v["TTL"] = json!(ttl);
        v["ResourceRecords"] = json!({"ResourceRecord": list});
    }
    v["_zone"] = json!(zone);
    Ok(Row {
        v,
        born: call.now,
        seen_from: call.now,
        ..Row::default()
    })
}

fn is_balancer(world: &World, dns: &str, zone: &str) -> bool {
    let bare = dns.strip_prefix("dualstack.").unwrap_or(dns);
    world
        .tables
        .iter()
        .filter(|(k, _)| k.ends_with("/elb/load_balancer"))
        .flat_map(|(_, t)| t.values())
        .any(|r| absolute(r.text("DNSName")) == bare && r.text("CanonicalHostedZoneId") == zone)
}

/// A change's id carries its moment, so that nothing has to be kept of it.
fn change_info(at: Millis, now: Millis) -> Value {
    let status = if at + delays::DNS_CHANGE <= now {
        "INSYNC"
    } else {
        "PENDING"
    };
    let submitted = jiff::Timestamp::from_millisecond(at)
        .unwrap_or_default()
        .to_string();
    json!({"Id": format!("/change/C{at:020}"), "Status": status, "SubmittedAt": submitted})
}

fn get_change(call: &Call) -> Outcome {
    let id = call.opt("Id").unwrap_or_default();
    let at: Option<Millis> = id.strip_prefix('C').and_then(|n| n.parse().ok());
    match at {
        Some(at) => Ok(json!({"ChangeInfo": change_info(at, call.now)}).into()),
        None => Err(Refusal::new(
            404,
            "NoSuchChange",
            format!("A change with the ID {id} does not exist"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_from_the_right() {
        let mut keys = [
            record_key("Z", "b.example.com.", "A"),
            record_key("Z", "example.com.", "NS"),
            record_key("Z", "a.b.example.com.", "A"),
        ];
        keys.sort();
        assert_eq!(
            keys,
            [
                "Z com.example NS",
                "Z com.example.b A",
                "Z com.example.b.a A"
            ]
        );
    }
}

//! What exists, as people think of it: nodes by role, stores, endpoints.

use serde::Serialize;
use serde_json::Value;

use crate::plan::Survey;
use crate::resource::{AnyFound, Readiness};
use crate::site::Site;
use crate::ui::table;

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    pub name: String,
    pub role: String,
    pub id: String,
    pub zone: String,
    pub address: String,
    /// EC2's word: `running`.
    pub state: String,
    /// What became of its last boot, in its own words: `ready 0f3a…`, `waiting secrets`, `failed package`. None before it
    /// has said anything.
    pub boot: Option<String>,
    /// What each target group thinks of it: `web healthy`.
    pub balancers: Vec<String>,
}

/// Something nodes or people talk to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    pub name: String,
    pub what: String,
    pub address: String,
    pub state: String,
}

/// The site as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inventory {
    pub domain: String,
    pub nodes: Vec<Node>,
    /// Groups that scale by themselves, with their smallest and largest size.
    pub groups: Vec<Endpoint>,
    pub endpoints: Vec<Endpoint>,
}

impl Inventory {
    /// Reads it off a survey; the machines are listed apart, because those of groups are in no survey.
    pub fn of(site: &Site, survey: &Survey, nodes: Vec<Node>) -> Self {
        let mut inventory = Self {
            domain: site.site.domain.to_string(),
            nodes,
            groups: vec![],
            endpoints: vec![],
        };
        for found in survey.found.values() {
            let name = found.address.name().to_owned();
            match found.address.kind().as_str() {
                "autoscaling/group" => {
                    let size = |key: &str| {
                        found
                            .live
                            .get(key)
                            .map_or_else(|| "?".to_owned(), Value::to_string)
                    };
                    let sizes = format!("{} to {} nodes", size("min"), size("max"));
                    inventory.groups.push(Endpoint {
                        name,
                        what: "group".into(),
                        address: sizes,
                        state: state(found),
                    });
                }
                kind => {
                    let (what, key) = match kind {
                        "rds/db_instance" | "rds/db_replica" => ("PostgreSQL", "endpoint"),
                        "elasticache/replication_group" => ("Valkey", "primary_endpoint"),
                        "elb/load_balancer" => ("load balancer", "dns_name"),
                        "ec2/elastic_ip" => ("address", "address"),
                        _ => continue,
                    };
                    let address = output(found, key).unwrap_or_default();
                    inventory.endpoints.push(Endpoint {
                        name,
                        what: what.into(),
                        address,
                        state: state(found),
                    });
                }
            }
        }
        inventory
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.nodes.is_empty() {
            let rows: Vec<_> = self.nodes.iter().map(row).collect();
            parts.push(table(&HEADINGS, &rows));
        }
        if !self.groups.is_empty() {
            let rows: Vec<_> = self
                .groups
                .iter()
                .map(|g| vec![g.name.clone(), g.address.clone(), g.state.clone()])
                .collect();
            parts.push(table(&["GROUP", "SIZE", "STATE"], &rows));
        }
        let rows: Vec<_> = self
            .endpoints
            .iter()
            .map(|e| {
                vec![
                    e.name.clone(),
                    e.what.clone(),
                    e.address.clone(),
                    e.state.clone(),
                ]
            })
            .collect();
        parts.push(table(&["ENDPOINT", "WHAT", "ADDRESS", "STATE"], &rows));
        parts.join("\n\n")
    }
}

const HEADINGS: [&str; 8] = [
    "NODE", "ROLE", "INSTANCE", "ZONE", "ADDRESS", "STATE", "BOOT", "BALANCER",
];

fn row(node: &Node) -> Vec<String> {
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    // The hash of the bundle says nothing to a person.
    let boot = match node.boot.as_deref().unwrap_or_default() {
        ready if ready.starts_with("ready") => "ready",
        other => other,
    };
    vec![
        node.name.clone(),
        node.role.clone(),
        node.id.clone(),
        node.zone.clone(),
        node.address.clone(),
        node.state.clone(),
        or_dash(boot),
        or_dash(&node.balancers.join(", ")),
    ]
}

fn output(found: &AnyFound, key: &str) -> Option<String> {
    match &found.readiness {
        Readiness::Ready(output) => output.get(key).map(plain),
        _ => None,
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn state(found: &AnyFound) -> String {
    match &found.readiness {
        Readiness::Ready(_) => "ready".into(),
        Readiness::Pending(word) | Readiness::Broken(word) => word.to_string(),
        Readiness::Held(fault) => fault.to_string(),
        Readiness::Absent => "absent".into(),
    }
}

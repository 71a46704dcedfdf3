//! User data: what a machine is told at birth. Small, and without a secret, because whoever is on the machine can
//! read it.

use serde::Serialize;

use super::boot_program;
use super::program::{FETCHER, UNIT};
use crate::blueprint::{Role, config_prefix};

/// Who a machine is, for `/etc/gantry/node.json`.
#[derive(Debug, Clone)]
pub struct Birth {
    pub site: String,
    /// `gitaly-1`; `rails` for every member of the group.
    pub node: String,
    pub role: Role,
    pub region: String,
    /// The config bucket.
    pub bucket: String,
}

#[derive(Serialize)]
struct NodeJson<'a> {
    format: u32,
    site: &'a str,
    node: &'a str,
    role: &'a str,
    region: &'a str,
    bucket: &'a str,
    prefix: String,
    boot_sha256: &'a str,
}

impl Birth {
    /// The content of `/etc/gantry/node.json`, with the boot program of this gantry. Written again over SSH, it
    /// moves a running node to a newer program.
    pub fn node_json(&self) -> String {
        let node = NodeJson {
            format: 1,
            site: &self.site,
            node: &self.node,
            role: self.role.as_str(),
            region: &self.region,
            bucket: &self.bucket,
            prefix: config_prefix(self.role),
            boot_sha256: boot_program().1,
        };
        serde_json::to_string(&node).expect("texts make a document")
    }
}

/// The user data of a machine: cloud-config, under AWS's 16 KiB.
pub fn user_data(birth: &Birth) -> String {
    let mut context = tera::Context::new();
    context.insert("node", &birth.node_json());
    context.insert("unit", &indented(UNIT));
    context.insert("fetch", &indented(FETCHER));
    tera::Tera::one_off(
        include_str!("../../templates/boot/user-data.yaml.tera"),
        &context,
        false,
    )
    .expect("the template is rendered by a test for every role")
}

/// As the content of a block in YAML.
fn indented(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            if line.is_empty() {
                String::new()
            } else {
                format!("      {line}")
            }
        })
        .collect();
    lines.join("\n")
}

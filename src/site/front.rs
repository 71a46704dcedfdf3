//! `[front]`: what people connect to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::identity::Domain;
use super::place::Path;
use super::problem::Problem;

/// What people connect to, and under which further names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Front {
    /// The load balancer in front of the Rails nodes.
    pub door: Door,
    /// Carry the visitor's address to the nodes by proxy protocol v2, on both ends.
    pub proxy_protocol: bool,
    /// The domain under which GitLab Pages sites appear.
    pub pages_domain: Option<Domain>,
    /// The host name of the container registry.
    pub registry_domain: Option<Domain>,
}

impl Default for Front {
    fn default() -> Self {
        Self {
            door: Door::Nlb,
            proxy_protocol: true,
            pages_domain: None,
            registry_domain: None,
        }
    }
}

/// The kinds of front door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// A network load balancer, which ends TLS.
    Nlb,
    /// A network load balancer before an application load balancer. Not available in this version.
    NlbAlb,
}

impl Front {
    pub(super) fn check(&self, site: &Site, problems: &mut Vec<Problem>) {
        if self.door == Door::NlbAlb {
            problems.push(
                Problem::at(Path::of("front.door"), "the front door `nlb-alb` is not available in this version")
                    .because("only the network load balancer alone is built so far")
                    .help("write `door = \"nlb\"`; a web application firewall has to stand before it, for example CloudFront with WAF"),
            );
        }
        for (key, name) in [
            ("pages_domain", &self.pages_domain),
            ("registry_domain", &self.registry_domain),
        ] {
            if name.as_ref() == Some(&site.site.domain) {
                problems.push(
                    Problem::at(
                        Path::of("front").key(key),
                        format!("`front.{key}` is the site's own domain"),
                    )
                    .because(if key == "pages_domain" {
                        "whoever may publish a page could take over sessions of the site"
                    } else {
                        "the registry answers under a host name of its own"
                    })
                    .help(format!(
                        "take another name, for example `{}.{}`",
                        key.trim_end_matches("_domain"),
                        site.site.domain
                    ))
                    .depends("site.domain"),
                );
            }
        }
        if self.pages_domain.is_some() && self.pages_domain == self.registry_domain {
            problems.push(
                Problem::at(
                    Path::of("front.registry_domain"),
                    "Pages and the registry have the same domain",
                )
                .because("one name cannot lead to two services")
                .help("give each its own")
                .depends("front.pages_domain"),
            );
        }
    }
}

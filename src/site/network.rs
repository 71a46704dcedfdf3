//! `[network]`: the site's VPC and who may come in.

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use super::place::Path;
use super::problem::Problem;
use super::ssh_key::SshPublicKey;
use crate::profile::Profile;
use crate::text::{Complaint, Text};

/// The site's own network, and who may come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// The private range of the VPC, /16 to /22. Each zone gets a public and a private part of it.
    #[schemars(with = "Cidr", example = "10.20.0.0/16")]
    pub cidr: Ipv4Net,
    /// Availability zones to spread over; by profile: 1, 2 or 3.
    #[schemars(example = 3)]
    pub zones: u8,
    /// NAT gateways: one in each zone, or one for all (cheaper; its zone takes the others' way out with it).
    pub nat: Nat,
    /// An existing VPC to build in. Not available in this version.
    pub existing_vpc: Option<String>,
    /// Ranges of other networks that will be connected to this one, so that they must not overlap.
    #[schemars(with = "Vec<Cidr>")]
    pub peered: Vec<Ipv4Net>,
    /// Record the network's flows, in the site's log bucket.
    pub flow_logs: bool,
    /// Private endpoints for the AWS APIs the nodes call: dearer, and no call leaves the network.
    pub interface_endpoints: bool,
    /// Who may open the web site (ports 80 and 443).
    #[schemars(with = "Vec<Cidr>")]
    pub https_from: Vec<Ipv4Net>,
    /// Who may use Git over SSH (port 22 of the load balancer).
    #[schemars(with = "Vec<Cidr>")]
    pub git_ssh_from: Vec<Ipv4Net>,
    /// Who may reach the bastion, or the box, over SSH. Empty: nobody.
    #[schemars(with = "Vec<Cidr>")]
    pub admin_from: Vec<Ipv4Net>,
    /// The public SSH keys of the people who may log in to the machines, a line each as in a file that ends in `.pub`.
    pub admin_keys: Vec<SshPublicKey>,
}

impl Default for Network {
    fn default() -> Self {
        let world = vec![Ipv4Net::default()];
        Self {
            cidr: Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 20, 0, 0), 16),
            zones: 3,
            nat: Nat::PerZone,
            existing_vpc: None,
            peered: Vec::new(),
            flow_logs: true,
            interface_endpoints: false,
            https_from: world.clone(),
            git_ssh_from: world,
            admin_from: Vec::new(),
            admin_keys: Vec::new(),
        }
    }
}

/// How many NAT gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// One in each zone: a lost zone costs no other its way out.
    PerZone,
    /// One for all zones.
    Single,
}

/// The spelling of a range in the file; in memory it is an [`Ipv4Net`].
pub(super) struct Cidr;

impl Text for Cidr {
    const FORMAT: &'static str = "ipv4-cidr";
    const NOUN: &'static str = "an IPv4 range";
    const EXAMPLE: &'static str = "203.0.113.0/24";
}

impl std::str::FromStr for Cidr {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
            return Err(Complaint::new(
                "the length of the range is missing",
                format!("write `{address}/32` for this one address"),
            ));
        }
        if text.contains(':') {
            return Err(Complaint::new(
                "IPv6 ranges are not available in this version",
                "write an IPv4 range, for example `203.0.113.0/24`",
            ));
        }
        let Ok(net) = text.parse::<Ipv4Net>() else {
            return Err(Complaint::new(
                "a range is four numbers up to 255, a slash and a length up to 32",
                "write it like `203.0.113.0/24`",
            ));
        };
        if net.trunc() != net {
            return Err(Complaint::new(
                format!("bits are set behind the first {}", net.prefix_len()),
                format!("write `{}`", net.trunc()),
            ));
        }
        Ok(Self)
    }
}

impl JsonSchema for Cidr {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": Self::FORMAT, "examples": [Self::EXAMPLE] })
    }
}

/// RFC 1918, and RFC 6598, which AWS allows for a VPC as well.
const PRIVATE: [&str; 4] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
];

impl Network {
    pub(super) fn check(&self, site: &Site, sizes: &Profile, problems: &mut Vec<Problem>) {
        self.check_cidr(problems);
        self.check_zones(site, sizes, problems);
        self.check_sources(problems);
        if self.existing_vpc.is_some() {
            problems.push(
                Problem::at(Path::of("network.existing_vpc"), "`network.existing_vpc` is not available in this version")
                    .because("gantry builds a VPC of its own for each site, so that destroy can leave nothing behind")
                    .help("take the key away, choose a `cidr` that does not overlap with your VPC, list that in `peered`, and connect the two by peering or a transit gateway"),
            );
        }
    }

    fn check_cidr(&self, problems: &mut Vec<Problem>) {
        let place = || Path::of("network.cidr");
        let private = PRIVATE
            .iter()
            .filter_map(|range| range.parse::<Ipv4Net>().ok())
            .any(|range| range.contains(&self.cidr));
        if !private {
            problems.push(
                Problem::at(place(), format!("`network.cidr` is {}, which is not private", self.cidr))
                    .because("a VPC on public addresses hides their owners from its nodes")
                    .help("take a range within 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10, for example `10.20.0.0/16`"),
            );
        }
        let length = self.cidr.prefix_len();
        if length > 22 {
            problems.push(
                Problem::at(
                    place(),
                    format!("`network.cidr` is a /{length}, which is too small"),
                )
                .because(format!(
                    "{} addresses leave no room for a public and a private subnet in each zone",
                    1_u64 << (32 - length)
                ))
                .help("take a range from /16 to /22"),
            );
        }
        if length < 16 {
            problems.push(
                Problem::at(
                    place(),
                    format!("`network.cidr` is a /{length}, which is too large"),
                )
                .because("AWS allows a VPC no more than a /16")
                .help(format!(
                    "take a range from /16 to /22, for example `{}/16`",
                    self.cidr.network()
                )),
            );
        }
        for (index, peered) in self.peered.iter().enumerate() {
            if overlap(self.cidr, *peered) {
                problems.push(
                    Problem::at(
                        Path::of("network.peered").index(index),
                        format!("{peered} overlaps with `network.cidr`, {}", self.cidr),
                    )
                    .because("two networks with common addresses cannot be connected")
                    .help("take another `cidr` for the site; it cannot be changed later")
                    .depends("network.cidr"),
                );
            }
        }
    }

    fn check_zones(&self, site: &Site, sizes: &Profile, problems: &mut Vec<Problem>) {
        let (profile, region) = (site.site.profile, &site.site.region);
        let problem = |what: String| {
            Problem::at(Path::of("network.zones"), what)
                .depends("site.profile")
                .depends("site.region")
        };
        let least = sizes.zones;
        if self.zones == 0 {
            problems.push(
                problem("`network.zones` is 0".to_owned())
                    .because("nodes have to be somewhere")
                    .help(format!("write `zones = {least}`")),
            );
        } else if self.zones > region.zones() {
            let help = if least > region.zones() {
                format!("take another region: {profile} needs {least} zones")
            } else {
                format!("write a number up to {}", region.zones())
            };
            problems.push(
                problem(format!(
                    "`network.zones` is {}, and {region} has {}",
                    self.zones,
                    region.zones()
                ))
                .because("there are not so many zones in the region")
                .help(help),
            );
        } else if self.zones < least {
            let because = if profile.is_ha() {
                "Gitaly Cluster and its quorum need three zones to survive the loss of one"
            } else {
                "database and cache keep their standby in a second zone"
            };
            problems.push(
                problem(format!(
                    "`network.zones` is {}, and {profile} needs {least}",
                    self.zones
                ))
                .because(because)
                .help(format!(
                    "write `zones = {least}`, or take a smaller profile"
                )),
            );
        }
    }

    fn check_sources(&self, problems: &mut Vec<Problem>) {
        for (key, ranges) in [
            ("https_from", &self.https_from),
            ("git_ssh_from", &self.git_ssh_from),
            ("admin_from", &self.admin_from),
        ] {
            // A rule per range and port; a security group holds 60 (facts: aws-realities.md, limits).
            if ranges.len() > 25 {
                problems.push(
                    Problem::at(
                        Path::of("network").key(key),
                        format!("`network.{key}` has {} ranges", ranges.len()),
                    )
                    .because("a security group holds 60 rules, and each range takes up to two")
                    .help("join neighbouring ranges until there are at most 25"),
                );
            }
            for (index, range) in ranges.iter().enumerate() {
                if ranges[..index].contains(range) {
                    problems.push(
                        Problem::at(
                            Path::of("network").key(key).index(index),
                            format!("`network.{key}` names {range} twice"),
                        )
                        .because("AWS refuses the same rule a second time")
                        .help("take one of them away"),
                    );
                }
            }
        }
        for (index, key) in self.admin_keys.iter().enumerate() {
            if self.admin_keys[..index]
                .iter()
                .any(|k| k.body() == key.body())
            {
                problems.push(
                    Problem::at(
                        Path::of("network.admin_keys").index(index),
                        "`network.admin_keys` names a key twice",
                    )
                    .because("who takes one of the two away would not shut anybody out")
                    .help("take one of them away"),
                );
            }
        }
        for (index, range) in self.admin_from.iter().enumerate() {
            let place = || Path::of("network.admin_from").index(index);
            if range.prefix_len() < 8 {
                problems.push(
                    Problem::at(place(), format!("`network.admin_from` opens the bastion to {range}"))
                        .because("the way to every node would be open to much of the world")
                        .help("name the addresses your administrators come from, for example `203.0.113.0/24`"),
                );
            } else if overlap(*range, self.cidr) {
                problems.push(
                    Problem::at(place(), format!("{range} overlaps with the site's own `network.cidr`, {}", self.cidr))
                        .because("administrators come from outside; from inside it would let every node onto the bastion")
                        .help("name the addresses your administrators come from, or take another `cidr`")
                        .depends("network.cidr"),
                );
            }
        }
    }
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

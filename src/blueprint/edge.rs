//! What people connect to: certificate, load balancers, names.

use super::network::Network;
use super::security::{
    GIT_SSH_PORT, Group, Groups, PRAEFECT_PORT, REDIRECT_PORT, WEB_PORT, has_load_balancer,
};
use super::{Draft, protection};
use crate::kinds::acm;
use crate::kinds::ec2::ElasticIp;
use crate::kinds::elb::{
    CertificateRef, Health, Listener, ListenerProtocol, LoadBalancer, Scheme, TargetGroup,
};
use crate::kinds::route53::{Record, RecordValue};
use crate::kinds::s3::Bucket;
use crate::names::mark;
use crate::resource::Ref;
use crate::site::Certificate;

/// TLS 1.2 with forward secrecy, and 1.3
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/network/describe-ssl-policies.html>).
const TLS_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";

/// How long a target that leaves may finish what it is doing; clones take minutes. AWS's own default.
const DEREGISTRATION_SECONDS: u32 = 300;

/// The public load balancer and what stands behind it.
pub(super) struct Front {
    pub balancer: Ref<LoadBalancer>,
    pub certificate: Shown,
    /// Web, redirect, SSH: name, group, port of the nodes.
    pub targets: Vec<(&'static str, Ref<TargetGroup>, u16)>,
}

/// The certificate that visitors are shown.
pub(super) enum Shown {
    Requested {
        certificate: Ref<acm::Certificate>,
        validation: Ref<acm::Validation>,
    },
    Existing(String),
}

impl Shown {
    fn for_listener(&self) -> CertificateRef {
        match self {
            Self::Requested { validation, .. } => CertificateRef::Ours(validation.clone()),
            Self::Existing(arn) => CertificateRef::Existing(arn.clone()),
        }
    }
}

/// The load balancer before Praefect.
pub(super) struct PraefectFront {
    pub balancer: Ref<LoadBalancer>,
    pub target: Ref<TargetGroup>,
}

/// The public front; none on a box that answers by itself.
pub(super) fn front(
    draft: &mut Draft<'_>,
    network: &Network,
    groups: &Groups,
    logs: &Ref<Bucket>,
) -> Option<Front> {
    if !has_load_balancer(draft.site, draft.sizes) {
        return None;
    }
    let certificate = certificate(draft);
    let spec = LoadBalancer {
        name: draft.names.load_balancer("public"),
        scheme: Scheme::Public,
        subnets: network.publics(),
        groups: groups.of(Group::Nlb),
        logs: Some(logs.clone()),
        protection: protection(draft.site),
        // A zone whose only node is being replaced would drop out of DNS otherwise. It costs traffic between zones.
        cross_zone: true,
    };
    let balancer = draft.world.add("public", spec);
    draft.world.after(&balancer, &network.internet);
    let targets: Vec<_> = [
        ("web", WEB_PORT),
        ("redirect", REDIRECT_PORT),
        ("ssh", GIT_SSH_PORT),
    ]
    .map(|(part, port)| (part, target_group(draft, network, part, port), port))
    .to_vec();
    let target = |wanted: &str| {
        targets
            .iter()
            .find(|(part, _, _)| *part == wanted)
            .map(|(_, group, _)| group.clone())
    };
    let tls = ListenerProtocol::Tls {
        certificate: certificate.for_listener(),
        policy: TLS_POLICY.to_owned(),
    };
    for (part, port, protocol, wanted) in [
        ("https", 443, tls, "web"),
        ("http", 80, ListenerProtocol::Tcp, "redirect"),
        ("ssh", 22, ListenerProtocol::Tcp, "ssh"),
    ] {
        if let Some(target) = target(wanted) {
            let spec = Listener {
                load_balancer: balancer.clone(),
                port,
                protocol,
                target,
            };
            draft.world.add(part, spec);
        }
    }
    Some(Front {
        balancer,
        certificate,
        targets,
    })
}

/// All three groups ask the web port how the node is. A bare TCP check of a port that expects the proxy header
/// would leave a broken-header line in its log with every check; nginx answers the header that the load balancer
/// puts before its checks.
fn target_group(
    draft: &mut Draft<'_>,
    network: &Network,
    part: &str,
    port: u16,
) -> Ref<TargetGroup> {
    let proxy_protocol = draft.site.front.proxy_protocol;
    let spec = TargetGroup {
        name: draft.names.target_group(part),
        vpc: network.vpc.clone(),
        port,
        health: Health::Http {
            path: "/-/readiness".to_owned(),
            port: (port != WEB_PORT).then_some(WEB_PORT),
            success: "200".to_owned(),
        },
        proxy_protocol,
        // One way of telling the visitor's address, never both; and a node behind preserved addresses could not
        // reach itself through the load balancer.
        preserve_client_ip: !proxy_protocol,
        deregistration_seconds: DEREGISTRATION_SECONDS,
    };
    draft.world.add(part, spec)
}

/// The certificate of the TLS listener, with the records that prove the names to be ours.
fn certificate(draft: &mut Draft<'_>) -> Shown {
    if let Certificate::Arn(arn) = &draft.site.tls.certificate {
        return Shown::Existing(arn.clone());
    }
    let names = draft.public_names();
    let certified: Vec<String> = names.iter().map(PublicName::certified).collect();
    let part = certificate_part(&certified);
    let mut texts = certified.into_iter();
    let certificate = draft.world.add(
        &part,
        acm::Certificate {
            domain: texts.next().unwrap_or_default(),
            alternative: texts.collect(),
        },
    );
    let mut by_hand = Vec::new();
    let mut records = Vec::new();
    for name in &names {
        match draft.facts.zone_of(&name.domain) {
            Some(zone) => {
                let spec = Record {
                    zone_id: zone.id.clone(),
                    name: name.certified(),
                    value: RecordValue::Validation {
                        certificate: certificate.clone(),
                        domain: name.certified(),
                    },
                };
                let address = format!("validation-{}", name.certified());
                records.push(draft.world.add(address, spec));
            }
            None => by_hand.push(name.certified()),
        }
    }
    let spec = acm::Validation {
        certificate: certificate.clone(),
        by_hand,
    };
    let validation = draft.world.add(&part, spec);
    // Without its records nothing is ever proved.
    for record in &records {
        draft.world.after(&validation, record);
    }
    Shown::Requested {
        certificate,
        validation,
    }
}

/// ACM cannot change the names of a certificate, and nobody wants to be without one: for other names there is another
/// beside it, until the listener shows that. So its address says what it is for.
fn certificate_part(names: &[String]) -> String {
    let (first, more) = match names {
        [] => return String::new(),
        [first, more @ ..] => (first, more),
    };
    if more.is_empty() {
        return first.clone();
    }
    format!("{first}-{}", mark(&more.join(" ")))
}

/// A name under which the site is reached.
pub(super) struct PublicName {
    pub domain: crate::site::Domain,
    /// Every name below it as well: Pages sites.
    pub below: bool,
}

impl PublicName {
    /// As it stands in certificates and records.
    fn certified(&self) -> String {
        if self.below {
            format!("*.{}", self.domain)
        } else {
            self.domain.to_string()
        }
    }
}

impl Draft<'_> {
    /// The site's own name first.
    fn public_names(&self) -> Vec<PublicName> {
        let front = &self.site.front;
        let exact = |domain: &crate::site::Domain| PublicName {
            domain: domain.clone(),
            below: false,
        };
        let mut names = vec![exact(&self.site.site.domain)];
        names.extend(front.registry_domain.as_ref().map(exact));
        names.extend(front.pages_domain.as_ref().map(|domain| PublicName {
            domain: domain.clone(),
            below: true,
        }));
        names
    }
}

/// The internal load balancer that spreads Git calls over the Praefect nodes.
pub(super) fn praefect(
    draft: &mut Draft<'_>,
    network: &Network,
    groups: &Groups,
) -> Option<PraefectFront> {
    draft.sizes.praefect.as_ref()?;
    let spec = LoadBalancer {
        name: draft.names.load_balancer("praefect"),
        scheme: Scheme::Internal,
        subnets: network.privates(),
        groups: groups.of(Group::PraefectNlb),
        // Network load balancers write access logs of TLS listeners only, and there is none here.
        logs: None,
        protection: protection(draft.site),
        // Connections are few and last long; each Praefect must be reachable from every zone.
        cross_zone: true,
    };
    let balancer = draft.world.add("praefect", spec);
    let spec = TargetGroup {
        name: draft.names.target_group("praefect"),
        vpc: network.vpc.clone(),
        port: PRAEFECT_PORT,
        health: Health::Tcp,
        // gRPC knows no proxy header, and with preserved addresses no node could call itself through it.
        proxy_protocol: false,
        preserve_client_ip: false,
        deregistration_seconds: DEREGISTRATION_SECONDS,
    };
    let target = draft.world.add("praefect", spec);
    let spec = Listener {
        load_balancer: balancer.clone(),
        port: PRAEFECT_PORT,
        protocol: ListenerProtocol::Tcp,
        target: target.clone(),
    };
    draft.world.add("praefect", spec);
    Some(PraefectFront { balancer, target })
}

/// What the site's names lead to.
pub(super) enum Door<'a> {
    Balancer(&'a Ref<LoadBalancer>),
    Address(&'a Ref<ElasticIp>),
}

/// The records of the site's names, as far as the hosted zone holds them; the others are made by hand.
pub(super) fn records(draft: &mut Draft<'_>, door: &Door<'_>) {
    for name in draft.public_names() {
        let Some(zone) = draft.facts.zone_of(&name.domain) else {
            continue;
        };
        let (word, value) = match door {
            Door::Balancer(balancer) => ("alias", RecordValue::LoadBalancer((*balancer).clone())),
            Door::Address(address) => ("a", RecordValue::Address((*address).clone())),
        };
        let spec = Record {
            zone_id: zone.id.clone(),
            name: name.certified(),
            value,
        };
        draft
            .world
            .add(format!("{word}-{}", name.certified()), spec);
    }
}

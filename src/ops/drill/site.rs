//! The site of a drill, derived from the site file.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::super::OpsFault;
use super::super::point::{Edition, Manifest};
use crate::resource::{CloudCx, DRILL_TAG, SITE_TAG};
use crate::site::{
    self, Backup, BackupSchedule, Certificate, Front, Monitoring, Nat, Protection, Rpo, Schedule,
    SecretRef, Site,
};
use crate::text::Complaint;

/// What the name of a drill's site ends in.
const SUFFIX: &str = "-drill";

/// The longest name of a site that leaves room for it.
const LONGEST: usize = 24 - SUFFIX.len();

/// The site of a drill of `site`: the same profile in a network of its own, without visitors and without everything that
/// would reach anybody. `host` is the address that the drill is run from, where that is the appliance host: it may enter
/// beside those whom the site file lets in.
pub fn site_of(site: &Site, host: Option<Ipv4Addr>) -> Result<Site, Complaint> {
    let mut drill = site.clone();
    let name = format!("{}{SUFFIX}", site.site.name);
    drill.site.name = name.parse().map_err(|why: Complaint| {
        Complaint::new(
            format!("its site would be called {name}: {}", why.why),
            format!(
                "the name of a site has {LONGEST} characters at most where drills are wanted; a trial by hand is in docs/guides/restore.md"
            ),
        )
    })?;
    drill.site.domain = format!("drill.{}", site.site.domain).parse()?;
    // Nobody visits it. One way out of the network is enough for machines of some hours.
    let network = &mut drill.network;
    network.https_from = Vec::new();
    network.git_ssh_from = Vec::new();
    network.admin_from.extend(host.map(Ipv4Net::from));
    network.nat = Nat::Single;
    network.flow_logs = false;
    drill.front = Front {
        pages_domain: None,
        registry_domain: None,
        ..site.front.clone()
    };
    // Let's Encrypt wants to be visited.
    if drill.tls.certificate == Certificate::LetsEncrypt {
        drill.tls.certificate = Certificate::Request;
    }
    // What was entered at the first set-up is in the database that comes back.
    drill.gitlab.license = None;
    drill.gitlab.activation_code = None;
    drill.gitlab.initial_root_password = SecretRef::Generate;
    drill.monitoring = Monitoring {
        alarms: false,
        email: Vec::new(),
    };
    drill.smtp = None;
    drill.ses = None;
    drill.ldap = None;
    drill.saml = None;
    drill.registry = None;
    let daily = BackupSchedule::default().full;
    drill.backup = Backup {
        timezone: site.backup.timezone.clone(),
        // Nobody works there, and nothing backs it up.
        rpo: Rpo {
            minutes: 7 * 24 * 60,
        },
        dlm: false,
        schedule: BackupSchedule {
            snapshot: Schedule::Off,
            full: daily,
            verify: Schedule::Off,
            drill: Schedule::Off,
        },
        ..Backup::default()
    };
    drill.protection = Protection { deletion: false };
    drill
        .tags
        .insert(DRILL_TAG.to_owned(), site.site.name.to_string());
    Ok(drill)
}

/// Gives a drill's site the version and the edition of the point: a backup restores into exactly its own.
pub fn suits(drill: &mut Site, point: &Manifest) -> Result<(), OpsFault> {
    drill.gitlab.version = point.gitlab.version.parse().map_err(|why: Complaint| {
        OpsFault::check(
            format!("the point {}", point.id),
            format!("it is of GitLab {}: {}", point.gitlab.version, why.why),
            "drill it with the gantry that took it",
        )
    })?;
    drill.gitlab.edition = match point.gitlab.edition {
        Edition::Ee => site::Edition::Ee,
        Edition::Ce => site::Edition::Ce,
    };
    Ok(())
}

/// Refuses unless everything that stands under the drill's name is of a drill: somebody may have a site of that name.
/// `cx` is the drill's.
pub async fn own(cx: &CloudCx) -> Result<(), OpsFault> {
    use aws_sdk_resourcegroupstagging::types::TagFilter;
    let of_site = TagFilter::builder().key(SITE_TAG).values(cx.site()).build();
    let found = cx
        .read("tag:GetResources", || {
            cx.aws()
                .tagging
                .get_resources()
                .tag_filters(of_site.clone())
                .resources_per_page(100)
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let whose = cx.scope().tags.get(DRILL_TAG);
    let foreign = found.iter().find(|thing| {
        let mark = thing.tags().iter().find(|tag| tag.key() == DRILL_TAG);
        whose.is_none() || mark.map(|tag| tag.value()) != whose
    });
    match foreign {
        None => Ok(()),
        Some(thing) => Err(OpsFault::refused(
            format!(
                "{} is a site of its own, and nothing of it is touched",
                cx.site()
            ),
            format!(
                "{} has its name and not the tag {DRILL_TAG}",
                thing.resource_arn().unwrap_or("something")
            ),
            "a drill of this site is not possible while a site of that name stands",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{ProfileName, Profiles};

    fn site(name: &str, profile: ProfileName) -> Site {
        Site::defaults_for(
            profile,
            name.parse().unwrap(),
            "gitlab.example.com".parse().unwrap(),
            "eu-west-1".parse().unwrap(),
        )
    }

    #[test]
    fn it_is_a_whole_site_that_reaches_nobody() {
        for profile in ProfileName::ALL {
            let mut site = site("acme", profile);
            site.network.admin_from = vec!["203.0.113.0/24".parse().unwrap()];
            site.monitoring.email = vec!["ops@example.com".parse().unwrap()];
            site.gitlab.license = Some("file:license".parse().unwrap());
            site.gitlab.initial_root_password = "env:ROOT".parse().unwrap();
            site.backup.immutable_days = Some(14);
            site.backup.copy_to_region = Some("eu-central-1".parse().unwrap());
            let drill = site_of(&site, None).unwrap();
            assert_eq!(drill.site.name.as_str(), "acme-drill");
            assert_eq!(drill.site.domain.as_str(), "drill.gitlab.example.com");
            assert_eq!(drill.site.profile, profile);
            assert_eq!(drill.site.region, site.site.region);
            assert_eq!(drill.gitlab.version, site.gitlab.version);
            let network = &drill.network;
            assert!(network.https_from.is_empty() && network.git_ssh_from.is_empty());
            assert_eq!(network.admin_from, site.network.admin_from);
            assert_eq!(network.zones, site.network.zones);
            assert!(!drill.monitoring.alarms && drill.monitoring.email.is_empty());
            assert!(!drill.backup.dlm && drill.backup.immutable_days.is_none());
            assert!(drill.backup.copy_to_region.is_none());
            assert_eq!(drill.backup.schedule.drill, Schedule::Off);
            assert_ne!(drill.tls.certificate, Certificate::LetsEncrypt);
            // Nothing of it has to be found on the machine that the drill is run on.
            let outside = drill
                .secrets()
                .into_iter()
                .filter(|(_, secret)| !matches!(secret, SecretRef::Generate | SecretRef::Arn(_)));
            assert_eq!(outside.count(), 0);
            assert_eq!(drill.tags[DRILL_TAG], "acme");
            // The tag is gantry's own; apart from it the site is one that anybody could have.
            let mut file = drill.clone();
            file.tags.clear();
            let problems = file.problems(Profiles::embedded());
            assert!(problems.is_empty(), "{profile}: {problems:?}");
        }
    }

    #[test]
    fn the_appliance_host_may_enter_beside_those_of_the_site_file() {
        let site = site("acme", ProfileName::Poc2k);
        let drill = site_of(&site, Some(Ipv4Addr::new(198, 51, 100, 7))).unwrap();
        let host: Ipv4Net = "198.51.100.7/32".parse().unwrap();
        assert_eq!(drill.network.admin_from, vec![host]);
    }

    #[test]
    fn a_name_that_leaves_no_room_is_refused() {
        let longest = site("a-site-of-18-chars", ProfileName::Poc2k);
        site_of(&longest, None).unwrap();
        let long = site("a-site-of-19-charsx", ProfileName::Poc2k);
        assert_eq!(long.site.name.as_str().len(), 19);
        let said = site_of(&long, None).unwrap_err();
        assert!(said.why.contains("a-site-of-19-charsx-drill"), "{said}");
        assert!(said.help.contains("18 characters"), "{said}");
    }
}

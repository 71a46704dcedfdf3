//! The records that lead to the site, for those who keep their DNS elsewhere.

use super::Session;
use crate::facts::Facts;

impl Session {
    /// The records to be made by hand, one a line, as far as what they lead to is there: names that are in no hosted zone of
    /// this account.
    pub fn records_by_hand(&self, facts: &Facts) -> Vec<String> {
        let Some((word, to)) = self.door() else {
            return vec![];
        };
        let pages = self.site.front.pages_domain.as_ref();
        self.site
            .names()
            .filter(|name| facts.zone_of(name).is_none())
            .map(|name| {
                let below = if pages == Some(name) { "*." } else { "" };
                format!("{below}{name}  {word}  {to}")
            })
            .collect()
    }

    /// The load balancer's name, or the box's address.
    fn door(&self) -> Option<(&'static str, String)> {
        let outputs = self.store.state().outputs();
        let of = |address: &str, key: &str| {
            let value = outputs.0.get(&address.parse().ok()?)?.get(key)?;
            Some(value.as_str()?.to_owned())
        };
        let balancer = of("elb/load_balancer:public", "dns_name").map(|name| ("CNAME", name));
        balancer.or_else(|| Some(("A", of("ec2/elastic_ip:box", "address")?)))
    }
}

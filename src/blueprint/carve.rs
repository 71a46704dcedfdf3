//! How the site's range is divided among zones.
//!
//! The range is cut into eight equal blocks. The first six are the private subnets of up to six zones (the most
//! any region has); the seventh and eighth are cut into four each, for the public ones, where only load balancers,
//! NAT gateways and the bastion live. A zone keeps its blocks when others are added later, because a subnet's
//! range cannot change.

use ipnet::Ipv4Net;

/// The most zones a range is divided among.
pub const MOST_ZONES: usize = 6;

/// The two ranges of one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carved {
    pub public: Ipv4Net,
    pub private: Ipv4Net,
}

/// The ranges of the first `zones` zones; fewer when the range is too small to be cut, or there are more than six.
///
/// For a /22, the smallest the site file takes, that is 128 private and 32 public addresses a zone; AWS keeps five
/// of each, and a network load balancer wants eight free.
pub fn carve(cidr: Ipv4Net, zones: usize) -> Vec<Carved> {
    let length = cidr.prefix_len();
    let (Ok(eighths), Ok(small)) = (cidr.subnets(length + 3), cidr.subnets(length + 5)) else {
        return Vec::new();
    };
    let public = small.skip(MOST_ZONES * 4);
    eighths
        .take(zones.min(MOST_ZONES))
        .zip(public)
        .map(|(private, public)| Carved { public, private })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_network_of_three_zones() {
        let carved = carve("10.20.0.0/16".parse().unwrap(), 3);
        let shown: Vec<_> = carved
            .iter()
            .map(|c| format!("{} {}", c.public, c.private))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        10.20.192.0/21 10.20.0.0/19
        10.20.200.0/21 10.20.32.0/19
        10.20.208.0/21 10.20.64.0/19
        ");
    }

    proptest! {
        #[test]
        fn the_parts_lie_within_and_apart(address in any::<u32>(), length in 16_u8..=22, zones in 1_usize..=6) {
            let cidr = Ipv4Net::new(Ipv4Addr::from(address), length).unwrap().trunc();
            let parts: Vec<Ipv4Net> = carve(cidr, zones).into_iter().flat_map(|c| [c.public, c.private]).collect();
            prop_assert_eq!(parts.len(), zones * 2);
            for (position, part) in parts.iter().enumerate() {
                prop_assert!(cidr.contains(part));
                prop_assert!(part.prefix_len() <= 28, "AWS takes no subnet smaller than /28");
                for other in &parts[position + 1..] {
                    prop_assert!(!part.contains(other) && !other.contains(part), "{part} and {other} overlap");
                }
            }
        }

        #[test]
        fn a_zone_keeps_its_ranges_when_others_come(length in 16_u8..=22, zones in 1_usize..=5) {
            let cidr = Ipv4Net::new(Ipv4Addr::new(10, 0, 0, 0), length).unwrap();
            prop_assert_eq!(&carve(cidr, zones + 1)[..zones], &carve(cidr, zones)[..]);
        }
    }
}

//! Regions and how many zones each has.

use crate::text::{Complaint, nearest, text_type};

text_type!(
    /// A commercial AWS region.
    Region, "region", "a region", "eu-west-1", check_region
);

/// The commercial regions and the zones a new account is offered in each
/// (<https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html>).
const REGIONS: &[(&str, u8)] = &[
    ("af-south-1", 3),
    ("ap-east-1", 3),
    ("ap-east-2", 3),
    ("ap-northeast-1", 3),
    ("ap-northeast-2", 4),
    ("ap-northeast-3", 3),
    ("ap-south-1", 3),
    ("ap-south-2", 3),
    ("ap-southeast-1", 3),
    ("ap-southeast-2", 3),
    ("ap-southeast-3", 3),
    ("ap-southeast-4", 3),
    ("ap-southeast-5", 3),
    ("ap-southeast-6", 3),
    ("ap-southeast-7", 3),
    ("ca-central-1", 3),
    ("ca-west-1", 3),
    ("eu-central-1", 3),
    ("eu-central-2", 3),
    ("eu-north-1", 3),
    ("eu-south-1", 3),
    ("eu-south-2", 3),
    ("eu-west-1", 3),
    ("eu-west-2", 3),
    ("eu-west-3", 3),
    ("il-central-1", 3),
    ("me-central-1", 3),
    ("me-south-1", 3),
    ("mx-central-1", 3),
    ("sa-east-1", 3),
    ("us-east-1", 6),
    ("us-east-2", 3),
    ("us-west-1", 2),
    ("us-west-2", 4),
];

impl Region {
    /// Zones a new account is offered.
    pub fn zones(&self) -> u8 {
        REGIONS
            .iter()
            .find(|(name, _)| *name == self.as_str())
            .map_or(0, |(_, zones)| *zones)
    }

    /// The names of all regions gantry knows.
    pub fn all() -> impl Iterator<Item = &'static str> {
        REGIONS.iter().map(|(name, _)| *name)
    }
}

fn check_region(text: &str) -> Result<(), Complaint> {
    if Region::all().any(|name| name == text) {
        return Ok(());
    }
    if text.starts_with("us-gov-")
        || text.starts_with("cn-")
        || text.contains("-iso")
        || text.starts_with("eusc-")
    {
        return Err(Complaint::new(
            "it lies in another AWS partition, with its own accounts and addresses",
            "gantry builds in the commercial regions only: take one of them",
        ));
    }
    if let Some(zone) = text
        .strip_suffix(|c: char| c.is_ascii_lowercase())
        .filter(|region| Region::all().any(|name| name == *region))
    {
        return Err(Complaint::new(
            "that is one zone of a region",
            format!("write `{zone}`; gantry spreads over its zones by itself"),
        ));
    }
    let help = match nearest(text, Region::all()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            "`aws account list-regions` prints those your account may use, for example `eu-west-1`"
                .to_owned()
        }
    };
    Err(Complaint::new(
        "AWS has no region of that name that gantry knows",
        help,
    ))
}

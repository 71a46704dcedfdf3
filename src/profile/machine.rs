//! Names of machine sizes as AWS spells them: EC2 instance types, RDS classes, ElastiCache node types.
//!
//! Burstable sizes are refused for whatever carries load: GitLab discourages them everywhere
//! (doc/install/requirements.md, doc/administration/reference_architectures/_index.md).

use crate::text::{Complaint, text_type};

text_type!(
    /// An EC2 instance type, `c5.2xlarge`. Only its spelling is checked here; preflight asks the region.
    InstanceType, "instance-type", "an EC2 instance type", "c5.2xlarge", check_instance_type
);

text_type!(
    /// An RDS instance class, `db.m6i.large`, never burstable.
    DbClass, "rds-class", "an RDS instance class", "db.m6i.large", check_db_class
);

text_type!(
    /// An ElastiCache node type, `cache.m7g.large`, never burstable.
    CacheNodeType, "cache-node-type", "an ElastiCache node type", "cache.m7g.large", check_cache_node
);

/// What the processor of an instance type understands; the machine image must match it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    X86_64,
    Arm64,
}

impl InstanceType {
    /// The part before the dot, `c5`.
    pub fn family(&self) -> &str {
        self.as_str().split('.').next().unwrap_or_default()
    }

    /// From the family's letters: Graviton families carry a `g` after the generation (`m7g`, `c6gn`).
    pub fn architecture(&self) -> Architecture {
        let after_generation = self
            .family()
            .trim_start_matches(|c: char| !c.is_ascii_digit())
            .trim_start_matches(|c: char| c.is_ascii_digit());
        if self.family() == "a1" || after_generation.starts_with('g') {
            Architecture::Arm64
        } else {
            Architecture::X86_64
        }
    }

    /// Whether it lives on CPU credits.
    pub fn is_burstable(&self) -> bool {
        burstable(self.family())
    }
}

fn burstable(family: &str) -> bool {
    let mut letters = family.chars();
    letters.next() == Some('t') && letters.next().is_some_and(|c| c.is_ascii_digit())
}

fn check_instance_type(text: &str) -> Result<(), Complaint> {
    if let Some(prefix) = ["db.", "cache."]
        .iter()
        .find(|prefix| text.starts_with(**prefix))
    {
        return Err(Complaint::new(
            format!("`{prefix}` begins a managed database or cache size, and this is an EC2 node"),
            format!("drop the prefix: `{}`", &text[prefix.len()..]),
        ));
    }
    spelled(text, 2, "c5.2xlarge")
}

fn check_db_class(text: &str) -> Result<(), Complaint> {
    let rest = prefixed(text, "db.", "an RDS class", "db.m6i.large")?;
    if burstable(rest) {
        return Err(Complaint::new(
            "burstable classes run out of CPU credits under GitLab's steady load",
            "take a class that is not `db.t…`, for example `db.m6i.large`",
        ));
    }
    if rest == "serverless" {
        return Err(Complaint::new(
            "serverless classes belong to Aurora, which GitLab does not support",
            "take an RDS for PostgreSQL class, for example `db.m6i.large`",
        ));
    }
    spelled(rest, 2, "db.m6i.large")
}

fn check_cache_node(text: &str) -> Result<(), Complaint> {
    let rest = prefixed(
        text,
        "cache.",
        "an ElastiCache node type",
        "cache.m7g.large",
    )?;
    if burstable(rest) {
        return Err(Complaint::new(
            "burstable node types run out of CPU credits under GitLab's steady load",
            "take a type that is not `cache.t…`, for example `cache.m7g.large`",
        ));
    }
    spelled(rest, 2, "cache.m7g.large")
}

fn prefixed<'a>(
    text: &'a str,
    prefix: &str,
    noun: &str,
    example: &str,
) -> Result<&'a str, Complaint> {
    text.strip_prefix(prefix).ok_or_else(|| {
        Complaint::new(
            format!("{noun} begins with `{prefix}`"),
            format!("write it like `{example}`"),
        )
    })
}

fn spelled(text: &str, parts: usize, example: &str) -> Result<(), Complaint> {
    let good = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if text.split('.').count() == parts
        && text.split('.').all(good)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
    {
        return Ok(());
    }
    Err(Complaint::new(
        "a size is a family, a dot and a size, in small letters",
        format!("write it like `{example}`"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graviton_is_recognised() {
        for (name, architecture) in [
            ("c5.2xlarge", Architecture::X86_64),
            ("m7g.large", Architecture::Arm64),
            ("c6gn.xlarge", Architecture::Arm64),
            ("g4dn.xlarge", Architecture::X86_64),
            ("m7i-flex.large", Architecture::X86_64),
        ] {
            let parsed: InstanceType = name.parse().unwrap();
            assert_eq!(parsed.architecture(), architecture, "{name}");
        }
    }

    #[test]
    fn burstable_classes_are_refused_where_load_is_carried() {
        assert!("db.t4g.large".parse::<DbClass>().is_err());
        assert!("cache.t3.medium".parse::<CacheNodeType>().is_err());
        assert!("db.m6i.large".parse::<DbClass>().is_ok());
        assert!("t3.micro".parse::<InstanceType>().unwrap().is_burstable());
        assert!(
            !"trn1.2xlarge"
                .parse::<InstanceType>()
                .unwrap()
                .is_burstable()
        );
    }
}

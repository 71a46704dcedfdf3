//! How many processes of GitLab a machine carries.

use crate::profile::InstanceType;

/// Processors and memory of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    pub vcpus: u32,
    pub memory_gib: u32,
}

impl Capacity {
    /// Of the general (`m`), compute (`c`) and memory (`r`) families, whose sizes all follow one rule: `large` has 2
    /// processors, `xlarge` 4, `Nxlarge` 4 N, with 4, 2 or 8 GiB each
    /// (<https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html>). `None` for any other.
    pub fn of(machine: &InstanceType) -> Option<Self> {
        let (family, size) = machine.as_str().split_once('.')?;
        let mut letters = family.chars();
        let each = match letters.next()? {
            'c' => 2,
            'm' => 4,
            'r' => 8,
            _ => return None,
        };
        if !letters.next()?.is_ascii_digit() {
            return None;
        }
        let vcpus = match size {
            "large" => 2,
            "xlarge" => 4,
            _ => size.strip_suffix("xlarge")?.parse::<u32>().ok()? * 4,
        };
        Some(Self {
            vcpus,
            memory_gib: vcpus * each,
        })
    }

    /// Puma workers of a machine that serves the web: a worker for each processor, as far as each finds 1 GiB beside
    /// 1.5 GiB for the rest. It is the package's own sum (files/gitlab-cookbooks/gitlab/libraries/puma.rb), done here
    /// so that the file says it and the database's connections can be counted.
    pub fn puma_workers(self) -> u32 {
        self.vcpus.min(self.memory_gib.saturating_sub(2)).max(2)
    }

    /// Sidekiq processes of a machine that does nothing else: one for each processor, which is what each can use
    /// (doc/administration/sidekiq/extra_sidekiq_processes.md), as far as each finds 3 GiB.
    pub fn sidekiq_processes(self) -> u32 {
        self.vcpus.min(self.memory_gib / 3).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{ProfileName, get};

    #[test]
    fn sizes_as_aws_lists_them() {
        for (name, vcpus, memory_gib) in [
            ("c5.2xlarge", 8, 16),
            ("c5.9xlarge", 36, 72),
            ("m5.xlarge", 4, 16),
            ("m7g.large", 2, 8),
            ("r6i.4xlarge", 16, 128),
        ] {
            let machine = name.parse().unwrap();
            let capacity = Capacity { vcpus, memory_gib };
            assert_eq!(Capacity::of(&machine), Some(capacity), "{name}");
        }
        for odd in ["t3.small", "c7i.metal-24xl", "mac2.metal", "z1d.large"] {
            assert_eq!(Capacity::of(&odd.parse().unwrap()), None, "{odd}");
        }
    }

    #[test]
    fn every_profile_says_how_many() {
        for name in ProfileName::ALL {
            let profile = get(name);
            if let Some(rails) = &profile.rails {
                let capacity = Capacity::of(&rails.instance_type).unwrap();
                assert_eq!(capacity.puma_workers(), capacity.vcpus);
            }
            if let Some(group) = &profile.sidekiq {
                let capacity = Capacity::of(&group.instance_type).unwrap();
                assert_eq!(capacity.sidekiq_processes(), capacity.vcpus);
            }
        }
    }
}

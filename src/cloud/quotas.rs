//! The account limits that a site meets: their codes, their defaults, and what the account has.

use std::collections::BTreeMap;

use crate::cloud::Fault;
use crate::resource::CloudCx;

/// One limit. Codes and names as the Service Quotas console lists them; defaults are AWS's for a new account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLine {
    /// What gantry calls it.
    pub key: &'static str,
    pub service_code: &'static str,
    pub code: &'static str,
    pub name: &'static str,
    pub default: u64,
}

const fn line(
    key: &'static str,
    service_code: &'static str,
    code: &'static str,
    name: &'static str,
    default: u64,
) -> QuotaLine {
    QuotaLine {
        key,
        service_code,
        code,
        name,
        default,
    }
}

/// Every limit gantry knows by code.
///
/// The vCPU default is what a new account is given; AWS raises it by use.
pub const QUOTAS: &[QuotaLine] = &[
    line("addresses", "ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", 5),
    line(
        "vcpus",
        "ec2",
        "L-1216C47A",
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        5,
    ),
    line(
        "spot_vcpus",
        "ec2",
        "L-34B43A08",
        "All Standard Spot Instance Requests",
        5,
    ),
    line("vpcs", "vpc", "L-F678F1CE", "VPCs per Region", 5),
    line(
        "nat_gateways",
        "vpc",
        "L-FE5A380F",
        "NAT gateways per Availability Zone",
        5,
    ),
    line(
        "internet_gateways",
        "vpc",
        "L-A4707A72",
        "Internet gateways per Region",
        5,
    ),
    line("subnets", "vpc", "L-407747CB", "Subnets per VPC", 200),
    line(
        "security_groups",
        "vpc",
        "L-E79EC296",
        "VPC security groups per Region",
        2_500,
    ),
    line(
        "security_group_rules",
        "vpc",
        "L-0EA8095F",
        "Inbound or outbound rules per security group",
        60,
    ),
    line(
        "gp3_storage",
        "ebs",
        "L-7A658B76",
        "Storage for General Purpose SSD (gp3) volumes, in TiB",
        50,
    ),
    line("db_instances", "rds", "L-7B6409FD", "DB instances", 40),
    line(
        "db_storage",
        "rds",
        "L-7ADDB58A",
        "Total storage for all DB instances",
        100_000,
    ),
    line(
        "cache_nodes",
        "elasticache",
        "L-8C334AD1",
        "Nodes per Region",
        300,
    ),
    line(
        "load_balancers",
        "elasticloadbalancing",
        "L-69A177A2",
        "Network Load Balancers per Region",
        50,
    ),
    line(
        "target_groups",
        "elasticloadbalancing",
        "L-B22855CB",
        "Target Groups per Region",
        3_000,
    ),
    line(
        "buckets",
        "s3",
        "L-DC2B2D3D",
        "General purpose buckets",
        10_000,
    ),
];

/// The limit gantry calls by this name.
pub fn quota(key: &str) -> Option<&'static QuotaLine> {
    QUOTAS.iter().find(|q| q.key == key)
}

/// What the account has for these limits, by their code: one listing per service involved. A limit that AWS
/// does not list for the account has its default.
pub async fn current(
    cx: &CloudCx,
    wanted: &[&QuotaLine],
) -> Result<BTreeMap<&'static str, u64>, Fault> {
    let mut values: BTreeMap<&'static str, u64> =
        wanted.iter().map(|q| (q.code, q.default)).collect();
    let services: std::collections::BTreeSet<&str> =
        wanted.iter().map(|q| q.service_code).collect();
    for service in services {
        let listed = cx
            .read("servicequotas:ListServiceQuotas", || {
                cx.aws()
                    .quotas
                    .list_service_quotas()
                    .service_code(service)
                    .max_results(100)
                    .into_paginator()
                    .items()
                    .send()
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        for quota in listed {
            let code = quota.quota_code().unwrap_or_default();
            let line = wanted
                .iter()
                .find(|q| q.service_code == service && q.code == code);
            if let (Some(line), Some(value)) = (line, quota.value()) {
                values.insert(line.code, whole(value));
            }
        }
    }
    Ok(values)
}

/// Limits are whole and not negative, although AWS's answer has them as decimals.
fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits before"
    )]
    let whole = value.clamp(0.0, 9e15) as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::quota_of;

    #[test]
    fn codes_are_unique_and_known_to_the_faults() {
        let codes: std::collections::BTreeSet<_> = QUOTAS.iter().map(|q| q.code).collect();
        assert_eq!(codes.len(), QUOTAS.len());
        for error in [
            "AddressLimitExceeded",
            "VpcLimitExceeded",
            "NatGatewayLimitExceeded",
            "InternetGatewayLimitExceeded",
            "SubnetLimitExceeded",
            "SecurityGroupLimitExceeded",
            "RulesPerSecurityGroupLimitExceeded",
            "VcpuLimitExceeded",
            "InstanceQuotaExceeded",
            "StorageQuotaExceeded",
            "NodeQuotaForCustomerExceeded",
            "TooManyLoadBalancers",
            "TooManyTargetGroups",
            "TooManyBuckets",
            "MaxSpotInstanceCountExceeded",
            "VolumeLimitExceeded",
        ] {
            let (code, name) = quota_of(error).unwrap();
            let line = QUOTAS.iter().find(|q| q.code == code).unwrap();
            assert_eq!(line.name, name);
        }
    }
}

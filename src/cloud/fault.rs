//! AWS errors, sorted once.
//!
//! Everything above this module speaks [`Fault`]: what happened in words that decide what to do next,
//! never an SDK type. The SDK's own retries are off (see `docs/design/0002-our-own-retries.md`): a create
//! whose answer was lost must not be sent again before somebody has looked whether it worked.

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::{Deserialize, Serialize};

/// Why a call to AWS did not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// Not now: something it depends on is not there yet, or something still depends on it.
    #[error("{call}: not yet ({code}): {message}")]
    Later {
        call: String,
        code: String,
        message: String,
    },
    /// Too many calls; this one was not carried out.
    #[error("{call}: throttled ({code})")]
    Throttled { call: String, code: String },
    /// No answer, or a server error: the call may or may not have been carried out.
    #[error("{call}: no usable answer: {message}")]
    Unknown { call: String, message: String },
    /// The caller lacks a permission.
    #[error("{call}: access denied: {message}")]
    Denied { call: String, message: String },
    /// AWS does not take the credentials: they ran out, or are wrong.
    #[error("{call}: the credentials are not taken ({code}): {message}")]
    Credentials {
        call: String,
        code: String,
        message: String,
    },
    /// There are no credentials to sign a call with, or what names them cannot be read. Nothing was sent.
    #[error("{call}: there are no AWS credentials: {message}")]
    Unsigned { call: String, message: String },
    /// An account limit stands in the way.
    #[error("{call}: quota reached ({code}): {message}")]
    Quota {
        call: String,
        code: String,
        message: String,
    },
    /// AWS has no machine of this type in this zone at the moment.
    #[error("{call}: no capacity ({code}): {message}")]
    Capacity {
        call: String,
        code: String,
        message: String,
    },
    /// The name is taken: by an earlier attempt of ours, or by somebody else.
    #[error("{call}: exists already ({code}): {message}")]
    Exists {
        call: String,
        code: String,
        message: String,
    },
    /// It is not there.
    #[error("{call}: not found ({code}): {message}")]
    Gone {
        call: String,
        code: String,
        message: String,
    },
    /// AWS understood and said no; asking again will not help.
    #[error("{call}: refused ({code}): {message}")]
    Rejected {
        call: String,
        code: String,
        message: String,
    },
    /// Made, but it will never become usable.
    #[error("{call}: ended in a broken state: {message}")]
    Broken { call: String, message: String },
    /// Cannot go on without a person: what they must do is in the message (DNS records by hand, for example).
    #[error("{message}")]
    Parked { message: String },
    /// A defect of gantry itself.
    #[error("unexpected: {message}")]
    Internal { message: String },
}

impl Fault {
    /// A defect of gantry's own, with what was found.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal {
            message: message.into(),
        }
    }

    /// The API call that met the fault, as IAM writes it: `ec2:CreateVpc`.
    pub fn call(&self) -> &str {
        match self {
            Self::Later { call, .. }
            | Self::Throttled { call, .. }
            | Self::Unknown { call, .. }
            | Self::Denied { call, .. }
            | Self::Credentials { call, .. }
            | Self::Unsigned { call, .. }
            | Self::Quota { call, .. }
            | Self::Capacity { call, .. }
            | Self::Exists { call, .. }
            | Self::Gone { call, .. }
            | Self::Rejected { call, .. }
            | Self::Broken { call, .. } => call,
            Self::Parked { .. } | Self::Internal { .. } => "",
        }
    }

    /// Whether the thing asked about is not there.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// Whether the name is taken.
    pub fn is_exists(&self) -> bool {
        matches!(self, Self::Exists { .. })
    }

    /// The error code AWS gave, where it gave one.
    pub fn code(&self) -> &str {
        match self {
            Self::Later { code, .. }
            | Self::Throttled { code, .. }
            | Self::Credentials { code, .. }
            | Self::Quota { code, .. }
            | Self::Capacity { code, .. }
            | Self::Exists { code, .. }
            | Self::Gone { code, .. }
            | Self::Rejected { code, .. } => code,
            _ => "",
        }
    }

    /// What the person should do next; empty when there is nothing better than the message itself.
    pub fn help(&self) -> String {
        match self {
            Self::Denied { call, message } => format!(
                "ask for the permission `{}`; `gantry policy` prints everything install needs. Then run the same command again: it continues where it stopped.",
                refused_action(message).unwrap_or(call)
            ),
            Self::Credentials { .. } => {
                "sign in again (`aws sso login`, or new keys for the profile), and run the same command again: it continues where it stopped.".into()
            }
            Self::Unsigned { .. } => {
                "name a profile (`AWS_PROFILE`) and sign in (`aws sso login`), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; then run the same command again. With --sandbox none are needed.".into()
            }
            Self::Quota { call, code, .. } => match quota_of(code) {
                Some((quota, name)) => format!(
                    "ask AWS to raise the quota {quota} ({name}) in Service Quotas, or free some; then run the same command again."
                ),
                None => format!(
                    "ask AWS to raise the limit that {call} met ({code}) in Service Quotas; then run the same command again."
                ),
            },
            Self::Capacity { .. } => {
                "AWS has none of this instance type free in this zone: run again later, or set another type under [nodes.ROLE] in the site file.".into()
            }
            Self::Throttled { .. } | Self::Unknown { .. } => {
                "AWS or the network did not answer in time; run the same command again: it continues where it stopped.".into()
            }
            Self::Later { .. } => {
                "something it waits for did not become ready in time; run the same command again to go on waiting.".into()
            }
            Self::Exists { .. } => {
                "a resource of that name exists and does not carry this site's tags: rename the site, or remove or re-tag that resource.".into()
            }
            Self::Broken { .. } => {
                "look at it in the AWS console for the reason; `gantry install` replaces it once it is deleted.".into()
            }
            Self::Gone { .. } | Self::Rejected { .. } | Self::Parked { .. } | Self::Internal { .. } => String::new(),
        }
    }
}

/// Service Quotas' code and name for a limit error; codes as listed in the Service Quotas console.
pub fn quota_of(code: &str) -> Option<(&'static str, &'static str)> {
    Some(match code {
        "AddressLimitExceeded" => ("L-0263D0A3", "EC2-VPC Elastic IPs"),
        "VpcLimitExceeded" => ("L-F678F1CE", "VPCs per Region"),
        "NatGatewayLimitExceeded" => ("L-FE5A380F", "NAT gateways per Availability Zone"),
        "InternetGatewayLimitExceeded" => ("L-A4707A72", "Internet gateways per Region"),
        "SubnetLimitExceeded" => ("L-407747CB", "Subnets per VPC"),
        "SecurityGroupLimitExceeded" => ("L-E79EC296", "VPC security groups per Region"),
        "RulesPerSecurityGroupLimitExceeded" => {
            ("L-0EA8095F", "Inbound or outbound rules per security group")
        }
        "VcpuLimitExceeded" => (
            "L-1216C47A",
            "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        ),
        "InstanceQuotaExceeded" | "InstanceQuotaExceededFault" => ("L-7B6409FD", "DB instances"),
        "StorageQuotaExceeded" => ("L-7ADDB58A", "Total storage for all DB instances"),
        "NodeQuotaForCustomerExceeded" | "NodeQuotaForCustomerExceededFault" => {
            ("L-8C334AD1", "Nodes per Region")
        }
        "TooManyLoadBalancers" => ("L-69A177A2", "Network Load Balancers per Region"),
        "TooManyTargetGroups" => ("L-B22855CB", "Target Groups per Region"),
        "TooManyBuckets" => ("L-DC2B2D3D", "General purpose buckets"),
        "MaxSpotInstanceCountExceeded" => ("L-34B43A08", "All Standard Spot Instance Requests"),
        "VolumeLimitExceeded" => (
            "L-7A658B76",
            "Storage for General Purpose SSD (gp3) volumes, in TiB",
        ),
        _ => return None,
    })
}

/// The action that AWS itself names: of `RunInstances` it may be `iam:PassRole` that is refused.
fn refused_action(message: &str) -> Option<&str> {
    let rest = message.split("not authorized to perform: ").nth(1)?;
    let action = rest.split([' ', ',', '.']).next()?;
    let (service, verb) = action.split_once(':')?;
    (!service.is_empty() && !verb.is_empty()).then_some(action)
}

/// Sorts an SDK error. `call` is the IAM action, `ec2:CreateVpc`.
pub fn sort<E>(call: &str, error: SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let call = call.to_owned();
    match &error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or_default().to_owned();
            let message = service.err().message().unwrap_or_default().to_owned();
            by_code(call, status, code, message)
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            Fault::Unknown {
                call,
                message: format!("an answer that could not be read (HTTP {status})"),
            }
        }
        SdkError::ConstructionFailure(_) => Fault::Internal {
            message: format!("{call}: {}", reasons(&error)),
        },
        _ => undelivered(call, &error),
    }
}

/// What became of a call that brought no answer. One without credentials was never sent.
fn undelivered(call: String, error: &(dyn std::error::Error + 'static)) -> Fault {
    let missing = std::iter::successors(Some(error), |e| e.source()).find(|e| {
        matches!(
            e.downcast_ref(),
            Some(
                CredentialsError::CredentialsNotLoaded(_)
                    | CredentialsError::InvalidConfiguration(_)
            )
        )
    });
    match missing {
        Some(why) => Fault::Unsigned {
            call,
            message: why.source().map_or_else(|| why.to_string(), reasons),
        },
        None => Fault::Unknown {
            call,
            message: reasons(error),
        },
    }
}

/// An error and what it comes from, in a line each says once.
fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let mut told: Vec<String> = std::iter::successors(Some(error), |e| e.source())
        .map(ToString::to_string)
        .collect();
    told.dedup();
    told.join(": ")
}

/// Sorts an error known by its code alone: also for the answers that say per item what went wrong.
pub fn by_code(call: String, status: u16, code: String, message: String) -> Fault {
    let c = code.as_str();
    if matches!(
        c,
        "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "TooManyRequestsException"
            | "TooManyRequests"
            | "PriorRequestNotComplete"
            | "RequestThrottled"
            | "SnapshotCreationPerVolumeRateExceeded"
            | "SlowDown"
            | "LimitExceededException.Throttled"
    ) {
        return Fault::Throttled { call, code };
    }
    // EC2's word for an address that something deleted a moment ago still seems to hold. Credentials that sign the other
    // calls are good for this one.
    let held = matches!(
        call.as_str(),
        "ec2:ReleaseAddress" | "ec2:DisassociateAddress"
    );
    if c == "AuthFailure" && held && message.contains("specified resource") {
        return Fault::Later {
            call,
            code,
            message,
        };
    }
    if matches!(
        c,
        "AuthFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
    ) {
        return Fault::Credentials {
            call,
            code,
            message,
        };
    }
    if matches!(
        c,
        "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "Client.UnauthorizedOperation"
            | "NotAuthorized"
            | "AuthorizationError"
    ) || status == 403 && c.is_empty()
    {
        return Fault::Denied { call, message };
    }
    if c == "InsufficientInstanceCapacity"
        || c == "InsufficientDBInstanceCapacity"
        || c.starts_with("InsufficientCacheClusterCapacity")
    {
        return Fault::Capacity {
            call,
            code,
            message,
        };
    }
    if quota_of(c).is_some()
        || c.contains("LimitExceeded")
        || c.contains("QuotaExceeded")
        || c.contains("QuotaForCustomerExceeded")
        || c.starts_with("TooMany")
    {
        return Fault::Quota {
            call,
            code,
            message,
        };
    }
    if is_later(c, &message) {
        return Fault::Later {
            call,
            code,
            message,
        };
    }
    if is_exists(c) {
        return Fault::Exists {
            call,
            code,
            message,
        };
    }
    // Auto Scaling has one code for everything; a name it does not find when deleting is already deleted.
    let deleted = call.starts_with("autoscaling:Delete") && message.contains("not found");
    if is_gone(c) || status == 404 || deleted {
        return Fault::Gone {
            call,
            code,
            message,
        };
    }
    if status >= 500 {
        return Fault::Unknown {
            call,
            message: format!("{code} (HTTP {status}) {message}")
                .trim()
                .to_owned(),
        };
    }
    Fault::Rejected {
        call,
        code,
        message,
    }
}

/// Refusals that pass by themselves: dependencies still there, or not there yet.
fn is_later(code: &str, message: &str) -> bool {
    matches!(
        code,
        "DependencyViolation"
            | "IncorrectState"
            | "IncorrectInstanceState"
            | "InvalidDBInstanceState"
            | "InvalidDBInstanceStateFault"
            | "InvalidDBSubnetGroupStateFault"
            | "InvalidDBSnapshotState"
            | "InvalidDBParameterGroupState"
            | "InvalidReplicationGroupState"
            | "InvalidReplicationGroupStateFault"
            | "InvalidCacheParameterGroupState"
            | "CacheSubnetGroupInUse"
            | "CacheParameterGroupInUse"
            | "ResourceInUse"
            | "ResourceInUseException"
            | "DeleteConflict"
            | "VolumeInUse"
            | "InvalidIPAddress.InUse"
            | "InvalidAddress.InUse"
            | "Resource.AlreadyAssociated"
            | "ResourceInUseFault"
            | "ScalingActivityInProgress"
            | "UnsupportedCertificate"
            | "CertificateNotFound.NotYet"
            | "OperationAborted"
            | "BucketNotEmpty"
            | "InvalidVpcState"
            | "InvalidResourceStateException"
            | "ConcurrentModification"
            | "KMSInvalidStateException"
            | "Gateway.NotAttached"
    ) || code.ends_with(".InUse")
        || (code == "InvalidParameterValue" && message.contains("IAM Instance Profile"))
        // A policy that names a role that was just made; any other that is malformed stays so.
        || (matches!(code, "MalformedPolicy" | "MalformedPolicyDocument")
            && message.contains("rincipal"))
        || (code == "MalformedPolicyDocumentException" && message.contains("invalid principals"))
        || (code == "ValidationError" && message.contains("IAM Instance Profile"))
        || (code == "InvalidRequestException" && message.contains("cannot be assumed"))
        || (code == "InvalidParameterValueException" && message.contains("cannot be assumed"))
        // AWS Backup: points that are on their way out of a vault, selections on theirs out of a plan.
        || (code == "InvalidRequestException"
            && (message.contains("contains recovery points")
                || message.contains("prior to backup plan deletion")))
        || (code == "ValidationError"
            && message
                .contains("AutoScalingGroup by this name already exists and is being deleted"))
        // The name of an Auto Scaling group that is still being deleted.
        || (code == "AlreadyExists" && message.contains("pending delete"))
}

fn is_exists(code: &str) -> bool {
    code.ends_with("AlreadyExists")
        || code.ends_with("AlreadyExistsFault")
        || code.ends_with("AlreadyExistsException")
        || code.ends_with(".Duplicate")
        || code.starts_with("Duplicate")
        || matches!(
            code,
            "EntityAlreadyExists"
                | "ResourceExistsException"
                | "ResourceAlreadyExistsException"
                | "BucketAlreadyOwnedByYou"
                | "BucketAlreadyExists"
                | "RouteAlreadyExists"
                | "InvalidLaunchTemplateName.AlreadyExistsException"
                | "AlreadyExistsException"
                | "InvalidPermission.Duplicate"
        )
}

fn is_gone(code: &str) -> bool {
    code.contains("NotFound")
        || code.starts_with("NoSuch")
        || code == "NatGatewayNotFound"
        || code == "InvalidLaunchTemplateId.VersionNotFound"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, message: &str) -> Fault {
        by_code("ec2:RunInstances".into(), 400, code.into(), message.into())
    }

    #[test]
    fn the_right_that_aws_names_is_the_one_to_ask_for() {
        let told = of(
            "UnauthorizedOperation",
            "User: arn:aws:iam::1:user/a is not authorized to perform: iam:PassRole on resource: r",
        );
        assert!(told.help().contains("`iam:PassRole`"), "{}", told.help());
        let silent = of("UnauthorizedOperation", "You are not authorized.");
        assert!(
            silent.help().contains("`ec2:RunInstances`"),
            "{}",
            silent.help()
        );
    }

    #[test]
    fn credentials_that_ran_out_are_no_missing_right() {
        for code in ["ExpiredToken", "RequestExpired", "InvalidClientTokenId"] {
            let fault = of(
                code,
                "The security token included in the request is expired",
            );
            assert!(matches!(fault, Fault::Credentials { .. }), "{fault}");
            assert!(fault.help().contains("sign in again"), "{}", fault.help());
        }
    }

    #[test]
    fn an_address_that_seems_held_is_no_matter_of_credentials() {
        let text = "You do not have permission to access the specified resource.";
        let of = |call: &str| by_code(call.into(), 400, "AuthFailure".into(), text.into());
        assert!(matches!(of("ec2:ReleaseAddress"), Fault::Later { .. }));
        assert!(matches!(of("ec2:CreateVpc"), Fault::Credentials { .. }));
    }

    /// What becomes of a call that brings no answer.
    fn unanswered(why: aws_smithy_runtime_api::client::result::ConnectorError) -> Fault {
        let error = SdkError::<
            aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError,
            HttpResponse,
        >::dispatch_failure(why);
        sort("sts:GetCallerIdentity", error)
    }

    #[test]
    fn a_call_without_credentials_was_not_sent_and_says_where_to_get_them() {
        let missing = aws_smithy_runtime_api::client::result::ConnectorError::other(
            CredentialsError::not_loaded("no profile and no variables").into(),
            None,
        );
        let fault = unanswered(missing);
        assert_eq!(
            fault.to_string(),
            "sts:GetCallerIdentity: there are no AWS credentials: no profile and no variables"
        );
        assert!(fault.help().contains("AWS_PROFILE"), "{}", fault.help());
    }

    #[test]
    fn a_line_that_is_dead_is_no_missing_credential() {
        let dead = aws_smithy_runtime_api::client::result::ConnectorError::io(
            std::io::Error::other("connection refused").into(),
        );
        let fault = unanswered(dead);
        assert_eq!(
            fault.to_string(),
            "sts:GetCallerIdentity: no usable answer: dispatch failure: io error: connection refused"
        );
    }

    #[test]
    fn a_policy_is_later_only_for_a_role_that_is_new() {
        let new = of("MalformedPolicyDocument", "Invalid principal in policy");
        assert!(matches!(new, Fault::Later { .. }), "{new}");
        let wrong = of("MalformedPolicyDocument", "Syntax errors in policy.");
        assert!(matches!(wrong, Fault::Rejected { .. }), "{wrong}");
    }
}

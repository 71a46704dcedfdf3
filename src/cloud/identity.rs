//! Who is calling: compared with state and site file before the first write.

use serde::{Deserialize, Serialize};

use super::{Aws, Fault, sort};

/// The caller as STS sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub account: String,
    pub arn: String,
}

impl Identity {
    /// Asks STS. The first call of every run.
    pub async fn of_caller(aws: &Aws) -> Result<Self, Fault> {
        const CALL: &str = "sts:GetCallerIdentity";
        let answer = aws
            .sts
            .get_caller_identity()
            .send()
            .await
            .map_err(|e| sort(CALL, e))?;
        Ok(Self {
            account: answer.account().unwrap_or_default().to_owned(),
            arn: answer.arn().unwrap_or_default().to_owned(),
        })
    }
}

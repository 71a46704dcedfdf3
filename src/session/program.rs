//! Bringing gantry itself to the appliance host.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;

use super::{Session, SessionError};
use crate::blueprint::{Role, config_prefix};
use crate::cloud::Fault;
use crate::secret::Secret;

/// How long the address of the program holds.
const HOLDS: Duration = Duration::from_mins(20);

impl Session {
    /// Puts a program into the config bucket, where the role's machines may read, unless it is there already. Answers
    /// with an address from which it can be fetched for twenty minutes without credentials.
    pub async fn lend_program(
        &self,
        role: Role,
        sha256: &str,
        content: &[u8],
    ) -> Result<Secret, SessionError> {
        let bucket = self.names()?.bucket("config");
        let key = format!("{}gantry/{sha256}", config_prefix(role));
        let asked = self
            .cx
            .read("s3:GetObject", || {
                let head = self.cx.aws().s3.head_object();
                head.bucket(&bucket).key(&key).send()
            })
            .await;
        match asked {
            Ok(_) => {}
            Err(fault) if fault.is_gone() => self.put_object(&bucket, &key, content).await?,
            Err(fault) => return Err(fault.into()),
        }
        let unsigned = |error: &dyn std::fmt::Display| {
            Fault::internal(format!("no address for s3://{bucket}/{key}: {error}"))
        };
        let holds = PresigningConfig::expires_in(HOLDS).map_err(|e| unsigned(&e))?;
        let ask = self.cx.aws().s3.get_object().bucket(&bucket).key(&key);
        let signed = ask.presigned(holds).await.map_err(|e| unsigned(&e))?;
        Ok(Secret::new(signed.uri().to_owned()))
    }
}

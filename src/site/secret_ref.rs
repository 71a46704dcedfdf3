//! References to secrets. A site file never holds a secret itself.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::text::{Complaint, Text, nearest, text_in_files};

/// Where a secret comes from: `env:NAME`, `file:PATH`, `secret:ARN`, or `generate`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// An environment variable, read when gantry runs.
    Env(String),
    /// A file, relative to the site file's folder.
    File(PathBuf),
    /// An entry of AWS Secrets Manager that exists already.
    Arn(String),
    /// Made by gantry once, and kept in Secrets Manager.
    Generate,
}

impl Text for SecretRef {
    const FORMAT: &'static str = "secret-reference";
    const NOUN: &'static str = "a secret reference";
    const EXAMPLE: &'static str = "env:SMTP_PASSWORD";
}

text_in_files!(SecretRef);

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Arn(arn) => write!(f, "secret:{arn}"),
            Self::Generate => f.write_str("generate"),
        }
    }
}

impl FromStr for SecretRef {
    type Err = Complaint;

    // The text may be a secret, so no complaint repeats it.
    fn from_str(text: &str) -> Result<Self, Complaint> {
        if text == "generate" {
            return Ok(Self::Generate);
        }
        let forms = "write `env:NAME`, `file:PATH`, `secret:ARN` or `generate`";
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Complaint::new(
                "a secret itself must not stand in the site file",
                format!("{forms}; a secret that was written here should be changed"),
            ));
        };
        match scheme {
            "env" => env(rest),
            "file" if rest.is_empty() => Err(Complaint::new(
                "no file is named",
                "write the path after the colon: `file:smtp-password`",
            )),
            "file" => Ok(Self::File(PathBuf::from(rest))),
            "secret" => arn(rest),
            "arn" => Err(Complaint::new(
                "the word before the ARN is missing",
                "write `secret:arn:aws:secretsmanager:…`",
            )),
            _ => {
                let help = match nearest(scheme, ["env", "file", "secret"]) {
                    Some(near) => format!("did you mean `{near}:`?"),
                    None => format!("{forms}; a secret that was written here should be changed"),
                };
                Err(Complaint::new(
                    "no kind of reference begins like this, and a secret itself must not stand in the site file",
                    help,
                ))
            }
        }
    }
}

fn env(name: &str) -> Result<SecretRef, Complaint> {
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if good {
        return Ok(SecretRef::Env(name.to_owned()));
    }
    Err(Complaint::new(
        "what follows `env:` is not the name of an environment variable",
        "use letters, digits and underscores, without `$`: `env:SMTP_PASSWORD`",
    ))
}

fn arn(text: &str) -> Result<SecretRef, Complaint> {
    let parts: Vec<&str> = text.splitn(7, ':').collect();
    match parts.as_slice() {
        ["arn", _, "secretsmanager", _, _, "secret", name] if !name.is_empty() => {
            Ok(SecretRef::Arn(text.to_owned()))
        }
        _ => Err(Complaint::new(
            "what follows `secret:` is not the ARN of a Secrets Manager entry",
            "`aws secretsmanager describe-secret --secret-id NAME --query ARN` prints it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_prints_back() {
        for text in [
            "env:SMTP_PASSWORD",
            "file:secrets/license",
            "secret:arn:aws:secretsmanager:eu-west-1:123456789012:secret:ldap-AbCdEf",
            "generate",
        ] {
            assert_eq!(text.parse::<SecretRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        for text in [
            "hunter2",
            "pa:ss-hunter2",
            "env:hunter2-x",
            "secret:hunter2",
        ] {
            let complaint = text.parse::<SecretRef>().unwrap_err();
            assert!(!complaint.to_string().contains("hunter2"), "{complaint}");
        }
    }
}

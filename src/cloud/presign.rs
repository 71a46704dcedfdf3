//! URLs signed beforehand. A copy of something encrypted from another region carries one: with it, the region of the
//! copy asks the region of the original in the caller's name
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CopyDBSnapshot.html>,
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopySnapshot.html>). The SDK for Rust makes none for
//! these calls. The signature is version 4 in the query
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use jiff::Timestamp;
use ring::{digest, hmac};

use super::Fault;

/// How long a URL is good for. It is used at once, by the call it is made for.
const SECONDS: u32 = 3_600;

/// Signs URLs of one region with the caller's credentials.
#[derive(Debug, Clone)]
pub struct Presigner {
    provider: Option<SharedCredentialsProvider>,
    region: String,
}

impl Presigner {
    pub(super) fn new(config: &SdkConfig) -> Self {
        Self {
            provider: config.credentials_provider(),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// The URL of a call of the query protocol in this region: `service` is its signing name, `parameters` its own.
    pub async fn url(
        &self,
        service: &str,
        parameters: &[(&str, &str)],
        now: Timestamp,
    ) -> Result<String, Fault> {
        let denied = |message: String| Fault::Denied {
            call: format!("{service}:presigned"),
            message,
        };
        let provider = self
            .provider
            .as_ref()
            .ok_or_else(|| denied("there are no credentials".into()))?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| denied(error.to_string()))?;
        let mut all: Vec<(String, String)> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        if let Some(token) = credentials.session_token() {
            all.push(("X-Amz-Security-Token".into(), token.to_owned()));
        }
        Ok(sign(
            &Request {
                host: &format!("{service}.{}.amazonaws.com", self.region),
                path: "/",
                payload: &hex(digest::digest(&digest::SHA256, b"").as_ref()),
                service,
                region: &self.region,
                seconds: SECONDS,
            },
            all,
            &credentials,
            now,
        ))
    }
}

struct Request<'a> {
    host: &'a str,
    path: &'a str,
    /// The SHA-256 of the body, or S3's word for none.
    payload: &'a str,
    service: &'a str,
    region: &'a str,
    seconds: u32,
}

fn sign(
    request: &Request<'_>,
    mut query: Vec<(String, String)>,
    credentials: &Credentials,
    now: Timestamp,
) -> String {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &stamp[..8];
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let mut add = |name: &str, value: String| query.push((name.to_owned(), value));
    add("X-Amz-Algorithm", "AWS4-HMAC-SHA256".into());
    add(
        "X-Amz-Credential",
        format!("{}/{scope}", credentials.access_key_id()),
    );
    add("X-Amz-Date", stamp.clone());
    add("X-Amz-Expires", request.seconds.to_string());
    add("X-Amz-SignedHeaders", "host".into());
    let mut pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.sort();
    let query = pairs.join("&");
    let canonical = format!(
        "GET\n{}\n{query}\nhost:{}\n\nhost\n{}",
        request.path, request.host, request.payload
    );
    let digest = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}");
    let mut key = mac(
        format!("AWS4{}", credentials.secret_access_key()).as_bytes(),
        day,
    );
    for part in [request.region, request.service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex(mac(key.as_ref(), &text).as_ref());
    format!(
        "https://{}{}?{query}&X-Amz-Signature={signature}",
        request.host, request.path
    )
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything but the unreserved characters of RFC 3986, in percents.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of AWS's own manual
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>).
    #[test]
    fn the_signature_is_that_of_the_manual() {
        let credentials = Credentials::from_keys(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            None,
        );
        let request = Request {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            payload: "UNSIGNED-PAYLOAD",
            service: "s3",
            region: "us-east-1",
            seconds: 86_400,
        };
        let url = sign(
            &request,
            vec![],
            &credentials,
            "2013-05-24T00:00:00Z".parse().unwrap(),
        );
        assert!(
            url.ends_with(
                "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
            ),
            "{url}"
        );
        assert!(!url.contains("wJalr"), "{url}");
    }
}

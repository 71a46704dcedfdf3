//! The SDK's HTTP client, ending in the world instead of a socket.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::call::{Answer, Call, Http, Outcome, Refusal};
use super::faults::{Fate, Faults, Moment};
use super::services::{self, Protocol};
use super::{Sandbox, codec};

impl HttpClient for Sandbox {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Sandbox {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let sandbox = self.clone();
        HttpConnectorFuture::new(async move { sandbox.answer(request).await })
    }
}

impl Sandbox {
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let (service, region) = scope(request.headers().get("authorization").unwrap_or_default());
        let http = read(request, &service).await?;
        let protocol = services::protocol(&service);
        let mut call = Call {
            service,
            action: String::new(),
            region,
            now: 0,
            p: Value::Null,
            http,
        };
        decode(protocol, &mut call);
        call.now = self.shared.clock.now().as_millisecond();

        let name = format!("{}:{}", call.service, call.action);
        let fate = self.with_faults(|f| f.decide(&name));
        match fate {
            Fate::KilledBefore => std::future::pending::<()>().await,
            Fate::LostBefore => return Err(broken()),
            _ => {}
        }
        self.with_faults(|f| f.show(Moment::Before, &name));
        let outcome = self.handle(&call);
        self.with_faults(|f| f.show(Moment::After, &name));
        match fate {
            Fate::KilledAfter => std::future::pending::<()>().await,
            Fate::LostAfter => return Err(broken()),
            _ => {}
        }
        encode(protocol, &call, outcome)
    }
}

impl Sandbox {
    fn with_faults<T>(&self, ask: impl FnOnce(&mut Faults) -> T) -> T {
        ask(&mut self
            .shared
            .faults
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

fn broken() -> ConnectorError {
    ConnectorError::io("the connection was closed before the answer came".into())
}

/// Service and region from the signature's credential scope.
fn scope(authorization: &str) -> (String, String) {
    let mut parts = authorization
        .split("Credential=")
        .nth(1)
        .and_then(|c| c.split(',').next())
        .unwrap_or_default()
        .split('/')
        .skip(2);
    let region = parts.next().unwrap_or("us-east-1").to_owned();
    let service = parts.next().unwrap_or_default().to_owned();
    (service, region)
}

async fn read(request: HttpRequest, service: &str) -> Result<Http, ConnectorError> {
    let uri = request.uri().to_owned();
    let method = request.method().to_owned();
    let mut headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
        .collect();
    let raw = request
        .into_body()
        .collect()
        .await
        .map_err(|e| ConnectorError::user(e.to_string().into()))?
        .to_bytes();
    let encoded = |word: &str| {
        headers
            .iter()
            .any(|(k, v)| k == "content-encoding" && v.contains(word))
    };
    let body = if encoded("aws-chunked") {
        let (body, trailers) = unchunk(&raw);
        headers.extend(trailers);
        body
    } else if encoded("gzip") && service != "s3" {
        // The SDK packs long lists of metric data; what S3 is given is nobody's to unpack.
        unpack(&raw).map_err(|e| ConnectorError::user(e.into()))?
    } else {
        raw.to_vec()
    };

    let rest = uri.split_once("://").map_or(uri.as_str(), |(_, r)| r);
    let (host, path) = rest
        .split_once('/')
        .map_or((rest, String::new()), |(h, p)| (h, p.to_owned()));
    let (path, query) = path
        .split_once('?')
        .map_or((path.clone(), String::new()), |(p, q)| (p.into(), q.into()));
    let path = percent_encoding::percent_decode_str(&format!("/{path}"))
        .decode_utf8_lossy()
        .into_owned();
    let query = form_urlencoded::parse(query.as_bytes())
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    Ok(Http {
        method,
        host: host.to_owned(),
        path,
        query,
        headers,
        body,
    })
}

fn unpack(raw: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(raw), &mut out)?;
    Ok(out)
}

/// Undoes the SDK's `aws-chunked` framing: the body, and the headers that follow it (its checksum).
fn unchunk(raw: &[u8]) -> (Vec<u8>, Vec<(String, String)>) {
    let mut out = Vec::new();
    let mut rest = raw;
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]);
        let size = head
            .split(';')
            .next()
            .and_then(|n| usize::from_str_radix(n.trim(), 16).ok())
            .unwrap_or(0);
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else {
            break;
        };
        if size == 0 {
            rest = rest.get(end + 2..).unwrap_or_default();
            break;
        }
        out.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
    }
    let trailers = String::from_utf8_lossy(rest)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(k, v)| (k.trim().to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    (out, trailers)
}

fn decode(protocol: Protocol, call: &mut Call) {
    match protocol {
        Protocol::Ec2 | Protocol::Query => {
            call.p = codec::from_form(&call.http.body);
            call.action = call
                .p
                .get("Action")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
        }
        Protocol::Json => {
            call.p = serde_json::from_slice(&call.http.body).unwrap_or(Value::Null);
            let target = call.http.header("x-amz-target").unwrap_or_default();
            call.action = target.rsplit('.').next().unwrap_or_default().to_owned();
        }
        Protocol::Cbor => {
            call.p = codec::from_cbor(&call.http.body);
            call.action = call
                .http
                .path
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
        }
        Protocol::RestXml | Protocol::RestJson => services::route(call),
    }
}

fn encode(
    protocol: Protocol,
    call: &Call,
    outcome: Outcome,
) -> Result<HttpResponse, ConnectorError> {
    let (status, kind, body) = match outcome {
        Ok(Answer::Http {
            status,
            headers,
            body,
        }) => return http(status, &headers, body),
        Ok(Answer::Fields(fields)) => {
            let (kind, body) = fields_body(protocol, call, &fields);
            (200, kind, body)
        }
        Err(refusal) => {
            let (kind, body) = refusal_body(protocol, call, &refusal);
            (refusal.status, kind, body)
        }
    };
    let mut headers = vec![("content-type".to_owned(), kind.to_owned())];
    if protocol == Protocol::Cbor {
        headers.push(("smithy-protocol".into(), "rpc-v2-cbor".into()));
    }
    http(status, &headers, body)
}

fn fields_body(protocol: Protocol, call: &Call, fields: &Value) -> (&'static str, Vec<u8>) {
    match protocol {
        Protocol::Ec2 => (
            "text/xml",
            codec::ec2_answer(&call.action, fields).into_bytes(),
        ),
        Protocol::Query => (
            "text/xml",
            codec::query_answer(&call.action, fields).into_bytes(),
        ),
        Protocol::Json | Protocol::RestJson => (
            "application/x-amz-json-1.1",
            fields.to_string().into_bytes(),
        ),
        Protocol::Cbor => ("application/cbor", codec::to_cbor(fields)),
        // `$root` names the document's root element where it is not the action's.
        Protocol::RestXml => {
            let root = fields
                .get("$root")
                .and_then(Value::as_str)
                .map_or(format!("{}Response", call.action), Into::into);
            let mut shown = fields.clone();
            if let Value::Object(map) = &mut shown {
                map.remove("$root");
            }
            let namespace = if call.service == "s3" {
                "http://s3.amazonaws.com/doc/2006-03-01/"
            } else {
                "https://route53.amazonaws.com/doc/2013-04-01/"
            };
            (
                "application/xml",
                codec::to_xml(&root, Some(namespace), &shown).into_bytes(),
            )
        }
    }
}

fn refusal_body(protocol: Protocol, call: &Call, refusal: &Refusal) -> (&'static str, Vec<u8>) {
    let plain =
        json!({"__type": refusal.code, "message": refusal.message, "Message": refusal.message});
    match protocol {
        Protocol::Ec2 => ("text/xml", codec::ec2_refusal(refusal).into_bytes()),
        Protocol::Query => ("text/xml", codec::query_refusal(refusal).into_bytes()),
        Protocol::Json | Protocol::RestJson => {
            ("application/x-amz-json-1.1", plain.to_string().into_bytes())
        }
        Protocol::Cbor => ("application/cbor", codec::to_cbor(&plain)),
        Protocol::RestXml if call.service == "s3" => {
            ("application/xml", codec::s3_refusal(refusal).into_bytes())
        }
        Protocol::RestXml => ("text/xml", codec::query_refusal(refusal).into_bytes()),
    }
}

fn http(
    status: u16,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(status).map_err(|e| ConnectorError::user(e.into()))?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    for (key, value) in headers {
        response.headers_mut().insert(key.clone(), value.clone());
    }
    Ok(response)
}

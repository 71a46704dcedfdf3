//! s3s-fs behind a socket: S3's protocol and signatures over files. Around it, what s3s-fs has not: uploads can be
//! listed and are missed, checksums of parts are compared, listings of many objects are read once, and calls go wrong on purpose.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use base64::Engine as _;
use futures::{StreamExt as _, TryStreamExt as _};
use gantry::clock::Clock;
use gantry::cloud::{Aws, Limits};
use gantry::ops::transfer::Transfer;
use gantry::resource::{CloudCx, Scope, Tags};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
#[allow(
    clippy::wildcard_imports,
    reason = "each call has two types of its own"
)]
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use sha2::{Digest as _, Sha256};

pub const BUCKET: &str = "backups";
pub const OTHER: &str = "elsewhere";
pub const REGION: &str = "us-east-1";
pub const ACCESS_KEY: &str = "GANTRYTEST";
pub const SECRET_KEY: &str = "a-key-that-opens-nothing";

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It is refused and not carried out.
    SlowDown,
    /// It is carried out, and the caller does not learn it.
    Lost,
}

type Rule = Box<dyn FnMut(&str, u64) -> Fate + Send>;
type Watcher = Box<dyn FnMut(&str, u64) + Send>;

#[derive(Default)]
struct Talk {
    counts: BTreeMap<String, u64>,
    rule: Option<Rule>,
    watcher: Option<Watcher>,
    uploads: BTreeMap<String, Begun>,
    listings: BTreeMap<(String, String), Arc<Vec<Object>>>,
}

/// An upload that is neither completed nor aborted.
#[derive(Debug, Clone)]
struct Begun {
    bucket: String,
    key: String,
    tags: BTreeMap<i32, ETag>,
}

/// The files, and what is known and wanted besides.
#[derive(Clone)]
struct Store(Arc<Shared>);

struct Shared {
    files: FileSystem,
    root: PathBuf,
    talk: Mutex<Talk>,
}

impl std::ops::Deref for Store {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap()
    }

    /// Counts the call; its number, from 1, and its fate.
    fn fate(&self, call: &str) -> S3Result<(u64, Fate)> {
        let mut talk = self.talk();
        let count = talk.counts.entry(call.to_owned()).or_default();
        *count += 1;
        let count = *count;
        let fate = talk
            .rule
            .as_mut()
            .map_or(Fate::Pass, |rule| rule(call, count));
        match fate {
            Fate::SlowDown => Err(s3_error!(SlowDown)),
            other => Ok((count, other)),
        }
    }

    fn done<T>(&self, call: &str, (count, fate): (u64, Fate), answer: T) -> S3Result<T> {
        if let Some(watcher) = &mut self.talk().watcher {
            watcher(call, count);
        }
        match fate {
            Fate::Lost => Err(s3_error!(InternalError)),
            _ => Ok(answer),
        }
    }

    /// The upload, if there is one of this id: S3 says so where s3s-fs denies access.
    fn begun(&self, id: &str) -> S3Result<Begun> {
        let known = self.talk().uploads.get(id).cloned();
        known.ok_or_else(|| s3_error!(NoSuchUpload))
    }

    /// Every object below the prefix, sorted: read when a listing begins, told page by page.
    fn listing(&self, bucket: &str, prefix: &str, first: bool) -> Arc<Vec<Object>> {
        let at = (bucket.to_owned(), prefix.to_owned());
        if let (false, Some(known)) = (first, self.talk().listings.get(&at)) {
            return known.clone();
        }
        let mut objects = vec![];
        gather(&self.root.join(bucket), "", prefix, &mut objects);
        objects.sort_by(|one: &Object, other| one.key.cmp(&other.key));
        let objects = Arc::new(objects);
        self.talk().listings.insert(at, objects.clone());
        objects
    }
}

fn gather(folder: &Path, key: &str, prefix: &str, objects: &mut Vec<Object>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let key = format!("{key}{}", entry.file_name().to_str().unwrap());
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            gather(&entry.path(), &format!("{key}/"), prefix, objects);
        } else if key.starts_with(prefix) {
            objects.push(Object {
                key: Some(key),
                size: Some(i64::try_from(meta.len()).unwrap()),
                ..Object::default()
            });
        }
    }
}

type Answer<'f, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'f>>;

/// Methods of the trait, whose futures are written out because the trait's own macro is not at hand.
macro_rules! calls {
    ($($name:ident($this:ident, $req:ident: $input:ty) -> $output:ty $work:block)*) => {
        impl S3 for Store {$(
            fn $name<'s, 'f>(&'s self, $req: S3Request<$input>) -> Answer<'f, $output>
            where
                's: 'f,
                Self: 'f,
            {
                let $this = self;
                Box::pin(async move $work)
            }
        )*}
    };
}

/// A refusal comes after the whole body: told earlier, the caller may meet a closed line instead of the answer.
async fn heard<T>(fate: S3Result<T>, body: &mut Option<StreamingBlob>) -> S3Result<T> {
    if let (Err(_), Some(mut body)) = (&fate, body.take_if(|_| fate.is_err())) {
        while let Some(Ok(_)) = body.next().await {}
    }
    fate
}

/// A call that goes to s3s-fs as it is.
macro_rules! hand_on {
    ($this:ident.$name:ident($req:ident)) => {{
        let fate = $this.fate(stringify!($name))?;
        let answer = $this.files.$name($req).await?;
        $this.done(stringify!($name), fate, answer)
    }};
}

calls! {
    put_object(this, req: PutObjectInput) -> PutObjectOutput {
        let mut req = req;
        let fate = heard(this.fate("put_object"), &mut req.input.body).await?;
        let answer = this.files.put_object(req).await?;
        this.done("put_object", fate, answer)
    }

    get_object(this, req: GetObjectInput) -> GetObjectOutput {
        hand_on!(this.get_object(req))
    }

    head_object(this, req: HeadObjectInput) -> HeadObjectOutput {
        hand_on!(this.head_object(req))
    }

    copy_object(this, req: CopyObjectInput) -> CopyObjectOutput {
        hand_on!(this.copy_object(req))
    }

    upload_part_copy(this, req: UploadPartCopyInput) -> UploadPartCopyOutput {
        hand_on!(this.upload_part_copy(req))
    }

    create_multipart_upload(this, req: CreateMultipartUploadInput) -> CreateMultipartUploadOutput {
        let fate = this.fate("create_multipart_upload")?;
        let begun = Begun {
            bucket: req.input.bucket.clone(),
            key: req.input.key.clone(),
            tags: BTreeMap::new(),
        };
        let answer = this.files.create_multipart_upload(req).await?;
        let id = answer.output.upload_id.clone().unwrap();
        this.talk().uploads.insert(id, begun);
        this.done("create_multipart_upload", fate, answer)
    }

    upload_part(this, req: UploadPartInput) -> UploadPartOutput {
        let mut req = req;
        let fate = heard(this.fate("upload_part"), &mut req.input.body).await?;
        let (id, number) = (req.input.upload_id.clone(), req.input.part_number);
        if let Some(wanted) = req.input.checksum_sha256.clone() {
            let body = req.input.body.take().unwrap();
            req.input.body = Some(compared(body, wanted));
        }
        let answer = this.files.upload_part(req).await?;
        if let Some(begun) = this.talk().uploads.get_mut(&id) {
            let tag = answer.output.e_tag.clone().unwrap();
            begun.tags.insert(number, tag);
        }
        this.done("upload_part", fate, answer)
    }

    list_parts(this, req: ListPartsInput) -> ListPartsOutput {
        let fate = this.fate("list_parts")?;
        let begun = this.begun(&req.input.upload_id)?;
        let mut answer = this.files.list_parts(req).await?;
        for part in answer.output.parts.iter_mut().flatten() {
            part.e_tag = begun.tags.get(&part.part_number.unwrap()).cloned();
        }
        this.done("list_parts", fate, answer)
    }

    complete_multipart_upload(this, req: CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput {
        let fate = this.fate("complete_multipart_upload")?;
        let id = req.input.upload_id.clone();
        this.begun(&id)?;
        let answer = this.files.complete_multipart_upload(req).await?;
        this.talk().uploads.remove(&id);
        this.done("complete_multipart_upload", fate, answer)
    }

    abort_multipart_upload(this, req: AbortMultipartUploadInput) -> AbortMultipartUploadOutput {
        let fate = this.fate("abort_multipart_upload")?;
        let id = req.input.upload_id.clone();
        this.begun(&id)?;
        let answer = this.files.abort_multipart_upload(req).await?;
        this.talk().uploads.remove(&id);
        this.done("abort_multipart_upload", fate, answer)
    }

    list_multipart_uploads(this, req: ListMultipartUploadsInput) -> ListMultipartUploadsOutput {
        let fate = this.fate("list_multipart_uploads")?;
        let prefix = req.input.prefix.unwrap_or_default();
        let uploads = this
            .talk()
            .uploads
            .iter()
            .filter(|(_, u)| u.bucket == req.input.bucket && u.key.starts_with(&prefix))
            .map(|(id, u)| MultipartUpload {
                key: Some(u.key.clone()),
                upload_id: Some(id.clone()),
                ..MultipartUpload::default()
            })
            .collect();
        let output = ListMultipartUploadsOutput {
            uploads: Some(uploads),
            is_truncated: Some(false),
            ..ListMultipartUploadsOutput::default()
        };
        this.done("list_multipart_uploads", fate, S3Response::new(output))
    }

    list_objects_v2(this, req: ListObjectsV2Input) -> ListObjectsV2Output {
        let fate = this.fate("list_objects_v2")?;
        let prefix = req.input.prefix.unwrap_or_default();
        let after = req.input.continuation_token;
        let all = this.listing(&req.input.bucket, &prefix, after.is_none());
        let from = after.as_ref().map_or(0, |after| {
            all.partition_point(|o| o.key.as_ref().unwrap() <= after)
        });
        let page: Vec<Object> = all[from..].iter().take(1_000).cloned().collect();
        let more = from + page.len() < all.len();
        let output = ListObjectsV2Output {
            next_continuation_token: page.last().filter(|_| more).and_then(|o| o.key.clone()),
            contents: Some(page),
            is_truncated: Some(more),
            ..ListObjectsV2Output::default()
        };
        this.done("list_objects_v2", fate, S3Response::new(output))
    }
}

/// The same content, which ends badly when it has not this SHA-256: s3s-fs does not look at it.
fn compared(body: StreamingBlob, wanted: String) -> StreamingBlob {
    let hasher = Arc::new(Mutex::new(Sha256::new()));
    let all = hasher.clone();
    let body = body
        .map_err(std::io::Error::other)
        .inspect_ok(move |some| hasher.lock().unwrap().update(some));
    let end = futures::stream::once(async move {
        let is = all.lock().unwrap().clone().finalize();
        if base64::engine::general_purpose::STANDARD.encode(is) == wanted {
            Ok(None)
        } else {
            Err(std::io::Error::other(
                "a part is not what its checksum says",
            ))
        }
    });
    let body = body.map_ok(Some).chain(end);
    StreamingBlob::wrap(body.try_filter_map(|some| std::future::ready(Ok(some))))
}

/// A server with two empty buckets, until this is dropped.
pub struct Server {
    address: SocketAddr,
    store: Store,
    // Dropped last: nothing answers any more when the files go.
    runtime: Option<tokio::runtime::Runtime>,
    folder: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// As [`Self::start`], with its files in this folder.
    pub fn start_in(folder: tempfile::TempDir) -> Self {
        for bucket in [BUCKET, OTHER] {
            std::fs::create_dir(folder.path().join(bucket)).unwrap();
        }
        let store = Store(Arc::new(Shared {
            files: FileSystem::new(folder.path()).unwrap(),
            root: folder.path().to_owned(),
            talk: Mutex::default(),
        }));
        let mut builder = S3ServiceBuilder::new(store.clone());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    // A client that was killed ends its connections badly: that is no error here.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self {
            address,
            store,
            runtime: Some(runtime),
            folder,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the content of an object is.
    pub fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.folder.path().join(bucket).join(key)
    }

    /// How often this call arrived.
    pub fn calls(&self, call: &str) -> u64 {
        self.store.talk().counts.get(call).copied().unwrap_or(0)
    }

    /// Asks about the fate of every call from now on; their numbers begin anew.
    pub fn faults(&self, rule: impl FnMut(&str, u64) -> Fate + Send + 'static) {
        let mut talk = self.store.talk();
        talk.counts.clear();
        talk.rule = Some(Box::new(rule));
    }

    /// Everything passes, and nobody watches.
    pub fn quiet(&self) {
        let mut talk = self.store.talk();
        talk.rule = None;
        talk.watcher = None;
    }

    /// Shows every call after it was carried out, with its number since the beginning.
    pub fn watch(&self, watcher: impl FnMut(&str, u64) + Send + 'static) {
        self.store.talk().watcher = Some(Box::new(watcher));
    }

    /// Uploads that are neither completed nor aborted, and parts of them.
    pub fn unfinished(&self) -> Vec<String> {
        let known = self
            .store
            .talk()
            .uploads
            .keys()
            .cloned()
            .collect::<Vec<_>>();
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let names = files.map(|f| f.unwrap().file_name().into_string().unwrap());
        let left = names.filter(|n| n.starts_with(".upload"));
        known.into_iter().chain(left).collect()
    }

    /// A transfer in this process, signed with this secret.
    pub fn transfer_with(&self, secret: &str) -> Transfer {
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new(REGION))
            .endpoint_url(self.endpoint())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(
                ACCESS_KEY, secret, None,
            )))
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .time_source(aws_smithy_async::time::SystemTimeSource::new())
            .retry_config(aws_smithy_types::retry::RetryConfig::disabled())
            .build();
        // A clock that runs fast: what is put off is not waited for.
        let clock = Clock::played(jiff::Timestamp::UNIX_EPOCH, 1_000);
        transfer(&config, clock)
    }

    pub fn transfer(&self) -> Transfer {
        self.transfer_with(SECRET_KEY)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A transfer over this configuration.
pub fn transfer(config: &aws_config::SdkConfig, clock: Clock) -> Transfer {
    let scope = Scope {
        site: "acme".into(),
        account: "123456789012".into(),
        region: REGION.into(),
        tags: Tags::default(),
    };
    let aws = Aws::new(config);
    Transfer::new(CloudCx::new(
        aws,
        scope,
        clock,
        Limits::default(),
        None,
        BTreeMap::new(),
    ))
}

/// Bytes that look random, always the same for one seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    content
}

//! Paged listings as one stream, a page in memory at a time, sorted by key as S3 sorts them.

use std::collections::VecDeque;

use super::multipart::plain_etag;
use super::{Place, Transfer, TransferFault};

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) bytes: u64,
    /// Empty where the server tells none.
    pub(super) etag: String,
    /// Only in a listing of versions; `null` for what was written before the bucket had any.
    pub(super) version: Option<String>,
    pub(super) newest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The objects that are there now.
    Objects,
    /// Every version, the newest first for each key.
    Versions,
}

pub(super) struct Listing {
    transfer: Transfer,
    of: Place,
    what: What,
    page: VecDeque<Listed>,
    next: Next,
    ahead: Option<Listed>,
}

enum Next {
    First,
    Token(String),
    Markers(String, Option<String>),
    End,
}

impl Listing {
    /// Of everything in this bucket whose key begins so.
    pub(super) fn new(transfer: &Transfer, of: &Place, what: What) -> Self {
        Self {
            transfer: transfer.clone(),
            of: of.clone(),
            what,
            page: VecDeque::new(),
            next: Next::First,
            ahead: None,
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Listed>, TransferFault> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        loop {
            if let Some(object) = self.page.pop_front() {
                return Ok(Some(object));
            }
            if matches!(self.next, Next::End) {
                return Ok(None);
            }
            match self.what {
                What::Objects => self.objects().await?,
                What::Versions => self.versions().await?,
            }
        }
    }

    /// Goes forward to this key, and gives what is there about it: of a key, all versions.
    pub(super) async fn at(&mut self, key: &str) -> Result<Vec<Listed>, TransferFault> {
        let mut found = vec![];
        while let Some(object) = self.next().await? {
            if object.key.as_str() > key {
                self.ahead = Some(object);
                break;
            }
            if object.key == key {
                found.push(object);
            }
        }
        Ok(found)
    }

    async fn objects(&mut self) -> Result<(), TransferFault> {
        let token = match &self.next {
            Next::Token(token) => Some(token.clone()),
            _ => None,
        };
        let page = self
            .transfer
            .cx
            .read("s3:ListBucket", || {
                self.transfer
                    .s3()
                    .list_objects_v2()
                    .bucket(&self.of.bucket)
                    .prefix(&self.of.key)
                    .set_continuation_token(token.clone())
                    .send()
            })
            .await?;
        self.page = page
            .contents()
            .iter()
            .map(|object| Listed {
                key: object.key().unwrap_or_default().to_owned(),
                bytes: size(object.size()),
                etag: plain_etag(object.e_tag()),
                version: None,
                newest: true,
            })
            .collect();
        self.next = match (page.is_truncated(), page.next_continuation_token()) {
            (Some(true), Some(token)) => Next::Token(token.to_owned()),
            _ => Next::End,
        };
        Ok(())
    }

    async fn versions(&mut self) -> Result<(), TransferFault> {
        let (key, version) = match &self.next {
            Next::Markers(key, version) => (Some(key.clone()), version.clone()),
            _ => (None, None),
        };
        let page = self
            .transfer
            .cx
            .read("s3:ListBucketVersions", || {
                self.transfer
                    .s3()
                    .list_object_versions()
                    .bucket(&self.of.bucket)
                    .prefix(&self.of.key)
                    .set_key_marker(key.clone())
                    .set_version_id_marker(version.clone())
                    .send()
            })
            .await?;
        self.page = page
            .versions()
            .iter()
            .map(|object| Listed {
                key: object.key().unwrap_or_default().to_owned(),
                bytes: size(object.size()),
                etag: plain_etag(object.e_tag()),
                version: object.version_id().map(str::to_owned),
                newest: object.is_latest().unwrap_or_default(),
            })
            .collect();
        self.next = match (page.is_truncated(), page.next_key_marker()) {
            (Some(true), Some(key)) => Next::Markers(
                key.to_owned(),
                page.next_version_id_marker().map(str::to_owned),
            ),
            _ => Next::End,
        };
        Ok(())
    }
}

fn size(bytes: Option<i64>) -> u64 {
    bytes
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or_default()
}

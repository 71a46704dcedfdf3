//! Configuration: the site file, the bundle each node was pointed at, and what the nodes hold of certificates, TLS keys
//! and host keys. One archive, sealed, because private keys are in it.
//!
//! ```text
//! gantry.toml
//! bundles/<node>.tar.gz     as delivered
//! nodes/<node>.tar          /etc/gitlab and the SSH host keys of a node that has a name of its own
//! ```

use std::io;

use flate2::Compression;
use flate2::write::GzEncoder;
use zeroize::Zeroizing;

use super::{Saving, Taking, seal_away};
use crate::blueprint::Role;
use crate::boot::{Pointer, bundle_key, pointer_key};
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::node::Host;
use crate::ops::OpsFault;
use crate::ops::gitlab::{config_files, secrets_mark};
use crate::ops::point::{PartName, PointId};

/// Seals the site's configuration.
pub async fn configuration(taking: &Taking, point: &PointId) -> Result<Saving, Halt<OpsFault>> {
    let mut archive = Archive::new();
    archive.add("gantry.toml", &taking.site_file)?;
    for host in &taking.ground.fleet.hosts {
        if let Some(bundle) = bundle(taking, host).await? {
            archive.add(&format!("bundles/{}.tar.gz", host.name), &bundle)?;
        }
        // Machines of the Rails group are made anew from their bundle, and the bastion has no GitLab.
        if !matches!(host.role, Role::Rails | Role::Bastion) {
            let shell = taking.hosts.shell(&host.name)?;
            let files = config_files(shell.as_ref()).await?;
            archive.add(&format!("nodes/{}.tar", host.name), &files)?;
        }
    }
    let content = archive.finish()?;
    let fits = secrets_mark(taking.deploy_node()?.as_ref()).await?;
    let part = PartName::Configuration;
    Ok(seal_away(taking, point, &part, &content, fits).await?)
}

/// The bundle that a node was pointed at last; none before the first delivery.
async fn bundle(taking: &Taking, host: &Host) -> Result<Option<Vec<u8>>, OpsFault> {
    let bucket = &taking.ground.fleet.buckets.config;
    let Some(text) = object(taking, bucket, &pointer_key(host.role, &host.name)).await? else {
        return Ok(None);
    };
    let pointer = Pointer::parse(&text).map_err(|error| {
        OpsFault::check(
            format!("the pointer of {}", host.name),
            error.to_string(),
            "`gantry install` writes it again",
        )
    })?;
    object(taking, bucket, &bundle_key(host.role, &pointer.bundle)).await
}

async fn object(taking: &Taking, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, OpsFault> {
    let cx = &taking.ground.cx;
    let asked = cx
        .read("s3:GetObject", || {
            cx.aws().s3.get_object().bucket(bucket).key(key).send()
        })
        .await;
    match asked {
        Ok(answer) => match answer.body.collect().await {
            Ok(content) => Ok(Some(content.to_vec())),
            Err(error) => {
                Err(Fault::internal(format!("s3://{bucket}/{key} broke off: {error}")).into())
            }
        },
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// A gzipped tar in memory, wiped when dropped.
struct Archive(tar::Builder<GzEncoder<Wiped>>);

/// Bytes on their way into the archive.
#[derive(Default)]
struct Wiped(Zeroizing<Vec<u8>>);

impl io::Write for Wiped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken(error: &io::Error) -> OpsFault {
    OpsFault::internal(format!("the archive of the configuration: {error}"))
}

impl Archive {
    fn new() -> Self {
        Self(tar::Builder::new(GzEncoder::new(
            Wiped::default(),
            Compression::default(),
        )))
    }

    fn add(&mut self, path: &str, content: &[u8]) -> Result<(), OpsFault> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        self.0
            .append_data(&mut header, path, content)
            .map_err(|error| broken(&error))
    }

    fn finish(self) -> Result<Zeroizing<Vec<u8>>, OpsFault> {
        let gzip = self.0.into_inner().map_err(|error| broken(&error))?;
        Ok(gzip.finish().map_err(|error| broken(&error))?.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_archive_is_read_back() {
        let mut archive = Archive::new();
        archive.add("gantry.toml", b"[site]").unwrap();
        archive.add("nodes/box.tar", b"keys").unwrap();
        let packed = archive.finish().unwrap();
        let mut read = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let mut found = Vec::new();
        for entry in read.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((entry.path().unwrap().display().to_string(), text));
        }
        assert_eq!(
            found,
            [
                ("gantry.toml".to_owned(), "[site]".to_owned()),
                ("nodes/box.tar".to_owned(), "keys".to_owned())
            ]
        );
    }
}

//! `gantry backup open`

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::super::CliError;
use super::super::open::reading;
use super::{Trust, open_points};
use crate::app::App;
use crate::exit::Exit;
use crate::ops::open::{Opened, OpenedFile, free, open, write};
use crate::ops::point::{PartName, PointId, Points};
use crate::session::Session;
use crate::ui::{bytes, table};

/// Write the configuration that a recovery point has sealed into a folder.
///
/// A restore leaves it sealed, because nodes have their files from the site file. In it are gantry.toml, the bundle of
/// each node as bundles/NODE.tar.gz, and below NODE/ what the node had of /etc/gitlab/gitlab.rb, /etc/gitlab/ssl,
/// /etc/gitlab/trusted-certs and SSH host keys. Machines of the Rails group have a bundle alone, that of `rails`.
///
/// The manifest's signature and the checksum are looked at first, as `gantry backup verify` does. Private keys are
/// among the files: nobody but you may look into the folder, and only names and sizes are printed. Nothing is changed
/// in AWS.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry backup open 20261125T023000Z-1a2b3c --to opened
  gantry backup open 20261125T023000Z-1a2b3c --part configuration --node gitaly-1 --to opened
  gantry backup open 20261125T023000Z-1a2b3c --from BUCKET --trust ed25519:… --to opened   # a point of another site

Exit codes: 8 when the point is not what its manifest says; 2 when there is no such point, part or node, or the folder
has something in it.")]
pub struct OpenArgs {
    /// The point's id, as `gantry backup list` shows it.
    point: PointId,
    /// The part to open: `configuration` is the only one.
    #[arg(long, value_name = "PART", default_value = "configuration")]
    part: PartName,
    /// The folder to write into: one that is not there yet, or that is empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Only the files of this node.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The backup bucket of the site that the point was taken of, if that is another one.
    #[arg(long, value_name = "BUCKET", requires = "key")]
    from: Option<String>,
    #[command(flatten)]
    trust: Trust,
}

pub async fn run(app: &App, args: &OpenArgs) -> Result<Exit, CliError> {
    if args.part != PartName::Configuration {
        return Err(
            CliError::usage(format!("the part {} is not opened", args.part))
                .help("`gantry restore` brings it back; only the configuration is left sealed"),
        );
    }
    // Before anything is asked of AWS: a folder that is taken is the likeliest mistake.
    free(&args.to)?;
    let session = reading(app).await?;
    let points = points(&session, args).await?;
    let listed = points.read(&args.point).await?;
    let opened = open(&points, &listed, args.node.as_deref()).await?;
    write(&args.to, &opened)?;
    app.say.json(&document(args, &opened));
    app.say.data(&told(&opened));
    for name in &opened.left_out {
        app.say.warn(&format!(
            "{name} is no file but a link or the like: left out"
        ));
    }
    app.say.tell(&format!(
        "{} files are in {}. Private keys are among them: remove the folder when you have what you need.",
        opened.files.len(),
        args.to.display()
    ));
    Ok(Exit::Done)
}

async fn points(session: &Session, args: &OpenArgs) -> Result<Points, CliError> {
    match (&args.from, args.trust.key) {
        (Some(bucket), Some(trusted)) => Ok(Points::new(session.cx.clone(), bucket, trusted)),
        _ => open_points(session, Some(&args.trust)).await,
    }
}

/// Names and sizes: what is in the files is in the folder alone.
fn document(args: &OpenArgs, opened: &Opened) -> Value {
    let file = |file: &OpenedFile| json!({"name": file.name(), "bytes": file.bytes()});
    json!({
        "format": 1,
        "point": args.point,
        "part": args.part,
        "folder": args.to.display().to_string(),
        "files": opened.files.iter().map(file).collect::<Vec<_>>(),
        "left_out": opened.left_out,
    })
}

fn told(opened: &Opened) -> String {
    let row = |file: &OpenedFile| vec![file.name(), bytes(file.bytes())];
    let rows: Vec<_> = opened.files.iter().map(row).collect();
    table(&["FILE", "SIZE"], &rows)
}

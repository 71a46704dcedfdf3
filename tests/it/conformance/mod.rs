//! Every kind through its whole life, the same checks on the strict cloud and on moto: so that the strict cloud
//! does not drift into fiction, and no kind depends on one of the two.
//!
//! create, configure, ready; a survey finds no difference; a second survey finds the same; a changed
//! specification and a changed tag are put right; delete, delete again, gone.

pub mod backups;
mod life;
mod site;

use std::collections::BTreeSet;

use gantry::clock::Clock;
use gantry::cloud::Aws;
use gantry::kinds::registry;
use gantry::sandbox::world::World;
use gantry::sandbox::{ACCOUNT, Sandbox};

use self::life::Life;
use self::site::{Ground, Wanted, site};
use crate::moto::{Gaps, Moto};

const REGION: &str = "eu-west-1";

#[test]
fn the_site_has_every_kind() {
    let ground = Ground {
        hosted_zone: String::new(),
        image: String::new(),
    };
    let there: BTreeSet<String> = site(&ground, Wanted::First)
        .iter()
        .map(|(a, _)| a.kind().as_str().to_owned())
        .collect();
    let all: BTreeSet<String> = registry::all()
        .map(|k| k.kind.as_str().to_owned())
        .collect();
    assert_eq!(there, all);
}

#[test]
fn the_changed_site_changes_only_what_aws_can_change() {
    let ground = Ground {
        hosted_zone: String::new(),
        image: String::new(),
    };
    let (first, changed) = (site(&ground, Wanted::First), site(&ground, Wanted::Changed));
    let addresses =
        |b: &gantry::blueprint::Blueprint| b.iter().map(|(a, _)| a.to_string()).collect::<Vec<_>>();
    assert_eq!(addresses(&first), addresses(&changed));
}

#[tokio::test(start_paused = true)]
async fn all_kinds_on_the_strict_cloud() {
    let sandbox = Sandbox::in_memory(
        World::new(ACCOUNT),
        Clock::played("2026-01-05T06:00:00Z".parse().unwrap(), 1),
    );
    let aws = Aws::new(&sandbox.config(REGION));
    let problems = Life::new(aws, sandbox.clock(), &[]).await.whole().await;
    assert!(problems.is_empty(), "{problems:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_kinds_on_moto() {
    let moto = Moto::fresh();
    let without = Gaps::read().switched_off();
    let aws = Aws::new(&moto.config(REGION));
    let problems = Life::new(aws, Clock::System, &without).await.whole().await;
    assert!(problems.is_empty(), "{problems:#?}\n{}", moto.log());
}

//! Until the Rails machines serve again, after their workers stood still.

use std::time::Duration;

use super::Door;
use crate::blueprint::Role;
use crate::engine::Halt;
use crate::names::Names;
use crate::ops::gitlab::{self, Check};
use crate::ops::runbook::StageCx;
use crate::ops::{Hosts, OpsFault};
use crate::resource::CloudCx;

/// How long a machine may take until it answers.
const STARTS: Duration = Duration::from_mins(10);

const LOOK: Duration = Duration::from_secs(10);

/// Waits until each Rails machine answers by itself, and then until the balancer has seen it: only then may the group that
/// keeps them look at them again, which would replace all of them at once for having stood still.
///
/// What does not come to serve in time is noted and no fault: it is the group's to replace.
pub async fn until_serving(
    cx: &StageCx,
    cloud: &CloudCx,
    names: &Names,
    hosts: &dyn Hosts,
) -> Result<(), Halt<OpsFault>> {
    for name in hosts.of_role(Role::Rails) {
        let began = cx.clock.now();
        while !answers(hosts, &name).await {
            if cx.clock.since(began) >= STARTS {
                cx.note(format!("{name} does not answer yet"));
                break;
            }
            cx.waiting(format!("{name} to answer"));
            cx.pause(LOOK).await?;
        }
    }
    let balancer = async {
        let door = Door::public(cloud, names).await?;
        door.until_all_healthy(cx).await
    };
    match balancer.await {
        Err(Halt::Failed(fault)) => {
            cx.note(format!("nobody waited for the balancer: {fault}"));
            Ok(())
        }
        other => other,
    }
}

async fn answers(hosts: &dyn Hosts, name: &str) -> bool {
    let answered = async {
        let shell = hosts.shell(name)?;
        gitlab::check(shell.as_ref(), Check::Readiness).await
    };
    answered.await.is_ok_and(|verdict| verdict.ok)
}

//! How long AWS takes, in milliseconds: medians seen in public logs of real accounts.

use super::world::Millis;

const SECOND: Millis = 1_000;
const MINUTE: Millis = 60 * SECOND;

pub const NAT_GATEWAY: Millis = 105 * SECOND;
pub const NAT_GATEWAY_DELETE: Millis = 55 * SECOND;
/// A deleted NAT gateway stays listed as `deleted` for about an hour.
pub const NAT_GATEWAY_MEMORY: Millis = 60 * MINUTE;
pub const INTERFACE_ENDPOINT: Millis = 60 * SECOND;
pub const INTERFACE_ENDPOINT_DELETE: Millis = 90 * SECOND;
pub const INSTANCE_RUNNING: Millis = 25 * SECOND;
pub const INSTANCE_STOPPED: Millis = 30 * SECOND;
pub const INSTANCE_TERMINATED: Millis = 45 * SECOND;
pub const INSTANCE_MEMORY: Millis = 60 * MINUTE;
pub const VOLUME: Millis = 4 * SECOND;
pub const VOLUME_ATTACH: Millis = 3 * SECOND;
pub const VOLUME_DELETE: Millis = 4 * SECOND;
pub const SNAPSHOT: Millis = 4 * MINUTE;
/// All blocks of a first copy travel.
pub const SNAPSHOT_COPY: Millis = 9 * MINUTE;
pub const LOAD_BALANCER: Millis = 150 * SECOND;
/// The interfaces of a deleted load balancer hold its subnets and groups for a while.
pub const LOAD_BALANCER_INTERFACES: Millis = 90 * SECOND;
pub const TARGET_HEALTHY: Millis = 90 * SECOND;
pub const DATABASE_SINGLE: Millis = 6 * MINUTE;
pub const DATABASE_MULTI_AZ: Millis = 17 * MINUTE;
pub const DATABASE_REPLICA: Millis = 12 * MINUTE;
pub const DATABASE_MODIFY: Millis = 3 * MINUTE;
pub const DATABASE_DELETE: Millis = 7 * MINUTE;
pub const DATABASE_SNAPSHOT: Millis = 5 * MINUTE;
pub const DATABASE_SNAPSHOT_COPY: Millis = 11 * MINUTE;
pub const RECOVERY_POINT_DELETE: Millis = 20 * SECOND;
/// From a snapshot; blocks load lazily afterwards.
pub const DATABASE_RESTORE: Millis = 16 * MINUTE;
/// To a point in time: the same, and the log since the snapshot played again.
pub const DATABASE_RESTORE_IN_TIME: Millis = 19 * MINUTE;
/// Logs of a database reach S3 this often, which is how near to now it can be restored.
pub const DATABASE_LOGS: Millis = 5 * MINUTE;
pub const CACHE: Millis = 8 * MINUTE;
pub const CACHE_MODIFY: Millis = 2 * MINUTE;
pub const CACHE_DELETE: Millis = 6 * MINUTE;
/// A certificate's validation record appears in its description a little after the request.
pub const CERTIFICATE_RECORD: Millis = 5 * SECOND;
/// From the moment the validation record exists.
pub const CERTIFICATE_ISSUED: Millis = 3 * MINUTE;
pub const DNS_CHANGE: Millis = 35 * SECOND;
/// An instance profile is accepted elsewhere only after this.
pub const PROFILE_USABLE: Millis = 8 * SECOND;
/// A new role can be named in policies only after this.
pub const ROLE_USABLE: Millis = 6 * SECOND;
pub const GROUP_DELETE: Millis = 60 * SECOND;

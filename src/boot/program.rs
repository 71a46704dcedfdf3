//! The boot program and the fetcher, put together from their parts.

use std::sync::LazyLock;

use super::sha256;

/// What the stages stand on, then the stages, then the order in which they run.
const PROGRAM: &str = concat!(
    include_str!("../../templates/boot/head.sh"),
    "\n",
    include_str!("../../templates/boot/common.sh"),
    "\n",
    include_str!("../../templates/boot/lib.sh"),
    "\n",
    include_str!("../../templates/boot/stages/time.sh"),
    "\n",
    include_str!("../../templates/boot/stages/bundle.sh"),
    "\n",
    include_str!("../../templates/boot/stages/keys.sh"),
    "\n",
    include_str!("../../templates/boot/stages/volume.sh"),
    "\n",
    include_str!("../../templates/boot/stages/hostname.sh"),
    "\n",
    include_str!("../../templates/boot/stages/package.sh"),
    "\n",
    include_str!("../../templates/boot/stages/rds_ca.sh"),
    "\n",
    include_str!("../../templates/boot/stages/secrets.sh"),
    "\n",
    include_str!("../../templates/boot/stages/databases.sh"),
    "\n",
    include_str!("../../templates/boot/stages/files.sh"),
    "\n",
    include_str!("../../templates/boot/stages/birth.sh"),
    "\n",
    include_str!("../../templates/boot/stages/reconfigure.sh"),
    "\n",
    include_str!("../../templates/boot/stages/report.sh"),
    "\n",
    include_str!("../../templates/boot/main.sh"),
);

/// What user data installs: it gets the program, and runs nothing else.
pub(super) const FETCHER: &str = concat!(
    include_str!("../../templates/boot/head.sh"),
    "\n",
    include_str!("../../templates/boot/common.sh"),
    "\n",
    include_str!("../../templates/boot/fetch.sh"),
);

/// The unit that runs the fetcher at every boot.
pub(super) const UNIT: &str = include_str!("../../templates/boot/gantry-boot.service");

/// The boot program of this gantry, and its SHA-256. It is the same for every role and site.
pub fn boot_program() -> (&'static str, &'static str) {
    static HASH: LazyLock<String> = LazyLock::new(|| sha256(PROGRAM));
    (PROGRAM, HASH.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_that_runs_is_in_the_program() {
        let order = PROGRAM
            .lines()
            .find_map(|line| line.strip_prefix("readonly STAGES=("))
            .and_then(|rest| rest.strip_suffix(')'))
            .unwrap();
        for stage in order.split_whitespace() {
            let function = format!("\nstage_{}() {{", stage.replace('-', "_"));
            assert_eq!(PROGRAM.matches(&function).count(), 1, "{stage}");
            assert!(
                PROGRAM.contains(&format!("        {stage}) stage_")),
                "{stage}"
            );
        }
    }
}

//! Wrong command lines: each says what is wrong, why, and what to do next.

use crate::support::Place;

/// Runs one line in a fresh folder (after `before`), and keeps what it said as a snapshot.
fn says(name: &str, before: &[&str], line: &str, code: i32) {
    let place = Place::new();
    for earlier in before {
        place.ok(earlier);
    }
    let said = place.run(line);
    assert_eq!(said.code, code, "gantry {line}\n{}", said.text());
    assert!(!said.err.contains("panicked"), "{}", said.err);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots/cli");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(format!("gantry {line}"));
    settings.bind(|| insta::assert_snapshot!(name, said.text()));
}

const INIT: &str = "init --profile poc-2k --domain gitlab.example.com";

macro_rules! lines {
    ($($name:ident: $before:expr, $line:expr, $code:expr;)*) => {$(
        #[test]
        fn $name() {
            says(stringify!($name), &$before, $line, $code);
        }
    )*};
}

lines! {
    no_verb: [], "", 2;
    unknown_verb: [], "instal --yes", 2;
    unknown_flag: [], "plan --sav x", 2;
    no_site_file: [], "plan", 2;
    install_without_profile: [], "install --domain gitlab.example.com --yes", 2;
    install_without_domain: [], "install --profile poc-2k --yes", 2;
    unknown_profile: [], "install --profile poc2k --domain gitlab.example.com --yes", 2;
    unknown_region: [], "install --profile poc-2k --domain gitlab.example.com --region eu-west-9 --yes", 2;
    bad_domain: [], "install --profile poc-2k --domain not_a_domain --yes", 2;
    bad_site_name: [], "install --profile poc-2k --domain gitlab.example.com --name Acme! --yes", 2;
    flags_against_the_file: [INIT], "install --profile ha-3k --yes", 2;
    init_twice: [INIT], INIT, 2;
    nobody_to_ask: [INIT], "install", 2;
    plan_file_missing: [INIT], "install --plan nowhere.json", 2;
    plan_file_is_no_plan: [INIT], "install --plan gantry.toml", 2;
    size_without_load: [], "size", 2;
    size_too_large: [], "size --users 90000", 2;
    unknown_profile_to_show: [], "profiles show ha-4k", 2;
    destroy_without_the_name: [INIT, "install --yes"], "destroy --yes", 2;
    destroy_another_site: [INIT], "destroy --yes --site other", 2;
    destroy_snapshot_flag_alone: [INIT], "destroy --no-final-snapshot", 2;
    drill_before_install: [INIT], "drill --yes", 2;
    drill_clean_of_one_point: [INIT], "drill 20261125T023000Z-1a2b3c --clean", 2;
    drill_of_a_long_name: ["init --profile poc-2k --domain gitlab.example.com --name a-site-of-19-charsx"], "drill --dry-run", 2;
    unknown_run: [INIT], "runs show 2020", 2;
    bad_address: [INIT], "plan --replace database", 2;
    quiet_and_verbose: [INIT], "plan --quiet --verbose", 2;
    bad_output_form: [INIT], "plan --output yaml", 2;
}

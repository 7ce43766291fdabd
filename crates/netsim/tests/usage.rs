//! The program as it is started. What it does to packets is tested within, and in `web/e2e/netsim.test.mjs`.

use std::process::{Command, Output};

#[test]
fn it_says_what_it_wants() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_hewei-netsim"))
            .args(arguments)
            .output()
            .expect("it was built for this test")
    };
    assert_refused(&run(&[]), "usage: hewei-netsim FAR_NAMESPACE SEED");
    assert_refused(&run(&["/nowhere", "seven"]), "the seed 'seven' is no whole number");
    assert_refused(&run(&["/nowhere", "7"]), "opening the far namespace /nowhere");
}

fn assert_refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty() && said.contains(why), "{said}");
}

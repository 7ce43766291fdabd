//! `hewei doctor`: whether this installation can do its work, and what to do where it cannot.
//!
//! Each check is a file: `gather` collects facts and decides nothing, `judge` is a pure function of the facts. What
//! the doctor makes (test folders, a test call) it takes away again; it changes no setting, no key and no row. With
//! the server running it asks that one and makes its test call beside it, on free ports.

mod addresses;
mod call;
mod cameras;
mod certificate;
mod clock;
mod context;
mod database;
mod disk;
mod http;
mod machine;
mod ports;
mod report;
mod settings;
mod stun;

use std::{path::PathBuf, process::ExitCode};

pub use report::Check;
use report::{Finding, Report};

use self::context::Context;

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Settings; without it the defaults and HEWEI_... variables.
    pub config: Option<PathBuf>,
    /// Only these; empty for all.
    pub only: Vec<Check>,
    /// Print one JSON document.
    pub json: bool,
}

/// Makes the checks and prints what they found, line by line as it comes. 0: nothing is wrong; 1: something is.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(options.json);
    let wants = |check| options.only.is_empty() || options.only.contains(&check);
    let config = match crate::config::Config::load(options.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            report.add(vec![settings::unreadable(&error)])?;
            return report.finish();
        }
    };
    let context = Context::new(config, options.config)?;
    report.begin(&context)?;
    for check in Check::ALL.into_iter().filter(|check| wants(*check)) {
        report.add(make(check, &context).await)?;
    }
    report.finish()
}

async fn make(check: Check, context: &Context) -> Vec<Finding> {
    match check {
        Check::Settings => settings::judge(&settings::gather(context)),
        Check::Machine => machine::judge(&machine::gather()),
        Check::Disk => disk::check(context).await,
        Check::Database => database::judge(&database::gather(context).await),
        Check::Clock => clock::judge(&clock::gather(context).await),
        Check::Certificate => certificate::check(context).await,
        Check::Ports => ports::judge(&ports::gather(context).await),
        Check::Addresses => addresses::judge(&addresses::gather(context).await),
        Check::Call => call::check(context).await,
        Check::Cameras => cameras::judge(&cameras::gather(context).await),
    }
}

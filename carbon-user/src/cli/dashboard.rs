//! `carbon dashboard`: the ledger in a browser.

use super::dashboard_answers::FromLedger;
use super::error::CliError;
use super::on_this_thread;
use super::output::Output;
use super::store::StoreArgs;
use super::top::handle;
use crate::dashboard::{Limits, Server};
use crate::ledger::Ledger;
use crate::metrics::{Listen, Token};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::SignalKind;

/// Sums that are remembered: 40 MB of them, the days of years and the minutes of a day of 200 workloads.
const SUMS_MAX: usize = 400_000;

/// `carbon dashboard`.
#[derive(Args, Clone, Debug)]
pub struct DashboardArgs {
    /// Where it listens; an address that other machines reach needs --token-file.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9489")]
    pub listen: String,
    /// A file with a token that readers must show: one line of 16 printable characters or more.
    #[arg(long, env = "CARBON_DASHBOARD_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A name that it may be called by, besides localhost and addresses; may be given more than once.
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// The ledger.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Serves until it is interrupted.
pub(super) fn dashboard(args: &DashboardArgs) -> Result<(), CliError> {
    let listen = checked_listen(args)?;
    // A ledger that cannot be read is said now, and not by the first page.
    drop(Ledger::open_read_only(&args.store.location()?, Limits::default().read)?);
    on_this_thread(serve(args, listen))
}

async fn serve(args: &DashboardArgs, listen: Listen) -> Result<(), CliError> {
    let mut ends = (handle(SignalKind::interrupt())?, handle(SignalKind::terminate())?);
    let server = Server::bind(listen).map_err(|error| wrong("--listen", &args.listen, error.to_string()))?;
    Output::Stdout.write(&format!("the dashboard is at http://{}/\n", server.address()))?;
    let answers = Arc::new(FromLedger::new(Some(args.store.location()?), SUMS_MAX, None));
    tokio::select! {
        () = server.serve(answers, args.hosts.clone(), Limits::default()) => {}
        _ = ends.0.recv() => {}
        _ = ends.1.recv() => {}
    }
    Ok(())
}

fn wrong(option: &'static str, value: &str, reason: String) -> CliError {
    let advice = "see \"carbon dashboard --help\"".to_owned();
    CliError::Argument { option, value: value.to_owned(), reason, advice }
}

fn checked_listen(args: &DashboardArgs) -> Result<Listen, CliError> {
    let address = args.listen.parse().map_err(|_not_one| CliError::Argument {
        option: "--listen",
        value: args.listen.clone(),
        reason: "not an address of a socket".into(),
        advice: "give an address and a port, such as 127.0.0.1:9489 or [::1]:9489".into(),
    })?;
    let token = args.token_file.as_deref().map(Token::read).transpose().map_err(|error| {
        let path = args.token_file.as_deref().map(|path| path.display().to_string());
        wrong("--token-file", &path.unwrap_or_default(), error.to_string())
    })?;
    Listen::new(address, token).map_err(|error| CliError::Argument {
        option: "--listen",
        value: args.listen.clone(),
        reason: error.to_string(),
        advice: "the file is named by --token-file".into(),
    })
}

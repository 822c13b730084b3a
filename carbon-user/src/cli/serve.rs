//! `carbon serve`: a team's server on a ledger.

use super::error::{CliError, warn};
use super::on_this_thread;
use super::output::Output;
use super::serve_args::ServeArgs;
use super::serve_manage;
use super::top::handle;
use crate::clock;
use crate::ledger::Ledger;
use crate::metrics::{ListenError, Tls};
use crate::serve::{Limits, Opener, Server};
use std::sync::Arc;
use tokio::signal::unix::SignalKind;

/// Serves until it is interrupted, or does what was asked.
pub(super) fn serve(args: &ServeArgs) -> Result<u8, CliError> {
    if let Some(action) = &args.action {
        return serve_manage::manage(action).map(|()| 0);
    }
    let tls = tls(args)?;
    // A ledger that cannot be used is said now, and brought up to date before readers come.
    drop(args.store.open()?);
    on_this_thread(listen(args, tls)).map(|()| 0)
}

async fn listen(args: &ServeArgs, tls: Option<Tls>) -> Result<(), CliError> {
    let mut ends = (handle(SignalKind::interrupt())?, handle(SignalKind::terminate())?);
    let wrong = |reason: String| CliError::Argument {
        option: "--listen",
        value: args.listen.clone(),
        reason,
        advice: "give an address and a port of this machine, such as 127.0.0.1:8470 or [::1]:8470".into(),
    };
    let failed = |error: ListenError| wrong(error.to_string());
    let address = args.listen.parse().map_err(|_not_one| wrong("not an address of a socket".into()))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let server = Server::bind(address, tls).map_err(failed)?;
    if scheme == "http" && !server.address().ip().is_loopback() {
        warn(
            false,
            "tokens pass in the clear: give --cert and --key, or put a server that encrypts in front",
        );
    }
    Output::Stdout.write(&format!("carbon serve is at {scheme}://{}/\n", server.address()))?;
    let location = args.store.location()?;
    let open: Opener = Arc::new(move || Ledger::open(&location));
    tokio::select! {
        done = server.serve(open, || clock::wall().as_microsecond(), Limits::default()) => done.map_err(failed)?,
        _ = ends.0.recv() => {}
        _ = ends.1.recv() => {}
    }
    Ok(())
}

fn tls(args: &ServeArgs) -> Result<Option<Tls>, CliError> {
    let (Some(cert), Some(key)) = (&args.cert, &args.key) else { return Ok(None) };
    Tls::read(cert, key).map(Some).map_err(|error| CliError::Argument {
        option: "--cert",
        value: cert.display().to_string(),
        reason: error.to_string(),
        advice: "give certificates and their key, in PEM".into(),
    })
}

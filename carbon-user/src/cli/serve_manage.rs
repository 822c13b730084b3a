//! `carbon serve organisation|project|experiment|member|token|share`: what is served, managed on the machine that has the ledger.

use super::error::CliError;
use super::output::Output;
use super::runs::write;
use super::serve_args::{
    ExperimentAction, ListArgs, MemberAction, OrganisationAction, ProjectAction, ScopeArg, ServeAction,
    ShareAction, TokenAction,
};
use super::store::StoreArgs;
use crate::clock;
use crate::ledger::team::{Project, Scope, Team, TeamError, hash_of, parse_id};
use crate::metrics::Token;
use crate::report::grid::{Cell, Grid};
use crate::serve::{TOKEN_PREFIX, fresh};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

impl From<TeamError> for CliError {
    fn from(error: TeamError) -> Self {
        match error {
            TeamError::Ledger(error) => Self::Ledger(error),
            error => Self::CommandLine(error.to_string()),
        }
    }
}

/// Does what was asked.
pub(super) fn manage(action: &ServeAction) -> Result<(), CliError> {
    match action {
        ServeAction::Organisation(action) => organisation(action),
        ServeAction::Project(action) => project(action),
        ServeAction::Experiment(action) => experiment(action),
        ServeAction::Member(action) => member(action),
        ServeAction::Token(action) => token(action),
        ServeAction::Share(action) => share(action),
    }
}

fn now_us() -> i64 {
    clock::wall().as_microsecond()
}

/// In one transaction.
fn change<T>(
    store: &StoreArgs,
    work: impl FnOnce(&mut Team<'_>) -> Result<T, TeamError>,
) -> Result<T, CliError> {
    Ok(store.open()?.team_once(work)?)
}

fn say(text: &str) -> Result<(), CliError> {
    Output::Stdout.write(&format!("{text}\n"))
}

fn organisation(action: &OrganisationAction) -> Result<(), CliError> {
    match action {
        OrganisationAction::Add { name, description, store } => {
            let made = change(store, |team| team.make_organisation(None, name, description, now_us()))?;
            say(&made.id)
        }
        OrganisationAction::List { list } => {
            let all = list.store.open_to_read()?.team_to_read().organisations()?;
            let rows = all.into_iter().map(|it| vec![it.id, it.name, it.description]);
            show(list, &["id", "name", "description"], rows.collect())
        }
    }
}

fn project(action: &ProjectAction) -> Result<(), CliError> {
    match action {
        ProjectAction::Add { project, description, store } => {
            let Some((organisation, name)) = project.split_once('/') else {
                return Err(CliError::CommandLine(format!(
                    "{project:?} is no project: give it as ORGANISATION/PROJECT"
                )));
            };
            let made =
                change(store, |team| team.make_project(None, organisation, name, description, now_us()))?;
            say(&made.id)
        }
        ProjectAction::List { organisation, list } => {
            let mut ledger = list.store.open_to_read()?;
            let mut team = ledger.team_to_read();
            let id = team.organisation(organisation)?.id;
            let rows = team.projects(&id)?.into_iter().map(|it| {
                let shared = if it.shared { "yes" } else { "no" };
                vec![it.id, it.name, it.description, shared.to_owned()]
            });
            show(list, &["id", "name", "description", "shared"], rows.collect())
        }
    }
}

fn experiment(action: &ExperimentAction) -> Result<(), CliError> {
    match action {
        ExperimentAction::Add { project, name, id, store } => {
            let made = change(store, |team| {
                let project = team.project(project)?;
                let id = id.as_deref().map(|id| parse_id("--id", id)).transpose()?;
                team.make_experiment(&project.id, id.as_deref(), name, "{}", now_us())
            })?;
            say(&made.id)
        }
        ExperimentAction::List { project, list } => {
            let mut ledger = list.store.open_to_read()?;
            let mut team = ledger.team_to_read();
            let project = team.project(project)?;
            let rows = team.experiments(&project.id)?.into_iter().map(|it| vec![it.id, it.name]);
            show(list, &["id", "name"], rows.collect())
        }
    }
}

fn member(action: &MemberAction) -> Result<(), CliError> {
    match action {
        MemberAction::Add { organisation, name, admin, store } => {
            let token = secret(TOKEN_PREFIX)?;
            let scope = if *admin { Scope::Admin } else { Scope::Read };
            change(store, |team| {
                let organisation = team.organisation(organisation)?.id;
                let member = team.make_member(&organisation, name, *admin, now_us())?;
                let whose = (organisation.as_str(), None, Some(member.id.as_str()));
                team.make_token(whose, scope, name, &hash_of(&token), now_us())
            })?;
            say(&token)
        }
        MemberAction::Remove { organisation, name, store } => change(store, |team| {
            let organisation = team.organisation(organisation)?.id;
            team.remove_member(&organisation, name, now_us())
        }),
        MemberAction::List { organisation, list } => {
            let mut ledger = list.store.open_to_read()?;
            let mut team = ledger.team_to_read();
            let id = team.organisation(organisation)?.id;
            let rows = team.members(&id)?.into_iter().map(|it| {
                let scope = if it.admin { Scope::Admin } else { Scope::Read };
                vec![it.id, it.name, scope.as_str().to_owned()]
            });
            show(list, &["id", "name", "scope"], rows.collect())
        }
    }
}

fn token(action: &TokenAction) -> Result<(), CliError> {
    match action {
        TokenAction::Add { whose, scope, name, token_file, store } => {
            let given = token_file.as_deref().map(given_token).transpose()?;
            let token = given.clone().map_or_else(|| secret(TOKEN_PREFIX), Ok)?;
            let scope = match scope {
                ScopeArg::Read => Scope::Read,
                ScopeArg::Write => Scope::Write,
                ScopeArg::Admin => Scope::Admin,
            };
            let kept = change(store, |team| {
                let project: Option<Project> =
                    whose.contains('/').then(|| team.project(whose)).transpose()?;
                let organisation = match &project {
                    Some(project) => project.organisation.clone(),
                    None => team.organisation(whose)?.id,
                };
                let project = project.as_ref().map(|project| project.id.as_str());
                team.make_token((&organisation, project, None), scope, name, &hash_of(&token), now_us())
            })?;
            // One that was given is known already.
            say(if given.is_some() { &kept.id } else { &token })
        }
        TokenAction::Revoke { organisation, id, store } => change(store, |team| {
            let organisation = team.organisation(organisation)?.id;
            if !team.tokens(&organisation)?.iter().any(|token| token.id == *id) {
                return Err(TeamError::none("token", id));
            }
            team.revoke(id, now_us()).map(|_| ())
        }),
        TokenAction::List { organisation, list } => {
            let mut ledger = list.store.open_to_read()?;
            let mut team = ledger.team_to_read();
            let id = team.organisation(organisation)?.id;
            let projects: BTreeMap<String, String> =
                team.projects(&id)?.into_iter().map(|it| (it.id, it.name)).collect();
            let time = |us: Option<i64>| {
                us.and_then(|us| Timestamp::from_microsecond(us).ok())
                    .map(|time| time.strftime("%Y-%m-%d %H:%M").to_string())
                    .unwrap_or_default()
            };
            let rows = team.tokens(&id)?.into_iter().map(|it| {
                let project = it.project.and_then(|id| projects.get(&id).cloned()).unwrap_or_default();
                let (member, scope) = (it.member.unwrap_or_default(), it.scope.as_str().to_owned());
                vec![it.id, it.name, project, member, scope, time(it.used_us), time(it.revoked_us)]
            });
            let columns = ["id", "name", "project", "member", "scope", "posted", "revoked"];
            show(list, &columns, rows.collect())
        }
    }
}

fn share(action: &ShareAction) -> Result<(), CliError> {
    match action {
        ShareAction::On { project, store } => {
            let secret = secret("")?;
            change(store, |team| {
                let project = team.project(project)?;
                team.share(&project.id, Some(&hash_of(&secret)))
            })?;
            say(&format!("/share/{secret}"))
        }
        ShareAction::Off { project, store } => change(store, |team| {
            let project = team.project(project)?;
            team.share(&project.id, None)
        }),
    }
}

fn secret(prefix: &str) -> Result<String, CliError> {
    fresh(prefix).map_err(|source| CliError::Start { action: "make a secret", source })
}

fn given_token(path: &Path) -> Result<String, CliError> {
    Token::read(path).map(|token| token.text()).map_err(|error| CliError::Argument {
        option: "--token-file",
        value: path.display().to_string(),
        reason: error.to_string(),
        advice: "see \"carbon serve token add --help\"".into(),
    })
}

/// Rows as a table, or as objects by these columns.
fn show(list: &ListArgs, columns: &[&'static str], rows: Vec<Vec<String>>) -> Result<(), CliError> {
    let heads: Vec<(&'static str, &'static str, bool)> =
        columns.iter().map(|column| (*column, *column, false)).collect();
    let mut grid = Grid::new(&heads);
    grid.rows = rows.iter().map(|row| row.iter().map(Cell::text).collect()).collect();
    let objects: Vec<BTreeMap<&str, String>> =
        rows.into_iter().map(|row| columns.iter().copied().zip(row).collect()).collect();
    write(&grid, &Listed { rows: objects }, list.format, &[])
}

#[derive(Serialize)]
struct Listed {
    rows: Vec<BTreeMap<&'static str, String>>,
}

//! Organisations, projects, members, tokens and public links.

use super::bodies;
use super::routes::Asked;
use super::secret::{TOKEN_PREFIX, fresh};
use super::shapes;
use super::{Answer, Answered, Refused};
use crate::ledger::team::{Scope, Team, TeamError, hash_of, parse_id};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn organisations(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let own = team.organisation(&asked.access.organisation)?;
    Answer::json(200, &[shapes::organisation(&own)])
}

/// A token is of an organisation, so that none can make another.
pub(super) fn add_organisation(_team: &mut Team<'_>, _asked: &Asked) -> Answered {
    Err(Refused::new(403, "organisations are made on the server: carbon serve organisation add NAME"))
}

pub(super) fn organisation(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let organisation = team.organisation(asked.organisation()?)?;
    Answer::json(200, &shapes::organisation(&organisation))
}

/// What can be said anew. Names stay: reports are added up by them.
#[derive(Debug, Deserialize)]
struct Change {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

impl Change {
    fn of(asked: &Asked, name: &str) -> Result<Option<String>, Refused> {
        let body: Self = bodies::parse(&asked.body)?;
        if body.name.is_some_and(|new| new != name) {
            return Err(Refused::wrong("a name cannot be changed: runs are added up by it"));
        }
        Ok(body.description)
    }
}

pub(super) fn change_organisation(team: &mut Team<'_>, asked: &Asked) -> Answered {
    asked.whole_organisation()?;
    let organisation = team.organisation(asked.organisation()?)?;
    if let Some(description) = Change::of(asked, &organisation.name)? {
        team.describe_organisation(&organisation.id, &description)?;
    }
    let organisation = team.organisation(&organisation.id)?;
    Answer::json(200, &shapes::organisation(&organisation))
}

pub(super) fn projects(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let organisation = asked.organisation()?;
    let mut shown = Vec::new();
    for project in team.projects(organisation)?.iter().filter(|project| asked.access.covers(project)) {
        let experiments = team.experiments(&project.id)?;
        shown.push(shapes::project(project, &experiments));
    }
    Answer::json(200, &shown)
}

#[derive(Debug, Deserialize)]
struct ProjectBody {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    organization_id: Option<String>,
}

pub(super) fn add_project(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let organisation = asked.whole_organisation()?;
    let body: ProjectBody = bodies::parse(&asked.body)?;
    if let Some(other) = body.organization_id.filter(|id| id != organisation) {
        return Err(Refused::new(
            404,
            format!("there is no organisation {other:?} that this token is good for"),
        ));
    }
    let made = team.make_project(None, organisation, &body.name, &body.description, asked.now_us)?;
    Answer::json(201, &shapes::project(&made, &[]))
}

pub(super) fn project(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    let experiments = team.experiments(&project.id)?;
    Answer::json(200, &shapes::project(&project, &experiments))
}

pub(super) fn change_project(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    if let Some(description) = Change::of(asked, &project.name)? {
        team.describe_project(&project.id, &description)?;
    }
    self::project(team, asked)
}

/// With all that was posted of it. A token of the project itself does not do: it would end itself.
pub(super) fn remove_project(team: &mut Team<'_>, asked: &Asked) -> Answered {
    asked.whole_organisation()?;
    let project = asked.project(team)?;
    let runs = team.remove_project(&project)?;
    log::info!("project {} ({}) is removed, with {runs} runs", project.name, project.id);
    Ok(Answer::nothing())
}

pub(super) fn remove_experiment(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let (project, experiment) = asked.experiment(team)?;
    let runs = team.remove_experiment(&project, &experiment.id)?;
    log::info!("experiment {} of {} is removed, with {runs} runs", experiment.id, project.name);
    Ok(Answer::nothing())
}

pub(super) fn remove_run(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let (project, run) = asked.run(team)?;
    team.remove_run(&run.run)?;
    log::info!("run {} of {} is removed", run.run, project.name);
    Ok(Answer::nothing())
}

pub(super) fn tokens(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    let tokens = team.tokens(&project.organisation)?;
    let of_project = tokens.iter().filter(|token| token.project.as_ref() == Some(&project.id));
    Answer::json(200, &of_project.map(shapes::token).collect::<Vec<_>>())
}

/// Ours says `scope`; `access` is of `CodeCarbon`: 1 reads, 2 writes, 3 both. Its command line says neither, and is given what
/// its own server gives then: a token that writes.
#[derive(Debug, Deserialize)]
struct TokenBody {
    name: String,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    access: Option<u8>,
}

impl TokenBody {
    fn scope(&self) -> Result<Scope, Refused> {
        match (self.scope.as_deref(), self.access) {
            (Some("read"), _) | (None, Some(1)) => Ok(Scope::Read),
            (Some("write"), _) | (None, Some(2 | 3) | None) => Ok(Scope::Write),
            (Some("admin"), _) => Ok(Scope::Admin),
            _ => Err(Refused::wrong("scope must be read, write or admin")),
        }
    }
}

fn secret(prefix: &str) -> Result<String, Refused> {
    fresh(prefix).map_err(|error| Refused::new(503, format!("no secret can be made: {error}")))
}

pub(super) fn add_token(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    let body: TokenBody = bodies::parse(&asked.body)?;
    let token = secret(TOKEN_PREFIX)?;
    let whose = (project.organisation.as_str(), Some(project.id.as_str()), None);
    let kept = team.make_token(whose, body.scope()?, &body.name, &hash_of(&token), asked.now_us)?;
    let mut shown = shapes::object(shapes::token(&kept));
    // Once, and never again.
    shown.insert("token".to_owned(), Value::String(token));
    Answer::json(201, &shown)
}

pub(super) fn revoke_token(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    let id = parse_id("the token", asked.part("token"))?;
    let known = team.tokens(&project.organisation)?;
    if !known.iter().any(|token| token.id == id && token.project.as_ref() == Some(&project.id)) {
        return Err(TeamError::none("token", id).into());
    }
    team.revoke(&id, asked.now_us)?;
    Ok(Answer::nothing())
}

pub(super) fn members(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let organisation = asked.organisation()?;
    asked.whole_organisation()?;
    let members = team.members(organisation)?;
    Answer::json(200, &members.iter().map(|it| shapes::member(it, organisation)).collect::<Vec<_>>())
}

#[derive(Debug, Deserialize)]
struct MemberBody {
    email: String,
    #[serde(default)]
    is_admin: bool,
}

/// Takes somebody in, with a token of his own: to look, or to manage.
pub(super) fn add_member(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let organisation = asked.organisation()?;
    asked.whole_organisation()?;
    let body: MemberBody = bodies::parse(&asked.body)?;
    let member = team.make_member(organisation, &body.email, body.is_admin, asked.now_us)?;
    let scope = if body.is_admin { Scope::Admin } else { Scope::Read };
    let token = secret(TOKEN_PREFIX)?;
    let whose = (organisation, None, Some(member.id.as_str()));
    team.make_token(whose, scope, &member.name, &hash_of(&token), asked.now_us)?;
    let mut shown = shapes::object(shapes::member(&member, organisation));
    shown.insert("token".to_owned(), Value::String(token));
    Answer::json(201, &shown)
}

pub(super) fn remove_member(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let organisation = asked.organisation()?;
    asked.whole_organisation()?;
    let id = parse_id("the member", asked.part("member"))?;
    let member = team.members(organisation)?.into_iter().find(|member| member.id == id);
    let member = member.ok_or_else(|| TeamError::none("member", id))?;
    team.remove_member(organisation, &member.name, asked.now_us)?;
    Ok(Answer::nothing())
}

/// Makes the public link anew: one that was there before is no longer good.
pub(super) fn share(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    let secret = secret("")?;
    team.share(&project.id, Some(&hash_of(&secret)))?;
    Answer::json(201, &json!({"path": format!("/share/{secret}")}))
}

pub(super) fn unshare(team: &mut Team<'_>, asked: &Asked) -> Answered {
    let project = asked.project(team)?;
    team.share(&project.id, None)?;
    Ok(Answer::nothing())
}

//! All that can be asked with a token, as data: the method, the path, what the token must be good for, and what answers.

use super::desk::Lane;
use super::{Answered, Refused, answers, bodies, export, manage, own};
use crate::ledger::team::{Access, Experiment, PostedRun, Project, Scope, Span, Team, TeamError, parse_id};
use std::collections::HashMap;

/// Methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Look.
    Get,
    /// Make.
    Post,
    /// Make under a name.
    Put,
    /// Change.
    Patch,
    /// End.
    Delete,
}

impl Verb {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A request, whose token was looked at.
#[derive(Debug)]
pub struct Asked {
    /// What its token is good for.
    pub access: Access,
    /// Of the path.
    pub parameters: HashMap<String, String>,
    /// Behind the path.
    pub query: HashMap<String, String>,
    /// As it came.
    pub body: Vec<u8>,
    /// Its `Idempotency-Key`.
    pub once: Option<String>,
    /// Now, in Unix microseconds.
    pub now_us: i64,
}

/// What answers.
pub type Answers = fn(&mut Team<'_>, &Asked) -> Answered;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub verb: Verb,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// What the token must be good for at least.
    pub scope: Scope,
    /// What answers.
    pub answers: Answers,
}

impl Route {
    /// Who does it: what looks reads, everything else writes.
    pub fn lane(&self) -> Lane {
        if self.verb == Verb::Get { Lane::Read } else { Lane::Write }
    }
}

const fn route(verb: Verb, path: &'static str, scope: Scope, answers: Answers) -> Route {
    Route { verb, path, scope, answers }
}

/// All of them. First those of `CodeCarbon`'s server, then our own.
pub const ROUTES: &[Route] = &[
    route(Verb::Get, "/auth/check", Scope::Read, answers::check),
    route(Verb::Get, "/organizations", Scope::Read, manage::organisations),
    route(Verb::Post, "/organizations", Scope::Admin, manage::add_organisation),
    route(Verb::Get, "/organizations/{organisation}", Scope::Read, manage::organisation),
    route(Verb::Patch, "/organizations/{organisation}", Scope::Admin, manage::change_organisation),
    route(Verb::Get, "/organizations/{organisation}/sums", Scope::Read, answers::organisation_sums),
    route(Verb::Get, "/organizations/{organisation}/projects", Scope::Read, manage::projects),
    route(Verb::Get, "/organizations/{organisation}/users", Scope::Admin, manage::members),
    route(Verb::Post, "/organizations/{organisation}/add-user", Scope::Admin, manage::add_member),
    route(Verb::Post, "/projects", Scope::Admin, manage::add_project),
    route(Verb::Get, "/projects/{project}", Scope::Read, manage::project),
    route(Verb::Patch, "/projects/{project}", Scope::Admin, manage::change_project),
    route(Verb::Delete, "/projects/{project}", Scope::Admin, manage::remove_project),
    route(Verb::Get, "/projects/{project}/sums", Scope::Read, answers::project_sums),
    route(Verb::Get, "/projects/{project}/api-tokens", Scope::Admin, manage::tokens),
    route(Verb::Post, "/projects/{project}/api-tokens", Scope::Admin, manage::add_token),
    route(Verb::Delete, "/projects/{project}/api-tokens/{token}", Scope::Admin, manage::revoke_token),
    route(Verb::Get, "/projects/{project}/experiments", Scope::Read, answers::experiments),
    route(Verb::Get, "/projects/{project}/experiments/sums", Scope::Read, answers::experiments_sums),
    route(Verb::Post, "/experiments", Scope::Write, answers::add_experiment),
    route(Verb::Get, "/experiments/{experiment}", Scope::Read, answers::experiment),
    route(Verb::Delete, "/experiments/{experiment}", Scope::Admin, manage::remove_experiment),
    route(Verb::Get, "/experiments/{experiment}/runs", Scope::Read, answers::runs),
    route(Verb::Get, "/experiments/{experiment}/runs/sums", Scope::Read, answers::runs_sums),
    route(Verb::Post, "/runs", Scope::Write, answers::add_run),
    route(Verb::Get, "/runs/{run}", Scope::Read, answers::run),
    route(Verb::Delete, "/runs/{run}", Scope::Admin, manage::remove_run),
    route(Verb::Get, "/runs/{run}/emissions", Scope::Read, answers::posts),
    route(Verb::Get, "/lastrun/project/{project}", Scope::Read, answers::last_run),
    route(Verb::Post, "/emissions", Scope::Write, answers::add_post),
    route(Verb::Get, "/emissions/{post}", Scope::Read, answers::post),
    route(Verb::Put, "/api/v1/runs/{run}", Scope::Write, own::put_run),
    route(Verb::Put, "/api/v1/runs/{run}/posts/{sequence}", Scope::Write, own::put_post),
    route(Verb::Get, "/api/v1/projects/{project}/sums", Scope::Read, own::sums),
    route(Verb::Get, "/api/v1/projects/{project}/runs", Scope::Read, export::runs),
    route(Verb::Post, "/api/v1/projects/{project}/share", Scope::Admin, manage::share),
    route(Verb::Delete, "/api/v1/projects/{project}/share", Scope::Admin, manage::unshare),
    route(
        Verb::Delete,
        "/api/v1/organizations/{organisation}/members/{member}",
        Scope::Admin,
        manage::remove_member,
    ),
];

impl Asked {
    /// A part of the path.
    pub(super) fn part(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The organisation of the path, where the token is of it.
    pub(super) fn organisation(&self) -> Result<&str, Refused> {
        let wanted = self.part("organisation");
        if wanted == self.access.organisation {
            return Ok(wanted);
        }
        Err(not_for(TeamError::none("organisation", wanted)))
    }

    /// The organisation, where the token is good for all of it.
    pub(super) fn whole_organisation(&self) -> Result<&str, Refused> {
        if self.access.project.is_some() {
            return Err(Refused::new(
                403,
                "this token is for one project: take one of the whole organisation",
            ));
        }
        Ok(&self.access.organisation)
    }

    /// A project, where the token is good for it. One of another team is as good as none.
    pub(super) fn project_of(&self, team: &mut Team<'_>, id: &str) -> Result<Project, Refused> {
        let id = parse_id("the project", id)?;
        let project = team.project(&id);
        match project {
            Ok(project) if self.access.covers(&project) => Ok(project),
            Ok(_) => Err(not_for(TeamError::none("project", id))),
            Err(error @ TeamError::None { .. }) => Err(not_for(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// That of the path.
    pub(super) fn project(&self, team: &mut Team<'_>) -> Result<Project, Refused> {
        self.project_of(team, self.part("project"))
    }

    /// That of the token, where it has one.
    pub(super) fn own_project(&self, team: &mut Team<'_>) -> Result<Project, Refused> {
        match &self.access.project {
            Some(project) => self.project_of(team, project),
            None => Err(Refused::wrong(
                "this token is for a whole organisation, so that the project must be said: name an experiment of it, or \
                 take a token of the project",
            )),
        }
    }

    /// An experiment with its project, where the token is good for it.
    pub(super) fn experiment_of(
        &self,
        team: &mut Team<'_>,
        id: &str,
    ) -> Result<Option<(Project, Experiment)>, Refused> {
        let id = parse_id("the experiment", id)?;
        for experiment in team.experiments_of_id(&id)? {
            let project = team.project(&experiment.project)?;
            if self.access.covers(&project) {
                return Ok(Some((project, experiment)));
            }
        }
        Ok(None)
    }

    /// That of the path.
    pub(super) fn experiment(&self, team: &mut Team<'_>) -> Result<(Project, Experiment), Refused> {
        let wanted = self.part("experiment");
        let found = self.experiment_of(team, wanted)?;
        found.ok_or_else(|| not_for(TeamError::none("experiment", wanted)))
    }

    /// A run with its project, where the token is good for it.
    pub(super) fn run_of(&self, team: &mut Team<'_>, id: &str) -> Result<(Project, PostedRun), Refused> {
        let id = parse_id("the run", id)?;
        let (project, run) = team.posted_run_of_project(&id).map_err(not_for)?;
        if self.access.covers(&project) {
            return Ok((project, run));
        }
        Err(not_for(TeamError::none("run", id)))
    }

    /// That of the path.
    pub(super) fn run(&self, team: &mut Team<'_>) -> Result<(Project, PostedRun), Refused> {
        self.run_of(team, self.part("run"))
    }

    /// `start_date` and `end_date`, or `from` and `to`; all of time where they are not given.
    pub(super) fn span(&self) -> Result<Span, Refused> {
        span_of(&self.query)
    }
}

/// Of a query.
pub(super) fn span_of(query: &HashMap<String, String>) -> Result<Span, Refused> {
    let time = |names: [&str; 2], or: i64| {
        let given = names.iter().find_map(|name| Some((*name, query.get(*name)?)));
        // A plus that was not escaped came as a space.
        given.map_or(Ok(or), |(name, text)| bodies::instant(name, &text.replace(' ', "+")))
    };
    let span = Span {
        from_us: time(["from", "start_date"], Span::ALL.from_us)?,
        to_us: time(["to", "end_date"], Span::ALL.to_us)?,
    };
    if span.from_us >= span.to_us {
        return Err(Refused::wrong("the time ends before it begins: give from before to"));
    }
    Ok(span)
}

/// The same answer whether there is none or it is another team's.
fn not_for(error: TeamError) -> Refused {
    match error {
        TeamError::None { .. } => Refused::new(404, format!("{error} that this token is good for")),
        error => error.into(),
    }
}

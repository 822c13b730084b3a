//! Organisations, their projects, experiments and members.

use super::{
    DESCRIPTION_MAX, Experiment, Member, Organisation, Project, Team, TeamError, Told, check_name,
    check_text, new_id, shown,
};
use crate::ledger::runs::{KeptRun, RunFilter};
use crate::ledger::sql::Row;

fn organisation_of(row: &Row) -> Organisation {
    Organisation { id: row.text(0), name: row.text(1), description: row.text(2) }
}

fn project_of(row: &Row) -> Project {
    Project {
        id: row.text(0),
        organisation: row.text(1),
        name: row.text(2),
        description: row.text(3),
        shared: row.opt_text(4).is_some(),
    }
}

fn experiment_of(row: &Row) -> Experiment {
    Experiment {
        id: row.text(0),
        project: row.text(1),
        name: row.text(2),
        details: row.text(3),
        made_us: row.int(4),
    }
}

fn member_of(row: &Row) -> Member {
    Member { id: row.text(0), name: row.text(1), admin: row.int(2) != 0 }
}

const PROJECT: &str = "id, organisation, name, description, share_hash";
const EXPERIMENT: &str = "id, project, name, details, made_us";

impl Team<'_> {
    /// Which ledger it is, without secrets.
    pub fn place(&self) -> String {
        self.ledger.database.place()
    }

    /// Runs of the ledger, as [`Ledger::runs`](crate::ledger::Ledger::runs) gives them.
    pub fn runs(&mut self, filter: &RunFilter) -> Told<Vec<KeptRun>> {
        Ok(self.ledger.runs(filter)?)
    }

    /// All of them, by name.
    pub fn organisations(&mut self) -> Told<Vec<Organisation>> {
        let sql = "SELECT id, name, description FROM organisation ORDER BY name";
        Ok(self.ledger.database.query(sql, &[])?.iter().map(organisation_of).collect())
    }

    /// By id or name.
    pub fn organisation(&mut self, wanted: &str) -> Told<Organisation> {
        let sql = "SELECT id, name, description FROM organisation WHERE id = $1 OR name = $2";
        let rows = self.ledger.database.query(sql, &[wanted.into(), wanted.into()])?;
        rows.first().map(organisation_of).ok_or_else(|| TeamError::none("organisation", wanted))
    }

    /// Makes one.
    pub fn make_organisation(
        &mut self,
        id: Option<&str>,
        name: &str,
        description: &str,
        now_us: i64,
    ) -> Told<Organisation> {
        check_name("the organisation's name", name)?;
        if name.contains('/') {
            return Err(TeamError::Wrong(
                "an organisation's name has no /: its projects are named behind one".into(),
            ));
        }
        check_text("the description", description, DESCRIPTION_MAX)?;
        let id = id.map_or_else(new_id, ToOwned::to_owned);
        for wanted in [name, id.as_str()] {
            if self.organisation(wanted).is_ok() {
                return Err(TeamError::Taken(format!("there is an organisation {wanted:?} already")));
            }
        }
        let sql = "INSERT INTO organisation (id, name, description, made_us) VALUES ($1, $2, $3, $4)";
        let values = [id.as_str().into(), name.into(), description.into(), now_us.into()];
        self.ledger.database.execute(sql, &values)?;
        Ok(Organisation { id, name: name.to_owned(), description: description.to_owned() })
    }

    /// Says something else of one.
    pub fn describe_organisation(&mut self, id: &str, description: &str) -> Told<()> {
        check_text("the description", description, DESCRIPTION_MAX)?;
        let sql = "UPDATE organisation SET description = $1 WHERE id = $2";
        self.ledger.database.execute(sql, &[description.into(), id.into()])?;
        Ok(())
    }

    /// Those of an organisation, by name.
    pub fn projects(&mut self, organisation: &str) -> Told<Vec<Project>> {
        let sql = format!("SELECT {PROJECT} FROM project WHERE organisation = $1 ORDER BY name");
        Ok(self.ledger.database.query(&sql, &[organisation.into()])?.iter().map(project_of).collect())
    }

    /// By id, or by `ORGANISATION/PROJECT`.
    pub fn project(&mut self, wanted: &str) -> Told<Project> {
        let sql = format!("SELECT {PROJECT} FROM project WHERE id = $1");
        let mut rows = self.ledger.database.query(&sql, &[wanted.into()])?;
        if let (true, Some((organisation, name))) = (rows.is_empty(), wanted.split_once('/')) {
            let organisation = self.organisation(organisation)?.id;
            let sql = format!("SELECT {PROJECT} FROM project WHERE organisation = $1 AND name = $2");
            rows = self.ledger.database.query(&sql, &[organisation.into(), name.into()])?;
        }
        rows.first().map(project_of).ok_or_else(|| TeamError::none("project", shown(wanted)))
    }

    /// Makes one.
    pub fn make_project(
        &mut self,
        id: Option<&str>,
        organisation: &str,
        name: &str,
        description: &str,
        now_us: i64,
    ) -> Told<Project> {
        check_name("the project's name", name)?;
        check_text("the description", description, DESCRIPTION_MAX)?;
        let organisation = self.organisation(organisation)?;
        if self.projects(&organisation.id)?.iter().any(|project| project.name == name) {
            return Err(TeamError::Taken(format!("{} has a project {name:?} already", organisation.name)));
        }
        let id = id.map_or_else(new_id, ToOwned::to_owned);
        let sql =
            "INSERT INTO project (id, organisation, name, description, made_us) VALUES ($1, $2, $3, $4, $5)";
        let values = [
            id.as_str().into(),
            organisation.id.as_str().into(),
            name.into(),
            description.into(),
            now_us.into(),
        ];
        self.ledger.database.execute(sql, &values)?;
        self.project(&id)
    }

    /// Says something else of one.
    pub fn describe_project(&mut self, id: &str, description: &str) -> Told<()> {
        check_text("the description", description, DESCRIPTION_MAX)?;
        let sql = "UPDATE project SET description = $1 WHERE id = $2";
        self.ledger.database.execute(sql, &[description.into(), id.into()])?;
        Ok(())
    }

    /// Opens a public link by the hash of its secret, or closes it. One that was there before is no longer good.
    pub fn share(&mut self, project: &str, secret_hash: Option<&str>) -> Told<()> {
        let sql = "UPDATE project SET share_hash = $1 WHERE id = $2";
        self.ledger.database.execute(sql, &[secret_hash.map(ToOwned::to_owned).into(), project.into()])?;
        Ok(())
    }

    /// Whose public link this is.
    pub fn shared_by(&mut self, secret_hash: &str) -> Told<Option<Project>> {
        let sql = format!("SELECT {PROJECT} FROM project WHERE share_hash = $1");
        Ok(self.ledger.database.query(&sql, &[secret_hash.into()])?.first().map(project_of))
    }

    /// Those of a project, oldest first.
    pub fn experiments(&mut self, project: &str) -> Told<Vec<Experiment>> {
        let sql = format!("SELECT {EXPERIMENT} FROM experiment WHERE project = $1 ORDER BY made_us, id");
        Ok(self.ledger.database.query(&sql, &[project.into()])?.iter().map(experiment_of).collect())
    }

    /// All of this id, of whichever project.
    pub fn experiments_of_id(&mut self, id: &str) -> Told<Vec<Experiment>> {
        let sql = format!("SELECT {EXPERIMENT} FROM experiment WHERE id = $1 ORDER BY project");
        Ok(self.ledger.database.query(&sql, &[id.into()])?.iter().map(experiment_of).collect())
    }

    /// Makes one, of this id where it is given; what is there already is left as it is.
    pub fn make_experiment(
        &mut self,
        project: &str,
        id: Option<&str>,
        name: &str,
        details: &str,
        now_us: i64,
    ) -> Told<Experiment> {
        check_name("the experiment's name", name)?;
        let id = id.map_or_else(new_id, ToOwned::to_owned);
        let sql = format!("SELECT {EXPERIMENT} FROM experiment WHERE project = $1 AND id = $2");
        let known = self.ledger.database.query(&sql, &[project.into(), id.as_str().into()])?;
        if let Some(known) = known.first() {
            return Ok(experiment_of(known));
        }
        let sql = "INSERT INTO experiment (project, id, name, details, made_us) VALUES ($1, $2, $3, $4, $5)";
        let values = [project.into(), id.as_str().into(), name.into(), details.into(), now_us.into()];
        self.ledger.database.execute(sql, &values)?;
        Ok(Experiment {
            id,
            project: project.to_owned(),
            name: name.to_owned(),
            details: details.to_owned(),
            made_us: now_us,
        })
    }

    /// Those of an organisation, by name.
    pub fn members(&mut self, organisation: &str) -> Told<Vec<Member>> {
        let sql = "SELECT id, name, admin FROM member WHERE organisation = $1 ORDER BY name";
        Ok(self.ledger.database.query(sql, &[organisation.into()])?.iter().map(member_of).collect())
    }

    /// Takes somebody in, or changes whether he manages.
    pub fn make_member(&mut self, organisation: &str, name: &str, admin: bool, now_us: i64) -> Told<Member> {
        check_name("the member's name", name)?;
        if let Some(known) = self.members(organisation)?.into_iter().find(|member| member.name == name) {
            let sql = "UPDATE member SET admin = $1 WHERE id = $2";
            self.ledger.database.execute(sql, &[i64::from(admin).into(), known.id.as_str().into()])?;
            return Ok(Member { admin, ..known });
        }
        let id = new_id();
        let sql = "INSERT INTO member (id, organisation, name, admin, made_us) VALUES ($1, $2, $3, $4, $5)";
        let values =
            [id.as_str().into(), organisation.into(), name.into(), i64::from(admin).into(), now_us.into()];
        self.ledger.database.execute(sql, &values)?;
        Ok(Member { id, name: name.to_owned(), admin })
    }
}

//! What is taken away for good: a run, an experiment or a project, with all that was posted of it.

use super::{Project, Team, Told};
use crate::ledger::sql::Value;

impl Team<'_> {
    /// Takes a posted run away, with its posts.
    pub fn remove_run(&mut self, run: &str) -> Told<u64> {
        self.remove_runs("run = $1", &[run.into()])
    }

    /// Takes an experiment of a project away, with its runs. Says how many these were.
    pub fn remove_experiment(&mut self, project: &Project, experiment: &str) -> Told<u64> {
        let values = [project.id.as_str().into(), experiment.into()];
        let runs = self.remove_runs("project = $1 AND experiment = $2", &values)?;
        self.ledger.database.execute("DELETE FROM experiment WHERE project = $1 AND id = $2", &values)?;
        Ok(runs)
    }

    /// Takes a project away, with its experiments, its runs and its public link; its tokens are good for nothing from now on. Says
    /// how many runs these were.
    pub fn remove_project(&mut self, project: &Project) -> Told<u64> {
        let values = [project.id.as_str().into()];
        let runs = self.remove_runs("project = $1", &values)?;
        for sql in [
            "DELETE FROM experiment WHERE project = $1",
            "DELETE FROM token WHERE project = $1",
            "DELETE FROM project WHERE id = $1",
        ] {
            self.ledger.database.execute(sql, &values)?;
        }
        Ok(runs)
    }

    /// Those posted runs, by a condition on `posted_run`: whatever refers to another row goes before that row.
    fn remove_runs(&mut self, wanted: &str, values: &[Value]) -> Told<u64> {
        let select = format!("SELECT run FROM posted_run WHERE {wanted}");
        let runs = self.ledger.database.query(&select, values)?;
        for table in ["post", "run_tag", "run_rerate", "run_energy", "run_domain"] {
            self.ledger.database.execute(&format!("DELETE FROM {table} WHERE run IN ({select})"), values)?;
        }
        self.ledger.database.execute(&format!("DELETE FROM posted_run WHERE {wanted}"), values)?;
        for run in &runs {
            self.ledger.database.execute("DELETE FROM run WHERE id = $1", &[run.text(0).into()])?;
        }
        Ok(u64::try_from(runs.len()).unwrap_or(u64::MAX))
    }
}

//! What clients post of runs. A post is written once, whatever ends the server or the connection: where a client names it by its
//! sequence, the second one of a name changes nothing.

use super::{Project, Team, TeamError, Told, check_text, new_id, shown};
use crate::ledger::factor::{self, Factor};
use crate::ledger::flush::whole;
use crate::ledger::rows::{EnergyKind, RunStart, RunStatus, quality_code};
use crate::ledger::runs::insert_run;
use crate::ledger::sql::Row;
use crate::units::{Grams, Microjoules, Quality};

/// Longest text among the facts of a run, in characters.
const FACT_MAX: usize = 500;

/// Tags of a run at most, as of `carbon run`.
const TAGS_MAX: usize = 32;

/// A run that begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRun {
    /// UUID that the client chose; none for one of ours.
    pub id: Option<String>,
    /// What the client named this post by: a second one of that name is the same run.
    pub once: Option<String>,
    /// UUID of the experiment.
    pub experiment: String,
    /// Name for it, where it is not there yet.
    pub experiment_name: Option<String>,
    /// Machine, name, tags, command and time; the rest is filled in.
    pub start: RunStart,
    /// The machine in words.
    pub hardware: String,
    /// What measured it.
    pub accounting: String,
    /// All that was said of it, as a JSON object.
    pub details: String,
}

/// A run that was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedRun {
    /// UUID.
    pub run: String,
    /// Id of its project.
    pub project: String,
    /// Id of its experiment.
    pub experiment: String,
    /// All that was said of it, as a JSON object.
    pub details: String,
    /// Unix time in microseconds.
    pub start_us: i64,
}

/// What was used since the post before.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// When it ended, in Unix microseconds.
    pub at_us: i64,
    /// How long it was.
    pub duration_ns: u64,
    /// All of it.
    pub energy: Microjoules,
    /// Of it, the processor's.
    pub cpu: Microjoules,
    /// Of it, the accelerators'.
    pub gpu: Microjoules,
    /// Of it, the memory's.
    pub ram: Microjoules,
    /// By which it becomes grams; none where there is no energy.
    pub factor: Option<Factor>,
    /// How the energy is known.
    pub quality: Quality,
    /// Standard deviation of the energy. Those of a run go together: they are of one model or one meter.
    pub stddev_uj: f64,
    /// All that was said of it, as a JSON object.
    pub details: String,
}

/// That it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// UUID.
    pub id: String,
    /// Its number in the run.
    pub sequence: i64,
    /// Whether it was not there before.
    pub new: bool,
}

/// A post as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptPost {
    /// UUID.
    pub id: String,
    /// Of the run.
    pub run: String,
    /// Its number in the run.
    pub sequence: i64,
    /// When it ended, in Unix microseconds.
    pub at_us: i64,
    /// How long it was.
    pub duration_ns: u64,
    /// All of it.
    pub energy: Microjoules,
    /// The processor's.
    pub cpu: Microjoules,
    /// The accelerators'.
    pub gpu: Microjoules,
    /// The memory's.
    pub ram: Microjoules,
    /// CO2 equivalent.
    pub grams: Grams,
    /// All that was said of it, as a JSON object.
    pub details: String,
}

const RUN: &str =
    "posted_run.run, posted_run.project, posted_run.experiment, posted_run.details, run.start_us";

fn run_of(row: &Row) -> PostedRun {
    PostedRun {
        run: row.text(0),
        project: row.text(1),
        experiment: row.text(2),
        details: row.text(3),
        start_us: row.int(4),
    }
}

fn post_of(row: &Row) -> KeptPost {
    let energy = Microjoules(row.amount(5));
    KeptPost {
        id: row.text(0),
        run: row.text(1),
        sequence: row.int(2),
        at_us: row.int(3),
        duration_ns: row.amount(4),
        energy,
        cpu: Microjoules(row.amount(6)),
        gpu: Microjoules(row.amount(7)),
        ram: Microjoules(row.amount(8)),
        details: row.text(9),
        grams: row.opt_int(10).map_or(Grams(0.0), |_| Factor::from_row(row, 11).grams(energy)),
    }
}

impl Team<'_> {
    /// Writes that a run begins, with its experiment where that is not there yet. One that was posted before is the same.
    pub fn begin_posted(&mut self, project: &Project, run: NewRun, now_us: i64) -> Told<PostedRun> {
        let sql = format!(
            "SELECT {RUN} FROM posted_run JOIN run ON run.id = posted_run.run WHERE posted_run.project = $1 AND \
             (posted_run.once = $2 OR posted_run.run = $3)"
        );
        let values = [project.id.as_str().into(), run.once.clone().into(), run.id.clone().into()];
        if let Some(known) = self.ledger.database.query(&sql, &values)?.first().map(run_of) {
            return if known.experiment == run.experiment {
                Ok(known)
            } else {
                Err(TeamError::Taken(format!(
                    "run {} was posted before, of experiment {}: post another run",
                    known.run, known.experiment
                )))
            };
        }
        for (what, text) in
            [("the machine's name", Some(&run.start.node)), ("the run's name", run.start.name.as_ref())]
        {
            text.map_or(Ok(()), |text| check_text(what, text, FACT_MAX))?;
        }
        if run.start.tags.len() > TAGS_MAX {
            return Err(TeamError::Wrong(format!("there are more than {TAGS_MAX} tags")));
        }
        run.start.tags.iter().try_for_each(|tag| check_text("a tag", tag, FACT_MAX))?;
        let id = run.id.unwrap_or_else(new_id);
        if !self.ledger.database.query("SELECT 1 FROM run WHERE id = $1", &[id.as_str().into()])?.is_empty() {
            // Who posts knows which; nobody else is told what runs there are.
            return Err(TeamError::Taken(
                "a run of this UUID is in this ledger already, and was not posted to this project: take another UUID, or another ledger".into(),
            ));
        }
        let name = run.experiment_name.unwrap_or_else(|| format!("experiment {}", shown(&run.experiment)));
        let experiment = self.make_experiment(&project.id, Some(&run.experiment), &name, "{}", now_us)?;
        let organisation = self.organisation(&project.organisation)?;
        let start = RunStart {
            id: id.clone(),
            organisation: Some(organisation.name),
            project: Some(project.name.clone()),
            experiment: Some(experiment.name),
            ..run.start
        };
        insert_run(self.ledger.database.as_mut(), &mut self.names, &start)?;
        let sql = "UPDATE run SET hardware = $1, accounting = $2 WHERE id = $3";
        self.ledger
            .database
            .execute(sql, &[run.hardware.into(), run.accounting.into(), id.as_str().into()])?;
        let sql =
            "INSERT INTO posted_run (run, project, experiment, once, details) VALUES ($1, $2, $3, $4, $5)";
        let values = [
            id.as_str().into(),
            project.id.as_str().into(),
            run.experiment.as_str().into(),
            run.once.into(),
            run.details.as_str().into(),
        ];
        self.ledger.database.execute(sql, &values)?;
        Ok(PostedRun {
            run: id,
            project: project.id.clone(),
            experiment: run.experiment,
            details: run.details,
            start_us: start.start_us,
        })
    }

    /// A run that was posted.
    pub fn posted_run(&mut self, run: &str) -> Told<PostedRun> {
        let sql = format!(
            "SELECT {RUN} FROM posted_run JOIN run ON run.id = posted_run.run WHERE posted_run.run = $1"
        );
        let rows = self.ledger.database.query(&sql, &[run.into()])?;
        rows.first().map(run_of).ok_or_else(|| TeamError::none("run", shown(run)))
    }

    /// The same, with its project: who posts asks for both each time.
    pub fn posted_run_of_project(&mut self, run: &str) -> Told<(Project, PostedRun)> {
        let sql = format!(
            "SELECT {RUN}, project.organisation, project.name, project.description, project.share_hash FROM posted_run \
             JOIN run ON run.id = posted_run.run JOIN project ON project.id = posted_run.project WHERE posted_run.run = $1"
        );
        let rows = self.ledger.database.query(&sql, &[run.into()])?;
        let row = rows.first().ok_or_else(|| TeamError::none("run", shown(run)))?;
        let run = run_of(row);
        let project = Project {
            id: run.project.clone(),
            organisation: row.text(5),
            name: row.text(6),
            description: row.text(7),
            shared: row.opt_text(8).is_some(),
        };
        Ok((project, run))
    }

    /// Those of an experiment or of a project, newest first.
    pub fn posted_runs(
        &mut self,
        project: &str,
        experiment: Option<&str>,
        rows: u32,
    ) -> Told<Vec<PostedRun>> {
        let sql = format!(
            "SELECT {RUN} FROM posted_run JOIN run ON run.id = posted_run.run WHERE posted_run.project = $1 AND \
             ($2 = '' OR posted_run.experiment = $3) ORDER BY run.start_us DESC, run.id DESC LIMIT {rows}"
        );
        let experiment = experiment.unwrap_or_default();
        let values = [project.into(), experiment.into(), experiment.into()];
        Ok(self.ledger.database.query(&sql, &values)?.iter().map(run_of).collect())
    }

    /// Writes what a run used since its post before: under `sequence`, or as the next one.
    ///
    /// The second post of a sequence is the first one; other figures under it are refused.
    pub fn post(&mut self, run: &PostedRun, sequence: Option<i64>, figures: &Figures) -> Told<Posted> {
        let sums = "SELECT (SELECT CAST(COALESCE(SUM(energy_uj), 0) AS BIGINT) FROM run_energy WHERE run = $1), \
                    COALESCE(end_us, 0), COALESCE(duration_ns, 0) FROM run WHERE id = $2";
        let sums = self.ledger.database.query(sums, &[run.run.as_str().into(), run.run.as_str().into()])?;
        let (sum, end_us, duration_ns) =
            sums.first().map_or((0, 0, 0), |row| (row.amount(0), row.int(1), row.amount(2)));
        let end_us = end_us.max(figures.at_us);
        let duration_ns = duration_ns.saturating_add(figures.duration_ns);
        let all = sum.saturating_add(figures.energy.0);
        if i64::try_from(all).is_err() || i64::try_from(duration_ns).is_err() {
            return Err(TeamError::Wrong(format!(
                "run {} has more energy or time than can be kept",
                run.run
            )));
        }
        let sequence = if let Some(sequence) = sequence {
            sequence
        } else {
            let sql = "SELECT COALESCE(MAX(sequence), -1) + 1 FROM post WHERE run = $1";
            let rows = self.ledger.database.query(sql, &[run.run.as_str().into()])?;
            rows.first().map_or(0, |row| row.int(0))
        };
        let factor = figures
            .factor
            .as_ref()
            .map(|it| self.names.factor(self.ledger.database.as_mut(), it))
            .transpose()?;
        let id = new_id();
        let sql = "INSERT INTO post (run, sequence, id, at_us, duration_ns, energy_uj, cpu_uj, gpu_uj, ram_uj, factor, \
                   details) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                   ON CONFLICT (run, sequence) DO NOTHING";
        let values = [
            run.run.as_str().into(),
            sequence.into(),
            id.as_str().into(),
            figures.at_us.into(),
            whole(figures.duration_ns)?,
            whole(figures.energy.0)?,
            whole(figures.cpu.0)?,
            whole(figures.gpu.0)?,
            whole(figures.ram.0)?,
            factor.into(),
            figures.details.as_str().into(),
        ];
        // A look beforehand whether it is there would be one more question to the database, for each post.
        if self.ledger.database.execute(sql, &values)? == 0 {
            return self.again(run, sequence, figures);
        }
        if let Some(factor) = factor {
            let sql = "INSERT INTO run_energy (run, kind, factor, quality, energy_uj, stddev_uj) VALUES ($1, $2, $3, $4, \
                       $5, $6) ON CONFLICT (run, kind, factor, quality) DO UPDATE SET \
                       energy_uj = run_energy.energy_uj + excluded.energy_uj, \
                       stddev_uj = run_energy.stddev_uj + excluded.stddev_uj";
            let values = [
                run.run.as_str().into(),
                EnergyKind::Dynamic.code().into(),
                factor.into(),
                quality_code(figures.quality).into(),
                whole(figures.energy.0)?,
                figures.stddev_uj.into(),
            ];
            self.ledger.database.execute(sql, &values)?;
        }
        // Clients do not say that a run ends: it is as long as its last post. What was said stays.
        let sql = "UPDATE run SET status = CASE WHEN status = 'running' THEN 'done' ELSE status END, \
                   exit_status = COALESCE(exit_status, 0), end_us = $1, duration_ns = $2, \
                   outlived_by = COALESCE(outlived_by, 0), cpu_ns = COALESCE(cpu_ns, 0), attribution = \
                   COALESCE(attribution, 'as posted'), static_policy = COALESCE(static_policy, 'none'), \
                   report = COALESCE(report, 'null') WHERE id = $3";
        let values = [end_us.into(), whole(duration_ns)?, run.run.as_str().into()];
        self.ledger.database.execute(sql, &values)?;
        Ok(Posted { id, sequence, new: true })
    }

    /// A post under a sequence that is taken.
    fn again(&mut self, run: &PostedRun, sequence: i64, figures: &Figures) -> Told<Posted> {
        let known = self.post_at(&run.run, sequence)?;
        match known {
            Some(known) if known.energy == figures.energy && known.duration_ns == figures.duration_ns => {
                Ok(Posted { id: known.id, sequence, new: false })
            }
            _ => Err(TeamError::Taken(format!(
                "sequence {sequence} of run {} was posted before with other figures: count on from it",
                run.run
            ))),
        }
    }

    /// Says how a run ended.
    pub fn end_posted(&mut self, run: &PostedRun, status: RunStatus, now_us: i64) -> Told<()> {
        let sql = "UPDATE run SET status = $1, exit_status = COALESCE(exit_status, 0), end_us = COALESCE(end_us, $2), \
                   duration_ns = COALESCE(duration_ns, 0), outlived_by = COALESCE(outlived_by, 0), cpu_ns = \
                   COALESCE(cpu_ns, 0), attribution = COALESCE(attribution, 'as posted'), static_policy = \
                   COALESCE(static_policy, 'none'), report = COALESCE(report, 'null') WHERE id = $3";
        let values = [status.as_str().into(), now_us.into(), run.run.as_str().into()];
        self.ledger.database.execute(sql, &values)?;
        Ok(())
    }

    fn post_at(&mut self, run: &str, sequence: i64) -> Told<Option<KeptPost>> {
        let sql = select("post.run = $1 AND post.sequence = $2");
        Ok(self.ledger.database.query(&sql, &[run.into(), sequence.into()])?.first().map(post_of))
    }

    /// By its id.
    pub fn kept_post(&mut self, id: &str) -> Told<KeptPost> {
        let rows = self.ledger.database.query(&select("post.id = $1"), &[id.into()])?;
        rows.first().map(post_of).ok_or_else(|| TeamError::none("post", shown(id)))
    }

    /// How many posts a run has, and some of them in their order.
    pub fn posts(&mut self, run: &str, from: u32, rows: u32) -> Told<(u64, Vec<KeptPost>)> {
        let count = self.ledger.database.query("SELECT COUNT(*) FROM post WHERE run = $1", &[run.into()])?;
        let sql = format!("{} ORDER BY post.sequence LIMIT {rows} OFFSET {from}", select("post.run = $1"));
        let posts = self.ledger.database.query(&sql, &[run.into()])?.iter().map(post_of).collect();
        Ok((count.first().map_or(0, |row| row.amount(0)), posts))
    }
}

fn select(wanted: &str) -> String {
    let factor: Vec<String> = factor::COLUMNS.split(", ").map(|column| format!("factor.{column}")).collect();
    format!(
        "SELECT post.id, post.run, post.sequence, post.at_us, post.duration_ns, post.energy_uj, post.cpu_uj, \
         post.gpu_uj, post.ram_uj, post.details, post.factor, {} FROM post LEFT JOIN factor ON factor.id = post.factor \
         WHERE {wanted}",
        factor.join(", ")
    )
}

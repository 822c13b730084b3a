//! Ids of what is named once and referred to often. Within a transaction only: a rolled back id is nobody's.

use super::error::LedgerError;
use super::factor::{Factor, hexadecimal};
use super::rows::{DomainId, EnergyRow, Workload, quality_code};
use super::sql::{Database, Value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;

/// A row of PostgreSQL's index has 2704 bytes at most (`BTMaxItemSize`, src/include/access/nbtree.h); a cgroup's path is a
/// hundred or two mostly, and 4095 at most.
const IDENTITY_BYTES_MAX: usize = 1024;

/// Ids found or given in this transaction.
#[derive(Debug, Default)]
pub(super) struct Names {
    nodes: HashMap<String, i64>,
    factors: HashMap<String, i64>,
    domains: HashMap<(i64, DomainId), i64>,
    workloads: HashMap<Workload, i64>,
    series: HashMap<[i64; 7], i64>,
}

fn next_id(database: &mut dyn Database, table: &str) -> Result<i64, LedgerError> {
    let rows = database.query(&format!("SELECT COALESCE(MAX(id), 0) + 1 FROM {table}"), &[])?;
    Ok(rows.first().map_or(1, |row| row.int(0)))
}

/// An identity of at most [`IDENTITY_BYTES_MAX`]: of a longer one the beginning, and a hash that tells it from others. Users name
/// the cgroups below their own, and no name of theirs may keep a node's minutes from being written.
fn indexable(identity: &str) -> Cow<'_, str> {
    if identity.len() <= IDENTITY_BYTES_MAX {
        return Cow::Borrowed(identity);
    }
    let hash = hexadecimal(&Sha256::digest(identity.as_bytes()));
    let room = IDENTITY_BYTES_MAX - hash.len() - 1;
    let end = (0..=room).rev().find(|end| identity.is_char_boundary(*end)).unwrap_or(0);
    Cow::Owned(format!("{}#{hash}", identity.get(..end).unwrap_or_default()))
}

impl Names {
    /// Of a machine.
    pub(super) fn node(&mut self, database: &mut dyn Database, name: &str) -> Result<i64, LedgerError> {
        if let Some(id) = self.nodes.get(name) {
            return Ok(*id);
        }
        let found = database.query("SELECT id FROM node WHERE name = $1", &[name.into()])?;
        let id = if let Some(row) = found.first() {
            row.int(0)
        } else {
            {
                let id = next_id(database, "node")?;
                database.execute("INSERT INTO node (id, name) VALUES ($1, $2)", &[id.into(), name.into()])?;
                id
            }
        };
        self.nodes.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Of a factor, by its hash.
    pub(super) fn factor(
        &mut self,
        database: &mut dyn Database,
        factor: &Factor,
    ) -> Result<i64, LedgerError> {
        let hash = factor.hash();
        if let Some(id) = self.factors.get(&hash) {
            return Ok(*id);
        }
        let found = database.query("SELECT id FROM factor WHERE hash = $1", &[hash.as_str().into()])?;
        let id = if let Some(row) = found.first() {
            row.int(0)
        } else {
            {
                let id = next_id(database, "factor")?;
                let intensity = &factor.intensity;
                let sql = format!(
                    "INSERT INTO factor (id, hash, {}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
                     $13, $14)",
                    super::factor::COLUMNS
                );
                let values = [
                    id.into(),
                    hash.as_str().into(),
                    intensity.g_per_kwh.0.into(),
                    intensity.spread.low_ratio.into(),
                    intensity.spread.high_ratio.into(),
                    factor.pue.0.into(),
                    intensity.zone.as_str().into(),
                    intensity.name.as_str().into(),
                    i64::from(intensity.year).into(),
                    intensity.boundary().into(),
                    intensity.basis().into(),
                    intensity.source.as_str().into(),
                    i64::from(intensity.assumed).into(),
                    factor.tables_hash.as_str().into(),
                ];
                database.execute(&sql, &values)?;
                id
            }
        };
        self.factors.insert(hash, id);
        Ok(id)
    }

    /// Of a domain of a node.
    pub(super) fn domain(
        &mut self,
        database: &mut dyn Database,
        node: i64,
        domain: &DomainId,
    ) -> Result<i64, LedgerError> {
        let key = (node, domain.clone());
        if let Some(id) = self.domains.get(&key) {
            return Ok(*id);
        }
        let mut values: Vec<Value> = vec![
            node.into(),
            domain.domain.as_str().into(),
            domain.device.as_str().into(),
            domain.source.as_str().into(),
            quality_code(domain.quality).into(),
        ];
        let sql = "SELECT id FROM domain WHERE node = $1 AND domain = $2 AND device = $3 AND source = $4 AND \
                   quality = $5";
        let found = database.query(sql, &values)?;
        let id = if let Some(row) = found.first() {
            row.int(0)
        } else {
            {
                let id = next_id(database, "domain")?;
                values.insert(0, id.into());
                let sql = "INSERT INTO domain (id, node, domain, device, source, quality) VALUES ($1, $2, $3, $4, \
                           $5, $6)";
                database.execute(sql, &values)?;
                id
            }
        };
        self.domains.insert(key, id);
        Ok(id)
    }

    /// Of a workload, by its identity. What is learned of it later replaces what was not known, for energy that was written
    /// before too; an id never replaces a name.
    pub(super) fn workload(
        &mut self,
        database: &mut dyn Database,
        workload: &Workload,
    ) -> Result<i64, LedgerError> {
        if let Some(id) = self.workloads.get(workload) {
            return Ok(*id);
        }
        let identity = indexable(&workload.identity);
        let found =
            database.query("SELECT id FROM workload WHERE identity = $1", &[identity.as_ref().into()])?;
        let details: [Value; 11] = [
            workload.kind.as_str().into(),
            workload.name.as_str().into(),
            workload.container.clone().into(),
            workload.pod.clone().into(),
            workload.namespace.clone().into(),
            workload.unit.clone().into(),
            workload.job.clone().into(),
            workload.owner.clone().into(),
            workload.project.clone().into(),
            workload.job_name.clone().into(),
            workload.account.clone().into(),
        ];
        let id = if let Some(row) = found.first() {
            {
                let id = row.int(0);
                let (container, pod, owner) = if workload.ids {
                    ("COALESCE(container, $3)", "COALESCE(pod, $4)", "COALESCE(owner, $8)")
                } else {
                    ("COALESCE($3, container)", "COALESCE($4, pod)", "COALESCE($8, owner)")
                };
                let sql = format!(
                    "UPDATE workload SET kind = $1, name = $2, container = {container}, pod = {pod}, \
                           namespace = COALESCE($5, namespace), unit = COALESCE($6, unit), job = COALESCE($7, job), owner = {owner}, \
                           project = COALESCE($9, project), job_name = COALESCE($10, job_name), \
                           account = COALESCE($11, account) WHERE id = $12"
                );
                let values: Vec<Value> = details.into_iter().chain([id.into()]).collect();
                database.execute(&sql, &values)?;
                id
            }
        } else {
            {
                let id = next_id(database, "workload")?;
                let sql = "INSERT INTO workload (id, identity, kind, name, container, pod, namespace, unit, job, \
                           owner, project, job_name, account) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
                let head: [Value; 2] = [id.into(), identity.as_ref().into()];
                let values: Vec<Value> = head.into_iter().chain(details).collect();
                database.execute(sql, &values)?;
                id
            }
        };
        self.workloads.insert(workload.clone(), id);
        Ok(id)
    }

    /// Of all that tells a row of energy from others of its bucket.
    pub(super) fn series(
        &mut self,
        database: &mut dyn Database,
        node: i64,
        row: &EnergyRow,
        rerated: bool,
    ) -> Result<i64, LedgerError> {
        let key = [
            node,
            self.workload(database, &row.workload)?,
            self.domain(database, node, &row.domain)?,
            row.kind.code(),
            self.factor(database, &row.factor)?,
            quality_code(row.quality),
            i64::from(rerated),
        ];
        if let Some(id) = self.series.get(&key) {
            return Ok(*id);
        }
        let mut values: Vec<Value> = key.into_iter().map(Value::Int).collect();
        let sql = "SELECT id FROM series WHERE node = $1 AND workload = $2 AND domain = $3 AND kind = $4 AND \
                   factor = $5 AND quality = $6 AND rerated = $7";
        let found = database.query(sql, &values)?;
        let id = if let Some(row) = found.first() {
            row.int(0)
        } else {
            let id = next_id(database, "series")?;
            values.insert(0, id.into());
            let sql = "INSERT INTO series (id, node, workload, domain, kind, factor, quality, rerated) VALUES ($1, $2, \
                       $3, $4, $5, $6, $7, $8)";
            database.execute(sql, &values)?;
            id
        };
        self.series.insert(key, id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_identity_is_shortened_and_stays_its_own() {
        assert_eq!(indexable("/system.slice"), "/system.slice");
        let [one, other] = ["1", "2"].map(|end| format!("/{}{end}", "\u{e9}".repeat(2000)));
        let (short, of_other) = (indexable(&one), indexable(&other));
        assert!(short.len() <= IDENTITY_BYTES_MAX && one.starts_with(short.split('#').next().unwrap()));
        assert_ne!(short, of_other);
        assert_eq!(indexable(&short), short, "carried elsewhere, it is the same");
    }
}

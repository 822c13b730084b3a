//! Tokens: kept by their hash only, scoped, and revocable.
//!
//! A token is 256 random bits, so that one round of SHA-256 is enough: there is nothing to guess from.

use super::{Project, Team, TeamError, Told, check_name, new_id};
use crate::ledger::factor::hexadecimal;
use crate::ledger::sql::Row;
use sha2::{Digest, Sha256};

/// How often it is written when a token was used last: a post is not two writes.
const USED_EVERY_US: i64 = 60_000_000;

/// What may be done; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look.
    Read,
    /// Post runs.
    Write,
    /// Make projects, tokens, members and public links.
    Admin,
}

impl Scope {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// As kept.
    fn code(self) -> i64 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Admin => 3,
        }
    }

    fn of_code(code: i64) -> Self {
        match code {
            3 => Self::Admin,
            2 => Self::Write,
            _ => Self::Read,
        }
    }
}

/// What a token that was shown is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Id of the token.
    pub token: String,
    /// Its name.
    pub name: String,
    /// Id of the organisation.
    pub organisation: String,
    /// Id of the one project; none for all of the organisation.
    pub project: Option<String>,
    /// What may be done there.
    pub scope: Scope,
    /// When it was last noted that it is used, in Unix microseconds.
    used_us: Option<i64>,
}

impl Access {
    /// Whether it is good for a project.
    pub fn covers(&self, project: &Project) -> bool {
        self.organisation == project.organisation
            && self.project.as_ref().is_none_or(|own| *own == project.id)
    }
}

/// A token as it is listed: without itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptToken {
    /// UUID.
    pub id: String,
    /// For people.
    pub name: String,
    /// Id of the one project; none for all of the organisation.
    pub project: Option<String>,
    /// Name of the member whose it is.
    pub member: Option<String>,
    /// What may be done.
    pub scope: Scope,
    /// Unix time in microseconds.
    pub made_us: i64,
    /// To the minute.
    pub used_us: Option<i64>,
    /// From then on it is good for nothing.
    pub revoked_us: Option<i64>,
}

/// SHA-256 as 64 hexadecimal digits: what is kept of a token and of the secret in a link.
pub fn hash_of(secret: &str) -> String {
    hexadecimal(&Sha256::digest(secret.as_bytes()))
}

fn token_of(row: &Row) -> KeptToken {
    KeptToken {
        id: row.text(0),
        name: row.text(1),
        project: row.opt_text(2),
        member: row.opt_text(3),
        scope: Scope::of_code(row.int(4)),
        made_us: row.int(5),
        used_us: row.opt_int(6),
        revoked_us: row.opt_int(7),
    }
}

impl Team<'_> {
    /// What a token is good for; none for one that is not known or was revoked.
    pub fn access(&mut self, hash: &str) -> Told<Option<Access>> {
        let sql = "SELECT id, name, organisation, project, scope, used_us FROM token WHERE hash = $1 AND \
                   revoked_us IS NULL";
        let rows = self.ledger.database.query(sql, &[hash.into()])?;
        Ok(rows.first().map(|row| Access {
            token: row.text(0),
            name: row.text(1),
            organisation: row.text(2),
            project: row.opt_text(3),
            scope: Scope::of_code(row.int(4)),
            used_us: row.opt_int(5),
        }))
    }

    /// Notes that it is used, to the minute.
    pub fn note_use(&mut self, access: &Access, now_us: i64) -> Told<()> {
        if access.used_us.is_none_or(|used| now_us.saturating_sub(used) >= USED_EVERY_US) {
            let sql = "UPDATE token SET used_us = $1 WHERE id = $2";
            self.ledger.database.execute(sql, &[now_us.into(), access.token.as_str().into()])?;
        }
        Ok(())
    }

    /// Makes a token of this hash, for a project or for all of an organisation.
    pub fn make_token(
        &mut self,
        (organisation, project, member): (&str, Option<&str>, Option<&str>),
        scope: Scope,
        name: &str,
        hash: &str,
        now_us: i64,
    ) -> Told<KeptToken> {
        check_name("the token's name", name)?;
        if !self.ledger.database.query("SELECT 1 FROM token WHERE hash = $1", &[hash.into()])?.is_empty() {
            return Err(TeamError::Taken("this token is there already, or was: take another".into()));
        }
        let id = new_id();
        let sql = "INSERT INTO token (id, hash, organisation, project, member, scope, name, made_us) VALUES ($1, $2, \
                   $3, $4, $5, $6, $7, $8)";
        let values = [
            id.as_str().into(),
            hash.into(),
            organisation.into(),
            project.map(ToOwned::to_owned).into(),
            member.map(ToOwned::to_owned).into(),
            scope.code().into(),
            name.into(),
            now_us.into(),
        ];
        self.ledger.database.execute(sql, &values)?;
        let listed = self.tokens(organisation)?.into_iter().find(|token| token.id == id);
        listed.ok_or_else(|| TeamError::none("token", id))
    }

    /// Those of an organisation, oldest first, revoked ones too.
    pub fn tokens(&mut self, organisation: &str) -> Told<Vec<KeptToken>> {
        let sql = "SELECT token.id, token.name, token.project, member.name, token.scope, token.made_us, \
                   token.used_us, token.revoked_us FROM token LEFT JOIN member ON member.id = token.member \
                   WHERE token.organisation = $1 ORDER BY token.made_us, token.id";
        Ok(self.ledger.database.query(sql, &[organisation.into()])?.iter().map(token_of).collect())
    }

    /// From now on it is good for nothing. Says whether it was good until now.
    pub fn revoke(&mut self, token: &str, now_us: i64) -> Told<bool> {
        let sql = "UPDATE token SET revoked_us = $1 WHERE id = $2 AND revoked_us IS NULL";
        Ok(self.ledger.database.execute(sql, &[now_us.into(), token.into()])? > 0)
    }

    /// Lets somebody go: his tokens are good for nothing from now on.
    pub fn remove_member(&mut self, organisation: &str, name: &str, now_us: i64) -> Told<()> {
        let member = self.members(organisation)?.into_iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| TeamError::none("member", name))?;
        let sql = "UPDATE token SET revoked_us = $1 WHERE member = $2 AND revoked_us IS NULL";
        self.ledger.database.execute(sql, &[now_us.into(), member.id.as_str().into()])?;
        let sql = "UPDATE token SET member = NULL WHERE member = $1";
        self.ledger.database.execute(sql, &[member.id.as_str().into()])?;
        self.ledger.database.execute("DELETE FROM member WHERE id = $1", &[member.id.into()])?;
        Ok(())
    }
}

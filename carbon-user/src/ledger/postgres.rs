//! The ledger on a PostgreSQL server.
//!
//! The client is asynchronous; the ledger is not, and may be used inside another runtime. So the connection lives on
//! a thread of its own, which answers one request at a time.

use super::error::LedgerError;
use super::query::{KEY, Segment, Sum, bounds};
use super::sql::{Database, Row, Value};
use super::tls::{self, Asked};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the server may take to answer a new connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// No statement of the ledger takes longer, unless the server hangs.
const STATEMENT_MAX_MS: u32 = 300_000;

/// Statements that are kept: the ledger has a few dozen, but the bounds of a page are in the text.
const PREPARED_MAX: usize = 128;

/// What the thread is asked for.
enum Request {
    Batch(String),
    Execute(String, Vec<Value>),
    Query(String, Vec<Value>),
}

/// What it answers.
enum Answer {
    Changed(u64),
    Rows(Vec<Row>),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Postgres {
    place: String,
    requests: Sender<Request>,
    answers: Receiver<Result<Answer, String>>,
}

impl Postgres {
    /// Connects to `url`, such as `postgres://carbon@db.example/carbon?sslmode=require`. Without `sslmode` nothing is encrypted:
    /// then the server should be on this machine or in a private network.
    pub(super) fn open(url: &str) -> Result<Self, LedgerError> {
        let place = without_password(url);
        let options = |reason| LedgerError::Open {
            place: place.clone(),
            reason,
            advice: "see docs/ledger.md for the options of the URL",
        };
        let Asked { url, tls } = tls::asked(url).map_err(options)?;
        let mut config: Config = url.parse().map_err(|_| LedgerError::Store { store: place.clone() })?;
        config.connect_timeout(CONNECT_MAX).application_name("carbon");
        let (requests, asked) = channel::<Request>();
        let (said, answers) = channel();
        let failed = |reason: String| LedgerError::Open {
            place: place.clone(),
            reason,
            advice: "check that the server runs and lets this user in",
        };
        std::thread::Builder::new()
            .name("carbon-ledger".into())
            .spawn(move || serve(&config, tls, &asked, &said))
            .map_err(|error| failed(error.to_string()))?;
        match answers.recv() {
            Ok(Ok(_)) => Ok(Self { place, requests, answers }),
            Ok(Err(reason)) => Err(failed(reason)),
            Err(_) => Err(failed("its thread has ended".into())),
        }
    }

    fn ask(&self, request: Request) -> Result<Answer, LedgerError> {
        let failed = |reason| LedgerError::Database { place: self.place.clone(), reason };
        let gone = || failed("the connection has ended".to_owned());
        self.requests.send(request).map_err(|_| gone())?;
        self.answers.recv().map_err(|_| gone())?.map_err(failed)
    }
}

/// The thread: connects, then answers until nobody asks.
fn serve(
    config: &Config,
    tls: Option<MakeRustlsConnect>,
    asked: &Receiver<Request>,
    said: &Sender<Result<Answer, String>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            drop(said.send(Err(error.to_string())));
            return;
        }
    };
    let client = runtime.block_on(async {
        // The connection's task ends with the client, and its error comes with the next request.
        let client = if let Some(tls) = tls {
            let (client, connection) = config.connect(tls).await.map_err(|error| in_words(&error))?;
            drop(tokio::spawn(connection));
            client
        } else {
            let (client, connection) = config.connect(NoTls).await.map_err(|error| in_words(&error))?;
            drop(tokio::spawn(connection));
            client
        };
        let settings = format!("SET statement_timeout = {STATEMENT_MAX_MS}; SET client_min_messages = error");
        client.batch_execute(&settings).await.map_err(|error| in_words(&error))?;
        Ok(client)
    });
    let client = match client {
        Ok(client) => client,
        Err(reason) => {
            drop(said.send(Err(reason)));
            return;
        }
    };
    if said.send(Ok(Answer::Changed(0))).is_err() {
        return;
    }
    let mut prepared = Prepared::default();
    for request in asked {
        let answer = runtime.block_on(answer(&client, &mut prepared, request));
        if said.send(answer).is_err() {
            return;
        }
    }
}

/// Statements by their text, all of which the server keeps too.
struct Prepared<T = Statement>(std::collections::HashMap<String, T>);

impl<T> Default for Prepared<T> {
    fn default() -> Self {
        Self(std::collections::HashMap::new())
    }
}

impl<T> Prepared<T> {
    /// The server is told to forget those that are dropped.
    fn keep(&mut self, sql: &str, statement: T) {
        if self.0.len() >= PREPARED_MAX {
            self.0.clear();
        }
        self.0.insert(sql.to_owned(), statement);
    }
}

impl Prepared {
    async fn of(&mut self, client: &Client, sql: &str) -> Result<Statement, String> {
        if let Some(statement) = self.0.get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql).await.map_err(|error| in_words(&error))?;
        self.keep(sql, statement.clone());
        Ok(statement)
    }
}

async fn answer(client: &Client, prepared: &mut Prepared, request: Request) -> Result<Answer, String> {
    match request {
        Request::Batch(sql) => {
            client.batch_execute(&sql).await.map_err(|error| in_words(&error))?;
            Ok(Answer::Changed(0))
        }
        Request::Execute(sql, values) => {
            let statement = prepared.of(client, &sql).await?;
            let parameters = typed(&statement, values);
            let changed = client.execute(&statement, &references(&parameters)).await;
            changed.map(Answer::Changed).map_err(|error| in_words(&error))
        }
        Request::Query(sql, values) => {
            let statement = prepared.of(client, &sql).await?;
            let parameters = typed(&statement, values);
            let rows =
                client.query(&statement, &references(&parameters)).await.map_err(|error| in_words(&error))?;
            rows.iter().map(row).collect::<Result<_, _>>().map(Answer::Rows)
        }
    }
}

type Parameter = Box<dyn ToSql + Sync + Send>;

/// A value as what the server expects there: it takes no integer for a double.
fn typed(statement: &Statement, values: Vec<Value>) -> Vec<Parameter> {
    let of = |(value, wanted): (Value, &Type)| -> Parameter {
        match (value, wanted) {
            (Value::Int(value), &Type::FLOAT8) =>
            {
                #[expect(clippy::cast_precision_loss, reason = "the column is a double")]
                Box::new(value as f64)
            }
            (Value::Int(value), &Type::INT4) => Box::new(i32::try_from(value).unwrap_or(i32::MAX)),
            (Value::Int(value), _) => Box::new(value),
            (Value::Real(value), _) => Box::new(value),
            // The one character that its text cannot hold: a name with it must not keep a minute from being written.
            (Value::Text(value), _) => Box::new(value.replace('\0', "\u{fffd}")),
            (Value::Null, &Type::FLOAT8) => Box::new(None::<f64>),
            (Value::Null, &Type::INT8) => Box::new(None::<i64>),
            (Value::Null, _) => Box::new(None::<String>),
        }
    };
    values.into_iter().zip(statement.params()).map(of).collect()
}

fn references(parameters: &[Parameter]) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| parameter.as_ref() as &(dyn ToSql + Sync)).collect()
}

fn row(row: &tokio_postgres::Row) -> Result<Row, String> {
    let cell = |(index, column): (usize, &tokio_postgres::Column)| -> Result<Value, String> {
        let read = match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(index).map(Value::from),
            Type::INT4 => row.try_get::<_, Option<i32>>(index).map(|value| value.map(i64::from).into()),
            Type::FLOAT8 => row.try_get::<_, Option<f64>>(index).map(Value::from),
            _ => row.try_get::<_, Option<String>>(index).map(Value::from),
        };
        read.map_err(|error| error.to_string())
    };
    row.columns().iter().enumerate().map(cell).collect::<Result<_, _>>().map(Row)
}

/// The client's own text is only "db error"; the server's is behind it.
fn in_words(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    error.as_db_error().map_or_else(
        || error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
        |said| said.message().to_owned(),
    )
}

/// `postgres://user:secret@host/db` without the secret, and without options, which may hold one too.
pub(super) fn without_password(url: &str) -> String {
    let plain = url.split('?').next().unwrap_or_default();
    let Some((scheme, rest)) = plain.split_once("://") else { return "postgres".to_owned() };
    let Some((user, host)) = rest.rsplit_once('@') else { return plain.to_owned() };
    format!("{scheme}://{}@{host}", user.split(':').next().unwrap_or_default())
}

impl Database for Postgres {
    fn batch(&mut self, sql: &str) -> Result<(), LedgerError> {
        self.ask(Request::Batch(sql.to_owned())).map(|_| ())
    }

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64, LedgerError> {
        match self.ask(Request::Execute(sql.to_owned(), parameters.to_vec()))? {
            Answer::Changed(rows) => Ok(rows),
            Answer::Rows(_) => Ok(0),
        }
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, LedgerError> {
        match self.ask(Request::Query(sql.to_owned(), parameters.to_vec()))? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Changed(_) => Ok(Vec::new()),
        }
    }

    /// The server's own sum is of 64 bits: it fails rather than wraps, far above what a year can hold.
    fn sums(&mut self, interval: Segment) -> Result<Vec<Sum>, LedgerError> {
        let sql = format!(
            "SELECT {KEY}, energy_uj, cpu_ns, common_uj, variance_uj2 FROM ( \
               SELECT series, CAST(SUM(energy_uj) AS BIGINT) AS energy_uj, CAST(SUM(cpu_ns) AS BIGINT) AS cpu_ns, \
               SUM(common_uj) AS common_uj, SUM(variance_uj2) AS variance_uj2 FROM energy \
               WHERE level_s = $1 AND start_s >= $2 AND start_s < $3 GROUP BY series) AS sums \
             JOIN series ON series.id = sums.series"
        );
        let rows = self.query(&sql, &bounds(interval))?;
        Ok(rows.iter().map(Sum::of_row).collect())
    }

    fn only_read(&mut self, limit: Duration) -> Result<(), LedgerError> {
        let limit_ms = limit.as_millis().clamp(1, u128::from(STATEMENT_MAX_MS));
        self.batch(&format!("SET statement_timeout = {limit_ms}; SET default_transaction_read_only = on"))
    }

    fn begin(&mut self) -> Result<(), LedgerError> {
        // New rows of names are numbered by hand, so writers come one after another; readers do not wait.
        self.batch("BEGIN; SELECT pg_advisory_xact_lock(4918350112)")
    }

    fn begin_snapshot(&mut self) -> Result<(), LedgerError> {
        self.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn integrity(&mut self) -> Result<Vec<String>, LedgerError> {
        Ok(Vec::new())
    }

    fn compact(&mut self) -> Result<(), LedgerError> {
        self.batch("VACUUM")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_whose_text_comes_once_are_bounded() {
        let mut prepared = Prepared::default();
        for page in 0..10 * PREPARED_MAX {
            prepared.keep(&format!("SELECT 1 LIMIT 20 OFFSET {page}"), page);
        }
        assert!(prepared.0.len() <= PREPARED_MAX, "{}", prepared.0.len());
        assert_eq!(prepared.0.values().max(), Some(&(10 * PREPARED_MAX - 1)));
    }

    #[test]
    fn a_password_is_not_told() {
        let cases = [
            ("postgres://me:secret@host/db", "postgres://me@host/db"),
            ("postgres://me:se@cret@host/db?password=secret", "postgres://me@host/db"),
            ("postgres://host/db", "postgres://host/db"),
            ("host=x password=secret", "postgres"),
        ];
        for (url, told) in cases {
            assert_eq!(without_password(url), told);
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_said() {
        let error = Postgres::open("postgres://me:secret@127.0.0.1:1/db").unwrap_err().to_string();
        assert!(error.starts_with("cannot open the ledger postgres://me@127.0.0.1:1/db: "), "{error}");
        assert!(error.contains("check that the server runs"), "{error}");
    }
}

//! A team's server: the real program, all that can be asked of it, and everything that a client should not do.

use crate::postgres::Server as Postgres;
use carbon_user::ledger::team::Scope;
use carbon_user::serve::routes::{ROUTES, Verb};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What CodeCarbon's client names where nobody gave it another.
pub(crate) const DEFAULT_EXPERIMENT: &str = "5b0fa12a-3dd7-45bb-9766-cc326314d9f1";

pub(crate) struct Serve {
    pub(crate) child: Child,
    /// Such as `127.0.0.1:40123`.
    pub(crate) address: String,
    pub(crate) store: String,
}

/// `carbon` with these words and this ledger.
pub(crate) fn carbon(store: &str, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_carbon")).args(words).args(["--store", store]).output().unwrap()
}

/// What it prints, in one line.
pub(crate) fn said(store: &str, words: &[&str]) -> String {
    let output = carbon(store, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Serve {
    pub(crate) fn start(store: &str) -> Self {
        let (child, address) = begin(store, "127.0.0.1:0");
        Self { child, address, store: store.to_owned() }
    }

    pub(crate) fn ask(&self, verb: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let token = if token.is_empty() { String::new() } else { format!("x-api-token: {token}\r\n") };
        let (status, text) = ask(&self.address, verb, path, &token, body).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// As a crash would end it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(crate) fn begin(store: &str, listen: &str) -> (Child, String) {
    begin_with(store, listen, &[], "http")
}

/// With more words, and the scheme that it says then.
pub(crate) fn begin_with(store: &str, listen: &str, words: &[String], scheme: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(["serve", "--listen", listen, "--store", store])
        .args(words)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said = format!("carbon serve is at {scheme}://");
    let address = line.trim().strip_prefix(&said).unwrap_or_else(|| panic!("{line:?}"));
    (child, address.trim_end_matches('/').to_owned())
}

/// Status and body; none where there was no whole answer.
pub(crate) fn ask(address: &str, verb: &str, path: &str, headers: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "{verb} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    // One that is refused early closes before all is sent.
    let _sent = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A team of two organisations, with tokens.
pub(crate) struct Team {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) project: String,
    organisation: String,
    pub(crate) read: String,
    pub(crate) write: String,
    pub(crate) admin: String,
    /// Of the whole organisation.
    pub(crate) chief: String,
    /// Of another project of the same organisation.
    sibling: String,
    /// Of another organisation.
    stranger: String,
}

impl Team {
    pub(crate) fn make(store: &str) -> Self {
        let organisation = said(store, &["serve", "organisation", "add", "lab"]);
        let project = said(store, &["serve", "project", "add", "lab/thesis"]);
        said(store, &["serve", "project", "add", "lab/other"]);
        said(store, &["serve", "organisation", "add", "rivals"]);
        said(store, &["serve", "project", "add", "rivals/spying"]);
        let token =
            |whose: &str, scope: &str| said(store, &["serve", "token", "add", whose, "--scope", scope]);
        Self {
            folder: tempfile::tempdir().unwrap(),
            project,
            organisation,
            read: token("lab/thesis", "read"),
            write: token("lab/thesis", "write"),
            admin: token("lab/thesis", "admin"),
            chief: token("lab", "admin"),
            sibling: token("lab/other", "admin"),
            stranger: token("rivals", "admin"),
        }
    }
}

pub(crate) fn store() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("team.db").to_str().unwrap().to_owned();
    (folder, store)
}

fn run_body() -> String {
    json!({
        "timestamp": "2026-11-20T12:00:00+00:00", "experiment_id": DEFAULT_EXPERIMENT, "os": "Linux",
        "python_version": "3.11.2", "codecarbon_version": "3.3.2", "cpu_count": 2, "cpu_model": "AMD EPYC",
        "gpu_count": null, "gpu_model": null, "longitude": 2.3, "latitude": 48.9, "region": null, "provider": null,
        "ram_total_size": 23.5, "tracking_mode": "machine"
    })
    .to_string()
}

pub(crate) fn post_body(run: &str) -> Value {
    json!({
        "timestamp": "2026-11-20T12:00:15+00:00", "run_id": run, "duration": 15, "emissions_sum": 5.6e-6,
        "emissions_rate": 1e-7, "cpu_power": 10.0, "gpu_power": 0.0, "ram_power": 20.0, "cpu_energy": 4e-5,
        "gpu_energy": 0.0, "ram_energy": 6e-5, "energy_consumed": 1e-4, "cpu_utilization_percent": 50.0,
        "gpu_utilization_percent": 0.0, "ram_utilization_percent": 10.0, "wue": 0
    })
}

/// A run of the team with one post.
pub(crate) fn posted(serve: &Serve, team: &Team) -> (String, String) {
    let (status, run) = serve.ask("POST", "/runs", &team.write, &run_body());
    assert_eq!(status, 201, "{run}");
    let run = run["id"].as_str().unwrap().to_owned();
    let (status, post) = serve.ask("POST", "/emissions", &team.write, &post_body(&run).to_string());
    assert_eq!(status, 201, "{post}");
    (run, post.as_str().unwrap().to_owned())
}

fn walk(store: &str) {
    let serve = Serve::start(store);
    let team = Team::make(store);
    let (run, post) = posted(&serve, &team);
    let (status, sums) = serve.ask("GET", &format!("/projects/{}/sums", team.project), &team.read, "");
    assert_eq!(status, 200, "{sums}");
    assert!((sums["energy_consumed"].as_f64().unwrap() - 1e-4).abs() < 1e-15, "{sums}");
    assert!((sums["emissions"].as_f64().unwrap() - 5.6e-6).abs() < 1e-12, "{sums}");
    for (path, wanted) in [
        (format!("/runs/{run}"), "cpu_model"),
        (format!("/runs/{run}/emissions"), post.as_str()),
        (format!("/emissions/{post}"), run.as_str()),
        (format!("/experiments/{DEFAULT_EXPERIMENT}/runs"), run.as_str()),
        (format!("/experiments/{DEFAULT_EXPERIMENT}/runs/sums"), run.as_str()),
        (format!("/projects/{}/experiments/sums", team.project), DEFAULT_EXPERIMENT),
        (format!("/lastrun/project/{}", team.project), run.as_str()),
        (format!("/organizations/{}/sums", team.organisation), "emissions_count"),
    ] {
        let (status, answer) = serve.ask("GET", &path, &team.read, "");
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(answer.to_string().contains(wanted), "{path}: {answer}");
    }
    // Dates: what is before is not in it.
    let sums_of = |query: &str| {
        serve.ask("GET", &format!("/api/v1/projects/{}/sums?{query}", team.project), &team.read, "").1
    };
    let schema: Value = serde_json::from_str(include_str!("../docs/schema/team-sums-1.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for query in ["", "by=experiment", "by=run", "by=day", "from=2026-11-20&to=2026-11-21"] {
        let errors: Vec<_> = validator.iter_errors(&sums_of(query)).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{query}");
    }
    assert_eq!(sums_of("by=day")["groups"][0]["key"], "2026-11-20");
    assert_eq!(sums_of("by=day")["groups"][0]["energy_uj"], 360_000_000);
    assert_eq!(sums_of("from=2026-11-21")["groups"], json!([]));
    assert_eq!(sums_of("from=2026-11-20&to=2026-11-21")["groups"][0]["posts"], 1);
    let export = |format: &str| {
        serve.ask("GET", &format!("/api/v1/projects/{}/runs?format={format}", team.project), &team.read, "").1
    };
    assert_eq!(export("json")["runs"][0]["id"], Value::String(run.clone()));
    assert!(export("csv").as_str().unwrap().contains(&run));
    // The same run, by the commands of the ledger.
    let listed = said(store, &["runs", "list", "--project", "thesis", "--format", "json"]);
    assert!(listed.contains(&run) && listed.contains("360000000"), "{listed}");
    let verified = said(store, &["ledger", "verify"]);
    assert!(verified.contains("all sums hold"), "{verified}");
    // As CodeCarbon's command line asks for a token: it says neither access nor scope, and means one that posts.
    let asked = json!({"project_id": team.project, "name": "api token", "x_token": "???"}).to_string();
    let (status, made) =
        serve.ask("POST", &format!("/projects/{}/api-tokens", team.project), &team.admin, &asked);
    assert_eq!(status, 201);
    assert_eq!(serve.ask("GET", "/auth/check", made["token"].as_str().unwrap(), "").1["scope"], "write");
    // By its link anybody sees the project, and nothing else.
    let (status, link) =
        serve.ask("POST", &format!("/api/v1/projects/{}/share", team.project), &team.admin, "");
    assert_eq!(status, 201);
    let link = link["path"].as_str().unwrap();
    let (status, page) = serve.ask("GET", link, "", "");
    assert!(status == 200 && page.as_str().unwrap().contains("<h1>thesis</h1>"), "{page}");
    assert!(serve.ask("GET", &format!("{link}/runs?format=csv"), "", "").1.as_str().unwrap().contains(&run));
    assert_eq!(serve.ask("GET", &format!("{link}/sums"), "", "").0, 200);
    assert_eq!(serve.ask("GET", "/share/0123", "", "").0, 404);
    let (status, _) =
        serve.ask("DELETE", &format!("/api/v1/projects/{}/share", team.project), &team.admin, "");
    assert_eq!(status, 204);
    assert_eq!(serve.ask("GET", link, "", "").0, 404);
    assert_eq!(serve.ask("GET", "/healthz", "", "").0, 200);
}

#[test]
fn a_run_is_posted_and_read_in_all_its_forms() {
    let (_folder, store) = store();
    walk(&store);
}

#[test]
fn a_team_on_postgresql_is_the_same() {
    let Some(server) = Postgres::start_or_skip("a_team_on_postgresql_is_the_same") else { return };
    walk(&server.database("team"));
}

#[test]
fn no_route_is_open_to_who_has_no_right() {
    let (_folder, store) = store();
    let serve = Serve::start(&store);
    let team = Team::make(&store);
    let (run, post) = posted(&serve, &team);
    let revoked =
        said(&store, &["serve", "token", "add", "lab/thesis", "--scope", "admin", "--name", "gone"]);
    let tokens = said(&store, &["serve", "token", "list", "lab", "--format", "json"]);
    let tokens: Value = serde_json::from_str(&tokens).unwrap();
    let id = tokens["rows"].as_array().unwrap().iter().find(|row| row["name"] == "gone").unwrap();
    assert_eq!(serve.ask("GET", "/auth/check", &revoked, "").0, 200);
    said(&store, &["serve", "token", "revoke", "lab", id["id"].as_str().unwrap()]);
    assert!(!tokens.to_string().contains(&revoked), "a token is shown once");
    for route in ROUTES {
        let verb = route.verb.as_str();
        let path = route
            .path
            .replace("{organisation}", &team.organisation)
            .replace("{project}", &team.project)
            .replace("{experiment}", DEFAULT_EXPERIMENT)
            .replace("{run}", &run)
            .replace("{post}", &post)
            .replace("{sequence}", "7")
            .replace("{token}", id["id"].as_str().unwrap())
            .replace("{member}", &run);
        let body = body_for(route.verb, route.path, &team, &run);
        for (who, token) in [("nobody", ""), ("garbage", "carbon_0123456789abcdef"), ("revoked", &revoked)] {
            let (status, answer) = serve.ask(verb, &path, token, &body);
            assert_eq!(status, 401, "{who}: {verb} {path}: {answer}");
        }
        if route.scope > Scope::Read {
            let (status, answer) = serve.ask(verb, &path, &team.read, &body);
            assert_eq!(status, 403, "read-only: {verb} {path}: {answer}");
        }
        if route.scope > Scope::Write {
            let (status, answer) = serve.ask(verb, &path, &team.write, &body);
            assert_eq!(status, 403, "write: {verb} {path}: {answer}");
        }
        for (who, token) in [("another organisation", &team.stranger), ("another project", &team.sibling)] {
            let (status, answer) = serve.ask(verb, &path, token, &body);
            let text = answer.to_string();
            if own_only(route.path) || (who == "another project" && of_organisation(route.path)) {
                // Its own things are told or made, and nothing of the team's.
                assert!(!text.contains(&run) && !text.contains("thesis"), "{who}: {verb} {path}: {text}");
            } else {
                assert!([403, 404].contains(&status), "{who}: {verb} {path}: {status} {text}");
            }
        }
    }
    // Nothing of it was done.
    let (_, sums) = serve.ask("GET", &format!("/projects/{}/sums", team.project), &team.read, "");
    assert_eq!(sums["emissions_count"], 1, "{sums}");
}

/// Routes that answer each token of its own.
fn own_only(path: &str) -> bool {
    ["/auth/check", "/organizations", "/runs", "/api/v1/runs/{run}"].contains(&path)
}

/// Routes of an organisation, which tell a token of one project what that may see.
fn of_organisation(path: &str) -> bool {
    path.starts_with("/organizations/{organisation}") && !path.contains("user")
}

fn body_for(verb: Verb, path: &str, team: &Team, run: &str) -> String {
    match (verb, path) {
        (Verb::Get | Verb::Delete, _) => String::new(),
        (_, "/runs") => run_body(),
        (_, "/emissions") => post_body(run).to_string(),
        (_, "/experiments") => json!({"name": "x", "project_id": team.project}).to_string(),
        (_, "/projects") => {
            json!({"name": "mine", "description": "", "organization_id": team.organisation}).to_string()
        }
        (_, "/api/v1/runs/{run}") => {
            json!({"experiment": "x", "started": "2026-11-20T12:00:00Z"}).to_string()
        }
        (_, "/api/v1/runs/{run}/posts/{sequence}") => own_post(7).to_string(),
        (_, path) if path.ends_with("add-user") => json!({"email": "eve@example.org"}).to_string(),
        (_, path) if path.ends_with("api-tokens") => json!({"name": "x", "access": 1}).to_string(),
        _ => json!({"description": "changed"}).to_string(),
    }
}

fn own_post(number: u64) -> Value {
    json!({
        "at": "2026-11-20T12:00:15Z", "duration_ns": 1_000_000_000_u64, "energy_uj": 1_000_000 + number,
        "g_per_kwh": 56.0, "zone": "FR", "quality": "measured"
    })
}

#[test]
fn members_come_and_go_with_their_tokens() {
    let (_folder, store) = store();
    let serve = Serve::start(&store);
    let team = Team::make(&store);
    let path = format!("/organizations/{}/add-user", team.organisation);
    let (status, member) =
        serve.ask("POST", &path, &team.chief, &json!({"email": "ann@example.org"}).to_string());
    assert_eq!(status, 201, "{member}");
    let token = member["token"].as_str().unwrap();
    assert_eq!(serve.ask("GET", &format!("/projects/{}", team.project), token, "").0, 200);
    assert_eq!(serve.ask("POST", "/runs", token, &run_body()).0, 403, "members look");
    said(&store, &["serve", "member", "remove", "lab", "ann@example.org"]);
    assert_eq!(serve.ask("GET", &format!("/projects/{}", team.project), token, "").0, 401);
}

#[test]
fn what_is_sent_again_is_written_once() {
    let (_folder, store) = store();
    let serve = Serve::start(&store);
    let team = Team::make(&store);
    let run = "0198c5a0-93f6-7cc2-8e6a-2f1f5d0f1c11";
    let path = format!("/api/v1/runs/{run}");
    let body =
        json!({"experiment": "ablation", "started": "2026-11-20T12:00:00Z", "tags": ["a"], "node": "n1"});
    for _ in 0..2 {
        let (status, answer) = serve.ask("PUT", &path, &team.write, &body.to_string());
        assert_eq!(status, 200, "{answer}");
    }
    for (number, status) in [(0, 201), (1, 201), (0, 200), (1, 200)] {
        let post = format!("{path}/posts/{number}");
        assert_eq!(serve.ask("PUT", &post, &team.write, &own_post(number).to_string()).0, status);
    }
    let other = serve.ask("PUT", &format!("{path}/posts/1"), &team.write, &own_post(9).to_string());
    assert_eq!(other.0, 409, "{}", other.1);
    // The same by the key that our Python client sends to CodeCarbon's routes.
    let keyed = |route: &str, key: &str, body: &str| {
        let headers = format!("x-api-token: {}\r\nIdempotency-Key: {key}\r\n", team.write);
        let (status, text) = ask(&serve.address, "POST", route, &headers, body).unwrap();
        assert_eq!(status, 201, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let first = keyed("/runs", "mine:run", &run_body());
    assert_eq!(first["id"], keyed("/runs", "mine:run", &run_body())["id"]);
    let body = post_body(first["id"].as_str().unwrap()).to_string();
    assert_eq!(keyed("/emissions", "mine:0", &body), keyed("/emissions", "mine:0", &body));
    let sums = format!("/api/v1/projects/{}/sums?by=run", team.project);
    let groups = serve.ask("GET", &sums, &team.read, "").1["groups"].clone();
    let of =
        |id: &Value| groups.as_array().unwrap().iter().find(|group| group["key"] == *id).cloned().unwrap();
    assert_eq!(of(&json!(run))["energy_uj"], 2_000_001);
    assert_eq!(of(&first["id"])["posts"], 1);
    let (status, _) = serve.ask(
        "PUT",
        &path,
        &team.write,
        &json!({"experiment": "ablation", "started": "2026-11-20T12:00:00Z", "status": "killed"}).to_string(),
    );
    assert_eq!(status, 200);
    let listed = said(&store, &["runs", "list", "--experiment", "ablation", "--format", "json"]);
    assert!(
        listed.contains("\"killed\"") && listed.contains("\"measured\"") && listed.contains("\"n1\""),
        "{listed}"
    );
}

#[test]
fn hostile_bodies_are_refused_with_what_to_do() {
    let (_folder, store) = store();
    let serve = Serve::start(&store);
    let team = Team::make(&store);
    let (run, _) = posted(&serve, &team);
    let with = |name: &str, value: Value| {
        let mut body = post_body(&run);
        body[name] = value;
        body.to_string()
    };
    for (body, status, word) in [
        (with("energy_consumed", json!(-1.0)), 422, "energy_consumed is -1 kWh"),
        (with("energy_consumed", json!(1e300)), 422, "from 0 to"),
        (with("energy_consumed", json!("a lot")), 422, "invalid type"),
        (with("cpu_energy", json!(-0.5)), 422, "cpu_energy"),
        (with("emissions_sum", json!(-1.0)), 422, "emissions_sum"),
        (with("duration", json!(1e300)), 422, "duration"),
        (with("timestamp", json!("9999-01-01T00:00:00Z")), 422, "check the clock"),
        (with("timestamp", json!("x".repeat(5000))), 422, "is no time"),
        (with("run_id", json!("not-a-uuid")), 422, "no UUID"),
        (with("run_id", json!(DEFAULT_EXPERIMENT)), 404, "there is no run"),
        (post_body(&run).to_string().replace("0.0001", "NaN"), 400, "the body is not"),
        ("{".to_owned(), 400, "the body is not"),
        (String::new(), 400, "the body is not"),
        ("[".repeat(30_000), 422, "the body is not"),
        (with("wue", json!("x".repeat(100_000))), 413, ""),
    ] {
        let (got, answer) = serve.ask("POST", "/emissions", &team.write, &body);
        assert_eq!(got, status, "{}: {answer}", &body[..body.len().min(80)]);
        assert!(answer.to_string().contains(word), "{word}: {answer}");
    }
    let long = run_body().replace("AMD EPYC", &"x".repeat(3000));
    assert_eq!(serve.ask("POST", "/runs", &team.write, &long).0, 422);
    let markup = json!({"name": "<script>alert(1)</script>", "project_id": team.project}).to_string();
    assert_eq!(serve.ask("POST", "/experiments", &team.write, &markup).0, 201);
    for path in ["/runs/../../etc/passwd", "/runs/%00", "/projects/'%20OR%201=1", "/nothing"] {
        let (status, answer) = serve.ask("GET", path, &team.read, "");
        assert!((400..500).contains(&status), "{path}: {status} {answer}");
    }
    assert_eq!(serve.ask("DELETE", "/runs", &team.read, "").0, 405);
    let sums = serve.ask("GET", &format!("/projects/{}/sums", team.project), &team.read, "").1;
    assert_eq!(sums["emissions_count"], 1, "nothing of it was written: {sums}");
    let wrong = serve.ask("GET", &format!("/projects/{}/sums?start_date=soon", team.project), &team.read, "");
    assert_eq!(wrong.0, 422, "{}", wrong.1);
}

/// What was answered is there once after each kill, and nothing is there twice.
#[test]
fn kill_9_loses_and_doubles_no_post() {
    const CLIENTS: usize = 8;
    let (_folder, store) = store();
    let mut serve = Serve::start(&store);
    let team = Team::make(&store);
    let address = serve.address.clone();
    let stop = AtomicBool::new(false);
    let runs: Vec<String> =
        (0..CLIENTS).map(|n| format!("0198c5a0-93f6-7cc2-8e6a-2f1f5d0f1c{n:02}")).collect();
    for run in &runs {
        let body = json!({"experiment": "kill", "started": "2026-11-20T12:00:00Z"}).to_string();
        assert_eq!(serve.ask("PUT", &format!("/api/v1/runs/{run}"), &team.write, &body).0, 200);
    }
    let counts: Vec<u64> = thread::scope(|scope| {
        let clients: Vec<_> = runs
            .iter()
            .map(|run| {
                let (address, stop, token) = (&address, &stop, &team.write);
                scope.spawn(move || {
                    let (mut acknowledged, mut unanswered) = (0, false);
                    while unanswered || !stop.load(Ordering::Relaxed) {
                        let path = format!("/api/v1/runs/{run}/posts/{acknowledged}");
                        let body = own_post(acknowledged).to_string();
                        let answer = ask(address, "PUT", &path, &format!("x-api-token: {token}\r\n"), &body);
                        // No answer: it is sent again, under its number.
                        unanswered = !matches!(answer, Some((200 | 201, _)));
                        match answer {
                            Some((200 | 201, _)) => acknowledged += 1,
                            Some((503, _)) | None => thread::sleep(Duration::from_millis(20)),
                            Some((status, text)) => panic!("{status}: {text}"),
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        for _ in 0..4 {
            thread::sleep(Duration::from_millis(400));
            serve.kill();
            let (child, _) = begin(&store, &address);
            serve.child = child;
        }
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(counts.iter().sum::<u64>() > 40, "{counts:?}: the clients got somewhere");
    let sums = serve.ask("GET", &format!("/api/v1/projects/{}/sums?by=run", team.project), &team.read, "").1;
    for (run, count) in runs.iter().zip(&counts) {
        let groups = sums["groups"].as_array().unwrap();
        let sum = groups.iter().find(|group| group["key"] == **run).unwrap();
        let energy: u64 = (0..*count).map(|number| 1_000_000 + number).sum();
        assert_eq!(sum["posts"], *count, "{run}");
        assert_eq!(sum["energy_uj"], energy, "{run}");
    }
    assert!(said(&serve.store, &["ledger", "verify"]).contains("all sums hold"));
}

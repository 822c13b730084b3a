//! What is taken away from a team's server, and what stays.

use crate::postgres::Server as Postgres;
use crate::serve::{DEFAULT_EXPERIMENT, Serve, Team, post_body, posted, said, store};
use serde_json::{Value, json};

fn count(serve: &Serve, team: &Team) -> Value {
    let path = format!("/projects/{}/sums", team.project);
    serve.ask("GET", &path, &team.chief, "").1["emissions_count"].clone()
}

fn walk(store: &str) {
    let serve = Serve::start(store);
    let team = Team::make(store);
    let (first, _) = posted(&serve, &team);
    let (second, _) = posted(&serve, &team);
    // A run of another experiment, with tags, by our own routes.
    let third = "0198c5a0-93f6-7cc2-8e6a-2f1f5d0f1c11";
    let body =
        json!({"experiment": "ablation", "started": "2026-11-20T12:00:00Z", "tags": ["a", "b"]}).to_string();
    let (status, made) = serve.ask("PUT", &format!("/api/v1/runs/{third}"), &team.write, &body);
    assert_eq!(status, 200, "{made}");
    let experiment = made["experiment_id"].as_str().unwrap().to_owned();
    let post = json!({"at": "2026-11-20T12:00:15Z", "duration_ns": 1_000_000_000, "energy_uj": 5_000_000, "g_per_kwh": 56.0});
    let path = format!("/api/v1/runs/{third}/posts/0");
    assert_eq!(serve.ask("PUT", &path, &team.write, &post.to_string()).0, 201);
    assert_eq!(count(&serve, &team), 3);
    let gone = |verb: &str, path: &str| serve.ask(verb, path, &team.chief, "").0;

    // A run goes with its posts, once; posts of it are no longer taken.
    assert_eq!(gone("DELETE", &format!("/runs/{first}")), 204);
    assert_eq!(gone("DELETE", &format!("/runs/{first}")), 404);
    assert_eq!(gone("GET", &format!("/runs/{first}")), 404);
    assert_eq!(count(&serve, &team), 2);
    assert_eq!(serve.ask("POST", "/emissions", &team.write, &post_body(&first).to_string()).0, 404);
    assert_eq!(gone("GET", &format!("/runs/{second}")), 200);
    let listed = said(store, &["runs", "list", "--format", "json"]);
    assert!(!listed.contains(&first) && listed.contains(&second) && listed.contains(third), "{listed}");

    // An experiment goes with its runs; what has the same id in another project stays there.
    assert_eq!(gone("DELETE", &format!("/experiments/{experiment}")), 204);
    assert_eq!(gone("GET", &format!("/experiments/{experiment}")), 404);
    assert_eq!(gone("GET", &format!("/runs/{third}")), 404);
    assert_eq!(gone("GET", &format!("/experiments/{DEFAULT_EXPERIMENT}")), 200);
    assert_eq!(count(&serve, &team), 1);

    // A project goes with all of it, its link and its tokens; only the organisation's token does it.
    let share = format!("/api/v1/projects/{}/share", team.project);
    let link = serve.ask("POST", &share, &team.admin, "").1["path"].as_str().unwrap().to_owned();
    let project = format!("/projects/{}", team.project);
    assert_eq!(serve.ask("DELETE", &project, &team.admin, "").0, 403);
    assert_eq!(gone("DELETE", &project), 204);
    assert_eq!(gone("GET", &project), 404);
    assert_eq!(serve.ask("GET", &link, "", "").0, 404);
    assert_eq!(serve.ask("GET", "/auth/check", &team.write, "").0, 401);
    let projects = serve.ask("GET", "/organizations", &team.chief, "").1;
    assert!(projects.to_string().contains("lab"), "{projects}");
    assert!(!said(store, &["runs", "list", "--format", "json"]).contains(&second));
    // Its name is free again, and nothing comes back under it.
    let again = said(store, &["serve", "project", "add", "lab/thesis"]);
    let sums = serve.ask("GET", &format!("/projects/{again}/sums"), &team.chief, "").1;
    assert_eq!(sums["emissions_count"], 0, "{sums}");
    assert!(said(store, &["ledger", "verify"]).contains("all sums hold"));
}

#[test]
fn what_is_removed_is_gone_with_all_of_it_and_nothing_else() {
    let (_folder, store) = store();
    walk(&store);
}

#[test]
fn it_is_gone_from_postgresql_too() {
    let Some(server) = Postgres::start_or_skip("it_is_gone_from_postgresql_too") else { return };
    walk(&server.database("team"));
}

//! A team's server over https, with a certificate of the team's own authority: who has that file is served, and nobody else.

use crate::serve::{Team, begin_with, carbon, said, store};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An authority, and a certificate of it for `localhost`: PEM files in a folder. None where there is no openssl.
fn certificates(folder: &Path, test: &str) -> Option<PathBuf> {
    let openssl = |words: &[&str]| {
        let made = Command::new("openssl").current_dir(folder).args(words).output();
        made.is_ok_and(|output| output.status.success())
    };
    if !openssl(&["version"]) {
        println!("SKIPPED IN PART: {test}: no openssl is installed (Debian: apt-get install openssl)");
        return None;
    }
    let new =
        ["req", "-x509", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority = ["-subj", "/CN=a test", "-keyout", "ca.key", "-out", "ca.pem"];
    assert!(openssl(&[&new[..], &authority].concat()));
    let server = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=CA:FALSE",
    ];
    let files = ["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "key.pem", "-out", "cert.pem"];
    assert!(openssl(&[&new[..], &server, &files].concat()));
    Some(folder.join("ca.pem"))
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const POSTED: &str = "
import sys
from carbon_tracker import EmissionsTracker
tracker = EmissionsTracker(output_methods=['api'], api_endpoint=sys.argv[1], api_key=sys.argv[2], force_cpu_power=50, backend='model')
tracker.start()
sum(i * i for i in range(2_000_000))
tracker.stop()
";

#[test]
fn clients_reach_it_by_the_teams_own_certificates_alone() {
    const TEST: &str = "clients_reach_it_by_the_teams_own_certificates_alone";
    let (folder, store) = store();
    let Some(authority) = certificates(folder.path(), TEST) else { return };
    let of = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let keys = ["--cert".to_owned(), of("cert.pem"), "--key".to_owned(), of("key.pem")];
    let (child, address) = begin_with(&store, "127.0.0.1:0", &keys, "https");
    let _serve = crate::serve::Serve { child, address: address.clone(), store: store.clone() };
    let team = Team::make(&store);
    let url = format!("https://localhost:{}", address.rsplit(':').next().unwrap());
    let token = of("token");
    std::fs::write(&token, &team.write).unwrap();
    let authority = authority.to_str().unwrap().to_owned();
    let posts = || -> u64 {
        let listed = said(&store, &["runs", "list", "--project", "thesis", "--format", "json"]);
        serde_json::from_str::<Value>(&listed).unwrap()["runs"].as_array().unwrap().len() as u64
    };

    // What is encrypted is not told in the clear.
    let plain = crate::serve::ask(&address, "GET", "/healthz", "", "");
    assert!(plain.is_none_or(|(status, _)| status != 200));

    // carbon run: sent when the command has ended; without the certificates it stays here, and is sent later.
    let own = of("own.db");
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
        command.args(["run", "--no-agent", "--store", &own, "--experiment", "ablation", "--server", &url]);
        command.args(["--server-token-file", &token]).args(words).args(["--", "true"]).output().unwrap()
    };
    let sent = run(&["--server-ca-file", &authority, "--tag", "one", "--name", "first"]);
    assert!(sent.status.success() && !errors(&sent).contains("not on the server"), "{}", errors(&sent));
    assert_eq!(posts(), 1);
    let kept = run(&[]);
    assert!(kept.status.success(), "a server is no reason to fail");
    assert!(
        errors(&kept).contains("not on the server") && errors(&kept).contains("carbon runs send"),
        "{}",
        errors(&kept)
    );
    assert_eq!(posts(), 1);
    let later =
        ["runs", "send", "--server", &url, "--server-token-file", &token, "--server-ca-file", &authority];
    for _ in 0..2 {
        assert!(said(&own, &later).starts_with("2 runs are on "), "what is sent again is there once");
    }
    assert_eq!(posts(), 2);
    let ours: Value = serde_json::from_str(&said(&own, &["runs", "list", "--format", "json"])).unwrap();
    let theirs: Value = serde_json::from_str(&said(&store, &["runs", "list", "--format", "json"])).unwrap();
    for (one, other) in ours["runs"].as_array().unwrap().iter().zip(theirs["runs"].as_array().unwrap()) {
        for key in ["id", "name", "tags", "dynamic_uj", "duration_ns", "quality", "status", "experiment"] {
            assert_eq!(one[key], other[key], "{key}: {one} {other}");
        }
        let grams = |run: &Value| run["grams"].as_f64().unwrap_or(0.0);
        assert!((grams(one) - grams(other)).abs() <= 1e-9 + grams(one) * 1e-6, "{one} {other}");
    }
    // Nothing is taken with a token that may only read.
    std::fs::write(&token, &team.read).unwrap();
    let refused = carbon(&own, &later);
    assert!(!refused.status.success() && errors(&refused).contains("403"), "{}", errors(&refused));

    // The history of the server, by its certificates.
    std::fs::write(&token, &team.chief).unwrap();
    let copy = of("copy.db");
    let import = ["import", "--from-server", &url, "--token-file", &token];
    assert!(!carbon(&copy, &import).status.success());
    assert!(said(&copy, &[&import[..], &["--ca-file", &authority]].concat()).starts_with("2 runs are new"));

    // Our Python client.
    let python = |ca: Option<&str>| {
        let mut command = Command::new("python3");
        command
            .args(["-c", POSTED, &url, &team.write])
            .current_dir(folder.path())
            .env("CARBON_SPOOL", of("spool"));
        command.env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/src"));
        command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("SSL_CERT_FILE").env_remove("CARBON_CA_FILE");
        ca.map(|path| command.env("CARBON_CA_FILE", path));
        let output = command.output();
        output.ok().filter(|output| output.status.success()).map(|output| errors(&output))
    };
    let Some(said) = python(None) else {
        println!("SKIPPED IN PART: {TEST}: there is no python3 of 3.9 or later");
        return;
    };
    assert!(said.contains("1 runs wait in") && said.to_lowercase().contains("certificate"), "{said}");
    assert_eq!(posts(), 2);
    // What waited goes with the next results.
    let said = python(Some(&authority)).unwrap();
    assert!(!said.contains("wait in"), "{said}");
    assert_eq!(posts(), 4);
    let said = python(Some("/no/such.pem")).unwrap();
    assert!(said.contains("CARBON_CA_FILE=/no/such.pem cannot be used"), "{said}");
}

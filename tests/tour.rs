//! The tour of docs/tour.md, command by command: what a page promises to a stranger must be what he sees.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Commands of the page's consoles with what is said to follow each.
fn steps(page: &str) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    let mut console = false;
    for line in page.lines() {
        if line.starts_with("```") {
            console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| console) {
            steps.push((command.replace("sudo ", ""), Vec::new()));
        } else if let Some((_, said)) = steps.last_mut().filter(|_| console) {
            said.push(line.to_owned());
        }
    }
    steps
}

/// The words that a line begins with: figures, names of processes and lengths of columns differ from machine to machine.
fn head(line: &str) -> String {
    let words = line.split_whitespace().take_while(|word| !word.chars().any(|it| it.is_ascii_digit()));
    words.take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_tour_is_true() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tour.md");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    symlink(env!("CARGO_BIN_EXE_carbon"), path("carbon")).unwrap();
    let programs = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let steps = steps(&fs::read_to_string(page).unwrap());
    let mut tried = Vec::new();
    for (command, expected) in &steps {
        // These two go on until they are ended.
        if ["carbon top", "carbon agent"].iter().any(|lasting| command.starts_with(lasting)) {
            continue;
        }
        let output = Command::new("sh")
            .args(["-c", &format!("{command} 2>&1")])
            .current_dir(folder.path())
            .env("PATH", &programs)
            .env("CARBON_STORE", path("ledger.db"))
            .env("CARBON_STATE", "none")
            .env_remove("CARBON_ZONE")
            .env_remove("CARBON_PUE")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let word = command.split_whitespace().nth(1).unwrap_or_default();
        // Doctor says by its status whether there is what it wishes for.
        assert!(output.status.success() || word == "doctor", "{command}: {said}");
        if command.starts_with("carbon") && ["intensity", "advise"].contains(&word) {
            assert_eq!(said.lines().collect::<Vec<_>>(), *expected, "{command}");
        } else if word != "doctor" {
            for line in expected.iter().map(|line| head(line)) {
                assert!(
                    said.lines().any(|it| head(it) == line),
                    "{command}: no line begins with {line:?}: {said}"
                );
            }
        }
        tried.push(word);
    }
    for word in ["doctor", "run", "runs", "report", "intensity", "advise"] {
        assert!(tried.contains(&word), "{word} is no longer in the tour: {tried:?}");
    }
}

//! Runs whose agent ends before they do: they go on with the next agent, or are measured without one.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::agent::end;
use crate::api::{Agent, burn, report, text};
use crate::support::{alone, kernel_or_skip};
use carbon_user::ledger::rows::RunStatus;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::thread::sleep;
use std::time::Duration;

const BURNT: Duration = Duration::from_millis(400);

fn cpu_ms(answer: &Value) -> u64 {
    answer["energy"]["cpu_ns"].as_u64().unwrap_or_else(|| panic!("no CPU time: {answer}")) / 1_000_000
}

/// Starts a run of this process, has its agent end by `signal`, and stops it with the next one.
fn over_a_restart(signal: Signal) {
    let mut agent = Agent::start("books");
    let mut client = agent.client();
    let outer = client.ask("start", json!({"name": "outer"}));
    let outer = json!({"run": text(&outer, "run")});
    burn(BURNT);
    let mut keys = outer.clone();
    keys["unit"] = "tokens".into();
    keys["count"] = 5.into();
    assert_eq!(client.ask("count", keys.clone())["count"], 5);
    let inner = client.ask("start", json!({"name": "inner"}));
    let inner = json!({"run": text(&inner, "run")});
    burn(BURNT);
    // So that all of it is in a window and in the file.
    sleep(Duration::from_millis(1_800));
    let (said, _) = end(agent.child.take().unwrap(), signal);
    let recorded = agent.machine.path("agent.json.runs");
    assert!(recorded.exists(), "{said}");
    burn(Duration::from_millis(50));
    agent.start_again();
    let mut client = agent.client();
    burn(BURNT);
    assert_eq!(client.ask("count", keys)["count"], 10);
    let inner = client.ask("stop", inner);
    let stopped = client.ask("stop", outer.clone());
    // The inner run has what was used after it began, but for the time without an agent.
    let (all, of_inner) = (cpu_ms(&stopped), cpu_ms(&inner));
    assert!(
        (1_100..1_500).contains(&all) && (700..1_150).contains(&of_inner),
        "{all} and {of_inner}: {stopped}"
    );
    let own = stopped["own"]["dynamic_uj"].as_u64().unwrap();
    let dynamic = |answer: &Value| answer["energy"]["dynamic_uj"].as_u64().unwrap();
    assert_eq!(own + dynamic(&inner), dynamic(&stopped));
    assert!(stopped["notes"].to_string().contains("the agent was started again"), "{stopped}");
    let kept = agent.kept(text(&outer, "run"));
    while agent.kept(text(&outer, "run")).status() != RunStatus::Done {
        sleep(Duration::from_millis(100));
    }
    assert_eq!(
        (agent.kept(text(&outer, "run")).energy().0, &kept.start.name),
        (own, &Some("outer".to_owned()))
    );
    agent.end();
    assert!(!recorded.exists(), "no run is open any more");
}

#[test]
fn runs_go_on_when_the_agent_is_killed_and_started_again() {
    if kernel_or_skip("runs_go_on_when_the_agent_is_killed_and_started_again") {
        let _alone = alone();
        over_a_restart(Signal::KILL);
    }
}

#[test]
fn runs_go_on_when_the_agent_is_ended_and_started_again() {
    if kernel_or_skip("runs_go_on_when_the_agent_is_ended_and_started_again") {
        let _alone = alone();
        over_a_restart(Signal::TERM);
    }
}

/// Its processes have gone meanwhile: it is recorded with what is known of it.
#[test]
fn a_run_whose_processes_have_gone_with_its_agent_is_recorded_as_killed() {
    if !kernel_or_skip("a_run_whose_processes_have_gone_with_its_agent_is_recorded_as_killed") {
        return;
    }
    let _alone = alone();
    let mut agent = Agent::start("books");
    let mut command =
        agent.run("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exec sleep 60").spawn().unwrap();
    sleep(Duration::from_millis(2_500));
    let filter = carbon_user::ledger::runs::RunFilter::default();
    let id = agent.ledger().runs(&filter).unwrap()[0].start.id.clone();
    end(agent.child.take().unwrap(), Signal::KILL);
    // With all that it started.
    let all = std::process::Command::new("pkill").args(["-KILL", "-P", &command.id().to_string()]).status();
    assert!(all.unwrap().success());
    command.kill().unwrap();
    command.wait().unwrap();
    // What is kept is of long ago, as after a long time without an agent.
    let file = agent.machine.path("agent.json.runs");
    let mut kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    kept["at_ns"] = 1.into();
    fs::write(&file, kept.to_string()).unwrap();
    agent.start_again();
    let kept = agent.kept(&id);
    assert_eq!(kept.status(), RunStatus::Killed);
    assert!(kept.energy().0 > 0 && kept.end.unwrap().cpu.0 > 50_000_000);
    agent.end();
}

const WORK: &str = "n=0; while [ $n -lt 100 ]; do n=$((n+1)); i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.05; done; exit 7";

#[test]
fn a_command_is_measured_by_the_next_agent_or_by_none() {
    if !kernel_or_skip("a_command_is_measured_by_the_next_agent_or_by_none") {
        return;
    }
    let _alone = alone();
    let mut agent = Agent::start("books");
    let command = agent.run(WORK).spawn().unwrap();
    sleep(Duration::from_millis(1_500));
    end(agent.child.take().unwrap(), Signal::KILL);
    agent.start_again();
    let output = command.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let run = report(&output);
    let notes = run["notes"].to_string();
    assert!(notes.contains("started again") && notes.contains("measured by the agent"), "{run}");
    assert!(run["dynamic_uj"].as_u64() > Some(0) && run["cpu_ns"].as_u64() > Some(100_000_000), "{run}");

    let command = agent.run(WORK).spawn().unwrap();
    sleep(Duration::from_secs(1));
    end(agent.child.take().unwrap(), Signal::KILL);
    let output = command.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let run: Value = serde_json::from_str(&said[said.find("{\n").unwrap()..]).unwrap();
    assert!(run["notes"].to_string().contains("ended before the command did"), "{run}");
    assert!(run["cpu_ns"].as_u64() > Some(50_000_000), "{run}");
    assert_ne!(run["quality"], "measured");
}

/// Its start was answered, and then there is no agent that the command could join.
#[test]
fn a_command_runs_whose_agent_ends_between_start_and_join() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("carbon.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let own = socket.clone();
    let agent = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.contains(r#""request":"start""#), "{line}");
        fs::remove_file(own).unwrap();
        drop(listener);
        let id = "0197a3d2-0000-7000-8000-000000000001";
        let answer =
            format!("{{\"version\":1,\"ok\":true,\"run\":\"{id}\",\"start\":\"2026-03-01T12:00:00Z\"}}\n");
        stream.get_mut().write_all(answer.as_bytes()).unwrap();
    });
    let output = crate::api::run_by(&socket, WORK).output().unwrap();
    agent.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{said}");
    let run: Value = serde_json::from_str(&said[said.find("{\n").expect(&said)..]).unwrap();
    assert!(run["notes"].to_string().contains("measured without it"), "{run}");
    assert!(run["cpu_ns"].as_u64() > Some(100_000_000), "{run}");
    assert_ne!(run["quality"], "measured");
}

/// The next agent knows a run that was recorded as it began, and takes in who joins it.
#[test]
fn a_run_is_joined_with_the_next_agent() {
    if !kernel_or_skip("a_run_is_joined_with_the_next_agent") {
        return;
    }
    let _alone = alone();
    let mut agent = Agent::start("books");
    let mut client = agent.client();
    let run = json!({"run": text(&client.ask("start", json!({"members": "none"})), "run")});
    // It is written a moment later.
    let file = agent.machine.path("agent.json.runs");
    let begun = std::time::Instant::now();
    while !fs::read_to_string(&file).unwrap_or_default().contains(text(&run, "run")) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not kept");
        sleep(Duration::from_millis(20));
    }
    end(agent.child.take().unwrap(), Signal::KILL);
    agent.start_again();
    let mut client = agent.client();
    let joined = client.ask("join", run.clone());
    assert_eq!(joined["ok"], true, "{joined}");
    burn(BURNT);
    let stopped = client.ask("stop", run);
    assert!((380..700).contains(&cpu_ms(&stopped)), "{stopped}");
    agent.end();
}

/// More tasks than are looked at in each window without a run.
#[test]
fn a_run_is_seen_at_each_mark_however_many_tasks_there_are() {
    const THREADS: usize = 4_500;
    if !kernel_or_skip("a_run_is_seen_at_each_mark_however_many_tasks_there_are") {
        return;
    }
    let _alone = alone();
    let gate = std::sync::Arc::new(std::sync::Barrier::new(THREADS + 1));
    let wait = || {
        let gate = std::sync::Arc::clone(&gate);
        std::thread::Builder::new().stack_size(32 << 10).spawn(move || gate.wait()).unwrap()
    };
    let threads: Vec<_> = (0..THREADS).map(|_| wait()).collect();
    let mut agent = Agent::start("books");
    let mut client = agent.client();
    let run = json!({"run": text(&client.ask("start", json!({"record": false})), "run")});
    let mut segments = Vec::new();
    for _ in 0..3 {
        burn(BURNT);
        segments.push(client.ask("mark", run.clone()));
    }
    let stopped = client.ask("stop", run);
    gate.wait();
    for thread in threads {
        thread.join().unwrap();
    }
    for marked in &segments {
        let cpu_ms = cpu_ms(&marked["segment"]);
        assert!((340..600).contains(&cpu_ms), "{cpu_ms} ms: {marked}");
    }
    assert!(cpu_ms(&stopped) >= 1_100, "{stopped}");
    agent.end();
}

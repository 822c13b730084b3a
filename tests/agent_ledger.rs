//! `carbon agent` whose ledger is away, damaged or another one at its end and at its next start: each microjoule is in one.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::agent::{Machine, STEP_UJ, end};
use crate::measuring::within_seconds;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Read as _;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

const OPTIONS: [&str; 6] = ["--interval", "200ms", "--flush", "500ms", "--listen", "none"];

/// Some windows and flushes.
const A_WHILE: Duration = Duration::from_millis(1_500);

/// Runs one for a while, and gives what it said.
fn run(machine: &Machine, more: &[&str], signal: Signal) -> String {
    finish(started(machine, more), signal)
}

/// One that measures, and what it said until then.
fn started(machine: &Machine, more: &[&str]) -> (Child, String) {
    let mut child = machine.start(&[&OPTIONS[..], more].concat());
    let (mut said, mut byte) = (String::new(), [0]);
    while !said.contains("measuring ") {
        child.stderr.as_mut().unwrap().read_exact(&mut byte).unwrap();
        said.push(byte[0].into());
    }
    (child, said)
}

/// Ends it after a while, and gives all that it said.
fn finish((child, mut before): (Child, String), signal: Signal) -> String {
    sleep(A_WHILE);
    let (said, status) = end(child, signal);
    before += &said;
    assert_eq!(status, (signal == Signal::TERM).then_some(0), "{before}");
    before
}

/// Its head is something else; gives what it was.
fn damage(machine: &Machine) -> Vec<u8> {
    let path = machine.path("ledger.db");
    let sound = fs::read(&path).unwrap();
    let mut damaged = sound.clone();
    damaged[..4_096].fill(b'x');
    fs::write(&path, damaged).unwrap();
    sound
}

#[test]
fn what_a_damaged_ledger_did_not_take_is_in_the_next_one_however_the_agent_ended() {
    for signal in [Signal::TERM, Signal::KILL] {
        let machine = Machine::new();
        run(&machine, &[], Signal::TERM);
        let before = machine.marked();
        damage(&machine);
        let said = run(&machine, &[], signal);
        assert!(said.contains("minutes wait to be written"), "{said}");
        // It is damaged still.
        run(&machine, &[], signal);
        // As it is told to do.
        fs::rename(machine.path("ledger.db"), machine.path("damaged.db")).unwrap();
        let said = run(&machine, &[], Signal::TERM);
        assert!(!said.contains("is lost"), "{said}");
        assert_eq!(machine.written().0, machine.marked() - before, "no microjoule twice or never: {said}");
    }
}

#[test]
fn what_a_ledger_did_not_take_while_it_was_away_is_in_it_once_it_is_back() {
    for signal in [Signal::TERM, Signal::KILL] {
        let machine = Machine::new();
        run(&machine, &[], Signal::TERM);
        let origin = machine.marked() - machine.written().0;
        let sound = damage(&machine);
        run(&machine, &[], signal);
        fs::write(machine.path("ledger.db"), sound).unwrap();
        let said = run(&machine, &[], Signal::TERM);
        assert_eq!(machine.written().0, machine.marked() - origin, "no microjoule twice or never: {said}");
    }
}

#[test]
fn what_was_written_is_not_written_to_another_ledger_again() {
    let machine = Machine::new();
    for name in ["first.db", "second.db"] {
        run(&machine, &[], Signal::TERM);
        fs::rename(machine.path("ledger.db"), machine.path(name)).unwrap();
    }
    let mut all = 0;
    for name in ["first.db", "second.db"] {
        fs::copy(machine.path(name), machine.path("ledger.db")).unwrap();
        all += machine.written().0;
    }
    let before_it = machine.marked() - 5_000_000 - all;
    assert_eq!(before_it % STEP_UJ, 0, "from its first reading on");
    assert!(before_it < 60 * STEP_UJ, "{before_it}");
}

#[test]
fn a_server_that_was_never_there_costs_no_energy() {
    let machine = Machine::new();
    let away = ["--store", "postgres://u@127.0.0.1:1/x"];
    let agent = started(&machine, &away);
    assert!(within_seconds(60, || machine.path("agent.json").exists()));
    let origin = machine.marked();
    let said = finish(agent, Signal::KILL);
    assert!(said.contains("minutes wait to be written"), "{said}");
    let said = run(&machine, &away, Signal::TERM);
    assert!(said.contains("the next start recovers their energy"), "{said}");
    let said = run(&machine, &[], Signal::TERM);
    assert_eq!(machine.written().0, machine.marked() - origin, "no microjoule twice or never: {said}");
    assert!(machine.written().0 > 100 * STEP_UJ, "{said}");
}

/// Killed amid a flush: only then the ledger is asked.
#[test]
fn a_flush_in_doubt_is_not_lost_in_silence() {
    let machine = Machine::new();
    run(&machine, &[], Signal::TERM);
    let path = machine.path("agent.json");
    let settled: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let before = machine.marked();
    sleep(A_WHILE);
    let mut doubtful = settled.clone();
    let mut next = settled["edges"][0].clone();
    next["flush"] = json!("of which nobody knows");
    next["counters"][0]["raw_uj"] = json!(before + STEP_UJ);
    doubtful["edges"].as_array_mut().unwrap().push(next);
    let doubt = || fs::write(&path, doubtful.to_string()).unwrap();

    doubt();
    let sound = damage(&machine);
    let said = run(&machine, &[], Signal::KILL);
    assert!(said.contains("the ledger cannot be asked whether it has that"), "{said}");

    // One that is not there has nothing, and one that can be asked says so.
    fs::remove_file(machine.path("ledger.db")).unwrap();
    doubt();
    let said = run(&machine, &[], Signal::TERM);
    assert!(!said.contains("cannot be asked"), "{said}");
    assert_eq!(machine.written().0, machine.marked() - before, "{said}");
    fs::write(machine.path("ledger.db"), sound).unwrap();
    let origin = before - machine.written().0;
    doubt();
    let said = run(&machine, &[], Signal::TERM);
    assert!(!said.contains("cannot be asked"), "{said}");
    assert_eq!(machine.written().0, machine.marked() - origin, "{said}");
}

//! What docs/ARCHITECTURE.md says of the sources, held against them.

use std::fs;
use std::path::{Path, PathBuf};

/// In order of the data flow, as in the head of carbon-user/src/lib.rs.
const MODULES: [&str; 30] = [
    "clock",
    "heap",
    "units",
    "small_file",
    "sysroot",
    "topology",
    "reference",
    "claims",
    "window",
    "sched",
    "meters",
    "sampler",
    "attribution",
    "carbon",
    "workload",
    "resolver",
    "metadata",
    "checkpoint",
    "recording",
    "ledger",
    "provider",
    "report",
    "agent",
    "metrics",
    "api",
    "dashboard",
    "serve",
    "tui",
    "cli",
    "fuzz",
];

/// A source file of carbon-user: its path below src, and its code without comments and unit tests.
struct Source {
    path: String,
    code: String,
}

impl Source {
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all: Vec<Source> = files(&top)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = without_tests(&text);
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code = code.collect::<Vec<_>>().join("\n");
            Source { path: path.strip_prefix(&top).unwrap().to_str().unwrap().to_owned(), code }
        })
        .collect();
    assert!(all.len() > 40, "only {} files found", all.len());
    all
}

/// The tests of a file are at its end, or a file of their own that is named anywhere.
fn without_tests(text: &str) -> String {
    let mut parts = text.split("#[cfg(test)]\nmod ");
    let mut code = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once([';', '{']).unwrap();
        if part[name.len()..].starts_with('{') {
            break;
        }
        code.push_str(rest);
    }
    code
}

#[test]
fn code_behind_the_name_of_a_file_of_tests_is_looked_at() {
    let text = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod more {\n c\n}\n";
    assert_eq!(without_tests(text), "a\n\nb\n");
}

fn place(module: &str) -> usize {
    MODULES.iter().position(|known| *known == module).unwrap_or_else(|| panic!("{module} is in no list"))
}

/// First words after `crate::` in the code.
fn imports(code: &str) -> Vec<&str> {
    let after = code.split("crate::").skip(1);
    after.map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()).collect()
}

#[test]
fn a_module_imports_only_what_stands_above_it() {
    assert_eq!(imports("use crate::units::X;\nlet y = crate::clock::now();"), ["units", "clock"]);
    for source in sources().iter().filter(|source| !["lib.rs", "main.rs"].contains(&source.path.as_str())) {
        let own = place(source.module());
        for import in imports(&source.code) {
            assert!(place(import) <= own, "{}: crate::{import}", source.path);
        }
    }
}

/// Files in which one of the words stands.
fn holding(words: &[&str]) -> Vec<String> {
    let mut paths: Vec<String> = sources()
        .into_iter()
        .filter(|source| words.iter().any(|word| source.code.contains(word)))
        .map(|source| source.path)
        .collect();
    paths.sort();
    paths
}

#[test]
fn nothing_is_started_but_the_users_command_and_nothing_dials_out() {
    assert_eq!(holding(&["process::Command", "Command::new"]), ["cli/process.rs"]);
    assert_eq!(
        holding(&["std::net", "TcpStream", "UdpSocket", "tokio::net"]),
        [
            "api/peer.rs",
            "api/server.rs",
            "dashboard/server.rs",
            "metrics/connections.rs",
            "metrics/host.rs",
            "metrics/listen.rs",
            "metrics/server.rs",
            "metrics/tls.rs",
            "serve/server.rs"
        ]
    );
    // Container engines and the kubelet of this machine are asked by a thread of its own.
    // The agent is asked by who wants to be measured by it.
    assert_eq!(
        holding(&["UnixStream"]),
        ["api/client.rs", "api/peer.rs", "api/server.rs", "cli/run_agent.rs", "metadata/http.rs"]
    );
    assert_eq!(holding(&["tonic::client", "tonic::transport", "tonic_prost"]), ["metadata/cri.rs"]);
    // A server is asked only where the user names one, and never by what closes windows.
    assert_eq!(holding(&["tokio_postgres"]), ["ledger/postgres.rs", "ledger/tls.rs"]);
    // Metrics are pushed by a thread of its own, to where the user says.
    assert_eq!(
        holding(&["ureq"]),
        [
            "metadata/engine.rs",
            "metadata/http.rs",
            "metadata/kubelet.rs",
            "metrics/otlp/send.rs",
            "provider/http.rs",
            "provider/prometheus.rs"
        ]
    );
    assert_eq!(
        holding(&["crate::provider"]),
        [
            "cli/error.rs",
            "cli/here.rs",
            "cli/import.rs",
            "cli/intensity.rs",
            "cli/live_values.rs",
            "cli/report_source.rs",
            "cli/report_source/nodes.rs",
            "cli/report_source/series.rs",
            "cli/report_source/shares.rs",
            "cli/send.rs",
            "fuzz.rs"
        ]
    );
    for waits in ["rusqlite", "Ledger::"] {
        let found = holding(&[waits]);
        assert!(
            found.iter().all(|path| path.starts_with("ledger/") || path.starts_with("cli/")),
            "{found:?}"
        );
        let engine = found.iter().any(|path| path.starts_with("cli/engine"));
        assert!(!engine, "{waits}: the window loop waits for no disk");
    }
}

/// Threads are the meters' lanes, which may block, the one that writes what may wait for a disk, those of a terminal,
/// and the load of a calibration;
/// what the first two share with the window loop is mailboxes with a bound.
#[test]
fn drivers_are_read_by_lanes_and_nothing_locks() {
    assert_eq!(
        holding(&["thread::Builder", "thread::spawn", "thread::scope"]),
        [
            "api/server.rs",
            "cli/background.rs",
            "cli/burst.rs",
            "ledger/postgres.rs",
            "metadata/worker.rs",
            "meters/lane.rs",
            "metrics/otlp/mod.rs",
            "metrics/server.rs",
            "serve/desk.rs",
            "tui/thread.rs"
        ]
    );
    assert_eq!(holding(&["Mutex", "RwLock", "Condvar", "mpsc::channel", "unbounded"]), [""; 0]);
    assert_eq!(
        holding(&["mpsc"]),
        [
            "api/server.rs",
            "cli/agent/clients.rs",
            "cli/background.rs",
            "ledger/postgres.rs",
            "metadata/worker.rs",
            "meters/lane.rs",
            "metrics/server.rs",
            "serve/desk.rs",
            "tui/thread.rs"
        ]
    );
    // The window loop's end of a mailbox waits until a deadline; without one only the threads themselves wait.
    let lane = sources().into_iter().find(|source| source.path == "meters/lane.rs").unwrap();
    let (window_loop, thread) = lane.code.split_once("fn serve").unwrap();
    assert!(window_loop.contains("recv_timeout(") && !window_loop.contains(".recv()"));
    assert!(thread.contains(".recv()"));
}

#[test]
fn a_clock_is_read_in_one_place() {
    assert_eq!(
        holding(&["clock_gettime", "SystemTime::now", "Timestamp::now", "std::time::Instant"]),
        ["clock.rs"]
    );
    // The pace of the loops is tokio's own time, which never enters a number.
    let paced = holding(&["Instant::now"]);
    assert_eq!(paced, holding(&["tokio::time::Instant::now", "use tokio::time::{Instant"]));
}

/// The wall clock may be set at any time: it makes the labels of a report, and no window, time or energy.
#[test]
fn the_wall_clock_is_for_labels_only() {
    let found = holding(&["clock::wall", "wall()"]);
    assert!(found.iter().all(|path| path == "clock.rs" || path.starts_with("cli/")), "{found:?}");
    let clock = sources().into_iter().find(|source| source.path == "clock.rs").unwrap();
    assert!(!clock.code.contains("ClockId::Realtime"), "only jiff reads it, for wall()");
}

/// Code below the sampler has a window and nothing to read a counter with.
#[test]
fn nothing_after_the_window_reads_a_counter() {
    for source in
        sources().iter().filter(|source| ["attribution", "carbon", "report"].contains(&source.module()))
    {
        for word in ["snapshot(", "Sampler", "Accounting", "Meter>", "fs::", "File"] {
            assert!(!source.code.contains(word), "{}: {word}", source.path);
        }
    }
    let window = sources().into_iter().find(|source| source.path == "window.rs").unwrap();
    for word in ["Cell", "Mutex", "Atomic"] {
        assert!(!window.code.contains(word), "{word}: a window is made once");
    }
}

#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    let found = holding(&["unsafe {"]);
    let allowed = |path: &str| {
        path.starts_with("sched/")
            || ["api/peer.rs", "cli/process.rs", "cli/signals.rs", "heap.rs"].contains(&path)
    };
    assert!(found.iter().all(|path| allowed(path)), "{found:?}");
}

#[test]
fn links_of_the_documents_lead_to_files() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seen = 0;
    for page in files(&top.join("docs")).into_iter().chain([top.join("README.md")]) {
        if page.extension().is_none_or(|end| end != "md") {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let file = link.0.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                seen += 1;
                assert!(page.with_file_name(file).exists(), "{}: {file}", page.display());
            }
        }
    }
    assert!(seen > 50, "only {seen} links found");
}

/// The programs know the kernel's fields by name only: each offset is a word that userspace fills in.
#[test]
fn no_kernel_offset_is_a_constant() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../carbon-ebpf/src/kernel.rs");
    let text = fs::read_to_string(path).unwrap();
    for field in ["TASK_SUM_EXEC", "CGROUP_KN", "CSS_PARENT", "CPUACCT_CPUUSAGE", "RSTAT_SUM_EXEC"] {
        assert!(text.lines().any(|line| line.trim() == format!("{field};")), "{field} has a value");
    }
}

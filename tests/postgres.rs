//! A real PostgreSQL server for one test: its own cluster, its own port, gone at the end.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// Where Debian and others keep `initdb`.
fn programs() -> Option<PathBuf> {
    let debian =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|it| it.path().join("bin"));
    let mut found: Vec<PathBuf> = debian
        .chain(["/usr/local/bin".into(), "/usr/bin".into()])
        .filter(|it| it.join("initdb").exists() && it.join("psql").exists())
        .collect();
    found.sort();
    found.pop()
}

impl Server {
    /// Starts one whose connections may be encrypted: with it, the file of the authority that vouches for it as `localhost`.
    pub(crate) fn start_with_tls_or_skip(test: &str) -> Option<(Self, PathBuf)> {
        let openssl = |folder: &Path, arguments: &[&str]| {
            let made = Command::new("openssl").current_dir(folder).args(arguments).output();
            made.is_ok_and(|output| output.status.success())
        };
        if !openssl(Path::new("/"), &["version"]) {
            println!("SKIPPED IN PART: {test}: no openssl is installed (Debian: apt-get install openssl)");
            return None;
        }
        let server = Self::start_or_skip(test)?;
        let folder = server.folder.path().to_owned();
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"];
        let authority = ["/CN=a test", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"];
        assert!(openssl(&folder, &[&new[..], &authority].concat()));
        let of_server = [
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=CA:FALSE",
        ];
        let files = [
            "-x509",
            "-days",
            "2",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-keyout",
            "data/server.key",
            "-out",
        ];
        assert!(openssl(&folder, &[&new[..], &of_server, &files, &["data/server.crt"]].concat()));
        fs::set_permissions(folder.join("data/server.key"), fs::Permissions::from_mode(0o600)).unwrap();
        if let Some(user) = Self::user() {
            for name in ["data/server.key", "data/server.crt"] {
                std::os::unix::fs::chown(folder.join(name), Some(user), None).unwrap();
            }
        }
        assert!(server.sql("postgres", "ALTER SYSTEM SET ssl = on"));
        assert!(server.sql("postgres", "SELECT pg_reload_conf()"));
        Some((server, folder.join("ca.pem")))
    }

    /// Starts one; says in a line that is counted where there is none, and why.
    pub(crate) fn start_or_skip(test: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            println!(
                "SKIPPED IN PART: {test}: no PostgreSQL server is installed (Debian: apt-get install postgresql)"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        // A free port: taken and given back.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { folder, programs, port, child: None };
        server.give_to_server_user();
        let data = server.folder.path().join("data");
        let made = server
            .command("initdb")
            .args(["--auth=trust", "--username=carbon", "--encoding=UTF8", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.start_again();
        Some(server)
    }

    /// Starts it with the databases that it has, and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-h", "127.0.0.1", "-F", "-p"])
            .arg(self.port.to_string())
            .arg("-k")
            .arg(self.folder.path())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        for _ in 0..600 {
            if self.sql("postgres", "SELECT 1") {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not answer");
    }

    /// A new database and its URL.
    pub(crate) fn database(&self, name: &str) -> String {
        assert!(self.sql("postgres", &format!("CREATE DATABASE {name}")), "{name}");
        format!("postgres://carbon:secret@127.0.0.1:{}/{name}", self.port)
    }

    /// Stops it at once, as a crash would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
            child.wait().unwrap();
        }
    }

    /// Whether some connection of carbon's to this database is encrypted now.
    pub(crate) fn encrypts(&self, database: &str) -> bool {
        let wanted = "SELECT 1 / count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                      WHERE ssl AND application_name = 'carbon'";
        self.sql(database, wanted)
    }

    /// Whether this is done without an error.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> bool {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-q", "-U", "carbon", "-h", "127.0.0.1", "-p"]).arg(self.port.to_string());
        command.args(["-d", database, "-c", sql]).stderr(Stdio::null()).stdout(Stdio::null());
        command.status().unwrap().success()
    }

    /// The server refuses to run as root: then it runs as the user that its package makes, or as nobody.
    fn user() -> Option<u32> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let of = |name: &str| {
            passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
            })
        };
        of("postgres").or_else(|| of("nobody"))
    }

    fn give_to_server_user(&self) {
        if let Some(user) = Self::user() {
            std::os::unix::fs::chown(self.folder.path(), Some(user), None).unwrap();
        }
    }

    fn command(&self, program: &str) -> Command {
        let path: &Path = &self.programs.join(program);
        let mut command = Command::new(path);
        command.current_dir(self.folder.path());
        if let Some(user) = Self::user() {
            command.uid(user).gid(user);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _gone = rustix::process::kill_process(
                rustix::process::Pid::from_child(child),
                rustix::process::Signal::QUIT,
            );
            let _status = child.wait();
        }
    }
}

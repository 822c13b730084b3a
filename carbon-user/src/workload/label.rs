//! Names for people, short enough for a table. Two workloads can have the same one: reports then tell them apart.

use super::{Identity, Kind, Note, Outer, Realm, Runtime};
use std::fmt;

/// Digits of a container's id, as the engines print it.
const ID_DIGITS: usize = 12;
/// Digits of a pod's uid.
const UID_DIGITS: usize = 8;
/// Ids from this length on are shortened.
const SHORTENED_MIN: usize = 28;

impl Identity {
    /// A name for people; `None` where the path says no more than itself.
    pub fn label(&self) -> Option<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let label = match self.kind {
            Kind::Root => "root".to_owned(),
            Kind::Unknown => return None,
            Kind::Unit | Kind::Slice => self.unit.clone().or_else(|| self.made_by())?,
            Kind::Scope => match &self.container_id {
                Some(_) => self.container(),
                None => text(&self.unit),
            },
            Kind::Session => match &self.unit {
                Some(unit) => unit.trim_end_matches(".scope").replace("session-", "session "),
                None => "session".to_owned(),
            },
            Kind::User => format!("user {}", self.user_uid?),
            Kind::Vm => format!("vm {}", text(&self.vm_name)),
            Kind::Lxc | Kind::Nspawn => format!("{} {}", self.kind, text(&self.container_id)),
            Kind::Job => match &self.job_step {
                Some(step) => format!("job {} step {step}", short(&text(&self.job_id), UID_DIGITS)),
                None => format!("job {}", short(&text(&self.job_id), UID_DIGITS)),
            },
            Kind::Pod => self.pod().unwrap_or_else(|| "pod".to_owned()),
            Kind::Container => self.container(),
        };
        let user = match self.user_uid {
            Some(uid) if self.realm == Realm::User && self.kind != Kind::User => format!(" of user {uid}"),
            _ => String::new(),
        };
        let inner = self.notes.iter().find_map(|note| match note {
            Note::Inner(unit) => Some(format!(": {unit}")),
            _ => None,
        });
        let helper = self.helper.map(|helper| format!(" ({helper})")).unwrap_or_default();
        Some(format!("{label}{user}{}{helper}", inner.unwrap_or_default()))
    }

    fn container(&self) -> String {
        let id = short(self.container_id.as_deref().unwrap_or_default(), ID_DIGITS);
        let maker = self.made_by().unwrap_or_else(|| "container".to_owned());
        match (self.pod(), &self.job_id) {
            (Some(pod), _) => format!("{pod} / {id}"),
            (None, Some(task)) if self.runtime == Some(Runtime::Ecs) => {
                format!("{maker} {} / {id}", short(task, UID_DIGITS))
            }
            _ => format!("{maker} {id}"),
        }
    }

    fn pod(&self) -> Option<String> {
        let of_podman = self.notes.iter().find_map(|note| match note {
            Note::PodmanPod(pod) => Some(format!("podman pod {}", short(pod, ID_DIGITS))),
            _ => None,
        });
        self.pod_uid.as_ref().map(|uid| format!("pod {}", short(uid, UID_DIGITS))).or(of_podman)
    }

    fn made_by(&self) -> Option<String> {
        self.runtime.map(|runtime| runtime.to_string())
    }
}

/// The begin of an id that is only hexadecimal digits, up to the first dash; a name or a number stays whole.
fn short(id: &str, digits: usize) -> &str {
    let is_id = id.len() >= SHORTENED_MIN && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let first = id.split('-').next().unwrap_or(id);
    if is_id { first.get(..digits).unwrap_or(first) } else { id }
}

impl fmt::Display for Outer {
    /// `docker:ID`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(runtime) = self.runtime {
            write!(f, "{runtime}:")?;
        }
        f.write_str(&self.container_id)
    }
}

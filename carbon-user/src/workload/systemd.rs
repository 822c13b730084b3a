//! Units, scopes, slices, sessions and users of systemd, the applications in them, and systems without it.

use super::path::{Walk, is_a, is_uuid, unescaped};
use super::{Kind, Note, Realm, Runtime};

/// Whether a user may own what is below, or a capsule, which has a service manager of its own under a user without rights.
/// The name of the slice itself may have been cut off by a namespace.
pub(super) fn is_of_a_user(name: &str) -> bool {
    let of_capsule = name.starts_with("capsule@") && is_a("service", name);
    matches!(name, "user.slice" | "capsule.slice")
        || of_capsule
        || uid_of_slice(name).is_some()
        || uid_of_manager(name).is_some()
}

/// Whether the top is where sessions were before there were slices (`/user/UID.user/ID.session`), and where `pam_cgfs` of
/// lxcfs makes groups that belong to a user still (`/user/NAME/NUMBER`, in hierarchies of version 1).
pub(super) fn is_top_of_users(name: &str, at: usize) -> bool {
    at == 0 && name == "user"
}

/// Takes `name`, if it is a unit's. Inside a container it is told as an inner one, and the container stays.
pub(super) fn take(walk: &mut Walk<'_>, name: &str) -> bool {
    let Some((stem, suffix)) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) else {
        return without_systemd(walk, name);
    };
    if before_slices(walk, stem, suffix) {
        return true;
    }
    let kind = match suffix {
        "service" | "mount" | "swap" | "socket" => Kind::Unit,
        "scope" => Kind::Scope,
        "slice" => Kind::Slice,
        _ => return false,
    };
    let unit = unescaped(name);
    if walk.identity.kind.is_container() {
        return inner(walk, kind, unit);
    }
    match walk.identity.kind {
        // A pod, and a session, are what they are whatever is below.
        Kind::Pod | Kind::Session | Kind::Job => return false,
        Kind::Unit | Kind::Scope if kind == Kind::Slice => return false,
        _ => {}
    }
    let of_user = walk.identity.realm == Realm::User && !walk.below_manager;
    let identity = &mut walk.identity;
    identity.notes.retain(|note| kind != Kind::Slice && matches!(note, Note::App(_)));
    identity.kind = kind;
    identity.runtime = Some(Runtime::Systemd);
    identity.unit = Some(unit);
    identity.qos = None;
    if of_user {
        if let Some(uid) = uid_of_slice(name) {
            identity.kind = Kind::User;
            identity.user_uid = Some(uid);
        } else if let Some(uid) =
            uid_of_manager(name).filter(|uid| identity.user_uid.is_none_or(|of| of == *uid))
        {
            identity.kind = Kind::User;
            identity.user_uid = Some(uid);
            walk.below_manager = true;
        } else if kind == Kind::Scope && stem.starts_with("session-") {
            identity.kind = Kind::Session;
        }
    }
    application(walk, stem, kind);
    true
}

/// `/user/UID.user/ID.session`, as logind grouped sessions before systemd 205, and where it ran without systemd.
fn before_slices(walk: &mut Walk<'_>, stem: &str, suffix: &str) -> bool {
    let identity = &mut walk.identity;
    if walk.names.first() != Some(&"user") || identity.realm != Realm::User {
        return false;
    }
    match (suffix, identity.kind, stem.parse()) {
        ("user", Kind::Unknown, Ok(uid)) => {
            identity.kind = Kind::User;
            identity.user_uid = Some(uid);
        }
        ("session", Kind::User, _) => identity.kind = Kind::Session,
        _ => return false,
    }
    identity.runtime = Some(Runtime::Systemd);
    true
}

fn inner(walk: &mut Walk<'_>, kind: Kind, unit: String) -> bool {
    // A user's own manager in there is above something smaller.
    if kind == Kind::Slice || unit.starts_with("user@") {
        return false;
    }
    walk.identity.notes.retain(|note| !matches!(note, Note::Inner(_)));
    walk.identity.notes.push(Note::Inner(unit.clone()));
    walk.identity.unit = Some(unit);
    true
}

/// Of `user-UID.slice`.
fn uid_of_slice(name: &str) -> Option<u32> {
    name.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok()
}

/// Of `user@UID.service`.
fn uid_of_manager(name: &str) -> Option<u32> {
    name.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok()
}

/// What the name of a snap's or desktop's unit says of the application.
fn application(walk: &mut Walk<'_>, stem: &str, kind: Kind) {
    let identity = &mut walk.identity;
    if let Some((snap, app)) = snap(stem).filter(|_| kind != Kind::Slice) {
        identity.runtime = Some(Runtime::Snap);
        identity.notes = vec![Note::Snap(snap), Note::App(app)];
        return;
    }
    let Some((launcher, app)) = desktop(stem, kind) else { return };
    if launcher.as_deref() == Some("flatpak") {
        identity.runtime = Some(Runtime::Flatpak);
        identity.notes = vec![Note::App(app)];
        return;
    }
    identity.notes = std::iter::once(Note::App(app)).chain(launcher.map(Note::Launcher)).collect();
}

/// `snap.NAME.APP`, with `-UUID` or `.UUID` behind it for what is not a service.
fn snap(stem: &str) -> Option<(String, String)> {
    let (name, rest) = stem.strip_prefix("snap.")?.split_once('.')?;
    let cut = rest.len().checked_sub(37).filter(|cut| rest.get(cut + 1..).is_some_and(is_uuid));
    let app = cut.and_then(|cut| rest.get(..cut)).unwrap_or(rest);
    (!name.is_empty() && !app.is_empty()).then(|| (unescaped(name), unescaped(app)))
}

/// `app[-LAUNCHER]-APPLICATION-RANDOM.scope` and `.slice`, `app[-LAUNCHER]-APPLICATION[@RANDOM].service` (desktop
/// environments, systemd's `DESKTOP_ENVIRONMENTS`): launcher and application. A slice may go without the random part.
fn desktop(stem: &str, kind: Kind) -> Option<(Option<String>, String)> {
    let rest = stem.strip_prefix("app-")?;
    let rest = rest.split_once('@').map_or(rest, |(name, _)| name);
    let mut parts: Vec<&str> = rest.split('-').collect();
    let random = match kind {
        Kind::Scope => true,
        Kind::Slice => parts.len() > 1,
        _ => false,
    };
    if random {
        parts.pop();
    }
    let app = parts.pop().filter(|app| !app.is_empty() && !app.contains(':'))?;
    Some((parts.pop().map(unescaped), unescaped(app)))
}

/// Talos and Android group their own processes in plain directories at the top.
fn without_systemd(walk: &mut Walk<'_>, name: &str) -> bool {
    let identity = &mut walk.identity;
    if walk.taken > 0 || identity.realm != Realm::Node || identity.kind != Kind::Unknown {
        return false;
    }
    let uid = |name: &str| name.strip_prefix("uid_").and_then(|uid| uid.parse::<u32>().ok());
    match walk.names {
        [top, ..] if *top == name && uid(top).is_some() => identity.user_uid = uid(top),
        ["apps" | "system", app, ..] if *app == name && uid(app).is_some() => identity.user_uid = uid(app),
        ["podruntime" | "system", daemon, ..] if *daemon == name => {
            identity.runtime = Some(Runtime::Talos);
            return true;
        }
        _ => return false,
    }
    identity.runtime = Some(Runtime::Android);
    true
}

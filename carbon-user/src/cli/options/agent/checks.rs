//! Options of the agent of which each is checked by itself: who is asked, who is told, and who may ask.

use super::super::{check_duration, check_name, state_file};
use crate::api;
use crate::cli::args::{AgentArgs, MetadataArg};
use crate::cli::error::CliError;
use crate::metadata::{self, Kubelet, Labels};
use crate::metrics::{Listen, Tls, Token, otlp};
use core::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

const PUSH_MIN: Duration = Duration::from_secs(1);
const PUSH_MAX: Duration = Duration::from_hours(1);
const SOCKET_BYTES_MAX: usize = 100;

/// What is to be said of a secret that other users can read.
pub(super) fn open_secret(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o044 != 0)
        .then(|| format!("{} can be read by other users: chmod 0400 keeps it a secret", path.display()))
}

/// Who is asked for names.
pub(super) fn checked_metadata(args: &AgentArgs) -> Result<Option<metadata::Options>, CliError> {
    let off = args.metadata == MetadataArg::Off;
    let wrong = |url: &str, reason: &str, advice: &str| CliError::Argument {
        option: "--kubelet",
        value: url.to_owned(),
        reason: reason.into(),
        advice: advice.into(),
    };
    let kubelet = match &args.kubelet {
        Some(url) if off => {
            return Err(wrong(url, "nobody is to be asked for names", "leave out --metadata off, or this"));
        }
        Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
            return Err(wrong(url, "not a URL", "give one such as https://127.0.0.1:10250"));
        }
        Some(url) if url.starts_with("http://") && args.kubelet_token.is_some() => {
            return Err(wrong(url, "the token would be sent in the clear", "give an https URL, or no token"));
        }
        Some(url) => Some(Kubelet {
            url: bracketed(url.trim_end_matches('/')),
            token_file: args.kubelet_token.clone(),
            ca_file: args.kubelet_ca.clone(),
        }),
        None => None,
    };
    let wrong = |reason: String, advice: &str| CliError::Argument {
        option: "--labels",
        value: args.labels.join(","),
        reason,
        advice: advice.into(),
    };
    let labels = Labels::new(&args.labels)
        .map_err(|reason| wrong(reason, "give names such as team,app.kubernetes.io/name"))?;
    if off && !labels.0.is_empty() {
        return Err(wrong("nobody is to be asked for names".into(), "leave out --metadata off, or this"));
    }
    let slurm = Some(args.slurm_dir.clone());
    Ok((!off).then(|| metadata::Options { kubelet, slurm, labels, ..metadata::Options::usual() }))
}

/// An IPv6 address in a URL with its brackets (RFC 3986, 3.2.2): Kubernetes gives `status.hostIP` without them, and what follows the
/// last colon is the port there.
fn bracketed(url: &str) -> String {
    let address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    let rewritten = url.split_once("://").and_then(|(scheme, place)| match place.rsplit_once(':') {
        Some((host, port)) if address(host) => Some(format!("{scheme}://[{host}]:{port}")),
        _ if address(place) => Some(format!("{scheme}://[{place}]")),
        _ => None,
    });
    rewritten.unwrap_or_else(|| url.to_owned())
}

/// Where metrics are pushed.
pub(super) fn checked_otlp(args: &AgentArgs, series: usize) -> Result<Option<otlp::Options>, CliError> {
    let interval = check_duration("--otlp-interval", &args.otlp_interval, PUSH_MIN, PUSH_MAX)?;
    let Some(url) = args.otlp.as_deref().filter(|url| !["", "none"].contains(url)) else { return Ok(None) };
    let wrong = |reason: &str, advice: &str| CliError::Argument {
        option: "--otlp",
        value: url.to_owned(),
        reason: reason.into(),
        advice: advice.into(),
    };
    let (encrypted, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(wrong("not a URL", "give one such as http://127.0.0.1:4318")),
    };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let here = ["localhost", "127.", "[::1]"].iter().any(|start| host.starts_with(start));
    if args.otlp_token.is_some() && !encrypted && !here {
        return Err(wrong("the token would be sent in the clear", "give an https URL, or no token"));
    }
    let options = otlp::Options {
        url: url.to_owned(),
        interval,
        token_file: args.otlp_token.clone(),
        ca_file: args.otlp_ca.clone(),
        series,
    };
    sendable(options).map(Some)
}

/// A token that no header holds would fail each push.
fn sendable(options: otlp::Options) -> Result<otlp::Options, CliError> {
    match options.token_unfit() {
        Some(reason) => Err(CliError::Argument {
            option: "--otlp-token",
            value: options.token_file.unwrap_or_default().display().to_string(),
            reason,
            advice: "write the receiver's token, alone, into that file".into(),
        }),
        None => Ok(options),
    }
}

/// What the machine is called: as told, else its host name. That of a container is the container's.
pub(super) fn checked_node(name: Option<&str>) -> Result<String, CliError> {
    match name {
        Some(name) => check_name("--node", name).map(|()| name.to_owned()),
        None => Ok(rustix::system::uname().nodename().to_string_lossy().into_owned()),
    }
}

/// The socket of the local API, and who may connect to it; `none` serves nothing.
pub(super) fn checked_socket(
    path: Option<&Path>,
    mode: &str,
) -> Result<Option<api::server::Listen>, CliError> {
    let wrong = |option, value: String, reason: &str, advice: String| CliError::Argument {
        option,
        value,
        reason: reason.into(),
        advice,
    };
    let bits = u32::from_str_radix(mode.trim(), 8).ok().filter(|bits| *bits <= 0o777);
    let bits = bits.ok_or_else(|| {
        let advice = "give three octal digits, such as 0660".to_owned();
        wrong("--socket-mode", mode.to_owned(), "not a mode", advice)
    })?;
    let path = match path {
        Some(path) => state_file(path.to_owned()),
        None => rustix::process::geteuid().is_root().then(|| api::SOCKET.into()),
    };
    // sun_path of unix(7) has 108 bytes, and the name beside it four more than this one.
    match path {
        Some(path) if path.as_os_str().len() > SOCKET_BYTES_MAX => {
            let advice = format!("give up to {SOCKET_BYTES_MAX} bytes");
            Err(wrong("--socket", path.display().to_string(), "too long for a socket", advice))
        }
        path => Ok(path.map(|path| api::server::Listen { path, mode: bits })),
    }
}

/// With what /metrics is encrypted.
pub(super) fn checked_tls(args: &AgentArgs) -> Result<Option<Tls>, CliError> {
    let (Some(certificates), Some(key)) = (&args.listen_cert, &args.listen_key) else { return Ok(None) };
    Tls::read(certificates, key).map(Some).map_err(|error| CliError::Argument {
        option: "--listen-cert",
        value: certificates.display().to_string(),
        reason: error.to_string(),
        advice: "name a file of certificates and one of their key, both in PEM".into(),
    })
}

/// The address and who may read there; `none` serves nothing.
pub(super) fn checked_listen(
    address: &str,
    token: Option<&Path>,
    tls: Option<Tls>,
) -> Result<Option<Listen>, CliError> {
    if address == "none" {
        return Ok(None);
    }
    let wrong = |option, value: String, reason: String, advice: &str| CliError::Argument {
        option,
        value,
        reason,
        advice: advice.into(),
    };
    let parsed = address.parse().map_err(|_not_one| {
        let advice = "give an address and a port, such as 127.0.0.1:9488 or [::1]:9488, or none";
        wrong("--listen", address.to_owned(), "not an address of a socket".into(), advice)
    })?;
    let shown = || token.map(|path| path.display().to_string()).unwrap_or_default();
    let token = token.map(Token::read).transpose().map_err(|error| {
        wrong("--listen-token", shown(), error.to_string(), "name a file that this user can read")
    })?;
    let listen = Listen::new(parsed, token).map_err(|error| {
        wrong("--listen", address.to_owned(), error.to_string(), "the file is named by --listen-token")
    })?;
    Ok(Some(listen.with_tls(tls)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_no_token_are_refused_at_the_start() {
        let endless = checked_listen("127.0.0.1:9488", Some(Path::new("/dev/zero")), None).unwrap_err();
        assert!(endless.message().contains("/dev/zero"), "{}", endless.message());
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let options = otlp::Options {
            url: "https://a:4318".to_owned(),
            interval: PUSH_MIN,
            token_file: Some(path.to_path_buf()),
            ca_file: None,
            series: 1,
        };
        assert!(sendable(options.clone()).unwrap_err().message().contains("--otlp-token"));
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(sendable(options.clone()).unwrap(), options);
    }

    #[test]
    fn what_others_can_reach_needs_a_token() {
        assert!(checked_listen("127.0.0.1:9488", None, None).unwrap().is_some());
        assert!(checked_listen("none", None, None).unwrap().is_none());
        for (address, says) in [("0.0.0.0:9488", "--listen-token"), ("9488", "give an address and a port")] {
            let message = checked_listen(address, None, None).unwrap_err().message();
            assert!(message.contains(says), "{message}");
        }
    }
}

//! By which names a server may be called. A page in a browser on this machine reads what it likes from a name of its own that
//! was made to point here (DNS rebinding): the name in the Host header tells.

use axum::http::{HeaderMap, header};
use std::net::IpAddr;

/// The Host header, where there is one: browsers always send it.
pub(crate) fn host(headers: &HeaderMap) -> Option<&str> {
    Some(headers.get(header::HOST)?.to_str().unwrap_or_default())
}

/// Whether a Host header may stand for this server. An address cannot be rebound: only a name can be made to point here.
pub(crate) fn is_own<T: AsRef<str>>(host: &str, hosts: &[T]) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => return address.parse::<IpAddr>().is_ok(),
        None => host.split_once(':').map_or(host, |(name, _port)| name),
    };
    let name = name.trim_end_matches('.');
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|own| own.as_ref().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_made_to_point_here_is_refused() {
        let own = ["carbon.example"];
        for host in
            ["localhost", "LOCALHOST:9489", "127.0.0.1:9489", "[::1]:9489", "10.0.0.7", "Carbon.Example:443"]
        {
            assert!(is_own(host, &own), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:9489", "127.0.0.1.evil.example", "", "[x]", "a b"]
        {
            assert!(!is_own(host, &own), "{host}");
        }
    }
}

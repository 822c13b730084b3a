//! Encryption of the connection to a server, and who the server must prove to be.
//!
//! Where the URL asks for it, the server's certificate is always checked, its name too: encryption to whoever answers keeps
//! no password safe. That is `verify-full` of libpq, whatever of its words is used.

use crate::small_file::{self, CERTIFICATES_BYTES_MAX};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How a connection is made.
pub(super) struct Asked {
    /// The URL in the client's own words.
    pub(super) url: String,
    /// With encryption; none for a connection in the clear.
    pub(super) tls: Option<MakeRustlsConnect>,
}

/// From `?sslmode=disable|require|verify-full` and `&sslrootcert=FILE`; `prefer`, which who listens could turn down, and which is
/// libpq's own default, is none.
pub(super) fn asked(url: &str) -> Result<Asked, String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => roots = Some(value),
            _ => rest.push(option),
        }
    }
    let tls = match (mode, roots) {
        (None | Some("disable" | "prefer"), None) => None,
        (None | Some("require" | "verify-ca" | "verify-full"), roots) => Some(connector(roots)?),
        (Some("disable" | "prefer"), Some(_)) => {
            return Err("sslrootcert needs sslmode=require".to_owned());
        }
        (Some(other), _) => {
            return Err(format!("sslmode {other:?} is not one of disable, require, verify-full"));
        }
    };
    rest.push(if tls.is_some() { "sslmode=require" } else { "sslmode=disable" });
    Ok(Asked { url: format!("{base}?{}", rest.join("&")), tls })
}

/// Trusts the authorities in the file of PEM certificates, else those that browsers do (Mozilla's).
fn connector(roots: Option<&str>) -> Result<MakeRustlsConnect, String> {
    let mut store = RootCertStore::empty();
    if let Some(path) = roots {
        let failed = |reason: String| format!("cannot use the certificates of {path}: {reason}");
        let pem = small_file::bytes(Path::new(path), CERTIFICATES_BYTES_MAX);
        let pem = pem.map_err(|error| failed(error.to_string()))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            store.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(failed("there is none in it".to_owned()));
        }
    } else {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_told_from_the_rest() {
        for (url, said, encrypted) in [
            ("postgres://h/d", "postgres://h/d?sslmode=disable", false),
            ("postgres://h/d?a=b", "postgres://h/d?a=b&sslmode=disable", false),
            ("postgres://h/d?sslmode=require&a=b", "postgres://h/d?a=b&sslmode=require", true),
            ("postgres://h/d?sslmode=verify-full", "postgres://h/d?sslmode=require", true),
        ] {
            let asked = asked(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((asked.url.as_str(), asked.tls.is_some()), (said, encrypted), "{url}");
        }
        for (url, said) in [
            ("postgres://h/d?sslmode=maybe", "sslmode \"maybe\""),
            ("postgres://h/d?sslmode=disable&sslrootcert=x", "needs sslmode=require"),
            ("postgres://h/d?sslrootcert=/nonexistent/ca.pem", "cannot use the certificates of /nonexistent"),
            ("postgres://h/d?sslrootcert=/dev/null", "there is none in it"),
        ] {
            let error = asked(url).map(|asked| asked.url).unwrap_err();
            assert!(error.contains(said), "{url}: {error}");
        }
    }
}

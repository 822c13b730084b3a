//! Encryption of what is served: certificates and their key, replaced while it runs.

use crate::small_file::{self, CERTIFICATES_BYTES_MAX};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Why a file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Not there, not readable, or not PEM.
    #[error("cannot read {}: {reason}", .path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Not of each other, or of a kind that is not known.
    #[error("the certificates and the key cannot be used: {0}")]
    Unfit(#[from] rustls::Error),
}

/// Certificates and key; two with the same files are the same. A copy has the same certificates, after a replacement too.
#[derive(Clone)]
pub struct Tls {
    files: [PathBuf; 2],
    config: Arc<ArcSwap<ServerConfig>>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads both files, in PEM; the certificates that the first is signed with come after it.
    pub fn read(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let unread = |path: &Path, error: &dyn fmt::Display| TlsError::Unread {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let read = |path: &Path| {
            small_file::bytes(path, CERTIFICATES_BYTES_MAX).map_err(|error| unread(path, &error))
        };
        let pem = read(certificates)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| unread(certificates, &error))?;
        if chain.is_empty() {
            return Err(unread(certificates, &"there is no certificate in it"));
        }
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unread(key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, secret)?;
        let files = [certificates.to_owned(), key.to_owned()];
        Ok(Self { files, config: Arc::new(ArcSwap::from_pointee(config)) })
    }

    /// Takes another's for connections from now on.
    pub(super) fn replace(&self, new: &Self) {
        self.config.store(new.config.load_full());
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(stream).await
    }
}

//! Where the server listens, and who may read: loopback by default, and nothing else without a token.
//!
//! Energy at a high rate tells what others compute (PLATYPUS, CVE-2020-8694), so it is not given to the whole network.

use super::tls::Tls;
use crate::small_file::{self, SECRET_BYTES_MAX};
use arc_swap::ArcSwap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// Why the server may not listen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Readable by others, and no token.
    #[error(
        "{0} can be reached from other machines: give a file with a bearer token, or listen on 127.0.0.1"
    )]
    TokenMissing(SocketAddr),
    /// The file of the token.
    #[error("cannot read the bearer token in {path}: {source}")]
    TokenUnread {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What is in it.
    #[error("the bearer token in {path} must be one line of {min} or more printable characters without spaces; write one with: openssl rand -hex 32", min = Token::LENGTH_MIN)]
    TokenUnfit {
        /// The file.
        path: PathBuf,
    },
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The thread or its runtime.
    #[error("cannot start the thread of the server: {0}")]
    Thread(std::io::Error),
}

/// A secret that readers must show; never printed. A copy has the same secret, after a replacement too.
#[derive(Clone)]
pub struct Token(Arc<ArcSwap<String>>);

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        *self.0.load_full() == *other.0.load_full()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Shorter ones can be guessed.
    pub const LENGTH_MIN: usize = 16;

    /// Reads it from a file.
    pub fn read(path: &Path) -> Result<Self, ListenError> {
        let text = small_file::text(path, SECRET_BYTES_MAX)
            .map_err(|source| ListenError::TokenUnread { path: path.to_owned(), source })?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.len() < Self::LENGTH_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ListenError::TokenUnfit { path: path.to_owned() });
        }
        Ok(Self::of(text.to_owned()))
    }

    /// One that no fuzzer finds.
    #[cfg(any(test, fuzzing))]
    pub(super) fn for_fuzzing() -> Self {
        Self::of("f".repeat(64))
    }

    fn of(secret: String) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(secret)))
    }

    /// Itself, for who shows it, or keeps its hash.
    pub fn text(&self) -> String {
        String::clone(&self.0.load())
    }

    /// Takes another's from now on; whether that is another one.
    fn replace(&self, new: &Self) -> bool {
        let new = new.0.load_full();
        self.0.swap(Arc::clone(&new)) != new
    }

    /// Whether an `Authorization` header shows it. How long that takes tells nothing but whether the length is right.
    pub fn is_shown(&self, header: Option<&[u8]>) -> bool {
        let Some((scheme, shown)) = header.and_then(|text| text.split_at_checked(7)) else { return false };
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return false;
        }
        shown.ct_eq(self.0.load().as_bytes()).into()
    }
}

/// An address, and the token where there is one. One that others reach has a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    address: SocketAddr,
    token: Option<Token>,
    tls: Option<Tls>,
}

impl Listen {
    /// Where it listens unless told otherwise.
    pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9488);

    /// Refuses an address that others reach without a token.
    pub fn new(address: SocketAddr, token: Option<Token>) -> Result<Self, ListenError> {
        if !address.ip().is_loopback() && token.is_none() {
            return Err(ListenError::TokenMissing(address));
        }
        Ok(Self { address, token, tls: None })
    }

    /// Encrypted, where there is something to do that with.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Whether nobody else listens there.
    pub fn is_free(&self) -> bool {
        std::net::TcpListener::bind(self.address).is_ok()
    }

    /// The token, where there is one.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The certificates and their key, where there are some.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Takes another's token, and certificates with their key, for requests and connections from now on, here and in all
    /// copies. Whether there is a token or encryption at all stays as it was. Gives whether the token is another one.
    pub fn renew(&self, new: &Self) -> bool {
        if let (Some(own), Some(new)) = (&self.tls, &new.tls) {
            own.replace(new);
        }
        match (&self.token, &new.token) {
            (Some(own), Some(new)) => own.replace(new),
            _ => false,
        }
    }

    pub(crate) fn into_parts(self) -> (SocketAddr, Option<Token>, Option<Tls>) {
        (self.address, self.token, self.tls)
    }
}

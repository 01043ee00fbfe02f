//! TLS of sinks: rustls with ring, certificates from PEM files.
//!
//! Files are read anew for each connection, so that a renewed certificate is used
//! without a restart.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::target::{ClientCertificate, Tls};

/// The cryptography, explicitly: nothing in this process installs a default one.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How this client verifies the server, and what it shows of itself.
///
/// # Errors
/// If a file cannot be read or does not hold what it should; the file is named.
pub(super) fn client_config(tls: &Tls) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(authorities(tls)?);
    if added == 0 {
        return Err(format!("no usable certificate authority in {}", source(tls)));
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some(client) = &tls.client else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = identity(client)?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| format!("{} and {}: {error}", client.chain.display(), client.key.display()))
}

/// The authorities that a server's certificate may come from.
///
/// # Errors
/// As [`client_config`].
pub(super) fn authorities(tls: &Tls) -> Result<Vec<CertificateDer<'static>>, String> {
    let Some(path) = &tls.ca else {
        let found = rustls_native_certs::load_native_certs();
        return match (found.certs.is_empty(), found.errors.first()) {
            (false, _) => Ok(found.certs),
            (true, Some(error)) => Err(format!("cannot read this host's certificate authorities: {error}")),
            (true, None) => Err("this host has no certificate authorities: name a file with `ca`".to_owned()),
        };
    };
    certificates(path)
}

/// What this client shows of itself.
///
/// # Errors
/// As [`client_config`].
pub(super) fn identity(
    client: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let key = PrivateKeyDer::from_pem_file(&client.key)
        .map_err(|error| format!("cannot read a private key from {}: {error}", client.key.display()))?;
    Ok((certificates(&client.chain)?, key))
}

/// Reads the files, and connects to nobody.
///
/// # Errors
/// The key that is wrong, and how.
pub(super) fn inspect(tls: &Tls) -> Result<(), (&'static str, String)> {
    authorities(tls).map_err(|error| ("tls_ca", error))?;
    if let Some(client) = &tls.client {
        certificates(&client.chain).map_err(|error| ("tls_cert", error))?;
        identity(client).map_err(|error| ("tls_key", error))?;
    }
    let key = if tls.client.is_some() { "tls_cert" } else { "tls_ca" };
    client_config(tls).map(drop).map_err(|error| (key, error))
}

/// The name that the server's certificate must be for.
///
/// # Errors
/// If it is neither a DNS name nor an address.
pub(super) fn server_name(tls: &Tls, host: &str) -> Result<ServerName<'static>, String> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name that a certificate could be for"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error| format!("cannot read certificates from {}: {error}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() { Err(format!("no certificate in {}: name a PEM file", path.display())) } else { Ok(found) }
}

fn source(tls: &Tls) -> String {
    tls.ca.as_ref().map_or_else(|| "this host's store".to_owned(), |path| path.display().to_string())
}

//! The certificate under which this device serves HTTPS.
//!
//! Browsers do not support Ed25519, so the device's own key is not used. A separate ECDSA P-256 key
//! is generated once and stored in a file that only the owner can read. The certificate is
//! self-signed, lists the names and addresses of this device, and is reissued when they change or
//! it is about to expire. The key stays the same, and so does the *fingerprint*: the SHA-256 of the
//! public key (of its SubjectPublicKeyInfo in DER).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, HEXLOWER};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SerialNumber,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, Time};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use super::nearby::Nearby;
use crate::device::random;
use crate::home::Home;
use crate::private_file;

/// Systems refuse certificates that are valid for longer than 398 days.
const VALID: Duration = days(390);
/// A certificate is replaced this long before it expires.
const RENEW: Duration = days(30);
/// Certificates are backdated by this much, because other devices' clocks may be behind.
const EARLIER: Duration = days(2);
/// Most names and addresses in a certificate.
const MOST_NAMES: usize = 48;
/// Largest file that is read, in bytes.
const MOST_BYTES: usize = 1 << 16;

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 60 * 60)
}

/// The device's certificate, which is replaced when its names change. Clones share one state.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    path: PathBuf,
    key: KeyPair,
    provider: Arc<rustls::crypto::CryptoProvider>,
    fingerprint: String,
    current: Mutex<Current>,
}

struct Current {
    kept: Kept,
    certified: Arc<CertifiedKey>,
}

/// A certificate as stored on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    names: BTreeSet<String>,
    /// Expiry, in seconds since 1970.
    until: u64,
    /// DER in base64.
    der: String,
}

/// The certificate is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No cryptography for this processor.
    #[error(
        "this build has no TLS for this processor, so nothing can be shared: serve HTTP on this device only"
    )]
    NoTls,
    /// A file could not be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The key file contains something else.
    #[error(
        "{} holds no key: remove it, and a new one is made; guests then see another fingerprint",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// Generating the certificate failed.
    #[error("cannot make a certificate: {0}")]
    Making(String),
}

impl Certificate {
    /// Loads or creates the certificate of a home, for these names and addresses.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn of(home: &Home, names: &[String]) -> Result<Self, CertificateError> {
        let provider = crate::tls::provider().ok_or(CertificateError::NoTls)?;
        let key = key_of(home)?;
        let fingerprint = HEXLOWER.encode(&Sha256::digest(key.subject_public_key_info()));
        let path = home.root().join("https-certificate.json");
        let now = SystemTime::now();
        let names = usable(names, &fingerprint);
        let bytes = private_file::read(&path, MOST_BYTES).ok().flatten();
        let kept = bytes.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kept = kept.filter(|kept| kept.names == names && !kept.is_nearly_over(now));
        // A certificate that is unreadable or belongs to another key is replaced.
        let certified = kept.and_then(|kept| {
            let certified = certify(&kept, &key, &provider).ok()?;
            Some(Current { kept, certified })
        });
        let current = match certified {
            Some(current) => current,
            None => make(&path, names, &key, &provider, now)?,
        };
        Ok(Self(Arc::new(Inner {
            path,
            key,
            provider,
            fingerprint,
            current: Mutex::new(current),
        })))
    }

    /// The SHA-256 of the public key, in hexadecimal. It never changes.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// Replaces the certificate if it is about to expire or its names differ from these. Returns
    /// whether it was replaced.
    ///
    /// # Errors
    /// [`CertificateError`]; the old certificate stays in use.
    pub fn renew_for(&self, names: &[String]) -> Result<bool, CertificateError> {
        let names = usable(names, &self.0.fingerprint);
        let now = SystemTime::now();
        let mut current = self
            .0
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if current.kept.names == names && !current.kept.is_nearly_over(now) {
            return Ok(false);
        }
        *current = make(&self.0.path, names, &self.0.key, &self.0.provider, now)?;
        Ok(true)
    }

    /// The current certificate in PEM, for clients that trust what a file holds.
    pub fn pem(&self) -> String {
        const LINE: usize = 64;
        let current = self
            .0
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
        // It is stored in base64, which is ASCII.
        for (at, letter) in current.kept.der.chars().enumerate() {
            if at > 0 && at % LINE == 0 {
                text.push('\n');
            }
            text.push(letter);
        }
        text.push_str("\n-----END CERTIFICATE-----\n");
        text
    }

    /// The TLS configuration that uses this certificate.
    ///
    /// # Errors
    /// [`CertificateError::Making`].
    pub(super) fn config(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        let resolver = Resolver(Arc::clone(&self.0));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| CertificateError::Making(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl Kept {
    fn is_nearly_over(&self, now: SystemTime) -> bool {
        let until =
            SystemTime::UNIX_EPOCH + Duration::from_secs(self.until.min(u64::from(u32::MAX)));
        now + RENEW >= until
    }
}

/// Gives TLS the current certificate.
struct Resolver(Arc<Inner>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self
            .0
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.certified))
    }
}

/// The names that a certificate can hold: ASCII and at most [`MOST_NAMES`], plus the announced
/// name.
fn usable(names: &[String], fingerprint: &str) -> BTreeSet<String> {
    let is_usable = |name: &&String| {
        !name.is_empty() && name.len() <= 253 && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    names
        .iter()
        .filter(is_usable)
        .take(MOST_NAMES)
        .map(|name| name.to_ascii_lowercase())
        .chain([Nearby::host_name(fingerprint)])
        .collect()
}

fn key_of(home: &Home) -> Result<KeyPair, CertificateError> {
    let path = home.root().join("https-key.der");
    let failed = |source| CertificateError::File {
        path: path.clone(),
        source,
    };
    if private_file::read(&path, MOST_BYTES)
        .map_err(failed)?
        .is_none()
    {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| making(&error))?;
        // If another process has just created the key, that key is used.
        private_file::create(&path, key.serialized_der()).map_err(failed)?;
    }
    let bytes = private_file::read(&path, MOST_BYTES).map_err(failed)?;
    let der = PrivatePkcs8KeyDer::from(bytes.unwrap_or_default());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
    key.map_err(|_| CertificateError::Key { path })
}

fn making(error: &dyn std::error::Error) -> CertificateError {
    CertificateError::Making(error.to_string())
}

/// Creates a certificate and stores it.
fn make(
    path: &Path,
    names: BTreeSet<String>,
    key: &KeyPair,
    provider: &rustls::crypto::CryptoProvider,
    now: SystemTime,
) -> Result<Current, CertificateError> {
    let all: Vec<String> = names.iter().cloned().collect();
    let mut params = CertificateParams::new(all).map_err(|error| making(&error))?;
    let until = now + VALID;
    let midnight = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
        let at = OffsetDateTime::from_unix_timestamp(seconds);
        at.unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .replace_time(Time::MIDNIGHT)
    };
    (params.not_before, params.not_after) = (midnight(now - EARLIER), midnight(until));
    // Browsers refuse two certificates of one issuer with the same serial number.
    let mut serial: [u8; 16] = random().map_err(|error| making(&error))?;
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from(serial.to_vec()));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Potluck");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let made = params.self_signed(key).map_err(|error| making(&error))?;
    let since = until.duration_since(SystemTime::UNIX_EPOCH);
    let kept = Kept {
        names,
        until: since.unwrap_or_default().as_secs(),
        der: BASE64.encode(made.der()),
    };
    let certified = certify(&kept, key, provider)?;
    let bytes = serde_json::to_vec(&kept).map_err(io::Error::from);
    let written = bytes.and_then(|bytes| private_file::replace(path, &bytes));
    written.map_err(|source| CertificateError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(Current { kept, certified })
}

/// A certificate in TLS's form, if it belongs to this key.
fn certify(
    kept: &Kept,
    key: &KeyPair,
    provider: &rustls::crypto::CryptoProvider,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    let der = BASE64.decode(kept.der.as_bytes());
    let der = CertificateDer::from(der.map_err(|error| making(&error))?);
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = provider.key_provider.load_private_key(private);
    let certified = CertifiedKey::new(vec![der], signing.map_err(|error| making(&error))?);
    certified.keys_match().map_err(|error| making(&error))?;
    Ok(Arc::new(certified))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn der(certificate: &Certificate) -> Vec<u8> {
        let current = certificate.0.current.lock().expect("no panic");
        current.certified.cert[0].to_vec()
    }

    #[test]
    fn a_certificate_stays_until_its_names_change_and_its_key_for_good() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path().join("home"));
        let at_home = names(&["192.168.1.5", "kitchen.local", "fd00::1"]);
        let first = Certificate::of(&home, &at_home).expect("made");
        assert_eq!(first.fingerprint().len(), 64);
        let pem = first.pem();
        assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
        let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        assert_eq!(BASE64.decode(lines.as_bytes()), Ok(der(&first)));
        let again = Certificate::of(&home, &at_home).expect("read");
        assert_eq!(der(&again), der(&first));
        assert!(!again.renew_for(&at_home).expect("nothing to do"));
        let elsewhere = names(&["10.0.0.7", "kitchen.local"]);
        assert!(again.renew_for(&elsewhere).expect("made"));
        assert_ne!(der(&again), der(&first));
        assert_eq!(again.fingerprint(), first.fingerprint());
        let third = Certificate::of(&home, &elsewhere).expect("read");
        assert_eq!(der(&third), der(&again));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let key = home.root().join("https-key.der");
            let mode = std::fs::metadata(key).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn damaged_files_are_replaced_or_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path());
        let names = names(&["192.168.1.5", "no name", ""]);
        let first = Certificate::of(&home, &names).expect("made");
        let path = home.root().join("https-certificate.json");
        let mut kept: Kept =
            serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
        // The second name is the announced one.
        assert_eq!(kept.names.len(), 2);
        for damage in [
            |kept: &mut Kept| kept.der = "AAAA".to_owned(),
            |kept: &mut Kept| kept.until = 1_000,
            |kept: &mut Kept| kept.der = "!".to_owned(),
        ] {
            damage(&mut kept);
            std::fs::write(&path, serde_json::to_vec(&kept).expect("JSON")).expect("writable");
            let made = Certificate::of(&home, &names).expect("made anew");
            assert_ne!(der(&made), der(&first));
            assert_eq!(made.fingerprint(), first.fingerprint());
        }
        std::fs::write(home.root().join("https-key.der"), b"x").expect("writable");
        let error = Certificate::of(&home, &names).err().expect("refused");
        assert!(error.to_string().contains("https-key.der"), "{error}");
    }
}

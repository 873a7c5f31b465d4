//! TLS in pure Rust.
//!
//! Graviola needs no C compiler, but supports only two architectures, and only processors with the
//! instructions that its code uses: it has no fallback and aborts the program without them.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::CryptoProvider;

/// The cryptography provider for TLS, where one is available.
pub(crate) fn provider() -> Option<Arc<CryptoProvider>> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return is_supported().then(|| Arc::new(rustls_graviola::default_provider()));
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    None
}

#[cfg(target_arch = "x86_64")]
fn is_supported() -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("avx")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("adx")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
}

#[cfg(target_arch = "aarch64")]
fn is_supported() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
        && std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2")
}

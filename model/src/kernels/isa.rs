//! Which instruction set the kernels use: detected once, or forced.

use std::fmt;
use std::str::FromStr;

use super::simd::{Simd, portable::Portable};

/// An instruction set this CPU has. Values come only from [`Isa::detect`] and [`Isa::available`],
/// so holding one is the proof that its kernels may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(Name);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Scalar,
    Avx2,
    AvxVnni,
    Avx512,
    Neon,
    Dotprod,
    I8mm,
}

/// Why a forced instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// The name is not one of those known.
    #[error(
        "unknown instruction set {0:?}: use scalar, avx2, avxvnni, avx512, neon, dotprod or i8mm"
    )]
    Unknown(String),
    /// The name is known, the CPU lacks it.
    #[error("this CPU has no {0}: it has {1}")]
    Missing(String, String),
}

impl Name {
    const ALL: [Self; 7] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Neon,
        Self::Dotprod,
        Self::I8mm,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
        }
    }

    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Self::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Self::I8mm => {
                Self::Dotprod.is_available() && std::arch::is_aarch64_feature_detected!("i8mm")
            }
            _ => false,
        }
    }
}

impl Isa {
    /// Plain Rust, available everywhere.
    pub const SCALAR: Self = Self(Name::Scalar);

    /// The best instruction set of this CPU, or the one that the environment variable
    /// `POTLUCK_ISA` names (`scalar`, `avx2`, `avxvnni`, `avx512`, `neon`, `dotprod`,
    /// `i8mm`).
    ///
    /// # Errors
    /// The variable names something unknown, or something this CPU lacks.
    pub fn detect() -> Result<Self, IsaError> {
        match std::env::var("POTLUCK_ISA") {
            Ok(name) => name.parse(),
            Err(_) => Ok(Self::available().last().copied().unwrap_or(Self::SCALAR)),
        }
    }

    /// All that this CPU has, from the plainest to the best.
    pub fn available() -> Vec<Self> {
        Name::ALL
            .into_iter()
            .filter(|n| n.is_available())
            .map(Self)
            .collect()
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        let found = Name::ALL
            .into_iter()
            .find(|n| n.as_str() == name.to_ascii_lowercase())
            .ok_or_else(|| IsaError::Unknown(name.to_owned()))?;
        if !found.is_available() {
            let have: Vec<_> = Self::available().iter().map(Self::to_string).collect();
            return Err(IsaError::Missing(name.to_owned(), have.join(", ")));
        }
        Ok(Self(found))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// A computation generic over the instruction set.
pub(crate) trait Kernel {
    type Output;

    /// Must be `#[inline(always)]`, with everything it calls, so that it is compiled inside the
    /// function that enables the instructions.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` with the instructions of `isa`.
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa.0 {
        Name::Scalar => kernel.run(Portable),
        // SAFETY: an `Isa` is the proof that the CPU has the instructions.
        #[cfg(target_arch = "x86_64")]
        Name::Avx2 => unsafe { x86::avx2(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Name::AvxVnni => unsafe { x86::avx_vnni(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Name::Avx512 => unsafe { x86::avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Name::Neon => unsafe { arm::neon(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Name::Dotprod => unsafe { arm::dotprod(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Name::I8mm => unsafe { arm::i8mm(kernel) },
        _ => unreachable!("an Isa of another architecture is never made"),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Kernel;
    use crate::kernels::simd::{avx2::Avx2, avx512::Avx512};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn avx2<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller promises the instructions.
        kernel.run(unsafe { Avx2::<false>::new() })
    }

    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    pub(super) unsafe fn avx_vnni<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller promises the instructions.
        kernel.run(unsafe { Avx2::<true>::new() })
    }

    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) unsafe fn avx512<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller promises the instructions.
        kernel.run(unsafe { Avx512::new() })
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Kernel;
    use crate::kernels::simd::neon::Neon;

    #[target_feature(enable = "neon")]
    pub(super) unsafe fn neon<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller promises the instructions.
        kernel.run(unsafe { Neon::<false, false>::new() })
    }

    #[target_feature(enable = "neon,dotprod")]
    pub(super) unsafe fn dotprod<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller promises the instructions.
        kernel.run(unsafe { Neon::<true, false>::new() })
    }

    #[target_feature(enable = "neon,dotprod,i8mm")]
    pub(super) unsafe fn i8mm<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: the caller promises the instructions.
        kernel.run(unsafe { Neon::<true, true>::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_names_are_refused_in_words() {
        let unknown = "mmx".parse::<Isa>().expect_err("not known");
        assert!(unknown.to_string().contains("use scalar"));
        let foreign = if cfg!(target_arch = "x86_64") {
            "neon"
        } else {
            "avx2"
        };
        let missing = foreign.parse::<Isa>().expect_err("not of this CPU");
        assert!(missing.to_string().contains("scalar"), "{missing}");
    }

    #[test]
    fn scalar_is_always_there_and_plainest() {
        assert_eq!(Isa::available().first(), Some(&Isa::SCALAR));
        assert_eq!("Scalar".parse(), Ok(Isa::SCALAR));
    }
}

use crate::error::{Error, Result};

/// A level of vector instructions. Kernels are written once over [`super::simd::Simd`] and compiled for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What every processor of the target has, eight lanes a vector.
    Portable,
    /// 128-bit vectors of aarch64.
    Neon,
    /// 256-bit vectors, FMA and F16C.
    Avx2,
    /// 512-bit vectors: F, BW, DQ, VL, VNNI.
    Avx512,
    /// As `Avx512`, with dot products of bf16 pairs.
    Avx512Bf16,
}

impl Isa {
    /// Name as `FQGAN_ISA` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
        }
    }

    /// All levels that this processor has, lowest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16]
            .into_iter()
            .filter(|i| i.present())
    }

    /// The widest level here.
    pub fn best() -> Isa {
        Isa::available().last().unwrap_or(Isa::Portable)
    }

    /// The widest level, or the one that `FQGAN_ISA` names.
    ///
    /// # Errors
    /// `InvalidArgument` when the name is unknown or this processor lacks it.
    pub fn from_environment() -> Result<Isa> {
        let Some(name) = std::env::var_os("FQGAN_ISA") else { return Ok(Isa::best()) };
        Isa::available().find(|i| name == i.name()).ok_or_else(|| {
            let have: Vec<_> = Isa::available().map(Isa::name).collect();
            Error::invalid(format!("FQGAN_ISA={} is not one of {}", name.to_string_lossy(), have.join(", ")))
        })
    }

    /// Whether products of bf16 pairs are instructions here, rather than steps in f32.
    pub fn multiplies_bf16(self) -> bool {
        self == Isa::Avx512Bf16
    }

    fn present(self) -> bool {
        match self {
            Isa::Portable => true,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.present()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Isa::Avx512.present() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }
}

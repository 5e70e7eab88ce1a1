use std::ffi::c_char;

/// The version of this interface. A library of version n has everything of versions 1 to n.
pub const FQGAN_ABI_VERSION: u32 = 1;

/// The version of the interface that the library was built with: compare it with FQGAN_ABI_VERSION, which is
/// that of this header.
#[unsafe(no_mangle)]
pub extern "C" fn fqgan_abi_version() -> u32 {
    FQGAN_ABI_VERSION
}

/// The version of the library, as "0.1.0". The string lives as long as the library is loaded.
#[unsafe(no_mangle)]
pub extern "C" fn fqgan_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

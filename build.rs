//! Gives the shared library the name that programs ask the loader for. The number is that of the C ABI.
//! With the feature `cuda`, also builds what that takes.

#[cfg(feature = "cuda")]
#[path = "cuda/build.rs"]
mod cuda;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    cuda::build();
    match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos" | "ios") => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libfqgan.1.dylib");
        }
        Ok("linux" | "android" | "freebsd") => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libfqgan.so.1");
        }
        _ => {}
    }
}

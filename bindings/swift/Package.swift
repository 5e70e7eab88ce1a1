// swift-tools-version: 6.0
// libfqgan for Swift. pkg-config must find the library: scripts/install.sh --prefix P, and P/lib/pkgconfig in
// PKG_CONFIG_PATH. Depend on it by path, from a clone: .package(path: "libfqgan/bindings/swift").
import PackageDescription

let package = Package(
  name: "Fqgan",
  platforms: [.macOS(.v13), .iOS(.v16)],
  products: [
    .library(name: "Fqgan", targets: ["Fqgan"]),
    .executable(name: "fqgan-swift", targets: ["fqgan-swift"]),
  ],
  targets: [
    .systemLibrary(name: "CFqgan", pkgConfig: "fqgan"),
    .target(name: "Fqgan", dependencies: ["CFqgan"]),
    .executableTarget(name: "fqgan-swift", dependencies: ["Fqgan"]),
    .testTarget(name: "FqganTests", dependencies: ["Fqgan"]),
  ],
  swiftLanguageModes: [.v6]
)

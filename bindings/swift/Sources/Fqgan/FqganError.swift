import CFqgan

/// What a call of the library said.
public struct FqganError: Error, Equatable, CustomStringConvertible {
  /// What kind of thing went wrong.
  public enum Status: Int32, Sendable {
    /// An argument cannot be.
    case invalidArgument = 1
    /// The operating system refused to read or write.
    case io = 2
    /// A file is not what it should be.
    case format = 3
    /// Valid, but not something that this build, device or type can do.
    case unsupported = 4
    /// Memory, or the limit that was set, does not suffice.
    case outOfMemory = 5
    /// No driver, no such GPU, or a launch failed.
    case device = 6
    /// The call was asked to stop.
    case cancelled = 7
    /// A bug of the library. Models stay usable.
    case `internal` = 8
  }

  public let status: Status
  public let message: String

  public var description: String { message }

  static func invalid(_ message: String) -> FqganError { FqganError(status: .invalidArgument, message: message) }
}

/// The version of the library that is linked, as "0.1.0".
public var version: String { String(cString: fqgan_version()) }

/// The version of the C interface that the library was built with.
public var abiVersion: Int { Int(fqgan_abi_version()) }

/// Runs a call of the library; its failure is thrown.
func check(_ call: (UnsafeMutablePointer<fqgan_error>) -> fqgan_status) throws(FqganError) {
  var error = fqgan_error()
  fqgan_error_init(&error)
  let status = call(&error)
  if status == FQGAN_OK { return }
  let message = withUnsafeBytes(of: &error.message) { bytes in
    String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
  }
  throw FqganError(status: FqganError.Status(rawValue: status) ?? .internal, message: message)
}

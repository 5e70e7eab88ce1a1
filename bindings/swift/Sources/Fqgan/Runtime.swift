import CFqgan

/// A device and the threads that feed it. Any number of models share one, from any task.
public final class Runtime: Sendable {
  public enum Device: Int32, Sendable {
    case auto = 0
    case cpu = 1
    case cuda = 2
  }

  // The library takes calls from any thread.
  nonisolated(unsafe) let handle: OpaquePointer

  /// Makes a runtime; 0 threads are one per physical core.
  public init(device: Device = .auto, index: UInt32 = 0, threads: UInt32 = 0) throws(FqganError) {
    var options = fqgan_runtime_options()
    fqgan_runtime_options_init(&options)
    options.device = device.rawValue
    options.device_index = index
    options.threads = threads
    var made: OpaquePointer?
    try check { fqgan_runtime_create(&options, &made, $0) }
    handle = made!
  }

  deinit { fqgan_runtime_destroy(handle) }
}

/// How to open a model.
public struct ModelOptions: Sendable {
  public enum Precision: Int32, Sendable {
    /// Exact, the default.
    case f32 = 0
    /// 16-bit brain floats for the products, sums in 32 bits.
    case bf16 = 1
    /// 8-bit weights, for generators.
    case int8 = 2
  }

  public var precision = Precision.f32
  /// Whether the file is mapped; false reads it, for files that may be cut short while they are open.
  public var mapped = true
  /// Bytes of working memory, past which calls fail; 0: no limit.
  public var memoryLimit: UInt64 = 0

  public init(precision: Precision = .f32, mapped: Bool = true, memoryLimit: UInt64 = 0) {
    self.precision = precision
    self.mapped = mapped
    self.memoryLimit = memoryLimit
  }

  var c: fqgan_model_options {
    var options = fqgan_model_options()
    fqgan_model_options_init(&options)
    options.precision = precision.rawValue
    options.map = mapped ? FQGAN_MAP_ON : FQGAN_MAP_OFF
    options.memory_limit = memoryLimit
    return options
  }
}

/// A weight file in memory that stays where it is for as long as a model needs it.
final class Weights: Sendable {
  nonisolated(unsafe) let bytes: UnsafeRawBufferPointer

  init(_ source: some Sequence<UInt8>) {
    // An owned copy: the storage of an array or of Data may move.
    let array = ContiguousArray(source)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(array.count, 1), alignment: 64)
    array.withUnsafeBytes { memory.copyMemory(from: $0) }
    bytes = UnsafeRawBufferPointer(rebasing: memory[..<array.count])
  }

  deinit { UnsafeMutableRawPointer(mutating: bytes.baseAddress!).deallocate() }
}

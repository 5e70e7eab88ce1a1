import CFqgan
import Dispatch

/// Makes codes of new images, given their classes. May be used from any task; the last reference closes it.
public final class Generator: Sendable {
  /// What a generator is. Its codes fit a tokenizer of the same codebooks and codebookSize.
  public struct Info: Sendable, Equatable {
    public let codebooks: Int
    public let codebookSize: Int
    /// Classes, without the null class.
    public let classes: Int
    public let gridWidth: Int
    public let gridHeight: Int
    public let layers: Int
    public let dim: Int
    public let heads: Int
    public let headLayers: Int
    public let parameters: UInt64
  }

  /// How codes are drawn.
  public struct Sampling: Sendable {
    /// Draw from so many of the likeliest codes; 0: all, 1: always the likeliest.
    public var topK: UInt32
    /// What the random choices follow from.
    public var seed: UInt64
    /// How much the class counts; 0: 2.0. 1 is no guidance, and half the work.
    public var guidance: Float
    /// Divides the logits; 0: 1.0.
    public var temperature: Float
    /// Draw from the likeliest codes that together have this probability; 0: 1.0, all.
    public var topP: Float
    /// Positions to make, row by row; 0: the whole grid.
    public var steps: UInt32

    public init(
      topK: UInt32 = 0, seed: UInt64 = 0, guidance: Float = 0, temperature: Float = 0, topP: Float = 0,
      steps: UInt32 = 0
    ) {
      self.topK = topK
      self.seed = seed
      self.guidance = guidance
      self.temperature = temperature
      self.topP = topP
      self.steps = steps
    }

    var c: fqgan_sampling {
      var sampling = fqgan_sampling()
      fqgan_sampling_init(&sampling)
      sampling.top_k = topK
      sampling.seed = seed
      sampling.guidance = guidance
      sampling.temperature = temperature
      sampling.top_p = topP
      sampling.steps = steps
      return sampling
    }
  }

  /// How far a generation is, and the codes so far, 0 where there is none yet.
  public struct Progress: Sendable {
    public let done: Int
    public let total: Int
    public let codes: Codes
  }

  nonisolated(unsafe) let handle: OpaquePointer
  private let weights: Weights?
  public let info: Info

  /// Opens a weight file: safetensors, or a .pt of the authors'.
  public convenience init(runtime: Runtime, path: String, options: ModelOptions = ModelOptions()) throws(FqganError) {
    var with = options.c
    try self.init(weights: nil) { fqgan_generator_open(runtime.handle, path, &with, $0, $1) }
  }

  /// Opens a weight file in memory, which is copied.
  public convenience init(
    runtime: Runtime, bytes: some Sequence<UInt8>, options: ModelOptions = ModelOptions()
  ) throws(FqganError) {
    let weights = Weights(bytes)
    var with = options.c
    try self.init(weights: weights) {
      fqgan_generator_open_memory(runtime.handle, weights.bytes.baseAddress, weights.bytes.count, &with, $0, $1)
    }
  }

  private init(
    weights: Weights?,
    open: (UnsafeMutablePointer<OpaquePointer?>, UnsafeMutablePointer<fqgan_error>) -> fqgan_status
  ) throws(FqganError) {
    var made: OpaquePointer?
    try check { open(&made, $0) }
    var info = fqgan_generator_info()
    info.struct_size = UInt32(MemoryLayout<fqgan_generator_info>.size)
    do {
      try check { fqgan_generator_get_info(made, &info, $0) }
    } catch {
      fqgan_generator_close(made)
      throw error
    }
    handle = made!
    self.weights = weights
    self.info = Info(
      codebooks: Int(info.codebooks), codebookSize: Int(info.codebook_size), classes: Int(info.classes),
      gridWidth: Int(info.grid_width), gridHeight: Int(info.grid_height), layers: Int(info.layers),
      dim: Int(info.dim), heads: Int(info.heads), headLayers: Int(info.head_layers), parameters: info.parameters)
  }

  deinit { fqgan_generator_close(handle) }

  /// Codes of new images, one for each class, on the calling thread.
  public func generate(_ classes: [UInt32], sampling: Sampling = Sampling()) throws(FqganError) -> Codes {
    try generate(classes, sampling: sampling) { _, _, _ in true }
  }

  /// As generate, and asks `goOn(done, total, codes)` after each position; the codes so far are those of the call
  /// under way. When it says no, FqganError.cancelled is thrown.
  public func generate(
    _ classes: [UInt32], sampling: Sampling = Sampling(),
    goOn: (_ done: Int, _ total: Int, _ codes: UnsafeBufferPointer<UInt32>) -> Bool
  ) throws(FqganError) -> Codes {
    guard !classes.isEmpty else { throw .invalid("no classes") }
    var with = sampling.c
    let room = classes.count * info.codebooks * info.gridWidth * info.gridHeight
    var data = [UInt32](repeating: 0, count: room)
    let made = data.withUnsafeMutableBufferPointer { to in
      withoutActuallyEscaping(goOn) { goOn in
        var call = Call(goOn: goOn, codes: UnsafeBufferPointer(to))
        return withUnsafeMutablePointer(to: &call) { call in
          with.progress_user = UnsafeMutableRawPointer(call)
          with.progress = { user, done, total in
            let call = user!.assumingMemoryBound(to: Call.self).pointee
            return call.goOn(Int(done), Int(total), call.codes) ? 0 : 1
          }
          return Result { () throws(FqganError) in
            try check { fqgan_generate(handle, classes, classes.count, &with, to.baseAddress, room, $0) }
          }
        }
      }
    }
    try made.get()
    return codes(data, classes.count)
  }

  private struct Call {
    let goOn: (Int, Int, UnsafeBufferPointer<UInt32>) -> Bool
    let codes: UnsafeBufferPointer<UInt32>
  }

  /// Generates on a thread of its own: the progress after each position, the last with all codes. Ending the loop,
  /// or cancelling its task, stops the generation. A slow reader misses intermediate ones, never the last.
  public func stream(
    _ classes: [UInt32], sampling: Sampling = Sampling()
  ) -> AsyncThrowingStream<Progress, any Error> {
    AsyncThrowingStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
      let stop = Flag()
      continuation.onTermination = { _ in stop.set() }
      // Not a task: it would hold one of the few threads that all tasks share.
      DispatchQueue.global().async { [self] in
        do {
          _ = try generate(classes, sampling: sampling) { done, total, so in
            continuation.yield(Progress(done: done, total: total, codes: codes(Array(so), classes.count)))
            return !stop.isSet
          }
          continuation.finish()
        } catch {
          continuation.finish(throwing: error)
        }
      }
    }
  }

  /// What the model expects at each position of known codes, given the class and all codes before, laid out (count,
  /// codebooks, positions, codebookSize). The class of index info.classes is the null class.
  public func logits(_ classes: [UInt32], codes: [UInt32]) throws(FqganError) -> [Float] {
    guard !classes.isEmpty, codes.count == classes.count * info.codebooks * info.gridWidth * info.gridHeight else {
      throw .invalid("\(codes.count) codes for \(classes.count) classes")
    }
    var logits = [Float](repeating: 0, count: codes.count * info.codebookSize)
    let room = logits.count
    try check { fqgan_generator_logits(handle, classes, codes, classes.count, &logits, room, $0) }
    return logits
  }

  private func codes(_ data: [UInt32], _ count: Int) -> Codes {
    Codes(
      unchecked: data, count: count, codebooks: info.codebooks, codebookSize: info.codebookSize,
      gridWidth: info.gridWidth, gridHeight: info.gridHeight)
  }
}

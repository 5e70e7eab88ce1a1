import CFqgan

/// Images to codes and back. May be used from any task; the last reference closes it.
public final class Tokenizer: Sendable {
  /// What a tokenizer is.
  public struct Info: Sendable, Equatable {
    /// How many codes stand for a patch, in the order (vis, sem) or (vis, sem_mid, sem_high).
    public let codebooks: Int
    /// Each code is less.
    public let codebookSize: Int
    /// Elements of a code's vector.
    public let codeDim: Int
    /// Side of a patch in pixels: sides of images are multiples of it.
    public let downsample: Int
    /// Side of the images that the model was made for.
    public let imageSize: Int
    public let parameters: UInt64
  }

  nonisolated(unsafe) let handle: OpaquePointer
  private let weights: Weights?
  public let info: Info

  /// Opens a weight file: safetensors, or a .pt of the authors'.
  public convenience init(runtime: Runtime, path: String, options: ModelOptions = ModelOptions()) throws(FqganError) {
    var with = options.c
    try self.init(weights: nil) { fqgan_tokenizer_open(runtime.handle, path, &with, $0, $1) }
  }

  /// Opens a weight file in memory, which is copied.
  public convenience init(
    runtime: Runtime, bytes: some Sequence<UInt8>, options: ModelOptions = ModelOptions()
  ) throws(FqganError) {
    let weights = Weights(bytes)
    var with = options.c
    try self.init(weights: weights) {
      fqgan_tokenizer_open_memory(runtime.handle, weights.bytes.baseAddress, weights.bytes.count, &with, $0, $1)
    }
  }

  private init(
    weights: Weights?,
    open: (UnsafeMutablePointer<OpaquePointer?>, UnsafeMutablePointer<fqgan_error>) -> fqgan_status
  ) throws(FqganError) {
    var made: OpaquePointer?
    try check { open(&made, $0) }
    var info = fqgan_tokenizer_info()
    info.struct_size = UInt32(MemoryLayout<fqgan_tokenizer_info>.size)
    do {
      try check { fqgan_tokenizer_get_info(made, &info, $0) }
    } catch {
      fqgan_tokenizer_close(made)
      throw error
    }
    handle = made!
    self.weights = weights
    self.info = Info(
      codebooks: Int(info.codebooks), codebookSize: Int(info.codebook_size), codeDim: Int(info.code_dim),
      downsample: Int(info.downsample), imageSize: Int(info.image_size), parameters: info.parameters)
  }

  deinit { fqgan_tokenizer_close(handle) }

  /// Codes of images of one layout, which follow each other in memory, `byteCount` apart (that of whole rows).
  public func encode(
    _ pixels: UnsafeRawBufferPointer, layout: PixelLayout, count: Int = 1
  ) throws(FqganError) -> Codes {
    let images = try views(pixels, layout, count)
    var codes = sizes(layout, count)
    let room = codes.data.count
    try check { fqgan_encode(handle, images, count, &codes.data, room, $0) }
    return codes
  }

  /// Codes of an image.
  public func encode(_ picture: Picture) throws(FqganError) -> Codes {
    try picture.bytes.withUnsafeBytes { bytes in
      Result { () throws(FqganError) in try encode(bytes, layout: picture.layout) }
    }.get()
  }

  /// Latents before they are normalised, (count, codebooks, codeDim, rows, columns).
  public func latents(
    _ pixels: UnsafeRawBufferPointer, layout: PixelLayout, count: Int = 1
  ) throws(FqganError) -> [Float] {
    let images = try views(pixels, layout, count)
    var latents = [Float](repeating: 0, count: sizes(layout, count).data.count * info.codeDim)
    let room = latents.count
    try check { fqgan_latents(handle, images, count, &latents, room, $0) }
    return latents
  }

  /// Writes the images of codes, which follow each other in memory. Bit i of the mask says that sub-codebook i is
  /// used, the vectors of the others are zero; 0: all are.
  public func decode(
    _ codes: Codes, into pixels: UnsafeMutableRawBufferPointer, layout: PixelLayout, mask: UInt32 = 0
  ) throws(FqganError) {
    guard codes.codebooks == info.codebooks, codes.codebookSize == info.codebookSize,
      codes.data.count == codes.count * codes.codebooks * codes.gridWidth * codes.gridHeight
    else {
      throw .invalid(
        "codes of \(codes.codebooks) sub-codebooks of \(codes.codebookSize), the tokenizer has \(info.codebooks) of "
          + "\(info.codebookSize)")
    }
    let images = try views(UnsafeRawBufferPointer(pixels), layout, codes.count)
    try check {
      fqgan_decode(
        handle, codes.data, codes.count, UInt32(codes.gridWidth), UInt32(codes.gridHeight), mask, images, $0)
    }
  }

  /// Images of codes, as bytes red, green, blue.
  public func decode(_ codes: Codes, mask: UInt32 = 0) throws(FqganError) -> [Picture] {
    let layout = PixelLayout(
      width: codes.gridWidth * info.downsample, height: codes.gridHeight * info.downsample)
    let each = try layout.byteCount()
    var bytes = [UInt8](repeating: 0, count: each * codes.count)
    try bytes.withUnsafeMutableBytes { to in
      Result { () throws(FqganError) in try decode(codes, into: to, layout: layout, mask: mask) }
    }.get()
    return (0..<codes.count).map { Picture(layout: layout, bytes: Array(bytes[$0 * each..<($0 + 1) * each])) }
  }

  /// The images of one piece of memory.
  private func views(
    _ pixels: UnsafeRawBufferPointer, _ layout: PixelLayout, _ count: Int
  ) throws(FqganError) -> [fqgan_image] {
    let last = try layout.byteCount()
    let step = layout.stride == 0 ? layout.width * layout.format.pixelBytes : layout.stride
    let each = step * layout.height * (layout.format == .rgbF32Planar ? 3 : 1)
    guard count >= 1, count <= pixels.count / last, pixels.count >= each * (count - 1) + last else {
      throw .invalid("\(pixels.count) bytes for \(count) images of \(last)")
    }
    var images = [fqgan_image]()
    images.reserveCapacity(count)
    for i in 0..<count {
      images.append(try layout.image(UnsafeRawBufferPointer(rebasing: pixels[(i * each)...])))
    }
    return images
  }

  private func sizes(_ layout: PixelLayout, _ count: Int) -> Codes {
    let (width, height) = (layout.width / info.downsample, layout.height / info.downsample)
    return Codes(
      unchecked: [UInt32](repeating: 0, count: count * info.codebooks * width * height), count: count,
      codebooks: info.codebooks, codebookSize: info.codebookSize, gridWidth: width, gridHeight: height)
  }
}

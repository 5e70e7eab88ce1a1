import CFqgan

/// How a pixel stands in memory.
public enum PixelFormat: Int32, Sendable, CaseIterable {
  /// Bytes red, green, blue.
  case rgb8 = 0
  /// Bytes red, green, blue, alpha. Alpha is ignored when read and written as 255.
  case rgba8 = 1
  /// Bytes blue, green, red, alpha. Alpha likewise.
  case bgra8 = 2
  /// Floats red, green, blue in [-1, 1].
  case rgbF32 = 3
  /// A plane of floats for each of red, green and blue; the planes follow each other.
  case rgbF32Planar = 4

  var pixelBytes: Int {
    switch self {
    case .rgb8: 3
    case .rgba8, .bgra8, .rgbF32Planar: 4
    case .rgbF32: 12
    }
  }
}

/// The size of an image and how its rows stand in memory.
public struct PixelLayout: Sendable, Equatable {
  public var format: PixelFormat
  public var width: Int
  public var height: Int
  /// Bytes from one row to the next; 0: rows are packed. In planes, from row to row of a plane.
  public var stride: Int

  public init(format: PixelFormat = .rgb8, width: Int, height: Int, stride: Int = 0) {
    self.format = format
    self.width = width
    self.height = height
    self.stride = stride
  }

  /// The bytes that an image of this layout has at least.
  public func byteCount() throws(FqganError) -> Int {
    let most = 1 << 24
    guard (1...most).contains(width), (1...most).contains(height) else {
      throw .invalid("an image of \(width) x \(height) pixels")
    }
    let row = width * format.pixelBytes
    let step = stride == 0 ? row : stride
    guard step >= row, step <= 1 << 32 else { throw .invalid("rows of \(row) bytes are \(step) bytes apart") }
    return step * (height * (format == .rgbF32Planar ? 3 : 1) - 1) + row
  }

  func image(_ pixels: UnsafeRawBufferPointer) throws(FqganError) -> fqgan_image {
    let need = try byteCount()
    guard pixels.count >= need else {
      throw .invalid("an image of \(width) x \(height) pixels has \(pixels.count) bytes, expected \(need)")
    }
    return fqgan_image(
      pixels: UnsafeMutableRawPointer(mutating: pixels.baseAddress), width: UInt32(width), height: UInt32(height),
      row_stride: stride, format: format.rawValue)
  }
}

/// An image of its own: packed rows of one of the formats of bytes.
public struct Picture: Sendable, Equatable {
  public var layout: PixelLayout
  public var bytes: [UInt8]

  public init(layout: PixelLayout, bytes: [UInt8]) {
    self.layout = layout
    self.bytes = bytes
  }
}

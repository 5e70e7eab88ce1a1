import CFqgan

/// Codes of images, laid out (count, codebooks, gridHeight, gridWidth).
public struct Codes: Sendable, Equatable {
  public var data: [UInt32]
  public let count: Int
  public let codebooks: Int
  public let codebookSize: Int
  public let gridWidth: Int
  public let gridHeight: Int

  /// Throws where the sizes do not fit the data.
  public init(
    _ data: [UInt32], count: Int, codebooks: Int, codebookSize: Int, gridWidth: Int, gridHeight: Int
  ) throws(FqganError) {
    var need = 1
    for size in [count, codebooks, gridWidth, gridHeight] {
      guard (1...(1 << 31)).contains(size), need <= (1 << 50) / size else {
        throw .invalid("codes of \(count) images, \(codebooks) sub-codebooks, \(gridHeight) x \(gridWidth)")
      }
      need *= size
    }
    guard (1...(1 << 31)).contains(codebookSize) else { throw .invalid("sub-codebooks of \(codebookSize) codes") }
    guard data.count == need else { throw .invalid("\(data.count) codes, the sizes say \(need)") }
    self.init(
      unchecked: data, count: count, codebooks: codebooks, codebookSize: codebookSize, gridWidth: gridWidth,
      gridHeight: gridHeight)
  }

  init(unchecked data: [UInt32], count: Int, codebooks: Int, codebookSize: Int, gridWidth: Int, gridHeight: Int) {
    self.data = data
    self.count = count
    self.codebooks = codebooks
    self.codebookSize = codebookSize
    self.gridWidth = gridWidth
    self.gridHeight = gridHeight
  }

  /// A code.
  public subscript(image: Int, codebook: Int, row: Int, column: Int) -> UInt32 {
    data[((image * codebooks + codebook) * gridHeight + row) * gridWidth + column]
  }

  /// The bytes of a .fqc file.
  public func packed() throws(FqganError) -> [UInt8] {
    // data may have changed since it was checked.
    guard data.count == count * codebooks * gridWidth * gridHeight else {
      throw .invalid("\(data.count) codes for \(count) x \(codebooks) x \(gridHeight) x \(gridWidth)")
    }
    var length = 0
    func pack(_ to: UnsafeMutableRawPointer?, _ room: Int) throws(FqganError) {
      try check { error in
        fqgan_codes_pack(
          data, count, UInt32(codebooks), UInt32(codebookSize), UInt32(gridWidth), UInt32(gridHeight), to, room,
          &length, error)
      }
    }
    try pack(nil, 0)
    var bytes = [UInt8](repeating: 0, count: length)
    try check { error in
      fqgan_codes_pack(
        data, count, UInt32(codebooks), UInt32(codebookSize), UInt32(gridWidth), UInt32(gridHeight), &bytes,
        bytes.count, &length, error)
    }
    return bytes
  }

  /// Reads the bytes of a .fqc file; damaged ones throw.
  public init(packed bytes: [UInt8]) throws(FqganError) {
    var info = fqgan_codes_info()
    info.struct_size = UInt32(MemoryLayout<fqgan_codes_info>.size)
    guard !bytes.isEmpty else { throw FqganError(status: .format, message: "a code file of 0 bytes") }
    try check { fqgan_codes_unpack(bytes, bytes.count, &info, nil, 0, $0) }
    let sizes = [info.count, info.codebooks, info.grid_width, info.grid_height].map(Int.init)
    var data = [UInt32](repeating: 0, count: sizes.reduce(1, *))
    try check { fqgan_codes_unpack(bytes, bytes.count, nil, &data, data.count, $0) }
    self.init(
      unchecked: data, count: sizes[0], codebooks: sizes[1], codebookSize: Int(info.codebook_size),
      gridWidth: sizes[2], gridHeight: sizes[3])
  }
}

import Foundation
import Fqgan
import XCTest

/// Files that the Rust tests leave: scripts/hosts.sh makes them and says where.
enum Files {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("../../../..").standardized

  static func path(_ name: String) -> String {
    let folder = ProcessInfo.processInfo.environment["FQGAN_TEST_FILES"]
    return (folder ?? root.appendingPathComponent("target/tmp").path) + "/" + name
  }

  static func lines(_ path: String) throws -> [String] {
    try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
  }

  static func models(threads: UInt32 = 0) throws -> (Tokenizer, Generator) {
    let runtime = try Runtime(threads: threads)
    return (
      try Tokenizer(runtime: runtime, path: path("capi-tokenizer.safetensors")),
      try Generator(runtime: runtime, path: path("capi-generator.safetensors"))
    )
  }
}

/// The numbers of tests/hosts/cases.txt.
struct Stream {
  private var state: UInt32

  init(_ seed: UInt64) {
    state = UInt32(truncatingIfNeeded: seed) &* 2_654_435_761 &+ 1
    if state == 0 { state = 1 }
  }

  mutating func next() -> UInt32 {
    state ^= state << 13
    state ^= state >> 17
    state ^= state << 5
    return state
  }

  mutating func codes(_ count: Int) -> [UInt32] { (0..<count).map { _ in next() % 64 } }

  mutating func image(_ format: PixelFormat, _ bytes: Int) -> [UInt8] {
    if format == .rgbF32 || format == .rgbF32Planar {
      return raw((0..<bytes / 4).map { _ in (Float(next() >> 24) - 128) / 128 })
    }
    return (0..<bytes).map { _ in UInt8(next() >> 24) }
  }
}

func raw<T>(_ values: [T]) -> [UInt8] { values.withUnsafeBytes { [UInt8]($0) } }

/// The whole size of an image: the padding of the last row counts.
func size(_ layout: PixelLayout) -> Int { layout.stride * layout.height * (layout.format == .rgbF32Planar ? 3 : 1) }

func layout(_ format: Int, _ width: Int, _ height: Int, pad: Int) -> PixelLayout {
  let format = PixelFormat(rawValue: Int32(format))!
  return PixelLayout(format: format, width: width, height: height, stride: width * [3, 4, 4, 12, 4][Int(format.rawValue)] + pad)
}

final class CasesTests: XCTestCase {
  func run(_ line: String, _ tokenizer: Tokenizer, _ generator: Generator) throws -> (status: Int32, bytes: [UInt8]) {
    let words = line.split(separator: " ")
    let n = { (i: Int) -> Int in Int(truncatingIfNeeded: UInt64(words[i + 1])!) }
    let seed = { (i: Int) -> UInt64 in UInt64(words[i + 1])! }
    let real = { (i: Int) -> Float in Float(words[i + 1])! }
    let classes = { (from: Int) -> [UInt32] in words.dropFirst(from + 1).map { UInt32($0)! } }
    switch words[0] {
    case "encode", "latents":
      let shape = layout(n(0), n(1), n(2), pad: n(4))
      var stream = Stream(seed(5))
      let pixels = stream.image(shape.format, size(shape) * n(3))
      return try pixels.withUnsafeBytes {
        words[0] == "encode"
          ? (0, raw(try tokenizer.encode($0, layout: shape, count: n(3)).data))
          : (0, raw(try tokenizer.latents($0, layout: shape, count: n(3))))
      }
    case "decode":
      let shape = layout(n(0), 4 * n(1), 4 * n(2), pad: n(4))
      var stream = Stream(seed(6))
      let codes = try Codes(
        stream.codes(n(3) * 2 * n(1) * n(2)), count: n(3), codebooks: 2, codebookSize: 64, gridWidth: n(1),
        gridHeight: n(2))
      var pixels = [UInt8](repeating: 0xA5, count: size(shape) * n(3))
      try pixels.withUnsafeMutableBytes {
        try tokenizer.decode(codes, into: $0, layout: shape, mask: UInt32(n(5)))
      }
      return (0, pixels)
    case "generate":
      let sampling = Generator.Sampling(
        topK: UInt32(n(1)), seed: seed(0), guidance: real(4), temperature: real(3), topP: real(2), steps: UInt32(n(5)))
      return (0, raw(try generator.generate(classes(6), sampling: sampling).data))
    case "cancel":
      var last: [UInt32] = []
      do {
        _ = try generator.generate(classes(2), sampling: .init(seed: seed(1))) { done, _, codes in
          last = Array(codes)
          return done < n(0)
        }
        return (0, raw(last))
      } catch {
        return (error.status.rawValue, raw(last))
      }
    case "logits":
      var stream = Stream(seed(0))
      return (0, raw(try generator.logits(classes(1), codes: stream.codes(classes(1).count * 24))))
    case "pack":
      var stream = Stream(seed(4))
      let codes = try Codes(
        stream.codes(n(0) * n(1) * n(2) * n(3)), count: n(3), codebooks: n(0), codebookSize: 64, gridWidth: n(1),
        gridHeight: n(2))
      let bytes = try codes.packed()
      XCTAssertEqual(try Codes(packed: bytes), codes)
      return (0, bytes)
    default:
      XCTFail("unknown: \(line)")
      return (-1, [])
    }
  }

  /// The same bytes as from Rust, for each line of the list.
  func testCases() throws {
    let (tokenizer, generator) = try Files.models(threads: 2)
    let cases = try Files.lines(Files.root.appendingPathComponent("tests/hosts/cases.txt").path)
      .filter { !$0.hasPrefix("#") }
    let expected = try Files.lines(Files.path("capi-cases.txt"))
    XCTAssertEqual(cases.count, expected.count)
    XCTAssertGreaterThan(cases.count, 45)
    for (line, want) in zip(cases, expected) {
      var result: (status: Int32, bytes: [UInt8])
      do {
        result = try run(line, tokenizer, generator)
      } catch let error as FqganError {
        result = (error.status.rawValue, [])
      }
      var got = "\(line): \(result.status)"
      if result.status == 0 || result.status == 7 {
        let digits = Array("0123456789abcdef".utf8)
        got += " " + String(decoding: result.bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
      }
      XCTAssertTrue(got == want, "not what Rust gives:\n\(got.prefix(200))\nexpected\n\(want.prefix(200))")
    }
  }
}

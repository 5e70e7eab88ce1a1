import Foundation
import Fqgan
import XCTest

final class OverheadTests: XCTestCase {
  /// The calls of tests/hosts/bench.c: the least times are left where FQGAN_BENCH says.
  func testOverhead() throws {
    let (tokenizer, _) = try Files.models(threads: 1)
    let layout = PixelLayout(format: .rgba8, width: 4, height: 4)
    var pixels = [UInt8](repeating: 0, count: 64)
    var best = [UInt64](repeating: .max, count: 3)
    func least<T>(_ i: Int, _ call: () throws -> T) rethrows -> T {
      let began = DispatchTime.now().uptimeNanoseconds
      let result = try call()
      best[i] = min(best[i], DispatchTime.now().uptimeNanoseconds - began)
      return result
    }
    for _ in 0..<4000 {
      let codes = try least(0) { try pixels.withUnsafeBytes { try tokenizer.encode($0, layout: layout) } }
      try least(1) { try pixels.withUnsafeMutableBytes { try tokenizer.decode(codes, into: $0, layout: layout) } }
      _ = try least(2) { try codes.packed() }
    }
    XCTAssertLessThan(best.max()!, 1_000_000_000)
    if let path = ProcessInfo.processInfo.environment["FQGAN_BENCH"] {
      try (best.map(String.init).joined(separator: " ") + "\n").write(toFile: path, atomically: true, encoding: .utf8)
    }
  }
}

import Foundation
import Fqgan
import XCTest

func picture(_ width: Int, _ height: Int, _ seed: UInt64) -> Picture {
  var stream = Stream(seed)
  return Picture(layout: PixelLayout(width: width, height: height), bytes: stream.image(.rgb8, width * height * 3))
}

final class FqganTests: XCTestCase {
  func fails(_ status: FqganError.Status, line: UInt = #line, _ call: () throws -> Void) {
    XCTAssertThrowsError(try call(), line: line) { error in
      XCTAssertEqual((error as? FqganError)?.status, status, "\(error)", line: line)
      XCTAssertEqual((error as? FqganError)?.message.isEmpty, false, line: line)
    }
  }

  func testVersions() {
    XCTAssertEqual(abiVersion, 1)
    XCTAssertFalse(version.isEmpty)
  }

  func testErrors() throws {
    let runtime = try Runtime()
    let (tokenizer, generator) = try Files.models()
    fails(.io) { _ = try Tokenizer(runtime: runtime, path: "/nowhere") }
    fails(.format) { _ = try Tokenizer(runtime: runtime, bytes: [1, 2, 3]) }
    fails(.format) { _ = try Generator(runtime: runtime, path: Files.path("capi-tokenizer.safetensors")) }
    fails(.invalidArgument) { _ = try Runtime(threads: 5000) }
    fails(.device) { _ = try Runtime(device: .cpu, index: 3) }
    fails(.invalidArgument) { _ = try tokenizer.encode(picture(9, 8, 1)) }
    fails(.invalidArgument) {
      _ = try tokenizer.encode(Picture(layout: PixelLayout(width: 8, height: 8), bytes: [1, 2, 3]))
    }
    fails(.invalidArgument) { _ = try tokenizer.encode(Picture(layout: PixelLayout(width: -8, height: 8), bytes: [])) }
    fails(.invalidArgument) {
      _ = try tokenizer.encode(Picture(layout: PixelLayout(width: 8, height: 8, stride: 3), bytes: picture(8, 8, 1).bytes))
    }
    fails(.invalidArgument) { _ = try Codes([1], count: 1, codebooks: 2, codebookSize: 64, gridWidth: 1, gridHeight: 1) }
    fails(.invalidArgument) {
      _ = try Codes([], count: 1 << 31, codebooks: 1 << 31, codebookSize: 64, gridWidth: 1 << 31, gridHeight: 1)
    }
    fails(.format) { _ = try Codes(packed: [70, 81, 71, 67]) }
    fails(.format) { _ = try Codes(packed: []) }
    let other = try Codes([1, 2, 3], count: 1, codebooks: 3, codebookSize: 64, gridWidth: 1, gridHeight: 1)
    fails(.invalidArgument) { _ = try tokenizer.decode(other) }
    fails(.invalidArgument) { _ = try generator.generate([]) }
    fails(.invalidArgument) { _ = try generator.generate([5]) }
    fails(.invalidArgument) { _ = try generator.generate([1], sampling: .init(temperature: -1)) }
    fails(.invalidArgument) { _ = try generator.logits([1], codes: [1, 2]) }
    let tight = ModelOptions(memoryLimit: 1000)
    fails(.outOfMemory) {
      _ = try Tokenizer(runtime: runtime, path: Files.path("capi-tokenizer.safetensors"), options: tight)
        .encode(picture(16, 16, 1))
    }
  }

  func testWeightsInMemory() throws {
    let (tokenizer, _) = try Files.models()
    let bytes = try Data(contentsOf: URL(fileURLWithPath: Files.path("capi-tokenizer.safetensors")))
    let other = try Tokenizer(runtime: Runtime(), bytes: bytes)
    XCTAssertEqual(other.info, tokenizer.info)
    XCTAssertEqual(try other.encode(picture(32, 16, 3)), try tokenizer.encode(picture(32, 16, 3)))
  }

  func testManyTasks() async throws {
    let (tokenizer, generator) = try Files.models()
    let image = picture(16, 16, 5)
    let codes = try tokenizer.encode(image)
    let back = try tokenizer.decode(codes)
    let made = try generator.generate([3])
    XCTAssertEqual(codes[0, 1, 3, 2], codes.data[16 + 14])
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<8 {
        group.addTask {
          try (0..<5).allSatisfy { _ in
            try tokenizer.encode(image) == codes && tokenizer.decode(codes) == back && generator.generate([3]) == made
          }
        }
      }
      for try await same in group { XCTAssertTrue(same) }
    }
  }

  func testStream() async throws {
    let (_, generator) = try Files.models()
    let whole = try generator.generate([1, 2], sampling: .init(seed: 9))
    var last: Generator.Progress?
    for try await progress in generator.stream([1, 2], sampling: .init(seed: 9)) {
      XCTAssertEqual(progress.total, 24)
      XCTAssertGreaterThan(progress.done, last?.done ?? 0)
      let positions = progress.done / 2
      for (i, code) in progress.codes.data.enumerated() {
        XCTAssertEqual(code, i % 12 < positions ? whole.data[i] : 0)
      }
      last = progress
    }
    XCTAssertEqual(last?.codes, whole)
    do {
      for try await _ in generator.stream([7]) { XCTFail("there is no class 7") }
      XCTFail("there is no class 7")
    } catch let error as FqganError {
      XCTAssertEqual(error.status, .invalidArgument)
    }
  }

  func testLeavingTheLoopStops() async throws {
    let (_, generator) = try Files.models(threads: 1)
    for try await progress in generator.stream([UInt32](repeating: 1, count: 64)) {
      XCTAssertLessThan(progress.done, progress.total)
      break
    }
    let task = Task {
      for try await _ in generator.stream([UInt32](repeating: 1, count: 400)) {}
    }
    try await Task.sleep(nanoseconds: 5_000_000)
    task.cancel()
    try await task.value
    // The model is free for the next call.
    XCTAssertEqual(try generator.generate([1]).count, 1)
  }

  func testStopIsCancelled() throws {
    let (_, generator) = try Files.models()
    var calls = 0
    fails(.cancelled) {
      _ = try generator.generate([1]) { done, total, _ in
        calls += 1
        XCTAssertEqual(total, 12)
        return done < 4
      }
    }
    XCTAssertEqual(calls, 4)
  }
}

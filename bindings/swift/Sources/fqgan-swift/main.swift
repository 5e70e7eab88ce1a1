// A command-line tool over the Swift library:
//   fqgan-swift encode MODEL IN.ppm OUT.fqc
//   fqgan-swift decode MODEL IN.fqc OUT.ppm
//   fqgan-swift generate GENERATOR MODEL CLASS SEED OUT.ppm
import Foundation
import Fqgan

struct Usage: Error, CustomStringConvertible {
  let description: String
}

/// A binary PPM; a rest that makes no whole patch is left out on the right and below.
func readPPM(_ path: String, patch: Int) throws -> (pixels: [UInt8], layout: PixelLayout) {
  let file = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
  var at = 0
  func word() -> String {
    while at < file.count {
      if file[at] == UInt8(ascii: "#") {
        while at < file.count, file[at] != UInt8(ascii: "\n") { at += 1 }
      } else if file[at] <= UInt8(ascii: " ") {
        at += 1
      } else {
        break
      }
    }
    let from = at
    while at < file.count, file[at] > UInt8(ascii: " ") { at += 1 }
    return String(decoding: file[from..<at], as: UTF8.self)
  }
  guard word() == "P6", let width = Int(word()), let height = Int(word()), word() == "255",
    (1...65536).contains(width), (1...65536).contains(height), file.count - at - 1 >= width * height * 3
  else { throw Usage(description: "\(path) is no binary PPM of 8 bits a channel") }
  let layout = PixelLayout(width: width / patch * patch, height: height / patch * patch, stride: width * 3)
  return (Array(file[(at + 1)...]), layout)
}

func writePPM(_ picture: Picture, _ path: String) throws {
  var bytes = [UInt8]("P6\n\(picture.layout.width) \(picture.layout.height)\n255\n".utf8)
  bytes += picture.bytes
  try Data(bytes).write(to: URL(fileURLWithPath: path))
}

func run(_ arguments: [String]) async throws {
  let runtime = try Runtime()
  switch (arguments.first, arguments.count) {
  case ("encode", 4):
    let tokenizer = try Tokenizer(runtime: runtime, path: arguments[1])
    let (pixels, layout) = try readPPM(arguments[2], patch: tokenizer.info.downsample)
    let codes = try pixels.withUnsafeBytes { try tokenizer.encode($0, layout: layout) }
    let bytes = try codes.packed()
    try Data(bytes).write(to: URL(fileURLWithPath: arguments[3]))
    print("\(arguments[3]): \(codes.gridWidth) x \(codes.gridHeight) codes, \(bytes.count) bytes")
  case ("decode", 4):
    let tokenizer = try Tokenizer(runtime: runtime, path: arguments[1])
    let codes = try Codes(packed: [UInt8](try Data(contentsOf: URL(fileURLWithPath: arguments[2]))))
    try writePPM(try tokenizer.decode(codes)[0], arguments[3])
  case ("generate", 6):
    let generator = try Generator(runtime: runtime, path: arguments[1])
    let tokenizer = try Tokenizer(runtime: runtime, path: arguments[2])
    guard let label = UInt32(arguments[3]), let seed = UInt64(arguments[4]) else {
      throw Usage(description: "CLASS and SEED are numbers")
    }
    var last: Generator.Progress?
    for try await progress in generator.stream([label], sampling: .init(seed: seed)) {
      FileHandle.standardError.write(Data("\r\(progress.done) of \(progress.total) positions".utf8))
      last = progress
    }
    FileHandle.standardError.write(Data("\n".utf8))
    try writePPM(try tokenizer.decode(last!.codes)[0], arguments[5])
  default:
    throw Usage(
      description: """
        usage: fqgan-swift encode MODEL IN.ppm OUT.fqc
               fqgan-swift decode MODEL IN.fqc OUT.ppm
               fqgan-swift generate GENERATOR MODEL CLASS SEED OUT.ppm
        """)
  }
}

do {
  try await run(Array(CommandLine.arguments.dropFirst()))
} catch {
  FileHandle.standardError.write(Data("fqgan-swift: \(error)\n".utf8))
  exit(1)
}

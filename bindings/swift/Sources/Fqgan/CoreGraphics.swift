#if canImport(CoreGraphics)
  import CoreGraphics
  import Foundation

  extension Picture {
    /// The pixels of an image, drawn in sRGB.
    public init(_ image: CGImage) throws(FqganError) {
      let (width, height) = (image.width, image.height)
      var bytes = [UInt8](repeating: 0, count: width * height * 4)
      let drawn = bytes.withUnsafeMutableBytes { to -> Bool in
        guard
          let context = CGContext(
            data: to.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: width * 4,
            space: CGColorSpace(name: CGColorSpace.sRGB)!, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { return false }
        context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
        return true
      }
      guard drawn else { throw .invalid("an image that cannot be drawn") }
      self.init(layout: PixelLayout(format: .rgba8, width: width, height: height), bytes: bytes)
    }

    /// An image of packed rgba8 pixels; nil for other formats.
    public var cgImage: CGImage? {
      guard layout.format == .rgba8, layout.stride == 0 || layout.stride == layout.width * 4,
        let provider = CGDataProvider(data: Data(bytes) as CFData)
      else { return nil }
      return CGImage(
        width: layout.width, height: layout.height, bitsPerComponent: 8, bitsPerPixel: 32,
        bytesPerRow: layout.width * 4, space: CGColorSpace(name: CGColorSpace.sRGB)!,
        bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.noneSkipLast.rawValue), provider: provider, decode: nil,
        shouldInterpolate: true, intent: .defaultIntent)
    }
  }
#endif

import Foundation

/// Says once, across threads, that something is over.
final class Flag: @unchecked Sendable {
  private let lock = NSLock()
  private var raised = false

  var isSet: Bool { lock.withLock { raised } }
  func set() { lock.withLock { raised = true } }
}

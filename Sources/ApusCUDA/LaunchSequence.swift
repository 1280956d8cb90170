internal import CApusDriver

/// Launches that are checked and encoded once and enqueued many times, in order.
///
/// Enqueuing them costs the driver's calls and little else: nothing is allocated, checked again or
/// copied. Keeps the modules of its kernels loaded.
///
/// `@unchecked Sendable`: everything is written in `init` alone; enqueuing only reads.
public final class LaunchSequence: @unchecked Sendable {
  /// One launch of a sequence.
  public struct Launch: ~Copyable {
    fileprivate let function: Function
    fileprivate let configuration: LaunchConfiguration
    fileprivate let arguments: KernelArguments

    /// A launch with its arguments.
    public init(
      _ function: Function, _ configuration: LaunchConfiguration,
      _ arguments: consuming KernelArguments
    ) {
      self.function = function
      self.configuration = configuration
      self.arguments = arguments
    }
  }

  /// A launch as the driver takes it, but for the stream.
  private final class Prepared {
    let function: Function
    let arguments: KernelArguments
    private(set) var form = capus_launch_config()
    private let attributes = UnsafeMutablePointer<capus_launch_attribute>.allocate(capacity: 4)

    init(_ launch: consuming Launch) {
      function = launch.function
      let attributes = attributes
      form = launch.configuration.withDriverForm(stream: 0) { temporary in
        var form = temporary.pointee
        if let list = form.attributes {
          attributes.initialize(from: list, count: Int(form.attribute_count))
          form.attributes = UnsafeMutablePointer(attributes)
        }
        return form
      }
      arguments = launch.arguments
    }

    deinit { attributes.deallocate() }
  }

  private let context: Context
  private var launches: [Prepared] = []
  // The entries that enqueuing needs: a copy of the whole table would retain each of its functions.
  private let getCurrent: @Sendable (DriverTable.Out<UInt>) -> DriverTable.Status
  private let streamContext: @Sendable (UInt, DriverTable.Out<UInt>) -> DriverTable.Status
  private let launchKernel:
    @Sendable (
      UnsafePointer<capus_launch_config>, UInt, DriverTable.AddressArray?,
      DriverTable.AddressArray?
    ) -> DriverTable.Status

  /// An empty sequence of a context.
  public init(in context: Context) {
    self.context = context
    let driver = context.device.driver
    getCurrent = driver.table.ctxGetCurrent
    streamContext = driver.table.streamGetCtx
    launchKernel = driver.table.launchKernelEx
  }

  /// Checks and adds a launch; done before the sequence is shared.
  ///
  /// - Throws: `.argument` when the launch breaks a rule of the device or its kernel is of another
  ///   context.
  public func append(_ launch: consuming Launch) throws(CUDAError) {
    let operation = "Function.launch"
    let function = launch.function
    guard function.context.handle == context.handle else {
      throw .argument(
        operation,
        [
          .init(
            "the kernel must belong to the context of device \(context.device.ordinal)",
            found: "a kernel of device \(function.context.device.ordinal)")
        ], kernel: function.name)
    }
    let violations = launch.configuration.violations(on: context.device.properties)
    guard violations.isEmpty else { throw .argument(operation, violations, kernel: function.name) }
    launches.append(Prepared(launch))
  }

  /// Enqueues every launch on a stream, or up to the first that the driver refuses. The corresponding
  /// driver functions are cuLaunchKernelEx, and cuCtxGetCurrent and cuStreamGetCtx, which make sure
  /// that the stream is of this context.
  ///
  /// - Throws: `.argument` for a stream of another context; `.call` with the kernel's name.
  public func enqueue(on stream: UInt) throws(CUDAError) {
    var current: UInt = 0
    let status = getCurrent(&current)
    if status != 0 { throw context.table.error(status, "cuCtxGetCurrent", "Function.launch") }
    if current == context.handle { return try enqueueInCurrent(stream) }
    try context.withCurrent("Function.launch") { () throws(CUDAError) in
      try enqueueInCurrent(stream)
    }
  }

  private func enqueueInCurrent(_ stream: UInt) throws(CUDAError) {
    // The default streams exist in every context.
    if stream > UInt(CAPUS_STREAM_PER_THREAD) {
      var owner: UInt = 0
      let status = streamContext(stream, &owner)
      // The slow way words the error.
      if status != 0 || owner != context.handle { _ = try Stream(borrowing: stream, in: context) }
    }
    for launch in launches {
      var form = launch.form
      form.stream = stream
      let function = launch.function.handle
      let launchKernel = launchKernel
      let status = launch.arguments.withAddresses { launchKernel(&form, function, $0, nil) }
      if status != 0 {
        throw context.table.error(
          status, "cuLaunchKernelEx", "Function.launch", kernel: launch.function.name)
      }
    }
  }
}

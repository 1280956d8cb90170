internal import ApusCUDA
package import ApusCore
internal import ApusDSL
package import ApusIR
package import ApusKernels
internal import ApusPTX
internal import ApusThreads
internal import Logging

extension CUDALauncher {
  /// Builds, prints and loads one kernel: from a pack that has its code, else by the driver's
  /// compiler.
  ///
  /// A kernel that does not verify never reaches the driver, nor one whose PTX is newer than it.
  ///
  /// - Parameter jit: how the driver compiles; anything but its defaults leaves packs aside.
  func compile(
    _ kernel: any ShippedKernel, jit: JITOptions = JITOptions(), operation: String
  ) throws(ApusError) -> CompiledKernel {
    let symbol = kernel.symbol
    guard kernel.targets.contains(target) else {
      throw .bug(
        InternalError(
          operation: operation,
          detail: "kernel \(symbol) was chosen for \(target); it is for \(kernel.targets)"))
    }
    let start = ContinuousClock.now
    let (ir, ptx) = try Self.print(kernel, target: target, operation: operation)
    willCompile?(kernel, target)
    let known = jit == JITOptions() ? packed(symbol, ptx) : nil
    if known == nil { try requireDriver(for: ir, operation: "\(operation)(\(symbol))") }
    let function = try wrappingDriver(operation) { () throws(CUDAError) -> Function in
      // Loading may wait for the device, which captures of other threads forbid.
      try context.relaxingCaptures(operation) { () throws(CUDAError) -> Function in
        if let known { return try prepared(known.function(symbol), ir) }
        let module = try LoadedModule(.ptx(ptx), name: symbol, options: jit, in: context)
        return try prepared(module.function(symbol), ir)
      }
    }
    try requireRoom(for: function, ir, operation: "\(operation)(\(symbol))")
    made.withLock { $0[symbol] = KernelKey(kernel) }
    let elapsed = (ContinuousClock.now - start).components
    return CompiledKernel(
      function: function, bounds: ir.launch, sharedByteCount: ir.sharedByteCount,
      parameters: ir.parameters,
      nanoseconds: UInt64(elapsed.seconds) * 1_000_000_000
        + UInt64(elapsed.attoseconds / 1_000_000_000))
  }

  /// The function, allowed what its launches need.
  private func prepared(_ function: Function, _ ir: KernelIR) throws(CUDAError) -> Function {
    if ir.sharedByteCount > device.properties.sharedBytesPerBlock {
      try function.setMaxDynamicShared(byteCount: ir.sharedByteCount)
    }
    if ir.launch.clusterSize > LaunchConfiguration.portableClusterSize {
      try function.allowNonPortableClusters()
    }
    return function
  }

  /// Asks the driver whether a cluster of more than 8 blocks finds room: a part of a GPU (MIG) or one
  /// with fewer multiprocessors in its groups may have none.
  private func requireRoom(
    for function: Function, _ ir: KernelIR, operation: String
  ) throws(ApusError) {
    let size = ir.launch.clusterSize
    guard size > LaunchConfiguration.portableClusterSize else { return }
    let clusters = try wrappingDriver(operation) { () throws(CUDAError) in
      try function.maxActiveClusters(
        LaunchConfiguration(
          grid: Dim3(size), block: Dim3(ir.launch.threads),
          dynamicSharedByteCount: ir.sharedByteCount, cluster: Dim3(size)))
    }
    if clusters > 0 { return }
    limitClusters(to: LaunchConfiguration.portableClusterSize)
    throw .unsupported(
      UnsupportedError(
        operation: operation, backend: name, requested: "a cluster of \(size) blocks",
        supported: "clusters of \(LaunchConfiguration.portableClusterSize) blocks on this device"))
  }

  /// The module of the first pack that holds the kernel as this version prints it. A pack that is
  /// damaged, or that the driver does not take, is reported and left aside: the PTX is at hand.
  private func packed(_ symbol: String, _ ptx: String) -> LoadedModule? {
    guard !packs.isEmpty else { return nil }
    let digest = SHA256Digest(of: Array(ptx.utf8))
    for pack in packs {
      do {
        guard let code = try pack.code(of: symbol, target: target, ptx: digest) else { continue }
        return try context.relaxingCaptures("CubinPack") { () throws(CUDAError) in
          try LoadedModule(.binary(code), name: symbol, in: context)
        }
      } catch {
        options.logger.warning(
          "code of a pack was not used: \(error)", metadata: ["kernel": "\(symbol)"])
      }
    }
    return nil
  }

  private func requireDriver(for ir: KernelIR, operation: String) throws(ApusError) {
    let needed = ModuleIR(kernels: [ir]).ptxVersion(for: target)
    guard let newest = PTXVersion.newest(of: device.driver.version), newest < needed else { return }
    let release = needed.cudaRelease.map { "CUDA \($0)" } ?? "a newer CUDA"
    throw .environment(
      EnvironmentError(
        operation: operation, code: 0,
        text: "the driver compiles PTX up to \(newest) and the kernel needs PTX \(needed)",
        remedy: "Update the NVIDIA driver to \(release) or newer."))
  }

  /// The SHA-256 of the PTX of a kernel that was compiled here; nil for any other symbol.
  package func ptxDigest(of symbol: String) throws(ApusError) -> SHA256Digest? {
    guard let key = made.withLock({ $0[symbol] }) else { return nil }
    let ptx = try Self.print(key.kernel, target: target, operation: "CUDALauncher.ptxDigest").ptx
    return SHA256Digest(of: Array(ptx.utf8))
  }

  /// IR and PTX of a kernel for a target.
  package static func print(
    _ kernel: any ShippedKernel, target: Target, operation: String
  ) throws(ApusError) -> (ir: KernelIR, ptx: String) {
    let ir: KernelIR
    do throws(ElaborationError) {
      ir = try kernel.build(for: target)
    } catch {
      throw .bug(InternalError(operation: operation, detail: "\(error)"))
    }
    do throws(PTXError) {
      return (ir, try PTXPrinter().print(ModuleIR(kernels: [ir]), target: target))
    } catch {
      throw .bug(InternalError(operation: operation, detail: "\(error)"))
    }
  }
}

extension ModuleIR {
  /// The PTX version that the printer states.
  func ptxVersion(for target: Target) -> PTXVersion {
    kernels.reduce(target.minimumPTXVersion) { max($0, $1.ptxVersion(for: target)) }
  }
}

extension PTXVersion {
  /// The newest version that a driver of this CUDA version compiles; nil for drivers newer than any
  /// version known here, which compile them all.
  static func newest(of driver: DriverVersion) -> PTXVersion? {
    let known = allKnown.last { version in
      guard let release = version.cudaRelease else { return false }
      let parts = release.split(separator: ".").compactMap { Int($0) }
      guard parts.count == 2 else { return false }
      return DriverVersion(parts[0], parts[1]) <= driver
    }
    // Beyond the table nothing can be too new that this library prints.
    return known == allKnown.last ? nil : known
  }
}

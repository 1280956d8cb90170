internal import ApusCUDA
package import ApusCore
internal import ApusDSL
package import ApusIR
package import ApusKernels
internal import ApusPTX
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
    let module: LoadedModule
    if jit == JITOptions(), let packed = packed(symbol, ptx) {
      module = packed
    } else {
      try requireDriver(for: ir, operation: "\(operation)(\(symbol))")
      module = try wrappingDriver(operation) { () throws(CUDAError) in
        try LoadedModule(.ptx(ptx), name: symbol, options: jit, in: context)
      }
    }
    let function = try wrappingDriver(operation) { () throws(CUDAError) -> Function in
      let function = try module.function(symbol)
      if ir.sharedByteCount > device.properties.sharedBytesPerBlock {
        try function.setMaxDynamicShared(byteCount: ir.sharedByteCount)
      }
      if ir.launch.clusterSize > LaunchConfiguration.portableClusterSize {
        try function.allowNonPortableClusters()
      }
      return function
    }
    let elapsed = (ContinuousClock.now - start).components
    return CompiledKernel(
      function: function, bounds: ir.launch, sharedByteCount: ir.sharedByteCount,
      parameters: ir.parameters,
      nanoseconds: UInt64(elapsed.seconds) * 1_000_000_000
        + UInt64(elapsed.attoseconds / 1_000_000_000))
  }

  /// The module of the first pack that holds the kernel as this version prints it. A pack that is
  /// damaged, or that the driver does not take, is reported and left aside: the PTX is at hand.
  private func packed(_ symbol: String, _ ptx: String) -> LoadedModule? {
    guard !packs.isEmpty else { return nil }
    let digest = SHA256Digest(of: Array(ptx.utf8))
    for pack in packs {
      do {
        guard let code = try pack.code(of: symbol, target: target, ptx: digest) else { continue }
        return try LoadedModule(.binary(code), name: symbol, in: context)
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

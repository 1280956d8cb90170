import ApusCUDA
import CApusDriver
import Testing

@Suite struct DriverLibraryTests {
  @Test func `a machine without a driver gets the loader's words`() {
    let error = thrown { () throws(CUDAError) in
      _ = try DriverLibrary.open(["libno-such-driver.so.1", "libnor-this.so"])
    }
    #expect(error?.kind == .driverMissing)
    #expect(error?.text.contains("libno-such-driver.so.1") == true)
    #expect(error?.text.contains("libnor-this.so") == true)
    #expect(
      error?.description.hasPrefix(
        "Driver.load: the NVIDIA driver library must be loadable; found libno-such-driver.so.1"
      ) == true)
    #expect(
      error?.description.hasSuffix("Install the NVIDIA driver, or use the CPU back end.") == true)
  }

  #if os(Linux)
    @Test func `a library that is no driver lacks its functions`() {
      let error = thrown { () throws(CUDAError) in _ = try DriverLibrary.open(["libm.so.6"]) }
      #expect(error?.kind == .functionMissing(since: DriverVersion(2, 2)))
      #expect(error?.function == "cuDriverGetVersion")
    }
  #endif

  @Test func `every entry of the table is resolved once, in the form of its version`() throws {
    var asked: [String: Int] = [:]
    var count = 0
    // Any address will do: nothing is called.
    let place = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)
    defer { place.deallocate() }
    let table = try DriverTable.load { name, since in
      asked[name] = since
      count += 1
      return place
    }
    #expect(asked.count == Mirror(reflecting: table).children.count)
    #expect(count == asked.count)
    // Forms whose first version has other arguments.
    #expect(asked["cuMemAlloc"] == 3020)
    #expect(asked["cuCtxPushCurrent"] == 4000)
    #expect(asked["cuStreamBeginCapture"] == 10010)
    #expect(asked["cuGraphExecUpdate"] == 12000)
    // Forms whose newest version has other arguments.
    #expect(asked["cuStreamGetCtx"] == 9020)
    #expect(asked["cuCtxGetDevice"] == 2000)
    #expect(asked["cuCtxSynchronize"] == 2000)
    #expect(table.funcLoad != nil)
  }

  @Test func `each missing function is named with the version that brought it`() {
    let place = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)
    defer { place.deallocate() }
    var names: [String: Int] = [:]
    _ = thrown { () throws(CUDAError) in
      _ = try DriverTable.load { name, since in
        names[name] = since
        return place
      }
    }
    #expect(names.count > 60)
    for (missing, since) in names {
      let error = thrown { () throws(CUDAError) in
        _ = try DriverTable.load { name, _ in name == missing ? nil : place }
      }
      if missing == "cuFuncLoad" {
        #expect(error == nil)
      } else {
        #expect(error?.kind == .functionMissing(since: DriverVersion(encoded: since)))
        #expect(error?.function == missing)
      }
    }
  }

  @Test func `an entry that nobody assigned says that nothing is initialised`() {
    let error = thrown { () throws(CUDAError) in _ = try Driver(table: DriverTable()) }
    #expect(error?.code == 3)
    #expect(error?.name == "CUDA_ERROR_3")
  }

  @Test func `structures have the driver's sizes`() {
    #expect(MemoryLayout<capus_launch_config>.size == 56)
    #expect(MemoryLayout<capus_launch_config>.offset(of: \.attributes) == 40)
    #expect(MemoryLayout<capus_launch_attribute>.stride == 72)
    #expect(MemoryLayout<capus_tensor_map>.size == 128)
    #expect(MemoryLayout<capus_graph_update_info>.size == 24)
  }
}

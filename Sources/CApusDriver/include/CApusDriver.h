// The part of the CUDA driver's binary interface that Apus calls, declared independently.
//
// Names of functions, their argument order and the numeric values are the interface of
// libcuda.so.1 (CUDA Driver API reference, "Modules"). Nothing here links against it: ApusCUDA
// loads the library at run time and casts each symbol to its typedef below.
//
// Handles (contexts, streams, ...) are pointers inside the driver. Apus never follows them, so
// they are integers of a pointer's size here, which are passed in the same registers on x86-64
// (System V) and AArch64 (AAPCS64) and stay plain values in Swift. 0 is the null handle.
#ifndef CAPUS_DRIVER_H
#define CAPUS_DRIVER_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

/// Status of a driver call; 0 is success (CUresult).
typedef int32_t capus_result;
/// Ordinal handle of a device (CUdevice).
typedef int32_t capus_device;
/// Address in device memory (CUdeviceptr).
typedef uint64_t capus_address;
/// CUcontext, CUstream, CUevent, CUmodule, CUfunction, CUgraph, CUgraphExec, CUgraphNode.
typedef uintptr_t capus_context;
typedef uintptr_t capus_stream;
typedef uintptr_t capus_event;
typedef uintptr_t capus_module;
typedef uintptr_t capus_function;
typedef uintptr_t capus_graph;
typedef uintptr_t capus_graph_exec;
typedef uintptr_t capus_graph_node;
typedef uintptr_t capus_user_object;
/// What the driver calls when the last graph that holds a user object has gone; it must not call the
/// driver.
typedef void (*capus_destructor)(void *value) __attribute__((swift_attr("@Sendable")));

/// The status values that Apus itself distinguishes; all others are passed on with the driver's
/// own name and text.
enum {
  CAPUS_SUCCESS = 0,
  CAPUS_ERROR_INVALID_VALUE = 1,
  CAPUS_ERROR_OUT_OF_MEMORY = 2,
  CAPUS_ERROR_NOT_INITIALIZED = 3,
  CAPUS_ERROR_DEINITIALIZED = 4,
  CAPUS_ERROR_NO_DEVICE = 100,
  CAPUS_ERROR_INVALID_DEVICE = 101,
  CAPUS_ERROR_INVALID_IMAGE = 200,
  CAPUS_ERROR_INVALID_CONTEXT = 201,
  CAPUS_ERROR_NO_BINARY_FOR_GPU = 209,
  CAPUS_ERROR_INVALID_PTX = 218,
  CAPUS_ERROR_JIT_COMPILER_NOT_FOUND = 221,
  CAPUS_ERROR_UNSUPPORTED_PTX_VERSION = 222,
  CAPUS_ERROR_INVALID_HANDLE = 400,
  CAPUS_ERROR_NOT_FOUND = 500,
  CAPUS_ERROR_NOT_READY = 600,
  CAPUS_ERROR_ILLEGAL_ADDRESS = 700,
  CAPUS_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
  CAPUS_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
  CAPUS_ERROR_LAUNCH_FAILED = 719,
  CAPUS_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
  CAPUS_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
  CAPUS_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
  CAPUS_ERROR_GRAPH_EXEC_UPDATE_FAILURE = 910,
  CAPUS_ERROR_INVALID_CLUSTER_SIZE = 912,
};

/// Flags of cuGetProcAddress: the handle-0 stream is the legacy default stream.
enum { CAPUS_PROC_ADDRESS_LEGACY_STREAM = 1 };

/// CUdevice_attribute, the ones that planning and launching read.
enum {
  CAPUS_DEVICE_MAX_THREADS_PER_BLOCK = 1,
  CAPUS_DEVICE_MAX_GRID_X = 5,
  CAPUS_DEVICE_MAX_GRID_Y = 6,
  CAPUS_DEVICE_MAX_GRID_Z = 7,
  CAPUS_DEVICE_SHARED_PER_BLOCK = 8,
  CAPUS_DEVICE_WARP_SIZE = 10,
  CAPUS_DEVICE_REGISTERS_PER_BLOCK = 12,
  CAPUS_DEVICE_CLOCK_KHZ = 13,
  CAPUS_DEVICE_MULTIPROCESSOR_COUNT = 16,
  CAPUS_DEVICE_MEMORY_CLOCK_KHZ = 36,
  CAPUS_DEVICE_MEMORY_BUS_BITS = 37,
  CAPUS_DEVICE_L2_BYTES = 38,
  CAPUS_DEVICE_THREADS_PER_MULTIPROCESSOR = 39,
  CAPUS_DEVICE_UNIFIED_ADDRESSING = 41,
  CAPUS_DEVICE_CAPABILITY_MAJOR = 75,
  CAPUS_DEVICE_CAPABILITY_MINOR = 76,
  CAPUS_DEVICE_SHARED_PER_MULTIPROCESSOR = 81,
  CAPUS_DEVICE_REGISTERS_PER_MULTIPROCESSOR = 82,
  CAPUS_DEVICE_COOPERATIVE_LAUNCH = 95,
  CAPUS_DEVICE_SHARED_PER_BLOCK_OPT_IN = 97,
  CAPUS_DEVICE_RESERVED_SHARED_PER_BLOCK = 111,
  CAPUS_DEVICE_MEMORY_POOLS = 115,
  CAPUS_DEVICE_CLUSTER_LAUNCH = 120,
  CAPUS_DEVICE_TENSOR_MAP_ACCESS = 127,
};

/// CUfunction_attribute.
enum {
  CAPUS_FUNCTION_MAX_THREADS_PER_BLOCK = 0,
  CAPUS_FUNCTION_SHARED_BYTES = 1,
  CAPUS_FUNCTION_CONSTANT_BYTES = 2,
  CAPUS_FUNCTION_LOCAL_BYTES = 3,
  CAPUS_FUNCTION_REGISTERS = 4,
  CAPUS_FUNCTION_PTX_VERSION = 5,
  CAPUS_FUNCTION_BINARY_VERSION = 6,
  CAPUS_FUNCTION_MAX_DYNAMIC_SHARED_BYTES = 8,
  CAPUS_FUNCTION_NON_PORTABLE_CLUSTER_ALLOWED = 14,
};

/// CUjit_option, the ones that Apus passes.
enum {
  CAPUS_JIT_MAX_REGISTERS = 0,
  CAPUS_JIT_INFO_LOG = 3,
  CAPUS_JIT_INFO_LOG_BYTES = 4,
  CAPUS_JIT_ERROR_LOG = 5,
  CAPUS_JIT_ERROR_LOG_BYTES = 6,
  CAPUS_JIT_OPTIMIZATION_LEVEL = 7,
  CAPUS_JIT_TARGET = 9,
  CAPUS_JIT_LOG_VERBOSE = 12,
  CAPUS_JIT_GENERATE_LINE_INFO = 13,
};

/// CUjit_target: 10 * major + minor, plus this for an architecture-specific target ("a").
enum { CAPUS_JIT_TARGET_ACCELERATED = 0x10000 };

/// Flags of streams, events and pinned memory; special stream handles.
enum {
  CAPUS_STREAM_NON_BLOCKING = 1,
  CAPUS_STREAM_LEGACY = 1,
  CAPUS_STREAM_PER_THREAD = 2,
  CAPUS_EVENT_BLOCKING_SYNC = 1,
  CAPUS_EVENT_DISABLE_TIMING = 2,
  CAPUS_HOST_PORTABLE = 1,
  // CUuserObject_flags and CUuserObjectRetain_flags.
  CAPUS_USER_OBJECT_NO_DESTRUCTOR_SYNC = 1,
  CAPUS_GRAPH_USER_OBJECT_MOVE = 1,
};

/// CUlaunchAttributeID.
enum {
  CAPUS_LAUNCH_COOPERATIVE = 2,
  CAPUS_LAUNCH_CLUSTER_DIMENSION = 4,
  CAPUS_LAUNCH_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
  CAPUS_LAUNCH_PRIORITY = 8,
};

/// CUlaunchAttribute: an identifier and a value of 64 bytes that starts at byte 8.
typedef struct capus_launch_attribute {
  uint32_t id;
  uint32_t padding;
  union {
    uint64_t bytes[8];
    int32_t flag;
    int32_t priority;
    struct {
      uint32_t x, y, z;
    } cluster;
  } value;
} capus_launch_attribute;
static_assert(sizeof(capus_launch_attribute) == 72, "the driver reads attributes of 72 bytes");
static_assert(offsetof(capus_launch_attribute, value) == 8, "the value follows 8 bytes");

/// CUlaunchConfig.
typedef struct capus_launch_config {
  uint32_t grid_x, grid_y, grid_z;
  uint32_t block_x, block_y, block_z;
  uint32_t dynamic_shared_bytes;
  capus_stream stream;
  capus_launch_attribute *_Nullable attributes;
  uint32_t attribute_count;
} capus_launch_config;
static_assert(sizeof(capus_launch_config) == 56, "the driver reads a configuration of 56 bytes");
static_assert(offsetof(capus_launch_config, stream) == 32, "the stream follows 4 bytes of padding");

/// CUtensorMap: 128 opaque bytes. The driver refuses an address that is not a multiple of 64; 128
/// is what its newer releases align to.
typedef struct capus_tensor_map {
  uint64_t words[16];
} capus_tensor_map;
enum { CAPUS_TENSOR_MAP_BYTES = 128, CAPUS_TENSOR_MAP_ALIGNMENT = 128 };
static_assert(sizeof(capus_tensor_map) == CAPUS_TENSOR_MAP_BYTES, "a tensor map has 128 bytes");

/// CUgraphExecUpdateResultInfo.
typedef struct capus_graph_update_info {
  int32_t result;
  capus_graph_node error_node;
  capus_graph_node error_from_node;
} capus_graph_update_info;
static_assert(sizeof(capus_graph_update_info) == 24, "the driver writes 24 bytes");

/// Declares `capus_NAME`, the type of a pointer to the driver function NAME, and `capus_NAME_since`,
/// the CUDA version (1000 * major + 10 * minor) in which this form of it appeared. Asked for with
/// that version, cuGetProcAddress returns exactly this form: cuMemAlloc of 3.2 is exported as
/// cuMemAlloc_v2, and later forms with other arguments are not taken by accident.
///
/// The driver's functions may be called from any thread, which Swift spells @Sendable.
#define CAPUS_DRIVER_FUNCTION(name, since, ...)                                               \
  typedef capus_result (*capus_##name)(__VA_ARGS__) __attribute__((swift_attr("@Sendable"))); \
  enum { capus_##name##_since = since }

// Initialisation, versions, errors.
CAPUS_DRIVER_FUNCTION(cuInit, 2000, uint32_t flags);
CAPUS_DRIVER_FUNCTION(cuDriverGetVersion, 2020, int32_t *version);
CAPUS_DRIVER_FUNCTION(cuGetProcAddress, 12000, const char *name, void *_Nullable *_Nonnull function,
                      int32_t version, uint64_t flags, int32_t *_Nullable status);
CAPUS_DRIVER_FUNCTION(cuGetErrorName, 6000, capus_result error,
                      const char *_Nullable *_Nonnull text);
CAPUS_DRIVER_FUNCTION(cuGetErrorString, 6000, capus_result error,
                      const char *_Nullable *_Nonnull text);

// Devices.
CAPUS_DRIVER_FUNCTION(cuDeviceGetCount, 2000, int32_t *count);
CAPUS_DRIVER_FUNCTION(cuDeviceGet, 2000, capus_device *device, int32_t ordinal);
CAPUS_DRIVER_FUNCTION(cuDeviceGetName, 2000, char *name, int32_t capacity, capus_device device);
CAPUS_DRIVER_FUNCTION(cuDeviceTotalMem, 3020, size_t *bytes, capus_device device);
CAPUS_DRIVER_FUNCTION(cuDeviceGetAttribute, 2000, int32_t *value, int32_t attribute,
                      capus_device device);
CAPUS_DRIVER_FUNCTION(cuDeviceGetPCIBusId, 4010, char *text, int32_t capacity,
                      capus_device device);
CAPUS_DRIVER_FUNCTION(cuDeviceCanAccessPeer, 4000, int32_t *can_access, capus_device device,
                      capus_device peer);

// Contexts.
CAPUS_DRIVER_FUNCTION(cuDevicePrimaryCtxRetain, 7000, capus_context *context, capus_device device);
CAPUS_DRIVER_FUNCTION(cuDevicePrimaryCtxRelease, 11000, capus_device device);
CAPUS_DRIVER_FUNCTION(cuDevicePrimaryCtxGetState, 7000, capus_device device, uint32_t *flags,
                      int32_t *active);
CAPUS_DRIVER_FUNCTION(cuCtxGetCurrent, 4000, capus_context *context);
CAPUS_DRIVER_FUNCTION(cuCtxPushCurrent, 4000, capus_context context);
CAPUS_DRIVER_FUNCTION(cuCtxPopCurrent, 4000, capus_context *context);
CAPUS_DRIVER_FUNCTION(cuCtxGetDevice, 2000, capus_device *device);
CAPUS_DRIVER_FUNCTION(cuCtxSynchronize, 2000, void);
CAPUS_DRIVER_FUNCTION(cuCtxGetStreamPriorityRange, 5050, int32_t *least, int32_t *greatest);
CAPUS_DRIVER_FUNCTION(cuCtxEnablePeerAccess, 4000, capus_context peer, uint32_t flags);

// Streams.
CAPUS_DRIVER_FUNCTION(cuStreamCreateWithPriority, 5050, capus_stream *stream, uint32_t flags,
                      int32_t priority);
CAPUS_DRIVER_FUNCTION(cuStreamDestroy, 4000, capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuStreamSynchronize, 2000, capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuStreamQuery, 2000, capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuStreamWaitEvent, 3020, capus_stream stream, capus_event event,
                      uint32_t flags);
CAPUS_DRIVER_FUNCTION(cuStreamGetPriority, 5050, capus_stream stream, int32_t *priority);
CAPUS_DRIVER_FUNCTION(cuStreamGetCtx, 9020, capus_stream stream, capus_context *context);
CAPUS_DRIVER_FUNCTION(cuStreamIsCapturing, 10000, capus_stream stream, int32_t *status);
CAPUS_DRIVER_FUNCTION(cuStreamBeginCapture, 10010, capus_stream stream, int32_t mode);
CAPUS_DRIVER_FUNCTION(cuStreamEndCapture, 10000, capus_stream stream, capus_graph *graph);
CAPUS_DRIVER_FUNCTION(cuStreamGetCaptureInfo, 11030, capus_stream stream, int32_t *status,
                      uint64_t *_Nullable id, capus_graph *_Nullable graph,
                      const capus_graph_node *_Nullable *_Nullable dependencies,
                      size_t *_Nullable dependency_count);
CAPUS_DRIVER_FUNCTION(cuThreadExchangeStreamCaptureMode, 10010, int32_t *mode);

// Events.
CAPUS_DRIVER_FUNCTION(cuEventCreate, 2000, capus_event *event, uint32_t flags);
CAPUS_DRIVER_FUNCTION(cuEventDestroy, 4000, capus_event event);
CAPUS_DRIVER_FUNCTION(cuEventRecord, 2000, capus_event event, capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuEventSynchronize, 2000, capus_event event);
CAPUS_DRIVER_FUNCTION(cuEventQuery, 2000, capus_event event);
CAPUS_DRIVER_FUNCTION(cuEventElapsedTime, 2000, float *milliseconds, capus_event start,
                      capus_event end);

// Memory.
CAPUS_DRIVER_FUNCTION(cuMemGetInfo, 3020, size_t *free, size_t *total);
CAPUS_DRIVER_FUNCTION(cuMemAlloc, 3020, capus_address *address, size_t bytes);
CAPUS_DRIVER_FUNCTION(cuMemFree, 3020, capus_address address);
CAPUS_DRIVER_FUNCTION(cuMemAllocAsync, 11020, capus_address *address, size_t bytes,
                      capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuMemFreeAsync, 11020, capus_address address, capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuMemHostAlloc, 2020, void *_Nullable *_Nonnull address, size_t bytes,
                      uint32_t flags);
CAPUS_DRIVER_FUNCTION(cuMemFreeHost, 2000, void *address);
CAPUS_DRIVER_FUNCTION(cuMemcpyHtoD, 3020, capus_address to, const void *from, size_t bytes);
CAPUS_DRIVER_FUNCTION(cuMemcpyDtoH, 3020, void *to, capus_address from, size_t bytes);
CAPUS_DRIVER_FUNCTION(cuMemcpyHtoDAsync, 3020, capus_address to, const void *from, size_t bytes,
                      capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuMemcpyDtoHAsync, 3020, void *to, capus_address from, size_t bytes,
                      capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuMemcpyDtoDAsync, 3020, capus_address to, capus_address from, size_t bytes,
                      capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuMemcpyPeerAsync, 4000, capus_address to, capus_context to_context,
                      capus_address from, capus_context from_context, size_t bytes,
                      capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuMemsetD8Async, 3020, capus_address to, uint8_t value, size_t count,
                      capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuMemsetD32Async, 3020, capus_address to, uint32_t value, size_t count,
                      capus_stream stream);

// Modules and functions. cuFuncLoad forces what lazy loading would defer to the first launch.
CAPUS_DRIVER_FUNCTION(cuModuleLoadDataEx, 2010, capus_module *module, const void *image,
                      uint32_t option_count, const int32_t *options,
                      void *_Nullable *_Nonnull values);
CAPUS_DRIVER_FUNCTION(cuModuleUnload, 2000, capus_module module);
CAPUS_DRIVER_FUNCTION(cuModuleGetFunction, 2000, capus_function *function, capus_module module,
                      const char *name);
CAPUS_DRIVER_FUNCTION(cuModuleGetGlobal, 3020, capus_address *address, size_t *bytes,
                      capus_module module, const char *name);
CAPUS_DRIVER_FUNCTION(cuFuncGetAttribute, 2020, int32_t *value, int32_t attribute,
                      capus_function function);
CAPUS_DRIVER_FUNCTION(cuFuncSetAttribute, 9000, capus_function function, int32_t attribute,
                      int32_t value);
CAPUS_DRIVER_FUNCTION(cuFuncLoad, 12040, capus_function function);

// Launches and occupancy.
CAPUS_DRIVER_FUNCTION(cuLaunchKernelEx, 11060, const capus_launch_config *config,
                      capus_function function, void *_Nullable *_Nullable parameters,
                      void *_Nullable *_Nullable extra);
CAPUS_DRIVER_FUNCTION(cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050, int32_t *count,
                      capus_function function, int32_t threads, size_t dynamic_shared_bytes);
CAPUS_DRIVER_FUNCTION(cuOccupancyMaxActiveClusters, 11070, int32_t *count,
                      capus_function function, const capus_launch_config *config);

// Tensor maps.
CAPUS_DRIVER_FUNCTION(cuTensorMapEncodeTiled, 12000, capus_tensor_map *map, uint32_t data_type,
                      uint32_t rank, capus_address address, const uint64_t *dimensions,
                      const uint64_t *byte_strides, const uint32_t *box,
                      const uint32_t *element_strides, uint32_t interleave, uint32_t swizzle,
                      uint32_t l2_promotion, uint32_t out_of_bounds_fill);

// Graphs.
CAPUS_DRIVER_FUNCTION(cuGraphInstantiateWithFlags, 11040, capus_graph_exec *exec,
                      capus_graph graph, uint64_t flags);
CAPUS_DRIVER_FUNCTION(cuGraphLaunch, 10000, capus_graph_exec exec, capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuGraphUpload, 11010, capus_graph_exec exec, capus_stream stream);
CAPUS_DRIVER_FUNCTION(cuGraphExecUpdate, 12000, capus_graph_exec exec, capus_graph graph,
                      capus_graph_update_info *info);
CAPUS_DRIVER_FUNCTION(cuGraphGetNodes, 10000, capus_graph graph,
                      capus_graph_node *_Nullable nodes, size_t *count);
CAPUS_DRIVER_FUNCTION(cuGraphDestroy, 10000, capus_graph graph);
CAPUS_DRIVER_FUNCTION(cuUserObjectCreate, 11030, capus_user_object *object, void *value,
                      capus_destructor destroy, uint32_t references, uint32_t flags);
CAPUS_DRIVER_FUNCTION(cuUserObjectRelease, 11030, capus_user_object object, uint32_t count);
CAPUS_DRIVER_FUNCTION(cuGraphRetainUserObject, 11030, capus_graph graph, capus_user_object object,
                      uint32_t count, uint32_t flags);
CAPUS_DRIVER_FUNCTION(cuGraphExecDestroy, 10000, capus_graph_exec exec);

#pragma clang assume_nonnull end

#undef CAPUS_DRIVER_FUNCTION

#endif

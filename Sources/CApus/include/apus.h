/* Apus: attention for LLM inference. The C ABI.
 *
 * Every function returns a status; after a failure `apus_last_error_message` has the sentence, per
 * thread, until the next failure of that thread. Nothing here traps, aborts or throws. All functions
 * may be called from any number of threads at once. Runs of one plan may overlap, on threads or on
 * streams of a GPU, with distinct outputs and workspaces; runs without a workspace share the plan's. A
 * plan and its back end must outlive the graphs that captured runs; enqueued runs may outlive a plan,
 * but not the back end.
 *
 * Handles are numbers, not addresses: one that was destroyed, or never made, is an error. A process may
 * be forked while other threads are in calls, except in the first calls of the library, which initialise
 * its runtime, and in `apus_plan_update`: the child may use back ends and plans of the CPU, its own and
 * its parent's, whose threads have stayed with the parent; those of a GPU are errors there, since CUDA
 * does not survive a fork.
 *
 * Structures start with `struct_size`, which `APUS_INIT` sets: a newer library reads those of an
 * older header, with zero for what they lack; an older library takes those of a newer header as
 * long as what it does not know is zero, and refuses them otherwise. Zero is the default of every
 * field.
 *
 * Tensors are DLPack's `DLTensor` (https://dmlc.github.io/dlpack). Where a type has no code of its
 * own with the producer, unsigned (or signed) integers of the same width are taken for the type that
 * the problem states. Strides are in elements, null for dense row-major tensors.
 */
#ifndef APUS_H
#define APUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this ABI, part of the library's name. Functions and fields are added without raising it:
 * what exists keeps its meaning, structures state their size. */
#define APUS_ABI_VERSION 1

/* Zeroes a structure and states its size. */
#define APUS_INIT(type) ((type){.struct_size = sizeof(type)})

#ifndef DLPACK_DLPACK_H_
/* DLPack 1.x, layout fixed by its ABI. Include dlpack.h before this header to use its own. */
typedef enum { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3, kDLCUDAManaged = 13 } DLDeviceType;

typedef struct {
  int32_t device_type; /* DLDeviceType */
  int32_t device_id;
} DLDevice;

/* code: 0 signed, 1 unsigned, 2 floating, 4 bfloat, 6 bool, 10 float8_e4m3fn, 12 float8_e5m2. */
typedef struct {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} DLDataType;

typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape;
  int64_t *strides;
  uint64_t byte_offset;
} DLTensor;
#endif

typedef enum {
  APUS_OK = 0,
  /* A requirement on the arguments does not hold; nothing was written. */
  APUS_INVALID_ARGUMENT = 1,
  /* The back end has no implementation; the message names the supported set. */
  APUS_UNSUPPORTED = 2,
  /* The machine refused: driver, memory. */
  APUS_ENVIRONMENT = 3,
  /* A defect of Apus. */
  APUS_INTERNAL = 4
} apus_status;

/* Element types; 0 means "the tensor's own". */
typedef enum {
  APUS_TYPE_DEFAULT = 0,
  APUS_F32 = 1,
  APUS_F16 = 2,
  APUS_BF16 = 3,
  APUS_E4M3 = 4,
  APUS_E5M2 = 5
} apus_type;

typedef enum { APUS_NHD = 0, APUS_HND = 1 } apus_layout;

typedef enum { APUS_BITS_LITTLE = 0, APUS_BITS_BIG = 1 } apus_bit_order;

/* Base and empty row of log-sum-exps. */
typedef enum {
  APUS_LSE_BASE_2 = 0,
  APUS_LSE_NATURAL = 1,
  /* Natural, +inf for an empty row, as FlashMLA's dense decode. */
  APUS_LSE_NATURAL_POSITIVE_INFINITY = 2
} apus_lse_convention;

/* Arithmetic of GPU decode; others ignore it. */
typedef enum {
  /* Whichever is faster by measurement, among those that meet the precision. */
  APUS_TENSOR_CORES_AUTOMATIC = 0,
  /* Ordinary cores: every product and sum in f32. */
  APUS_TENSOR_CORES_NEVER = 1,
  /* Tensor cores; what they cannot compute is computed by the general kernels. */
  APUS_TENSOR_CORES_ALWAYS = 2
} apus_tensor_core_use;

typedef uint64_t apus_backend;
typedef uint64_t apus_plan;

/* Integers in host memory: `width` is 4 or 8 bytes. */
typedef struct {
  const void *data;
  int64_t count;
  int32_t width;
} apus_int_list;

/* A stream of the back end's device; null pointers to it mean: run synchronously. */
typedef struct {
  void *handle; /* CUstream */
} apus_stream;

/* Version and errors. */
uint32_t apus_abi_version(void);
const char *apus_version(void);
/* The thread's last failure, UTF-8; empty if there was none. Valid until its next failure. */
const char *apus_last_error_message(void);

/* Back ends. */

/* instruction_set: "avx512", "avx2", "neon", "portable", … or null for the best of this CPU.
 * thread_count: 0 takes one thread per CPU available to the process. */
apus_status apus_backend_create_cpu(
    const char *instruction_set, int32_t thread_count, apus_backend *backend);
apus_status apus_backend_create_cuda(int32_t device, apus_backend *backend);
apus_status apus_backend_destroy(apus_backend backend);
/* "cpu", "cuda:0". Copies at most `capacity` bytes with the terminating zero, cut between characters
 * of UTF-8; `length` gets the length that the whole text has without it. Both pointers may be
 * null. */
apus_status apus_backend_name(apus_backend backend, char *text, size_t capacity, size_t *length);
/* CUDA devices of this machine; 0 when there is no driver, which is no error. */
apus_status apus_cuda_device_count(int32_t *count);

/* Attention. */

typedef enum { APUS_RAGGED = 0, APUS_PADDED = 1, APUS_PAGED = 2 } apus_geometry;

/* Rotary embedding of q and k inside attention, or of apus_rotate. */
typedef struct {
  size_t struct_size;
  int32_t interleaved; /* 0: halves (GPT-NeoX); 1: neighbours (GPT-J) */
  int32_t rotary_dim;  /* 0: the whole head */
  double scale;        /* 0: 1; positions are divided by it */
  double theta;        /* 0: 10000 */
  int32_t is_llama31;  /* 1: frequencies scaled as Llama 3.1 does, by the next three */
  double low_frequency_factor;
  double high_frequency_factor;
  double old_context_length;
} apus_rope;

typedef struct {
  size_t struct_size;
  int32_t qo_head_count;
  int32_t kv_head_count;
  int32_t head_dim_qk;
  int32_t head_dim_vo; /* 0: head_dim_qk */
  apus_type q_type;
  apus_type kv_type; /* default: q_type */
  apus_type o_type;  /* default: q_type */
  apus_layout layout;

  /* Query rows of request r: qo_indptr[r] … qo_indptr[r + 1] − 1. */
  apus_int_list qo_indptr;

  apus_geometry geometry;
  /* ragged: kv_indptr. padded: max_length and kv_lengths (empty: all max_length). paged: page_size
   * and either page_indptr + page_indices + last_page_length, or block_table with pages_per_request
   * columns + kv_lengths. */
  apus_int_list kv_indptr;
  int64_t max_length;
  apus_int_list kv_lengths;
  int64_t page_size;
  apus_int_list page_indptr;
  apus_int_list page_indices;
  apus_int_list last_page_length;
  apus_int_list block_table;
  int64_t pages_per_request;

  /* MLA: widths of the latent row; head_dim_qk is their sum. 0, 0: no latent cache. */
  int32_t latent_ckv;
  int32_t latent_kpe;

  int32_t is_causal;
  int32_t has_window; /* 1: window_left counts, else it is ignored */
  int64_t window_left;
  /* Packed mask of request r: bytes mask_indptr[r] … of mask_bits, bit i · kvLength + j. */
  const uint8_t *mask_bits;
  int64_t mask_byte_count;
  apus_int_list mask_indptr;
  apus_bit_order mask_bit_order;

  int32_t has_softmax_scale; /* 0: 1 / sqrt(head_dim_qk) */
  float softmax_scale;
  float logits_soft_cap;     /* 0: none */
  const float *alibi_slopes; /* qo_head_count of them, or null */
  const apus_rope *rope;     /* or null */

  apus_lse_convention lse_convention;
  int32_t is_accurate; /* 1: f32-grade products */
  double tolerance;    /* above 0: the fastest path whose bound meets it */
  int64_t split_size;  /* 0: chosen */
  int32_t disables_split_kv;
  int32_t is_batch_invariant;
  apus_tensor_core_use use_tensor_cores;
  int32_t reserved; /* 0 */
} apus_attention_problem;

/* One multiplier of stored numbers: per tensor (value), or a tensor of f32. */
typedef struct {
  const DLTensor *per_head;       /* [heads] */
  const DLTensor *per_token_head; /* as the cache, without the head dimension; k and v only */
  float value;                    /* 0: 1 */
} apus_scale;

typedef struct {
  size_t struct_size;
  const DLTensor *q;      /* [rows, qo_head, head_dim_qk]; MLA: or q_nope … */
  const DLTensor *q_rope; /* … [rows, qo_head, kpe], with q being [rows, qo_head, ckv] */
  /* k and v, or kv ([pages, 2, …]; MLA: ckv then kpe in one row), or ckv as k and kpe as v. */
  const DLTensor *k;
  const DLTensor *v;
  const DLTensor *kv;
  const DLTensor *o;
  const DLTensor *lse; /* f32 [rows, qo_head], or null */
  const DLTensor *sinks; /* f32 [qo_head], or null */
  apus_scale q_scale;
  apus_scale k_scale;
  apus_scale v_scale;
  apus_scale o_scale;
  apus_scale kpe_scale;
  const DLTensor *workspace; /* u8 [at least apus_plan_workspace_size], or null: Apus's own */
} apus_attention_arguments;

/* Validates and plans: no tensor is needed. `problem` and its lists are copied. */
apus_status apus_attention_plan(
    apus_backend backend, const apus_attention_problem *problem, apus_plan *plan);
apus_status apus_plan_workspace_size(apus_plan plan, size_t *byte_count);
/* The plan in one line; see apus_backend_name for the buffer. */
apus_status apus_plan_describe(apus_plan plan, char *text, size_t capacity, size_t *length);
apus_status apus_plan_destroy(apus_plan plan);
/* Computes o and, if given, lse. Enqueues on `stream` without synchronising, or runs to its end. */
apus_status apus_attention_run(
    apus_plan plan, const apus_attention_arguments *arguments, const apus_stream *stream);

/* Plans that are updated: graphs that captured their runs replay with other batches. */

/* The most that a plan may be updated to. q, o and lse of its runs have batch * queries_per_request
 * rows, padded caches `batch` slabs. */
typedef struct {
  size_t struct_size;
  int32_t batch;
  int32_t queries_per_request; /* query rows of each request; 0: 1 */
  int64_t keys_per_request;
  /* Of all requests together: pages that are listed, or rows of ragged k and v. 0: what full requests
   * take. */
  int64_t key_rows;
  int64_t cache_pages; /* pages of the caches of all runs, which updates check indices by; 0: unchecked */
} apus_plan_capacity;

/* apus_attention_plan with room for every problem within a capacity. On a GPU: what the decode kernels
 * compute, without custom masks. */
apus_status apus_attention_plan_within(
    apus_backend backend, const apus_attention_problem *problem,
    const apus_plan_capacity *capacity, apus_plan *plan);
/* Changes the lists of a plan with a capacity: query rows, lengths, pages; the rest of `problem` must be
 * as planned. Runs behind it on the stream compute the new problem, and so do replays of graphs that
 * captured runs before. On a GPU it neither allocates nor waits, unless four updates are in flight;
 * the stream must not be under capture. A problem that is refused changes nothing. */
apus_status apus_plan_update(
    apus_plan plan, const apus_attention_problem *problem, const apus_stream *stream);

/* Cache writes. */

/* The lists of an append in the memory of the back end: i32, contiguous. A GPU follows them itself:
 * nothing is copied, allocated or waited for, and a graph that captured the append reads at each replay
 * what they hold then. Types, shapes and devices are checked, what they hold is not: requests must be
 * −1 or rows of the page table, positions must have pages of the cache, and no slot may be written
 * twice, or memory beside the cache may be overwritten. The CPU checks all of it. A GPU back end that is
 * made while the environment says APUS_CHECK_INDICES=1 waits for the append and returns
 * APUS_INVALID_ARGUMENT for a bad index: its tokens are left out, the others are written. The lists must
 * live until the append has run; those of captures, as long as the graph. */
typedef struct {
  size_t struct_size;
  const DLTensor *batch_indices; /* [tokens]; −1 skips a token */
  const DLTensor *positions;     /* [tokens] */
  /* Either page_indptr [batch + 1] and page_indices, or block_table [batch, pages], whose rows may be
   * strided. */
  const DLTensor *page_indptr;
  const DLTensor *page_indices;
  const DLTensor *block_table;
} apus_append_lists;

typedef struct {
  size_t struct_size;
  int32_t kv_head_count;
  int32_t head_dim_k; /* MLA: ckv */
  int32_t head_dim_v; /* 0: head_dim_k; MLA: kpe, 0 meaning none */
  int32_t is_latent;
  apus_type source_type;
  apus_type cache_type; /* default: source_type */
  apus_layout layout;
  int64_t page_size;
  apus_int_list page_indptr;
  apus_int_list page_indices;
  apus_int_list last_page_length;
  apus_int_list block_table;
  int64_t pages_per_request;
  apus_int_list kv_lengths;
  /* Request and position of each new token. */
  apus_int_list batch_indices;
  apus_int_list positions;
  /* Instead of all lists above, which then are empty; or null. */
  const apus_append_lists *lists;
} apus_append_problem;

/* Scale that stored rows are divided by. */
typedef struct {
  const DLTensor *per_head;               /* f32 [heads] */
  const DLTensor *dynamic_per_token_head; /* f32, written: amax of the row over the type's greatest */
  float value;                            /* 0: 1 */
} apus_append_scale;

typedef struct {
  size_t struct_size;
  const DLTensor *keys;   /* [tokens, kv_head, head_dim_k] */
  const DLTensor *values; /* [tokens, kv_head, head_dim_v] */
  const DLTensor *k;      /* caches as in apus_attention_arguments */
  const DLTensor *v;
  const DLTensor *kv;
  apus_append_scale k_scale;
  apus_append_scale v_scale;
} apus_append_arguments;

/* On a GPU the problem's own lists go to the device in stream order. A captured append keeps
 * those of its capture as long as the graph lives; any number may be captured. */
apus_status apus_append(
    apus_backend backend, const apus_append_problem *problem,
    const apus_append_arguments *arguments, const apus_stream *stream);

/* Merging of attention states over disjoint keys. */

/* v, s = merge of (v_a, s_a) and (v_b, s_b): [rows, heads, dim] and f32 [rows, heads]. */
apus_status apus_merge_state(
    apus_backend backend, const DLTensor *v_a, const DLTensor *s_a, const DLTensor *v_b,
    const DLTensor *s_b, const DLTensor *v, const DLTensor *s, apus_lse_convention convention,
    const apus_stream *stream);
/* (v, s) = merge of (v, s) and (v_other, s_other), for rows whose `mask` (u8 or bool [rows], or null)
 * is not 0. */
apus_status apus_merge_state_in_place(
    apus_backend backend, const DLTensor *v, const DLTensor *s, const DLTensor *v_other,
    const DLTensor *s_other, const DLTensor *mask, apus_lse_convention convention,
    const apus_stream *stream);
/* states [rows, count, heads, dim], logits f32 [rows, count, heads]. */
apus_status apus_merge_states(
    apus_backend backend, const DLTensor *states, const DLTensor *logits, const DLTensor *v,
    const DLTensor *s, apus_lse_convention convention, const apus_stream *stream);

/* Rotary embedding of q [rows, qo_head, dim] and k [rows, kv_head, dim]; outputs may be the inputs.
 * Either rope or cos_sin_cache (f32 [positions, rotary_dim]: cosines, then sines) must be given. */
apus_status apus_rotate(
    apus_backend backend, const DLTensor *q, const DLTensor *k, const DLTensor *q_out,
    const DLTensor *k_out, apus_int_list positions, const apus_rope *rope,
    const DLTensor *cos_sin_cache, int32_t interleaved, const apus_stream *stream);

/* The same by positions in the memory of the back end, i32 or i64 [rows], contiguous: a GPU reads them
 * in stream order and at each replay of a graph, without a copy or a wait, and does not check that they
 * are at least 0, within 31 bits and below the rows of cos_sin_cache. The CPU does. */
apus_status apus_rotate_by(
    apus_backend backend, const DLTensor *q, const DLTensor *k, const DLTensor *q_out,
    const DLTensor *k_out, const DLTensor *positions, const apus_rope *rope,
    const DLTensor *cos_sin_cache, int32_t interleaved, const apus_stream *stream);

/* Packs flags (u8 or bool [n]) into bits, segment by segment where indptr is given. */
apus_status apus_pack_bits(
    apus_backend backend, const DLTensor *flags, const DLTensor *packed, apus_int_list indptr,
    apus_bit_order bit_order, const apus_stream *stream);

#ifdef __cplusplus
}
#endif

#endif

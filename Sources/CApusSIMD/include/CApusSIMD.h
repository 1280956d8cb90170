// Micro-kernels of the CPU back end, one table per instruction set.
//
// All arithmetic is f32 with fused multiply-add (the portable table rounds the product where the
// baseline has no such instruction); storage types are widened in registers. Element type indices
// follow ApusNumerics.ElementType.rawValue. Pointers to storage need no alignment, but f32 rows
// (q, p, o, a, b, c) are read fastest at multiples of 64 bytes. No kernel reads or writes outside
// the rows it is given: row tails are masked or scalar. Requests (prefetches) cannot fault and may
// touch lines beside rows.
//
// Within one table the bits of an element of a result never depend on how many other rows, tokens
// or columns the same call computes: scores depend on the two rows alone, weighted_sum on the
// tokens and their order, gemm on its row of a and column of b. A sum of n products (n + 1 with
// accumulate, and for weighted_sum) is within gamma_n * sum |a| |b| of the exact one, gamma_n =
// n u / (1 - n u), u = 2^-24, as long as no partial sum leaves f32's normal range (for e4m3 that
// of f32 / 2^8: its scale is applied to the sum, or to the weights).
#ifndef CAPUS_SIMD_H
#define CAPUS_SIMD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CAPUS_F32 = 0, CAPUS_F16 = 1, CAPUS_BF16 = 2, CAPUS_E4M3 = 3, CAPUS_E5M2 = 4 };
enum { CAPUS_TYPE_COUNT = 5 };

/// Instruction sets in rising order of preference on one architecture.
typedef enum capus_isa {
  CAPUS_ISA_PORTABLE = 0,
  CAPUS_ISA_NEON = 1,
  CAPUS_ISA_AVX2 = 2,    // AVX2 + FMA + F16C
  CAPUS_ISA_AVX512 = 3,  // AVX-512 F, BW, VL, DQ
  CAPUS_ISA_AVX512BF16 = 4,  // AVX-512 as above, BF16 and VBMI
} capus_isa;
enum { CAPUS_ISA_COUNT = 5 };

/// Heads that one call walks: after a group of 4 rows of one head (8 in weighted_sum of 8-bit
/// types) come the rows of the same tokens of the next head. Row pointers are those of the first
/// head; rows of q, p, out and o of a head follow those of the head before.
typedef struct capus_walk {
  int heads;
  /// Bytes from a row of one head to that of the next.
  ptrdiff_t head_bytes;
  /// Groups of rows, counted over all heads, between the group that is read and the one whose lines
  /// are requested, at most 3 * heads. The list of rows then has CAPUS_FOLLOWING more entries: rows
  /// that will be read next, or any other.
  int reach;
} capus_walk;
enum { CAPUS_FOLLOWING = 32 };

/// scores: out[i*ldo + j] = (accumulate ? out[i*ldo + j] : 0) + sum_c q[i*ldq + c] * k[j][c],
/// 0 <= i < rows, 0 <= j < tokens, 0 <= c < dim. Rows of K are read once for all rows of Q.
/// walk: NULL for one head and no requests.
typedef void (*capus_scores_fn)(const float *q, ptrdiff_t ldq, int rows, const void *const *k,
                                int tokens, int dim, float *out, ptrdiff_t ldo, int accumulate,
                                const capus_walk *walk);

/// weighted_sum: o[i*ldo + c] += sum_j p[i*ldp + j] * v[j][c]. Rows of V are read once.
typedef void (*capus_weighted_sum_fn)(const float *p, ptrdiff_t ldp, int rows,
                                      const void *const *v, int tokens, int dim, float *o,
                                      ptrdiff_t ldo, const capus_walk *walk);

/// widen: dst[i] = (float)src[i], exact, for i < count.
typedef void (*capus_widen_fn)(const void *src, float *dst, ptrdiff_t count);

/// narrow: dst[i] = round_to_nearest_even(src[i]). saturate != 0: finite and infinite values beyond
/// the range become the largest finite value. saturate == 0: they become infinity, or NaN in e4m3,
/// which has no infinity. NaN becomes the canonical quiet NaN of its sign. f32 is copied bit for
/// bit in both cases: nothing is narrowed.
typedef void (*capus_narrow_fn)(const float *src, void *dst, ptrdiff_t count, int saturate);

/// pack_transposed: dst[c*ldd + j] = (float)k[j][c] for c < dim, j < tokens, and 0 for
/// tokens <= j < padded (padded >= tokens, at most ldd).
typedef void (*capus_pack_transposed_fn)(const void *const *k, int tokens, int padded, int dim,
                                         float *dst, ptrdiff_t ldd);

/// Products of bfloat16 pairs with f32 accumulation; entries for f32 and f16 are NULL. Subnormal
/// operands, products and sums count as zero; otherwise the error bounds above hold, with
/// products of the rounded operands. Patterns are rounded to nearest even.
typedef struct capus_dot_kernels {
  /// As capus_scores_fn over rows that pack_rows made for the type of the keys.
  void (*scores[CAPUS_TYPE_COUNT])(const uint16_t *q, ptrdiff_t ldq, int rows,
                                   const void *const *k, int tokens, int dim, float *out,
                                   ptrdiff_t ldo, int accumulate, const capus_walk *walk);
  /// As capus_weighted_sum_fn. The weight behind the last token of each row is zero and readable
  /// where tokens is odd.
  void (*weighted_sum[CAPUS_TYPE_COUNT])(const uint16_t *p, ptrdiff_t ldp, int rows,
                                         const void *const *v, int tokens, int dim, float *o,
                                         ptrdiff_t ldo, const capus_walk *walk);
  /// pack_rows: row (part * rows + r) of dst is part `part` of row r of src, the sum of the parts
  /// being src up to 2^-9 to the power of `parts` (1 to 3; three are exact within bfloat16's
  /// range). Rows are dim long in src and ldd in dst, a multiple of 64 that is at least dim, filled
  /// with zeros; the order within is that of scores for the type.
  void (*pack_rows[CAPUS_TYPE_COUNT])(const float *src, ptrdiff_t lds, int rows, int dim,
                                      int parts, uint16_t *dst, ptrdiff_t ldd);
  /// pack_keys: dst[(c / 2) * ldd + j] = (k[j][c], k[j][c + 1]) for c < dim, j < tokens; zeros
  /// where c + 1 = dim, and for tokens up to the next multiple of 16, at most ldd.
  void (*pack_keys[CAPUS_TYPE_COUNT])(const void *const *k, int tokens, int dim, uint32_t *dst,
                                      ptrdiff_t ldd);
  /// pack_values: dst[(j / 2) * ldd + c] = (v[j][c], v[j + 1][c]); zero where j + 1 = tokens.
  void (*pack_values[CAPUS_TYPE_COUNT])(const void *const *v, int tokens, int dim, uint32_t *dst,
                                        ptrdiff_t ldd);
  /// gemm: c[i*ldc + j] = (accumulate ? c : 0) + sum_k a[i*lda + 2k] * b[k*ldb + j].lower +
  /// a[i*lda + 2k + 1] * b[k*ldb + j].upper for k < depth pairs.
  void (*gemm)(const uint16_t *a, ptrdiff_t lda, int rows, const uint32_t *b, ptrdiff_t ldb,
               int columns, int depth, float *c, ptrdiff_t ldc, int accumulate);
  /// dst[i] = bfloat16 of src[i], subnormals as zero.
  void (*round)(const float *src, uint16_t *dst, ptrdiff_t count);
  /// As fma_probe.
  double (*probe)(int64_t iterations, float *sink);
} capus_dot_kernels;

typedef struct capus_kernels {
  const char *name;
  capus_isa isa;
  capus_scores_fn scores[CAPUS_TYPE_COUNT];
  capus_weighted_sum_fn weighted_sum[CAPUS_TYPE_COUNT];
  capus_widen_fn widen[CAPUS_TYPE_COUNT];
  capus_narrow_fn narrow[CAPUS_TYPE_COUNT];
  capus_pack_transposed_fn pack_transposed[CAPUS_TYPE_COUNT];
  /// gemm: c[i*ldc + j] = (accumulate ? c : 0) + sum_k a[i*lda + k] * b[k*ldb + j],
  /// i < rows, j < columns, k < depth. Any rows/columns/depth >= 0.
  void (*gemm)(const float *a, ptrdiff_t lda, int rows, const float *b, ptrdiff_t ldb, int columns,
               int depth, float *c, ptrdiff_t ldc, int accumulate);
  /// One online-softmax step of one row over `count` scores in the exp2 domain (arXiv 1805.02867):
  ///   m' = max(*m, max_j s[j]);  s[j] = exp2(s[j] - m');  alpha = exp2(*m - m');
  ///   *l = *l * alpha + sum_j s[j];  *m = m';  returns alpha.
  /// A score of -inf gives s[j] = 0. While m' is -inf, all s[j] = 0 and alpha = 1.
  /// A NaN score makes s[j], and so *l, NaN (m ignores NaN).
  /// exp2 is within 2 ulp on [-126, 0] and exactly 1 at 0; below -126 it is 0, not a subnormal.
  float (*softmax_step)(float *s, int count, float *m, float *l);
  /// softmax_step of `rows` rows of s, each first multiplied by its factor: row i has state m[i],
  /// l[i]; alpha[i] is what softmax_step returns.
  void (*softmax_rows)(float *s, ptrdiff_t lds, int rows, int count, const float *factor, float *m,
                       float *l, float *alpha);
  /// s[j] = s[j] * scale for j < count.
  void (*scale)(float *s, int count, float scale);
  /// s[j] = post * tanh(s[j] * pre). tanh error at most 4 ulp; NaN propagates, +-inf gives +-post.
  void (*soft_cap)(float *s, int count, float pre, float post);
  /// s[j] += bias0 + slope * j  (ALiBi along consecutive kv indices).
  void (*add_ramp)(float *s, int count, float bias0, float slope);
  /// Reads `bytes` bytes (any alignment) with the widest loads; the returned xor keeps it honest.
  uint64_t (*read_probe)(const void *data, size_t bytes);
  /// Runs `iterations` of independent f32 FMAs; returns the FLOP count; result in *sink.
  double (*fma_probe)(int64_t iterations, float *sink);
  /// NULL where the instruction set has no products of bfloat16 pairs.
  const capus_dot_kernels *dot;
} capus_kernels;

/// The table of an instruction set compiled into this binary and present on this CPU, else NULL.
const capus_kernels *capus_kernels_for(capus_isa isa);

/// The most capable table of this CPU; never NULL.
const capus_kernels *capus_kernels_best(void);

/// CPUs that this process may run on (its affinity mask where the system has one), at least 1. Quotas of
/// control groups are not counted.
int capus_available_cpus(void);

/// Name of an instruction set as `APUS_CPU` spells it: "portable", "neon", "avx2", "avx512",
/// "avx512bf16".
const char *capus_isa_name(capus_isa isa);

#ifdef __cplusplus
}
#endif
#endif

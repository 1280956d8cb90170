// Products of bfloat16 pairs with f32 accumulation, for AVX-512 with BF16 and VBMI.
//
// vdpbf16ps adds two products to each f32 lane, each sum rounded to nearest even, with subnormal
// operands and results taken as zero. Every storage type here is exact in bfloat16: 16-bit
// patterns as they are, 8-bit codes by a table of 128 magnitudes in registers (two byte permutes),
// none of which is subnormal in bfloat16.
//
// As in attention.inc.h, a result's bits depend on dim (scores), on the tokens (weighted_sum) or
// on the depth (gemm) alone: each sum runs in index order over one accumulator per lane.

enum { DOT_ROWS = 6, DOT_VECTORS = 4 };

typedef __m512i vw;  // 32 bfloat16 patterns, or 64 8-bit codes

INLINE vf v_dot(vf sum, vw a, vw b) {
  return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

INLINE vw vw_load(const void *p) { return _mm512_loadu_si512(p); }

/// The first n elements of a row; the others are zero. n may exceed a vector.
INLINE vw vw_load_n(const int type, const void *p, int n) {
  if (type_size(type) == 2) {
    return _mm512_maskz_loadu_epi16(n >= 32 ? ~0u : (1u << n) - 1, p);
  }
  return _mm512_maskz_loadu_epi8(n >= 64 ? ~0ull : (1ull << n) - 1, p);
}

// bfloat16 patterns of the magnitudes m of the 8-bit types. Subnormals are m * 2^-9 and m * 2^-16.
#define BF16_OF_E4M3(m)                                                               \
  ((m) == 127  ? 0x7FC0                                                               \
   : (m) >= 8  ? ((m) + (120 << 3)) << 4                                              \
   : (m) >= 4  ? 120 << 7 | ((m) & 3) << 5                                             \
   : (m) >= 2  ? 119 << 7 | ((m) & 1) << 6                                             \
               : (m) * (118 << 7))
#define BF16_OF_E5M2(m)                                                               \
  ((m) > 124    ? 0x7FC0                                                              \
   : (m) == 124 ? 0x7F80                                                              \
   : (m) >= 4   ? ((m) + (112 << 2)) << 5                                             \
   : (m) >= 2   ? 112 << 7 | ((m) & 1) << 6                                            \
                : (m) * (111 << 7))
#define EIGHT(f, s, m)                                                                \
  f(m) >> s & 255, f((m) + 1) >> s & 255, f((m) + 2) >> s & 255, f((m) + 3) >> s & 255, \
      f((m) + 4) >> s & 255, f((m) + 5) >> s & 255, f((m) + 6) >> s & 255,            \
      f((m) + 7) >> s & 255
#define ALL(f, s)                                                                     \
  EIGHT(f, s, 0), EIGHT(f, s, 8), EIGHT(f, s, 16), EIGHT(f, s, 24), EIGHT(f, s, 32),  \
      EIGHT(f, s, 40), EIGHT(f, s, 48), EIGHT(f, s, 56), EIGHT(f, s, 64),             \
      EIGHT(f, s, 72), EIGHT(f, s, 80), EIGHT(f, s, 88), EIGHT(f, s, 96),             \
      EIGHT(f, s, 104), EIGHT(f, s, 112), EIGHT(f, s, 120)

/// Upper, then lower bytes, of e4m3, then e5m2.
static const uint8_t dot_bytes[2][2][128] __attribute__((aligned(64))) = {
    {{ALL(BF16_OF_E4M3, 8)}, {ALL(BF16_OF_E4M3, 0)}},
    {{ALL(BF16_OF_E5M2, 8)}, {ALL(BF16_OF_E5M2, 0)}},
};
#undef BF16_OF_E4M3
#undef BF16_OF_E5M2
#undef EIGHT
#undef ALL

typedef struct dot_table {
  vw high[2], low[2];
} dot_table;

INLINE dot_table dot_table_of(const int type) {
  dot_table table;
  UNROLL for (int i = 0; i < 2; i++) {
    const int of = type_size(type) == 1 ? type - CAPUS_E4M3 : 0;
    table.high[i] = _mm512_load_si512(dot_bytes[of][0] + 64 * i);
    table.low[i] = _mm512_load_si512(dot_bytes[of][1] + 64 * i);
  }
  return table;
}

/// Upper and lower bytes of 64 codes. The permutes ignore the sign bit of their indices.
INLINE vw dot_high(const dot_table *table, vw codes) {
  const vw high = _mm512_permutex2var_epi8(table->high[0], codes, table->high[1]);
  return _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8((char)0x80), 0xF8);
}
INLINE vw dot_low(const dot_table *table, vw codes) {
  return _mm512_permutex2var_epi8(table->low[0], codes, table->low[1]);
}

/// bfloat16 patterns of 64 codes in the order of byte interleaves: x[0] holds codes 0-7, 16-23,
/// 32-39 and 48-55, x[1] the others. pack_rows stores the other operand in the same order.
INLINE void dot_widen(const dot_table *table, vw codes, vw x[2]) {
  const vw high = dot_high(table, codes), low = dot_low(table, codes);
  x[0] = _mm512_unpacklo_epi8(low, high);
  x[1] = _mm512_unpackhi_epi8(low, high);
}

/// 16-bit indices (vpermt2w) that interleave the lower (from 0) or upper halves of two vectors.
INLINE vw interleave_indices(int from) {
  int16_t x[32];
  UNROLL for (int i = 0; i < 32; i++) x[i] = (int16_t)(from + i / 2 + (i % 2 ? 32 : 0));
  return vw_load(x);
}

// Rounding of f32 rows to sums of bfloat16 patterns.

/// dst[(part * rows + r) * ldd + i]: row r as the sum of `parts` bfloat16 patterns, in index order
/// or, for 8-bit keys, in that of dot_widen; zero from dim to ldd, a multiple of 64.
INLINE void dot_pack_rows(const int type, const float *src, ptrdiff_t lds, int rows, int dim,
                          int parts, uint16_t *dst, ptrdiff_t ldd) {
  for (int r = 0; r < rows; r++) {
    for (ptrdiff_t c = 0; c < ldd; c += 2 * VL) {
      vf x[2];
      UNROLL for (int i = 0; i < 2; i++) {
        const int left = dim - (int)c - i * VL;
        const float *from = src + r * lds + c + i * VL;
        x[i] = left >= VL ? v_load(from) : left > 0 ? v_load_n(from, left) : (vf)0;
      }
      for (int part = 0; part < parts; part++) {
        const vw w = (vw)_mm512_cvtne2ps_pbh((__m512)x[1], (__m512)x[0]);
        uint16_t *to = dst + ((ptrdiff_t)part * rows + r) * ldd;
        if (type_size(type) == 2) {
          _mm512_storeu_si512(to + c, w);
        } else {
          // 32 codes from c on: their eights go alternately to the two vectors of 64.
          uint16_t *base = to + c / 64 * 64 + c % 64 / 2;
          UNROLL for (int i = 0; i < 4; i++) {
            const __m128i eight = i == 0   ? _mm512_extracti32x4_epi32(w, 0)
                                  : i == 1 ? _mm512_extracti32x4_epi32(w, 1)
                                  : i == 2 ? _mm512_extracti32x4_epi32(w, 2)
                                           : _mm512_extracti32x4_epi32(w, 3);
            _mm_storeu_si128((__m128i *)(base + i / 2 * 8 + i % 2 * 32), eight);
          }
        }
        // What the pattern leaves is exact in f32, but for infinities, which leave nothing.
        UNROLL for (int i = 0; i < 2; i++) {
          const vi bits = __builtin_convertvector(
              (vh)_mm512_extracti64x4_epi64(w, 0), vi);
          const vi upper = i == 0 ? bits
                                  : __builtin_convertvector(
                                        (vh)_mm512_extracti64x4_epi64(w, 1), vi);
          const vf rounded = v_bitcast(upper << 16);
          const vi special = (upper & (vi)0x7F80) == (vi)0x7F80;
          x[i] = v_select(special, (vf)0, x[i] - rounded);
        }
      }
    }
  }
}

// Scores.

/// Adds the products of one vector of columns from c on, or of the `left` that remain, to the
/// R * T accumulators.
INLINE void dot_score_step(const int type, const int R, const int T, const int requests,
                           const int partial, const dot_table *table, const uint16_t *q,
                           ptrdiff_t ldq, row_list k, row_list next, int c, int left, vf *sum) {
  const ptrdiff_t offset = (ptrdiff_t)c * type_size(type);
  const int parts = 2 / type_size(type);
  vw kv[4][2];
  UNROLL for (int t = 0; t < T; t++) {
    const char *from = row_of(k, t) + offset;
    if (requests) request(row_of(next, t), offset, 64);
    kv[t][0] = partial ? vw_load_n(type, from, left) : vw_load(from);
    if (type_size(type) == 1) dot_widen(table, kv[t][0], kv[t]);
  }
  UNROLL for (int i = 0; i < parts; i++) {
    UNROLL for (int r = 0; r < R; r++) {
      const vw x = vw_load(q + r * ldq + c + 32 * i);
      UNROLL for (int t = 0; t < T; t++) sum[r * T + t] = v_dot(sum[r * T + t], x, kv[t][i]);
    }
  }
}

/// Scores of R rows of bfloat16 patterns against T tokens.
INLINE void dot_score_block(const int type, const int R, const int T, const int requests,
                            const dot_table *table, const uint16_t *q, ptrdiff_t ldq, row_list k,
                            row_list next, int dim, float *out, ptrdiff_t ldo, int accumulate) {
  const int step = 64 / type_size(type);
  vf sum[16];
  UNROLL for (int x = 0; x < R * T; x++) sum[x] = 0;
#define STEP(partial) \
  dot_score_step(type, R, T, requests, partial, table, q, ldq, k, next, c, dim - c, sum)
  int c = 0;
  if (__builtin_constant_p(dim)) {
    UNROLL for (; c + step <= dim; c += step) STEP(0);
  } else {
    for (; c + step <= dim; c += step) STEP(0);
  }
  if (c < dim) STEP(1);
#undef STEP
  float result[16];
  store_sums(sum, R * T, 1.0f, result);
  UNROLL for (int r = 0; r < R; r++) {
    if (accumulate) {
      UNROLL for (int t = 0; t < T; t++) out[r * ldo + t] += result[r * T + t];
    } else {
      memcpy(out + r * ldo, result + r * T, (size_t)T * sizeof *out);
    }
  }
}

/// As score_group.
INLINE void dot_score_group(const int type, const int n, const dot_table *table,
                            const uint16_t *q, ptrdiff_t ldq, int rows, row_list k, row_list next,
                            int dim, float *out, ptrdiff_t ldo, int accumulate) {
#define ROWS(R, T, requests)                                                                   \
  UNROLL for (int t = 0; t < n; t += n < T ? 1 : T) {                                          \
    dot_score_block(type, R, n < T ? 1 : T, requests, table, q + i * ldq, ldq,                 \
                    rows_from(k, t), rows_from(next, t), dim, out + i * ldo + t, ldo,          \
                    accumulate);                                                               \
  }                                                                                            \
  i += R
  int i = 0;
  if (rows >= 8) {
    ROWS(8, 2, 1);
    while (i + 8 <= rows) { ROWS(8, 2, 0); }
  }
  if (i == 0 && rows >= 4) {
    ROWS(4, 4, 1);
  } else if (i + 4 <= rows) {
    ROWS(4, 4, 0);
  }
  if (i == 0 && rows >= 2) {
    ROWS(2, 4, 1);
  } else if (i + 2 <= rows) {
    ROWS(2, 4, 0);
  }
  if (i == 0 && rows > 0) {
    ROWS(1, 4, 1);
  } else if (i < rows) {
    ROWS(1, 4, 0);
  }
#undef ROWS
}

INLINE void dot_scores_of(const int type, const uint16_t *q, ptrdiff_t ldq, int rows,
                          const void *const *k, int tokens, int dim, float *out, ptrdiff_t ldo,
                          int accumulate, const capus_walk *heads) {
  enum { G = SCORE_GROUP };
  const dot_table table = dot_table_of(type);
  walk_state walk = walk_of(heads);
#define GROUP(n)                                                                               \
  for (int h = 0; h < walk.heads; h++, walk_advance(&walk, G)) {                               \
    dot_score_group(type, n, &table, q + (ptrdiff_t)h * rows * ldq, ldq, rows,                 \
                    (row_list){k + j, h * walk.head_bytes}, walk_next(&walk, k + j), dim,      \
                    out + (ptrdiff_t)h * rows * ldo + j, ldo, accumulate);                     \
  }
  int j = 0;
  for (; j + G <= tokens; j += G) {
    walk_start(&walk, G);
    GROUP(G)
  }
  for (; j < tokens; j++) {
    walk_start(&walk, 1);
    GROUP(1)
  }
#undef GROUP
}

/// Constant widths spare address arithmetic: what limits long unrolled code is its number of
/// instructions.
INLINE void dot_scores(const int type, const uint16_t *q, ptrdiff_t ldq, int rows,
                       const void *const *k, int tokens, int dim, float *out, ptrdiff_t ldo,
                       int accumulate, const capus_walk *heads) {
#define SCORES(ldq, dim, accumulate) \
  dot_scores_of(type, q, ldq, rows, k, tokens, dim, out, ldo, accumulate, heads)
  if (dim == 128 && ldq == 128 && !accumulate) {
    SCORES(128, 128, 0);
  } else if (dim == 64 && ldq == 64 && !accumulate) {
    SCORES(64, 64, 0);
  } else {
    SCORES(ldq, dim, accumulate);
  }
#undef SCORES
}

// Weighted sums.

/// Pairs (v[j][c], v[j + 1][c]) of the C * 16 columns of two rows; the column order is that of
/// dot_mix. A missing second row counts as zeros.
INLINE void dot_pairs(const int type, const int C, const dot_table *table, const char *a,
                      const char *b, vw x[C]) {
  if (type_size(type) == 2) {
    UNROLL for (int i = 0; i < C / 2; i++) {
      const vw u = vw_load(a + 64 * i);
      const vw w = b ? vw_load(b + 64 * i) : _mm512_setzero_si512();
      x[2 * i] = _mm512_unpacklo_epi16(u, w);
      x[2 * i + 1] = _mm512_unpackhi_epi16(u, w);
    }
  } else {
    UNROLL for (int i = 0; i < C / 4; i++) {
      const vw u = vw_load(a + 64 * i);
      const vw w = b ? vw_load(b + 64 * i) : _mm512_setzero_si512();
      dot_widen(table, _mm512_unpacklo_epi8(u, w), x + 4 * i);
      dot_widen(table, _mm512_unpackhi_epi8(u, w), x + 4 * i + 2);
    }
  }
}

#define QUARTERS(a, b, p, q, r, s)                                                             \
  SHUFFLE(a, b, 4 * (p), 4 * (p) + 1, 4 * (p) + 2, 4 * (p) + 3, 4 * (q), 4 * (q) + 1,          \
          4 * (q) + 2, 4 * (q) + 3, 4 * (r), 4 * (r) + 1, 4 * (r) + 2, 4 * (r) + 3, 4 * (s),   \
          4 * (s) + 1, 4 * (s) + 2, 4 * (s) + 3)
/// Brings 64 columns from index order into that of dot_pairs.
INLINE void dot_mix(const int type, vf *x) {
  const vf a = x[0], b = x[1], c = x[2], d = x[3];
  if (type_size(type) == 2) {
    x[0] = QUARTERS(a, b, 0, 2, 4, 6);
    x[1] = QUARTERS(a, b, 1, 3, 5, 7);
    x[2] = QUARTERS(c, d, 0, 2, 4, 6);
    x[3] = QUARTERS(c, d, 1, 3, 5, 7);
  } else {
    // Vector i holds the quarters i, i + 4, i + 8 and i + 12.
    const vf ab = QUARTERS(a, b, 0, 4, 1, 5), cd = QUARTERS(c, d, 0, 4, 1, 5);
    const vf ef = QUARTERS(a, b, 2, 6, 3, 7), gh = QUARTERS(c, d, 2, 6, 3, 7);
    x[0] = QUARTERS(ab, cd, 0, 1, 4, 5);
    x[1] = QUARTERS(ab, cd, 2, 3, 6, 7);
    x[2] = QUARTERS(ef, gh, 0, 1, 4, 5);
    x[3] = QUARTERS(ef, gh, 2, 3, 6, 7);
  }
}

/// Undoes dot_mix.
INLINE void dot_unmix(const int type, vf *x) {
  const vf a = x[0], b = x[1], c = x[2], d = x[3];
  if (type_size(type) == 2) {
    x[0] = QUARTERS(a, b, 0, 4, 1, 5);
    x[1] = QUARTERS(a, b, 2, 6, 3, 7);
    x[2] = QUARTERS(c, d, 0, 4, 1, 5);
    x[3] = QUARTERS(c, d, 2, 6, 3, 7);
  } else {
    const vf ab = QUARTERS(a, b, 0, 4, 1, 5), cd = QUARTERS(c, d, 0, 4, 1, 5);
    const vf ef = QUARTERS(a, b, 2, 6, 3, 7), gh = QUARTERS(c, d, 2, 6, 3, 7);
    x[0] = QUARTERS(ab, cd, 0, 1, 4, 5);
    x[1] = QUARTERS(ab, cd, 2, 3, 6, 7);
    x[2] = QUARTERS(ef, gh, 0, 1, 4, 5);
    x[3] = QUARTERS(ef, gh, 2, 3, 6, 7);
  }
}
#undef QUARTERS

/// dot_mix or dot_unmix of the columns of all rows that sum_block takes 64 at a time.
INLINE void dot_mix_rows(const int type, const int back, float *o, ptrdiff_t ldo, ptrdiff_t rows,
                         int dim) {
  for (ptrdiff_t r = 0; r < rows; r++) {
    for (int c = 0; c + 4 * VL <= dim; c += 4 * VL) {
      float *at = o + r * ldo + c;
      vf x[4];
      UNROLL for (int i = 0; i < 4; i++) x[i] = v_load(at + i * VL);
      if (back) {
        dot_unmix(type, x);
      } else {
        dot_mix(type, x);
      }
      UNROLL for (int i = 0; i < 4; i++) v_store(at + i * VL, x[i]);
    }
  }
}

/// dot_pairs of `columns` <= 16 columns in index order.
INLINE vw dot_pair(const int type, const dot_table *table, const char *a, const char *b,
                   int columns) {
  const vw u = vw_load_n(type, a, columns);
  const vw w = b ? vw_load_n(type, b, columns) : _mm512_setzero_si512();
  if (type_size(type) == 2) return _mm512_permutex2var_epi16(u, interleave_indices(0), w);
  const __m128i x = _mm512_castsi512_si128(u), y = _mm512_castsi512_si128(w);
  // Eight codes in the first eight bytes of each quarter: the widened quarters follow each other.
  const vw codes = _mm512_inserti32x4(
      _mm512_inserti32x4(
          _mm512_inserti32x4(_mm512_castsi128_si512(_mm_unpacklo_epi8(x, y)),
                             _mm_bsrli_si128(_mm_unpacklo_epi8(x, y), 8), 1),
          _mm_unpackhi_epi8(x, y), 2),
      _mm_bsrli_si128(_mm_unpackhi_epi8(x, y), 8), 3);
  return _mm512_unpacklo_epi8(dot_low(table, codes), dot_high(table, codes));
}

INLINE vw dot_weight(const uint16_t *p) {
  uint32_t pair;
  memcpy(&pair, p, sizeof pair);
  return _mm512_set1_epi32((int)pair);
}

/// o[r][c...] += sum_j p[r][j] * v[j][c...] for all rows, T tokens and 64 columns in the order of
/// dot_mix, or, with C = 1, for `columns` <= 16 columns. With T = 2 the second row may be missing:
/// its weight is zero. The values stay in registers while the sums pass.
INLINE void dot_sum_block(const int type, const int T, const int C, const dot_table *table,
                          const uint16_t *p, ptrdiff_t ldp, int rows, row_list v, row_list next,
                          int n, int c, int columns, float *o, ptrdiff_t ldo) {
  const ptrdiff_t offset = (ptrdiff_t)c * type_size(type);
  vw x[4][4];
  UNROLL for (int t = 0; t < T; t += 2) {
    const char *a = row_of(v, t) + offset;
    const char *b = T > 2 || t + 1 < n ? row_of(v, t + 1) + offset : NULL;
    if (T > 2) __builtin_assume(b != NULL);
    request(row_of(next, t), offset, (ptrdiff_t)C * VL * type_size(type));
    if (b) request(row_of(next, t + 1), offset, (ptrdiff_t)C * VL * type_size(type));
    if (C == 1) {
      x[t / 2][0] = dot_pair(type, table, a, b, columns);
    } else {
      dot_pairs(type, C, table, a, b, x[t / 2]);
    }
  }
  const int partial = C == 1 && columns < VL;
  for (int r = 0; r < rows; r++) {
    float *to = o + r * ldo + c;
    vf sum[4];
    UNROLL for (int i = 0; i < C; i++) {
      sum[i] = partial ? v_load_n(to, columns) : v_load(to + i * VL);
    }
    UNROLL for (int t = 0; t < T; t += 2) {
      const vw w = dot_weight(p + r * ldp + t);
      UNROLL for (int i = 0; i < C; i++) sum[i] = v_dot(sum[i], w, x[t / 2][i]);
    }
    UNROLL for (int i = 0; i < C; i++) {
      if (partial) {
        v_store_n(to, sum[i], columns);
      } else {
        v_store(to + i * VL, sum[i]);
      }
    }
  }
}

INLINE void dot_sum_tokens(const int type, const int T, const dot_table *table, const uint16_t *p,
                           ptrdiff_t ldp, int rows, row_list v, row_list next,
                           int n, int dim, float *o, ptrdiff_t ldo) {
#define BLOCK(C, columns) \
  dot_sum_block(type, T, C, table, p, ldp, rows, v, next, n, c, columns, o, ldo)
  int c = 0;
  for (; c + 4 * VL <= dim; c += 4 * VL) BLOCK(4, 4 * VL);
  for (; c < dim; c += VL) BLOCK(1, dim - c < VL ? dim - c : VL);
#undef BLOCK
}

INLINE void dot_weighted_sum(const int type, const uint16_t *p, ptrdiff_t ldp, int rows,
                             const void *const *v, int tokens, int dim, float *o, ptrdiff_t ldo,
                             const capus_walk *heads) {
  const int G = sum_group(type);
  const dot_table table = dot_table_of(type);
  walk_state walk = walk_of(heads);
  dot_mix_rows(type, 0, o, ldo, (ptrdiff_t)walk.heads * rows, dim);
  for (int j = 0; j < tokens; j += G) {
    const int n = tokens - j < G ? tokens - j : G;
    walk_start(&walk, G);
    for (int h = 0; h < walk.heads; h++, walk_advance(&walk, G)) {
      const row_list row = {v + j, h * walk.head_bytes}, next = walk_next(&walk, v + j);
      const uint16_t *from = p + (ptrdiff_t)h * rows * ldp + j;
      float *to = o + (ptrdiff_t)h * rows * ldo;
      if (n == G) {
        dot_sum_tokens(type, G, &table, from, ldp, rows, row, next, G, dim, to, ldo);
      } else {
        for (int t = 0; t < n; t += 2) {
          dot_sum_tokens(type, 2, &table, from + t, ldp, rows, rows_from(row, t),
                         rows_from(next, t), n - t, dim, to, ldo);
        }
      }
    }
  }
  dot_mix_rows(type, 1, o, ldo, (ptrdiff_t)walk.heads * rows, dim);
}

#include "dot_panels.inc.h"

static void dot_round(const float *src, uint16_t *dst, ptrdiff_t count) {
  ptrdiff_t i = 0;
  for (; i + VL <= count; i += VL) {
    _mm256_storeu_si256((__m256i *)(dst + i), (__m256i)_mm512_cvtneps_pbh((__m512)v_load(src + i)));
  }
  if (i < count) {
    const int n = (int)(count - i);
    _mm256_mask_storeu_epi16(dst + i, first_lanes(n),
                             (__m256i)_mm512_cvtneps_pbh((__m512)v_load_n(src + i, n)));
  }
}

/// As fma_probe for vdpbf16ps: four operations a lane.
static double dot_probe(int64_t iterations, float *sink) {
  enum { CHAINS = 14 };
  vf x[CHAINS];
  UNROLL for (int i = 0; i < CHAINS; i++) x[i] = *sink + (float)i;
  const vw a = (vw)(vf)(*sink * 0x1p-20f + 0.5f), b = (vw)(vf)(*sink * 0x1p-20f + 0.25f);
  for (int64_t n = 0; n < iterations; n++) {
    UNROLL for (int i = 0; i < CHAINS; i++) x[i] = v_dot(x[i], a, b);
  }
  UNROLL for (int i = 1; i < CHAINS; i++) x[0] += x[i];
  *sink = lane_sum(x[0]);
  return 4.0 * VL * CHAINS * (double)iterations;
}

#define DOT_TYPED(suffix, type)                                                                 \
  static void dot_scores_##suffix(const uint16_t *q, ptrdiff_t ldq, int rows,                   \
                                  const void *const *k, int tokens, int dim, float *out,        \
                                  ptrdiff_t ldo, int accumulate, const capus_walk *walk) {      \
    dot_scores(type, q, ldq, rows, k, tokens, dim, out, ldo, accumulate, walk);                 \
  }                                                                                             \
  static void dot_weighted_sum_##suffix(const uint16_t *p, ptrdiff_t ldp, int rows,             \
                                        const void *const *v, int tokens, int dim, float *o,    \
                                        ptrdiff_t ldo, const capus_walk *walk) {                \
    dot_weighted_sum(type, p, ldp, rows, v, tokens, dim, o, ldo, walk);                         \
  }                                                                                             \
  static void dot_pack_rows_##suffix(const float *src, ptrdiff_t lds, int rows, int dim,        \
                                     int parts, uint16_t *dst, ptrdiff_t ldd) {                 \
    dot_pack_rows(type, src, lds, rows, dim, parts, dst, ldd);                                  \
  }                                                                                             \
  static void dot_pack_keys_##suffix(const void *const *k, int tokens, int dim, uint32_t *dst,  \
                                     ptrdiff_t ldd) {                                           \
    dot_pack_keys(type, k, tokens, dim, dst, ldd);                                              \
  }                                                                                             \
  static void dot_pack_values_##suffix(const void *const *v, int tokens, int dim,               \
                                       uint32_t *dst, ptrdiff_t ldd) {                          \
    dot_pack_values(type, v, tokens, dim, dst, ldd);                                            \
  }

DOT_TYPED(bf16, CAPUS_BF16)
DOT_TYPED(e4m3, CAPUS_E4M3)
DOT_TYPED(e5m2, CAPUS_E5M2)

#define DOT_EACH(kernel) {NULL, NULL, kernel##_bf16, kernel##_e4m3, kernel##_e5m2}

static const capus_dot_kernels dot_kernels = {
    .scores = DOT_EACH(dot_scores),
    .weighted_sum = DOT_EACH(dot_weighted_sum),
    .pack_rows = DOT_EACH(dot_pack_rows),
    .pack_keys = DOT_EACH(dot_pack_keys),
    .pack_values = DOT_EACH(dot_pack_values),
    .gemm = dot_gemm,
    .round = dot_round,
    .probe = dot_probe,
};

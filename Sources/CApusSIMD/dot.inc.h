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
INLINE void dot_score_step(const int type, const int R, const int T, const int partial,
                           const dot_table *table, const uint16_t *q, ptrdiff_t ldq,
                           const void *const *k, int c, int left, vf *sum) {
  vw qv[8];
  if (type_size(type) == 2 && R <= T) {
    UNROLL for (int r = 0; r < R; r++) qv[r] = vw_load(q + r * ldq + c);
  }
  UNROLL for (int t = 0; t < T; t++) {
    const char *from = (const char *)k[t] + c * type_size(type);
    const vw row = partial ? vw_load_n(type, from, left) : vw_load(from);
    if (type_size(type) == 2) {
      UNROLL for (int r = 0; r < R; r++) {
        const vw x = R <= T ? qv[r] : vw_load(q + r * ldq + c);
        sum[r * T + t] = v_dot(sum[r * T + t], x, row);
      }
    } else {
      vw kv[2];
      dot_widen(table, row, kv);
      UNROLL for (int i = 0; i < 2; i++) {
        UNROLL for (int r = 0; r < R; r++) {
          sum[r * T + t] = v_dot(sum[r * T + t], vw_load(q + r * ldq + c + 32 * i), kv[i]);
        }
      }
    }
  }
}

/// Scores of R rows of bfloat16 patterns against T tokens.
INLINE void dot_score_block(const int type, const int R, const int T, const dot_table *table,
                            const uint16_t *q, ptrdiff_t ldq, const void *const *k, int dim,
                            float *out, ptrdiff_t ldo, int accumulate) {
  const int step = 64 / type_size(type);
  vf sum[16];
  UNROLL for (int x = 0; x < R * T; x++) sum[x] = 0;
  int c = 0;
  for (; c + step <= dim; c += step) dot_score_step(type, R, T, 0, table, q, ldq, k, c, 0, sum);
  if (c < dim) dot_score_step(type, R, T, 1, table, q, ldq, k, c, dim - c, sum);
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

INLINE void dot_score_rows(const int type, const int R, const int T, const dot_table *table,
                           const uint16_t *q, ptrdiff_t ldq, const void *const *k, int n, int dim,
                           float *out, ptrdiff_t ldo, int accumulate, capus_stream *ahead) {
  int t = 0;
  for (; t + T <= n; t += T) {
    stream_ahead(ahead, (ptrdiff_t)T * dim * type_size(type));
    dot_score_block(type, R, T, table, q, ldq, k + t, dim, out + t, ldo, accumulate);
  }
  for (; t < n; t++) {
    stream_ahead(ahead, (ptrdiff_t)dim * type_size(type));
    dot_score_block(type, R, 1, table, q, ldq, k + t, dim, out + t, ldo, accumulate);
  }
}

INLINE void dot_scores(const int type, const uint16_t *q, ptrdiff_t ldq, int rows,
                       const void *const *k, int tokens, int dim, float *out, ptrdiff_t ldo,
                       int accumulate, capus_stream *ahead) {
#define ROWS(R, T)                                                                           \
  dot_score_rows(type, R, T, &table, q + i * ldq, ldq, k + j, n, dim, out + i * ldo + j, ldo, \
                 accumulate, i == 0 ? ahead : NULL)
  const dot_table table = dot_table_of(type);
  for (int j = 0; j < tokens; j += 16) {
    const int n = tokens - j < 16 ? tokens - j : 16;
    int i = 0;
    for (; i + 8 <= rows; i += 8) ROWS(8, 2);
    for (; i + 4 <= rows; i += 4) ROWS(4, 4);
    for (; i + 2 <= rows; i += 2) ROWS(2, 8);
    if (i < rows) ROWS(1, 16);
  }
#undef ROWS
}

// Weighted sums.

/// Pairs (v[j][c], v[j + 1][c]) of the C * 16 columns of two rows; the column order is the one
/// that dot_unmix undoes. A missing second row counts as zeros.
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

/// Brings the columns of dot_pairs into index order.
INLINE void dot_unmix(const int type, const int C, vf *x) {
#define QUARTERS(a, b, p, q)                                                                   \
  SHUFFLE(a, b, 4 * (p), 4 * (p) + 1, 4 * (p) + 2, 4 * (p) + 3, 16 + 4 * (p), 17 + 4 * (p),    \
          18 + 4 * (p), 19 + 4 * (p), 4 * (q), 4 * (q) + 1, 4 * (q) + 2, 4 * (q) + 3,          \
          16 + 4 * (q), 17 + 4 * (q), 18 + 4 * (q), 19 + 4 * (q))
  if (type_size(type) == 2) {
    UNROLL for (int i = 0; i < C; i += 2) {
      const vf a = x[i], b = x[i + 1];
      x[i] = QUARTERS(a, b, 0, 1);
      x[i + 1] = QUARTERS(a, b, 2, 3);
    }
  } else {
    UNROLL for (int i = 0; i < C; i += 4) {
      const vf a = QUARTERS(x[i], x[i + 1], 0, 1), b = QUARTERS(x[i], x[i + 1], 2, 3);
      const vf c = QUARTERS(x[i + 2], x[i + 3], 0, 1), d = QUARTERS(x[i + 2], x[i + 3], 2, 3);
      x[i] = SHUFFLE(a, c, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
      x[i + 1] = SHUFFLE(a, c, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
      x[i + 2] = SHUFFLE(b, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
      x[i + 3] = SHUFFLE(b, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
  }
#undef QUARTERS
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

/// o[r][c...] += sum_j p[r][j] * v[j][c...] for R rows and C vectors of columns, or, with C = 1,
/// for `columns` <= 16 columns. The weight after the last one is zero where tokens is odd.
INLINE void dot_sum_block(const int type, const int R, const int C, const dot_table *table,
                          const uint16_t *p, ptrdiff_t ldp, const void *const *v, int tokens,
                          int c, int columns, float *o, ptrdiff_t ldo, capus_stream *ahead) {
  vf sum[16];
  const ptrdiff_t offset = (ptrdiff_t)c * type_size(type);
  UNROLL for (int x = 0; x < R * C; x++) sum[x] = 0;
  for (int j = 0; j < tokens; j += 2) {
    const char *a = (const char *)v[j] + offset;
    const char *b = j + 1 < tokens ? (const char *)v[j + 1] + offset : NULL;
    vw x[C];
    if (j % 4 == 0) stream_ahead(ahead, (ptrdiff_t)4 * columns * type_size(type));
    if (C == 1) {
      x[0] = dot_pair(type, table, a, b, columns);
    } else {
      dot_pairs(type, C, table, a, b, x);
    }
    UNROLL for (int r = 0; r < R; r++) {
      const vw w = dot_weight(p + r * ldp + j);
      UNROLL for (int i = 0; i < C; i++) sum[r * C + i] = v_dot(sum[r * C + i], w, x[i]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    float *to = o + r * ldo + c;
    if (C == 1 && columns < VL) {
      v_store_n(to, v_load_n(to, columns) + sum[r], columns);
    } else {
      if (C > 1) dot_unmix(type, C, sum + r * C);
      UNROLL for (int i = 0; i < C; i++) v_store(to + i * VL, v_load(to + i * VL) + sum[r * C + i]);
    }
  }
}

INLINE void dot_sum_rows(const int type, const int R, const int C, const dot_table *table,
                         const uint16_t *p, ptrdiff_t ldp, const void *const *v, int tokens,
                         int dim, float *o, ptrdiff_t ldo, capus_stream *ahead) {
#define BLOCK(C, columns) \
  dot_sum_block(type, R, C, table, p, ldp, v, tokens, c, columns, o, ldo, ahead)
  int c = 0;
  for (; c + C * VL <= dim; c += C * VL) BLOCK(C, C * VL);
  if (C > 4 && c + 4 * VL <= dim) {
    BLOCK(4, 4 * VL);
    c += 4 * VL;
  }
  for (; c < dim; c += VL) BLOCK(1, dim - c < VL ? dim - c : VL);
#undef BLOCK
}

INLINE void dot_weighted_sum(const int type, const uint16_t *p, ptrdiff_t ldp, int rows,
                             const void *const *v, int tokens, int dim, float *o, ptrdiff_t ldo,
                             capus_stream *ahead) {
#define ROWS(R, C)                                                                          \
  dot_sum_rows(type, R, C, &table, p + i * ldp, ldp, v, tokens, dim, o + i * ldo, ldo,      \
               i == 0 ? ahead : NULL)
  const dot_table table = dot_table_of(type);
  int i = 0;
  for (; i + 4 <= rows; i += 4) ROWS(4, 4);
  for (; i + 2 <= rows; i += 2) ROWS(2, 8);
  if (i < rows) ROWS(1, 8);
#undef ROWS
}

// Panels and their product.

/// Pairs are the 32-bit elements that v_transpose moves.
INLINE void dot_pack_keys(const int type, const void *const *k, int tokens, int dim,
                          uint32_t *dst, ptrdiff_t ldd) {
  const dot_table table = dot_table_of(type);
  const int pairs = (dim + 1) / 2;
  for (int j = 0; j < tokens; j += 16) {
    const int n = tokens - j < 16 ? tokens - j : 16;
    for (int c = 0; c < pairs; c += 16) {
      const int left = dim - 2 * c;
      vf x[16];
      UNROLL for (int t = 0; t < 16; t++) {
        if (t >= n) {
          x[t] = 0;
          continue;
        }
        const char *from = (const char *)k[j + t] + 2 * c * type_size(type);
        vw row = vw_load_n(type, from, left < 32 ? left : 32);
        if (type_size(type) == 1) {
          // Codes in the first eight bytes of each quarter.
          const vw eights = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
          const vw spread = _mm512_permutexvar_epi64(eights, row);
          row = _mm512_unpacklo_epi8(dot_low(&table, spread), dot_high(&table, spread));
        }
        x[t] = (vf)row;
      }
      v_transpose(x);
      const int height = pairs - c < 16 ? pairs - c : 16;
      UNROLL for (int r = 0; r < 16; r++) {
        if (r < height) v_store((float *)(dst + (c + r) * ldd + j), x[r]);
      }
    }
  }
}

INLINE void dot_pack_values(const int type, const void *const *v, int tokens, int dim,
                            uint32_t *dst, ptrdiff_t ldd) {
  const dot_table table = dot_table_of(type);
  const vw lower = interleave_indices(0), upper = interleave_indices(16);
  for (int j = 0; j < tokens; j += 2) {
    const char *a = v[j], *b = j + 1 < tokens ? v[j + 1] : NULL;
    uint32_t *to = dst + j / 2 * ldd;
    int c = 0;
    if (type_size(type) == 2) {
      for (; c + 32 <= dim; c += 32) {
        const vw u = vw_load(a + 2 * c), w = b ? vw_load(b + 2 * c) : _mm512_setzero_si512();
        _mm512_storeu_si512(to + c, _mm512_permutex2var_epi16(u, lower, w));
        _mm512_storeu_si512(to + c + 16, _mm512_permutex2var_epi16(u, upper, w));
      }
    } else {
      for (; c + 64 <= dim; c += 64) {
        vw x[4];
        vf y[4];
        dot_pairs(type, 4, &table, a + c, b ? b + c : NULL, x);
        UNROLL for (int i = 0; i < 4; i++) y[i] = (vf)x[i];
        dot_unmix(type, 4, y);
        UNROLL for (int i = 0; i < 4; i++) v_store((float *)(to + c + i * VL), y[i]);
      }
    }
    for (; c < dim; c += 16) {
      const int left = dim - c < 16 ? dim - c : 16;
      const ptrdiff_t at = (ptrdiff_t)c * type_size(type);
      const vw x = dot_pair(type, &table, a + at, b ? b + at : NULL, left);
      _mm512_mask_storeu_epi32(to + c, first_lanes(left), x);
    }
  }
}

/// As gemm_block, over `depth` pairs.
INLINE void dot_gemm_block(const int R, const int C, const uint16_t *a, ptrdiff_t lda,
                           const uint32_t *b, ptrdiff_t ldb, int columns, int depth, float *c,
                           ptrdiff_t ldc, int accumulate) {
  const int partial = C == 1 && columns < VL;
  vf sum[DOT_ROWS * DOT_VECTORS];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int x = 0; x < C; x++) {
      const float *from = c + r * ldc + x * VL;
      sum[r * C + x] = !accumulate ? (vf)0 : partial ? v_load_n(from, columns) : v_load(from);
    }
  }
  for (int k = 0; k < depth; k++) {
    vw bv[DOT_VECTORS];
    UNROLL for (int x = 0; x < C; x++) {
      const uint32_t *row = b + k * ldb + x * VL;
      bv[x] = partial ? (vw)v_load_n(row, columns) : vw_load(row);
    }
    UNROLL for (int r = 0; r < R; r++) {
      const vw av = dot_weight(a + r * lda + 2 * k);
      UNROLL for (int x = 0; x < C; x++) sum[r * C + x] = v_dot(sum[r * C + x], av, bv[x]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int x = 0; x < C; x++) {
      float *to = c + r * ldc + x * VL;
      if (partial) {
        v_store_n(to, sum[r * C + x], columns);
      } else {
        v_store(to, sum[r * C + x]);
      }
    }
  }
}

INLINE void dot_gemm_panel(const int C, const uint16_t *a, ptrdiff_t lda, int rows,
                           const uint32_t *b, ptrdiff_t ldb, int columns, int depth, float *c,
                           ptrdiff_t ldc, int accumulate) {
#define BLOCK(R)                                                                              \
  dot_gemm_block(R, C, a + i * lda, lda, b, ldb, columns, depth, c + i * ldc, ldc, accumulate)
  int i = 0;
  for (; i + DOT_ROWS <= rows; i += DOT_ROWS) BLOCK(DOT_ROWS);
  if (i + 4 <= rows) {
    BLOCK(4);
    i += 4;
  }
  if (i + 2 <= rows) {
    BLOCK(2);
    i += 2;
  }
  if (i < rows) BLOCK(1);
#undef BLOCK
}

static void dot_gemm(const uint16_t *a, ptrdiff_t lda, int rows, const uint32_t *b, ptrdiff_t ldb,
                     int columns, int depth, float *c, ptrdiff_t ldc, int accumulate) {
  int j = 0;
  for (; j + DOT_VECTORS * VL <= columns; j += DOT_VECTORS * VL) {
    dot_gemm_panel(DOT_VECTORS, a, lda, rows, b + j, ldb, DOT_VECTORS * VL, depth, c + j, ldc,
                   accumulate);
  }
  if (j + 2 * VL <= columns) {
    dot_gemm_panel(2, a, lda, rows, b + j, ldb, 2 * VL, depth, c + j, ldc, accumulate);
    j += 2 * VL;
  }
  for (; j < columns; j += VL) {
    const int n = columns - j < VL ? columns - j : VL;
    dot_gemm_panel(1, a, lda, rows, b + j, ldb, n, depth, c + j, ldc, accumulate);
  }
}

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
                                  ptrdiff_t ldo, int accumulate, capus_stream *ahead) {         \
    dot_scores(type, q, ldq, rows, k, tokens, dim, out, ldo, accumulate, ahead);                \
  }                                                                                             \
  static void dot_weighted_sum_##suffix(const uint16_t *p, ptrdiff_t ldp, int rows,             \
                                        const void *const *v, int tokens, int dim, float *o,    \
                                        ptrdiff_t ldo, capus_stream *ahead) {                   \
    dot_weighted_sum(type, p, ldp, rows, v, tokens, dim, o, ldo, ahead);                        \
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

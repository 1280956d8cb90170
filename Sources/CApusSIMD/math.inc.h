// exp2, tanh and the element-wise kernels on score rows.

/// 2^x for x <= 0, NaN or -inf: at most 2 ulp on [-126, 0], exactly 1 at 0, and 0 below -126
/// (results that would be subnormal are flushed). NaN gives NaN.
///
/// x = n + r with n = round(x), |r| <= 1/2; 2^r = 1 + r P(r), where P is the minimax polynomial of
/// degree 5 for the relative error (2.0e-9). Adding 1.5 * 2^23 + 127 rounds x to n and leaves
/// n + 127, the exponent of 2^n, in the low bits of the sum.
INLINE vf v_exp2(vf x) {
  const vf magic = 0x1.8p23f + 127.0f;
  const vf shifted = x + magic;
  const vf r = x - (shifted - magic);
  vf p = 0x1.41fbbcp-13f;
  p = v_fma(p, r, 0x1.5f3e52p-10f);
  p = v_fma(p, r, 0x1.3b2d4cp-7f);
  p = v_fma(p, r, 0x1.c6aee8p-5f);
  p = v_fma(p, r, 0x1.ebfbdcp-3f);
  p = v_fma(p, r, 0x1.62e43p-1f);
  p = v_fma(p, r, 1.0f);
  const vf power = v_bitcast((vi)(v_bits(shifted) << 23));
  return v_select(x < (vf)-126.0f, (vf)0.0f, p * power);
}

/// tanh(x), at most 4 ulp; +-1 at +-inf, the sign of zero is kept, NaN gives NaN.
///
/// |x| < 0.625: x + x z P(z), z = x^2, with the minimax P of degree 4 for the relative error
/// (4.1e-9), which has no cancellation. Otherwise (1 - e) / (1 + e), e = exp2(-2 log2(e) |x|).
INLINE vf v_tanh(vf x) {
  const vi sign = v_bits(x) & (vi)(int32_t)0x80000000;
  const vf a = v_bitcast(v_bits(x) ^ sign);
  const vf z = a * a;
  vf p = -0x1.76ac1ap-8f;
  p = v_fma(p, z, 0x1.5256d8p-6f);
  p = v_fma(p, z, -0x1.b84448p-5f);
  p = v_fma(p, z, 0x1.110768p-3f);
  p = v_fma(p, z, -0x1.555534p-2f);
  const vf near = v_fma(a * z, p, a);
  const vf e = v_exp2(a * (vf)-0x1.715476p+1f);
  const vf far = ((vf)1.0f - e) / ((vf)1.0f + e);
  return v_bitcast(v_bits(v_select(a < (vf)0.625f, near, far)) | sign);
}

/// The first n lanes of s; the others are `fill`.
INLINE vf v_load_fill(const float *s, int n, float fill) {
  return v_select(v_lane_index() < (vi)n, v_load_n(s, n), (vf)fill);
}

INLINE float lane_sum(vf x) { return sum4(x, x, x, x)[0]; }

static float softmax_step(float *s, int count, float *m, float *l) {
  const float negative_infinity = -__builtin_inff();
  int j = 0;
  vf top = *m;
  for (; j + VL <= count; j += VL) top = v_max(v_load(s + j), top);
  if (j < count) top = v_max(v_load_fill(s + j, count - j, negative_infinity), top);
  float m_new = *m;
  UNROLL for (int i = 0; i < VL; i++) m_new = top[i] > m_new ? top[i] : m_new;

  // With nothing but -inf so far any finite reference gives p = 0 and alpha = 1 (l is 0).
  const int empty = m_new == negative_infinity;
  const vf reference = empty ? 0.0f : m_new;
  vf sum = 0;
  for (j = 0; j + VL <= count; j += VL) {
    const vf p = v_exp2(v_load(s + j) - reference);
    v_store(s + j, p);
    sum += p;
  }
  if (j < count) {
    const vf p = v_exp2(v_load_fill(s + j, count - j, negative_infinity) - reference);
    v_store_n(s + j, p, count - j);
    sum += p;
  }
  const float alpha = empty ? 1.0f : v_exp2((vf)(*m - m_new))[0];
  *l = *l * alpha + lane_sum(sum);
  *m = m_new;
  return alpha;
}

/// The largest lanes of four vectors.
INLINE v4 max4(vf a, vf b, vf c, vf d) {
  v4 result;
  const vf x[4] = {a, b, c, d};
  UNROLL for (int r = 0; r < 4; r++) {
#if VL == 16
    vf y = x[r];
    y = v_max(y, SHUFFLE(y, y, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    y = v_max(y, SHUFFLE(y, y, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    y = v_max(y, SHUFFLE(y, y, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    y = v_max(y, SHUFFLE(y, y, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
    result[r] = y[0];
#else
    float top = x[r][0];
    UNROLL for (int i = 1; i < VL; i++) top = x[r][i] > top ? x[r][i] : top;
    result[r] = top;
#endif
  }
  return result;
}

/// softmax_rows of R rows (1 or 4).
INLINE void softmax_block(const int R, float *s, ptrdiff_t lds, int count, const float *factor,
                          float *m, float *l, float *alpha) {
  const float negative_infinity = -__builtin_inff();
  vf top[4], sum[4];
  UNROLL for (int r = 0; r < 4; r++) top[r] = negative_infinity;
  int j = 0;
  for (; j + VL <= count; j += VL) {
    UNROLL for (int r = 0; r < R; r++) {
      const vf x = v_load(s + r * lds + j) * (vf)factor[r];
      v_store(s + r * lds + j, x);
      top[r] = v_max(x, top[r]);
    }
  }
  if (j < count) {
    UNROLL for (int r = 0; r < R; r++) {
      const vf x = v_load_n(s + r * lds + j, count - j) * (vf)factor[r];
      v_store_n(s + r * lds + j, x, count - j);
      top[r] = v_max(v_select(v_lane_index() < (vi)(count - j), x, (vf)negative_infinity), top[r]);
    }
  }
  const v4 tops = max4(top[0], top[1], top[2], top[3]);
  vf m_old = 0, m_new = 0, reference = 0;
  UNROLL for (int r = 0; r < R; r++) {
    m_old[r] = m[r];
    m_new[r] = tops[r] > m[r] ? tops[r] : m[r];
    // With nothing but -inf so far any finite reference gives p = 0 and alpha = 1 (l is 0).
    reference[r] = m_new[r] == negative_infinity ? 0.0f : m_new[r];
  }
  const vf scale = v_exp2(m_old - reference);
  UNROLL for (int r = 0; r < 4; r++) sum[r] = 0;
  for (j = 0; j + VL <= count; j += VL) {
    UNROLL for (int r = 0; r < R; r++) {
      const vf p = v_exp2(v_load(s + r * lds + j) - (vf)reference[r]);
      v_store(s + r * lds + j, p);
      sum[r] += p;
    }
  }
  if (j < count) {
    UNROLL for (int r = 0; r < R; r++) {
      const vf x = v_load_fill(s + r * lds + j, count - j, negative_infinity);
      const vf p = v_exp2(x - (vf)reference[r]);
      v_store_n(s + r * lds + j, p, count - j);
      sum[r] += p;
    }
  }
  const v4 sums = sum4(sum[0], sum[1], sum[2], sum[3]);
  UNROLL for (int r = 0; r < R; r++) {
    alpha[r] = m_new[r] == negative_infinity ? 1.0f : scale[r];
    l[r] = l[r] * alpha[r] + sums[r];
    m[r] = m_new[r];
  }
}

static void softmax_rows(float *s, ptrdiff_t lds, int rows, int count, const float *factor,
                         float *m, float *l, float *alpha) {
  int i = 0;
  for (; i + 4 <= rows; i += 4) {
    softmax_block(4, s + i * lds, lds, count, factor + i, m + i, l + i, alpha + i);
  }
  for (; i < rows; i++) {
    softmax_block(1, s + i * lds, lds, count, factor + i, m + i, l + i, alpha + i);
  }
}

// MAP(name, parameters, f) is an element-wise kernel: s[j] = f of x = s[j] with lane indices i.
#define MAP(name, parameters, expression)                           \
  static void name(float *s, int count, parameters) {               \
    int j = 0;                                                      \
    for (; j + VL <= count; j += VL) {                              \
      const vf x = v_load(s + j);                                   \
      v_store(s + j, expression);                                   \
    }                                                               \
    if (j < count) {                                                \
      const vf x = v_load_n(s + j, count - j);                      \
      v_store_n(s + j, expression, count - j);                      \
    }                                                               \
  }
#define AND ,

MAP(scale, float factor, x * (vf)factor)
MAP(soft_cap, float pre AND float post, v_tanh(x * (vf)pre) * (vf)post)
MAP(add_ramp, float bias0 AND float slope,
    x + v_fma(__builtin_convertvector(v_lane_index() + (vi)j, vf), (vf)slope, (vf)bias0))

#undef MAP
#undef AND

/* Cases of apus_attention_plan and apus_attention_run. */
#include "fuzz.h"

#include <string.h>

typedef struct {
  apus_attention_problem problem;
  apus_rope rope;
  int64_t batch;
  int64_t qo_offsets[MOST_REQUESTS + 1];
  int64_t kv_lengths[MOST_REQUESTS];
  int64_t kv_offsets[MOST_REQUESTS + 1]; /* ragged */
  int64_t max_length;                    /* padded */
  int64_t page_size, page_count;         /* paged */
  int64_t pages[MOST_REQUESTS][256];
  int64_t head_dim_vo;
  int q_type, kv_type, o_type;
  int is_latent;
  tensor q, q_rope, k, v, o, lse, sinks, workspace, scales[5];
  apus_attention_arguments arguments;
} attention;

enum { LARGEST_BYTES = 3 << 17 };

static void choose_lengths(fuzzer *f, attention *a) {
  a->batch = chance(f, 5) ? 0 : range(f, 1, MOST_REQUESTS);
  int64_t most_rows = chance(f, 10) ? 30 : 3;
  int64_t most_keys = PICK(f, 3, 10, 20, 20, 40, 150);
  a->qo_offsets[0] = chance(f, 10) ? range(f, 1, 3) : 0;
  a->kv_offsets[0] = chance(f, 10) ? range(f, 1, 3) : 0;
  for (int64_t r = 0; r < a->batch; r++) {
    a->qo_offsets[r + 1] = a->qo_offsets[r] + range(f, 0, most_rows);
    a->kv_lengths[r] = chance(f, 10) ? 0 : range(f, 0, most_keys);
    a->kv_offsets[r + 1] = a->kv_offsets[r] + a->kv_lengths[r];
    if (a->kv_lengths[r] > a->max_length) a->max_length = a->kv_lengths[r];
  }
}

static int64_t token_room(const attention *a) {
  switch (a->problem.geometry) {
    case APUS_RAGGED: return a->kv_offsets[a->batch];
    case APUS_PADDED: return a->batch * a->max_length;
    default: return a->page_count * a->page_size;
  }
}

static void choose_geometry(fuzzer *f, attention *a) {
  apus_attention_problem *p = &a->problem;
  p->geometry = (apus_geometry)range(f, 0, 2);
  if (p->geometry == APUS_RAGGED) {
    p->kv_indptr = list(f, a->kv_offsets, a->batch + 1);
  } else if (p->geometry == APUS_PADDED) {
    if (chance(f, 20)) {
      for (int64_t r = 0; r < a->batch; r++) a->kv_lengths[r] = a->max_length;
    } else {
      if (chance(f, 30)) a->max_length += range(f, 1, 5);
      p->kv_lengths = list(f, a->kv_lengths, a->batch);
    }
    p->max_length = a->max_length;
  } else {
    a->page_size = PICK(f, 1, 1, 2, 3, 4, 8, 16, 16, 64);
    int64_t used = 0, counts[MOST_REQUESTS], widest = 0;
    for (int64_t r = 0; r < a->batch; r++) {
      counts[r] = (a->kv_lengths[r] + a->page_size - 1) / a->page_size;
      used += counts[r];
      if (counts[r] > widest) widest = counts[r];
    }
    a->page_count = used / 2 + range(f, 1, 4) + used / 2;
    int64_t offsets[MOST_REQUESTS + 1] = {0}, last[MOST_REQUESTS], flat[4096], count = 0;
    for (int64_t r = 0; r < a->batch; r++) {
      for (int64_t i = 0; i < counts[r]; i++) {
        a->pages[r][i] = range(f, 0, a->page_count - 1);
        flat[count++] = a->pages[r][i];
      }
      offsets[r + 1] = count;
      last[r] = counts[r] > 0 ? a->kv_lengths[r] - (counts[r] - 1) * a->page_size : range(f, -2, 9);
    }
    p->page_size = a->page_size;
    if (chance(f, 50)) {
      for (int64_t i = range(f, 0, 3); i > 0; i--) flat[count++] = range(f, -5, 99);
      p->page_indptr = list(f, offsets, a->batch + 1);
      p->page_indices = list(f, flat, count);
      p->last_page_length = list(f, last, a->batch);
    } else {
      int64_t width = widest + range(f, 0, 2);
      for (int64_t r = 0; r < a->batch; r++) {
        for (int64_t i = 0; i < width; i++) {
          flat[r * width + i] = i < counts[r] ? a->pages[r][i] : range(f, -9, 9);
        }
      }
      p->block_table = list(f, flat, a->batch * width);
      p->pages_per_request = width;
      p->kv_lengths = list(f, a->kv_lengths, a->batch);
    }
  }
}

static void choose_shape(fuzzer *f, attention *a) {
  apus_attention_problem *p = &a->problem;
  a->is_latent = chance(f, 20);
  p->kv_head_count = (int32_t)(a->is_latent && chance(f, 80) ? 1 : PICK(f, 1, 1, 2, 2, 3, 4, 8));
  p->qo_head_count = p->kv_head_count * (int32_t)PICK(f, 1, 1, 2, 3, 4, 8, 20);
  if (a->is_latent) {
    p->latent_ckv = (int32_t)PICK(f, 1, 7, 16, 64, 512);
    p->latent_kpe = (int32_t)PICK(f, 0, 1, 8, 64);
    p->head_dim_qk = p->latent_ckv + p->latent_kpe;
    p->head_dim_vo = (int32_t)(chance(f, 50) ? 0 : range(f, 1, p->latent_ckv));
    a->head_dim_vo = p->head_dim_vo == 0 ? p->latent_ckv : p->head_dim_vo;
  } else {
    p->head_dim_qk = 8 * (int32_t)PICK(f, 1, 1, 2, 2, 3, 4, 8, 9, 16, 16, 24, 72);
    p->head_dim_vo = (int32_t)(chance(f, 60) ? 0 : 8 * PICK(f, 1, 2, 3, 8, 16, 64));
    if (p->head_dim_vo == 0 && p->head_dim_qk > 512) p->head_dim_vo = 512;
    a->head_dim_vo = p->head_dim_vo == 0 ? p->head_dim_qk : p->head_dim_vo;
  }
  a->q_type = (int)range(f, 1, 5);
  a->kv_type = (int)range(f, 1, 5);
  a->o_type = (int)range(f, 1, 5);
  p->q_type = (apus_type)a->q_type;
  p->kv_type = (apus_type)(a->kv_type == a->q_type && chance(f, 50) ? 0 : a->kv_type);
  p->o_type = (apus_type)(a->o_type == a->q_type && chance(f, 50) ? 0 : a->o_type);
  p->layout = (apus_layout)range(f, 0, 1);
}

static void choose_mask(fuzzer *f, attention *a) {
  apus_attention_problem *p = &a->problem;
  p->is_causal = chance(f, 40);
  p->has_window = chance(f, 20);
  p->window_left = chance(f, 10) ? INT64_MAX : range(f, p->has_window ? 0 : -5, 30);
  if (!chance(f, 10)) return;
  int64_t offsets[MOST_REQUESTS + 1] = {0};
  for (int64_t r = 0; r < a->batch; r++) {
    int64_t bits = (a->qo_offsets[r + 1] - a->qo_offsets[r]) * a->kv_lengths[r];
    offsets[r + 1] = offsets[r] + (bits + 7) / 8;
  }
  slot *s = take(f, (size_t)offsets[a->batch], 0);
  for (size_t i = 0; i < s->size; i++) s->data[i] = (uint8_t)next(f);
  p->mask_bits = s->data;
  p->mask_byte_count = offsets[a->batch];
  p->mask_indptr = list(f, offsets, a->batch + 1);
  p->mask_bit_order = (apus_bit_order)range(f, 0, 1);
}

static void choose_options(fuzzer *f, attention *a) {
  apus_attention_problem *p = &a->problem;
  if (chance(f, 20)) {
    p->has_softmax_scale = 1;
    p->softmax_scale = (float)range(f, -4, 4) / 4;
  }
  if (chance(f, 15)) p->logits_soft_cap = (float)range(f, 1, 50);
  if (chance(f, 15)) {
    float slopes[256];
    for (int h = 0; h < p->qo_head_count; h++) slopes[h] = (float)range(f, -8, 8) / 8;
    p->alibi_slopes = place(f, slopes, (size_t)p->qo_head_count * sizeof *slopes);
  }
  if (!a->is_latent && chance(f, 20)) {
    a->rope = random_rope(f, p->head_dim_qk);
    p->rope = structure(f, &a->rope, sizeof a->rope);
  }
  p->lse_convention = (apus_lse_convention)range(f, 0, 2);
  p->is_accurate = chance(f, 20);
  if (chance(f, 10)) p->tolerance = 0x1p-10;
  if (chance(f, 30)) p->split_size = PICK(f, 1, 2, 3, 7, 16, 33, 64, 1000, INT64_MAX);
  p->disables_split_kv = chance(f, 15);
  p->is_batch_invariant = chance(f, 15);
  p->use_tensor_cores = (apus_tensor_core_use)range(f, 0, 2);
}

/* Fewer heads, then less of each, until every tensor fits its memory and a call its time. */
static void shrink(attention *a) {
  apus_attention_problem *p = &a->problem;
  for (int step = 0; step < 3; step++) {
    int64_t widest = p->head_dim_qk > a->head_dim_vo ? p->head_dim_qk : a->head_dim_vo;
    int64_t cache = token_room(a) * p->kv_head_count * widest * 4;
    int64_t rows = a->qo_offsets[a->batch] * p->qo_head_count * widest * 4;
    if (cache <= LARGEST_BYTES && rows <= LARGEST_BYTES) return;
    if (step == 0) {
      p->qo_head_count /= p->kv_head_count;
      p->kv_head_count = 1;
    } else if (step == 1) {
      p->qo_head_count = 1;
    } else {
      p->latent_ckv = a->is_latent ? 16 : 0;
      p->latent_kpe = 0;
      p->head_dim_qk = 16;
      p->head_dim_vo = 0;
      a->head_dim_vo = 16;
    }
  }
}

static void choose(fuzzer *f, attention *a) {
  memset(a, 0, sizeof *a);
  a->problem = APUS_INIT(apus_attention_problem);
  choose_lengths(f, a);
  choose_shape(f, a);
  choose_geometry(f, a);
  apus_attention_problem *p = &a->problem;
  shrink(a);
  p->qo_indptr = list(f, a->qo_offsets, a->batch + 1);
  choose_mask(f, a);
  choose_options(f, a);
}

/* Extents of a cache without its last dimension; `spare` tokens or pages more than needed. */
static int outer_shape(const attention *a, int64_t spare, int has_heads, int64_t *shape) {
  const apus_attention_problem *p = &a->problem;
  int64_t heads = p->kv_head_count, tokens;
  int rank = 0;
  switch (p->geometry) {
    case APUS_RAGGED: tokens = a->kv_offsets[a->batch] + spare; break;
    case APUS_PADDED:
      shape[rank++] = a->batch;
      tokens = a->max_length;
      break;
    default:
      shape[rank++] = a->page_count + spare;
      tokens = a->page_size;
  }
  if (has_heads && p->layout == APUS_HND) shape[rank++] = heads;
  shape[rank++] = tokens;
  if (has_heads && p->layout == APUS_NHD) shape[rank++] = heads;
  return rank;
}

/* Numbers into the tokens in use of a cache that is otherwise not a number. */
static void fill_tokens(fuzzer *f, const attention *a, tensor *t, int has_heads, int is_combined) {
  const apus_attention_problem *p = &a->problem;
  int slab = p->geometry == APUS_RAGGED ? 0 : 1 + is_combined;
  int is_hnd = has_heads && p->layout == APUS_HND;
  int token_axis = slab + is_hnd;
  int64_t start[MOST_DIMENSIONS], count[MOST_DIMENSIONS];
  fill_nan(f, t);
  for (int64_t r = 0; r < a->batch; r++) {
    int64_t length = a->kv_lengths[r], step = p->geometry == APUS_PAGED ? a->page_size : length;
    for (int64_t first = 0, page = 0; first < length; first += step, page++) {
      for (int axis = 0; axis < t->rank; axis++) {
        start[axis] = 0;
        count[axis] = t->shape[axis];
      }
      if (slab > 0) {
        start[0] = p->geometry == APUS_PAGED ? a->pages[r][page] : r;
        count[0] = 1;
      }
      start[token_axis] = p->geometry == APUS_RAGGED ? a->kv_offsets[r] : 0;
      count[token_axis] = length - first < step ? length - first : step;
      fill_box(f, t, start, count);
    }
  }
}

static void choose_caches(fuzzer *f, attention *a) {
  const apus_attention_problem *p = &a->problem;
  int64_t shape[MOST_DIMENSIONS], spare = chance(f, 20) ? range(f, 1, 3) : 0;
  apus_attention_arguments *x = &a->arguments;
  if (a->is_latent) {
    int has_heads = p->kv_head_count > 1 || chance(f, 50);
    int rank = outer_shape(a, spare, has_heads, shape);
    int is_packed = chance(f, 50);
    shape[rank] = is_packed ? p->head_dim_qk : p->latent_ckv;
    make(f, &a->k, a->kv_type, 1, 0, rank + 1, shape);
    fill_tokens(f, a, &a->k, has_heads, 0);
    if (is_packed) {
      x->kv = &a->k.dl;
      return;
    }
    shape[rank] = p->latent_kpe;
    make(f, &a->v, a->kv_type, 1, 0, rank + 1, shape);
    fill_tokens(f, a, &a->v, has_heads, 0);
  } else if (p->geometry == APUS_PAGED && a->head_dim_vo == p->head_dim_qk && chance(f, 40)) {
    int rank = outer_shape(a, spare, 1, shape);
    memmove(shape + 2, shape + 1, (size_t)(rank - 1) * sizeof *shape);
    shape[1] = 2;
    shape[rank + 1] = p->head_dim_qk;
    make(f, &a->k, a->kv_type, 1, 0, rank + 2, shape);
    fill_tokens(f, a, &a->k, 1, 1);
    x->kv = &a->k.dl;
    return;
  } else {
    int rank = outer_shape(a, spare, 1, shape);
    shape[rank] = p->head_dim_qk;
    make(f, &a->k, a->kv_type, 1, 0, rank + 1, shape);
    fill_tokens(f, a, &a->k, 1, 0);
    shape[rank] = a->head_dim_vo;
    make(f, &a->v, a->kv_type, 1, 0, rank + 1, shape);
    fill_tokens(f, a, &a->v, 1, 0);
  }
  x->k = &a->k.dl;
  x->v = &a->v.dl;
}

static void choose_scale(
    fuzzer *f, attention *a, int index, apus_scale *scale, int64_t heads, int allows_tokens) {
  int64_t shape[MOST_DIMENSIONS] = {heads};
  int rank = 1;
  switch (range(f, 0, 9)) {
    case 0: scale->value = (float)range(f, 1, 8) / 4; return;
    case 1: break;
    case 2:
      if (!allows_tokens) return;
      rank = outer_shape(a, 0, 1, shape);
      break;
    default: return;
  }
  tensor *t = &a->scales[index];
  make(f, t, APUS_F32, 0, 0, rank, shape);
  fill_positive(f, t);
  if (allows_tokens && (rank > 1)) {
    scale->per_token_head = &t->dl;
  } else {
    scale->per_head = &t->dl;
  }
}

static void choose_arguments(fuzzer *f, attention *a, size_t workspace_size) {
  const apus_attention_problem *p = &a->problem;
  apus_attention_arguments *x = &a->arguments;
  *x = APUS_INIT(apus_attention_arguments);
  int64_t first = a->qo_offsets[0], end = a->qo_offsets[a->batch];
  int64_t rows = end + (chance(f, 20) ? range(f, 1, 2) : 0);
  int64_t heads = p->qo_head_count;
  int is_split = a->is_latent && chance(f, 50);
  int64_t width = is_split ? p->latent_ckv : p->head_dim_qk;
  make(f, &a->q, a->q_type, 1, 0, 3, (int64_t[]){rows, heads, width});
  fill_nan(f, &a->q);
  fill_box(f, &a->q, (int64_t[]){first, 0, 0}, (int64_t[]){end - first, heads, width});
  x->q = &a->q.dl;
  if (is_split) {
    make(f, &a->q_rope, a->q_type, 1, 0, 3, (int64_t[]){rows, heads, p->latent_kpe});
    x->q_rope = &a->q_rope.dl;
  }
  choose_caches(f, a);
  make(f, &a->o, a->o_type, 1, 1, 3, (int64_t[]){rows, heads, a->head_dim_vo});
  x->o = &a->o.dl;
  if (chance(f, 50)) {
    make(f, &a->lse, APUS_F32, 0, 1, 2, (int64_t[]){rows, heads});
    x->lse = &a->lse.dl;
  }
  if (chance(f, 15)) {
    make(f, &a->sinks, APUS_F32, 0, 0, 1, (int64_t[]){heads});
    x->sinks = &a->sinks.dl;
  }
  choose_scale(f, a, 0, &x->q_scale, heads, 0);
  choose_scale(f, a, 1, &x->k_scale, p->kv_head_count, 1);
  if (!a->is_latent) choose_scale(f, a, 2, &x->v_scale, p->kv_head_count, 1);
  choose_scale(f, a, 3, &x->o_scale, heads, 0);
  if (a->is_latent && x->k_scale.per_token_head == NULL) {
    choose_scale(f, a, 4, &x->kpe_scale, p->kv_head_count, 0);
  }
  if (chance(f, 50) && workspace_size <= SLOT_BYTES / 8) {
    /* The alignment that the ABI asks for, and nothing more. */
    make(f, &a->workspace, TYPE_U8, 0, 1, 1, (int64_t[]){(int64_t)(workspace_size + 3) / 4 * 4});
    x->workspace = &a->workspace.dl;
  }
}

static void mutate_problem(fuzzer *f, apus_attention_problem *p) {
  apus_int_list *lists[] = {
      &p->qo_indptr, &p->kv_indptr, &p->kv_lengths, &p->page_indptr,
      &p->page_indices, &p->last_page_length, &p->block_table};
  int32_t *fields[] = {
      &p->qo_head_count, &p->kv_head_count, &p->head_dim_qk, &p->head_dim_vo, &p->latent_ckv,
      &p->latent_kpe, &p->is_causal, &p->has_window, &p->has_softmax_scale, &p->is_accurate,
      &p->disables_split_kv, &p->is_batch_invariant, (int32_t *)&p->use_tensor_cores,
      &p->reserved};
  int64_t *wide[] = {&p->max_length, &p->page_size, &p->pages_per_request, &p->window_left,
                     &p->split_size};
  switch (range(f, 0, 9)) {
    case 0: case 1: case 2: {
      apus_int_list *l = lists[range(f, 0, 6)];
      if (l->count == 0 && chance(f, 90)) l = lists[0];
      mutate_list(f, l);
      break;
    }
    case 3: case 4: {
      int32_t *field = fields[range(f, 0, 13)];
      *field = chance(f, 50) ? (int32_t)awkward(f) : *field + (int32_t)PICK(f, -8, -1, 1, 2, 8);
      break;
    }
    case 5: case 6: *wide[range(f, 0, 4)] = awkward(f); break;
    case 7: {
      int32_t value = (int32_t)awkward(f);
      int32_t *choices[] = {(int32_t *)&p->q_type, (int32_t *)&p->kv_type, (int32_t *)&p->o_type,
                            (int32_t *)&p->layout, (int32_t *)&p->geometry,
                            (int32_t *)&p->lse_convention, (int32_t *)&p->mask_bit_order};
      *choices[range(f, 0, 6)] = value;
      break;
    }
    case 8:
      if (p->mask_bits != NULL) {
        if (chance(f, 50)) {
          p->mask_byte_count -= PICK(f, 1, 1, INT32_MAX, INT64_MAX);
        } else {
          mutate_list(f, &p->mask_indptr);
        }
      } else {
        p->mask_byte_count = awkward(f);
      }
      break;
    default: {
      const double values[] = {0.0 / 0.0, 1e308 * 10, -1e308 * 10, 1e-320, -1, 1e30, 0};
      double value = values[range(f, 0, 6)];
      switch (range(f, 0, 2)) {
        case 0:
          p->has_softmax_scale = 1;
          p->softmax_scale = (float)value;
          break;
        case 1: p->logits_soft_cap = (float)value; break;
        default: p->tolerance = value; break;
      }
    }
  }
}

/* Heads may have been mutated: the slopes are as many as the structure says. */
static void back_slopes(fuzzer *f, apus_attention_problem *p) {
  if (p->alibi_slopes == NULL) return;
  int64_t count = p->qo_head_count < 0 ? 0 : p->qo_head_count > 65536 ? 65536 : p->qo_head_count;
  slot *s = take(f, (size_t)count * sizeof(float), 0);
  memset(s->data, 0, s->size);
  p->alibi_slopes = (const float *)s->data;
}

static void mutate_arguments(fuzzer *f, attention *a) {
  apus_attention_arguments *x = &a->arguments;
  struct {
    const DLTensor **place;
    tensor *t;
  } all[13] = {{&x->q, &a->q}, {x->kv ? &x->kv : &x->k, &a->k}, {&x->o, &a->o}};
  int count = 3;
#define OFFER(field, tensor)          \
  if (x->field != NULL) {             \
    all[count].place = &x->field;     \
    all[count++].t = &a->tensor;      \
  }
  OFFER(q_rope, q_rope)
  OFFER(v, v)
  OFFER(lse, lse)
  OFFER(sinks, sinks)
  OFFER(workspace, workspace)
  OFFER(q_scale.per_head, scales[0])
  OFFER(k_scale.per_head, scales[1])
  OFFER(k_scale.per_token_head, scales[1])
  OFFER(v_scale.per_token_head, scales[2])
  OFFER(o_scale.per_head, scales[3])
#undef OFFER
  int which = (int)range(f, 0, count - 1);
  switch (range(f, 0, 9)) {
    case 0:
      /* A tensor in another's place: of another shape, or an input that is an output as well. */
      *all[which].place = *all[range(f, 0, count - 1)].place;
      a->o.memory->is_output = a->q.memory->is_output = a->k.memory->is_output = 1;
      for (int i = 0; i < count; i++) all[i].t->memory->is_output = 1;
      break;
    case 1: {
      apus_scale *scales[] = {&x->q_scale, &x->k_scale, &x->v_scale, &x->o_scale, &x->kpe_scale};
      const float values[] = {0.0f / 0.0f, -1, 1e38f * 10, 1e-44f, 1e38f, 0};
      scales[range(f, 0, 4)]->value = values[range(f, 0, 5)];
      break;
    }
    case 2:
      x->v_scale.per_head = x->q;
      x->k_scale.per_token_head = x->o;
      break;
    default: mutate_tensor(f, all[which].place, all[which].t);
  }
}

static void check_results(fuzzer *f, attention *a) {
  int64_t first = a->qo_offsets[0], rows = a->qo_offsets[a->batch] - first;
  int64_t heads = a->problem.qo_head_count;
  accept_box(f, &a->o, (int64_t[]){first, 0, 0}, (int64_t[]){rows, heads, a->head_dim_vo});
  check_rest(f, &a->o, "o");
  if (a->arguments.lse == NULL) return;
  accept_box(f, &a->lse, (int64_t[]){first, 0}, (int64_t[]){rows, heads});
  check_rest(f, &a->lse, "lse");
}

static void run(fuzzer *f, attention *a, apus_plan plan) {
  size_t workspace_size = 0;
  if (apus_plan_workspace_size(plan, &workspace_size) != APUS_OK) workspace_size = 0;
  choose_arguments(f, a, workspace_size);
  int mutates = f->is_mutated && chance(f, 80);
  if (mutates) mutate_arguments(f, a);
  f->is_tame = !f->is_mutated;
  const apus_attention_arguments *x = structure(f, &a->arguments, sizeof a->arguments);
  const apus_stream *stream = random_stream(f);
  if (mutates && chance(f, 2)) x = NULL;
  snapshot(f);
  begin_call(f, "apus_attention_run");
  apus_status status = end_call(f, F_RUN, apus_attention_run(plan, x, stream));
  check_memory(f, status == APUS_OK);
  if (f->is_mutated) return;
  if (status == APUS_OK) {
    check_results(f, a);
  } else {
    refused(f);
  }
}

/* A plan with a capacity, updated to its own problem and to one that may be wrong. */
static void update_case(fuzzer *f, attention *a, const void *given) {
  apus_plan_capacity capacity = APUS_INIT(apus_plan_capacity);
  capacity.batch = chance(f, 85) ? (int32_t)(a->batch + range(f, 0, 3)) : (int32_t)awkward(f);
  capacity.queries_per_request = chance(f, 85) ? (int32_t)range(f, 0, 64) : (int32_t)awkward(f);
  capacity.keys_per_request = chance(f, 85) ? range(f, 0, 2000) : awkward(f);
  if (chance(f, 30)) capacity.key_rows = chance(f, 85) ? range(f, 0, 5000) : awkward(f);
  if (chance(f, 30)) capacity.cache_pages = chance(f, 85) ? range(f, 0, 500) : awkward(f);
  const void *limits = chance(f, 97) ? structure(f, &capacity, sizeof capacity) : NULL;
  apus_plan plan = 0;
  begin_call(f, "apus_attention_plan_within");
  if (end_call(f, F_PLAN, apus_attention_plan_within(f->backend, given, limits, &plan)) != APUS_OK) {
    return;
  }
  for (int64_t i = range(f, 1, 3); i > 0; i--) {
    apus_attention_problem problem = a->problem;
    if (chance(f, 60)) mutate_problem(f, &problem);
    back_slopes(f, &problem);
    const void *next = structure(f, &problem, sizeof problem);
    const apus_stream *stream = random_stream(f);
    begin_call(f, "apus_plan_update");
    end_call(f, F_PLAN, apus_plan_update(plan, chance(f, 98) ? next : NULL, stream));
  }
  if (chance(f, 10)) text_case(f, 1, plan);
  if (apus_plan_destroy(plan) != APUS_OK) fail(f, "a plan that was made was not destroyed");
}

void attention_case(fuzzer *f) {
  attention a;
  choose(f, &a);
  apus_attention_problem problem = a.problem;
  int mutates = f->is_mutated && chance(f, 50);
  if (mutates) {
    for (int64_t i = range(f, 1, 2); i > 0; i--) mutate_problem(f, &problem);
    back_slopes(f, &problem);
  }
  const void *given = structure(f, &problem, sizeof problem);
  apus_plan plan = 0;
  snapshot(f);
  begin_call(f, "apus_attention_plan");
  apus_status status = end_call(f, F_PLAN, apus_attention_plan(f->backend, given, &plan));
  check_memory(f, 0);
  if (status != APUS_OK) {
    if (!f->is_mutated) refused(f);
    return;
  }
  if (chance(f, 5)) text_case(f, 1, plan);
  if (chance(f, 15)) update_case(f, &a, given);
  run(f, &a, plan);
  if (apus_plan_destroy(plan) != APUS_OK) fail(f, "a plan that was made was not destroyed");
  f->freed_plan = plan;
}

/* A plan that other threads run, replace and destroy at the same time. */
enum { SHARED_PLANS = 4 };
static struct {
  atomic_flag lock;
  apus_plan plan;
  uint64_t random; /* from which the problem is made again */
} shared[SHARED_PLANS];

void shared_case(fuzzer *f) {
  attention a;
  f->is_mutated = 0;
  f->may_be_gone = 1;
  int index = (int)range(f, 0, SHARED_PLANS - 1);
  uint64_t kept = next(f);
  while (atomic_flag_test_and_set(&shared[index].lock)) {}
  apus_plan plan = shared[index].plan;
  uint64_t random = shared[index].random;
  int replaces = plan == 0 || chance(f, 10);
  if (replaces) {
    random = next(f);
    f->random = random;
    choose(f, &a);
    begin_call(f, "apus_attention_plan");
    apus_status status = end_call(f, F_PLAN, apus_attention_plan(f->backend, &a.problem, &plan));
    if (status == APUS_OK) {
      if (shared[index].plan != 0) apus_plan_destroy(shared[index].plan);
      shared[index].plan = plan;
      shared[index].random = random;
    } else {
      refused(f);
    }
    memory_reset(f);
  }
  atomic_flag_clear(&shared[index].lock);
  f->random = random;
  choose(f, &a);
  f->random = kept;
  if (chance(f, 4)) {
    begin_call(f, "apus_plan_destroy");
    end_call(f, F_SHARED, apus_plan_destroy(plan));
  }
  run(f, &a, plan);
}

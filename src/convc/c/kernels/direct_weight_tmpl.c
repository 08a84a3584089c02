/* Gradients of the weights of few-channel groups: products of grad_y (here y) and x summed over all outputs, without packing. A task
 * is a block of rows of taps of one input channel, or of some vectors of channels; nobody else adds to its weights. Each image is summed
 * apart and then added, so that the rounding errors of large batches stay small. */

#undef WEIGHT_TAPS
#undef WEIGHT_OUTS
#undef WEIGHT_COLS
#define WEIGHT_OUTS 4 /* output channels of a group at once */
#define WEIGHT_TAPS 3 /* of a row at once; and rows, where a group has one output channel */
#if defined(VEC_AVX512) || defined(VEC_NEON)
#define WEIGHT_COLS 4 /* pixels at once, channels last */
#else
#define WEIGHT_COLS 1
#endif

/* A block of taps: row d of depth, rows r .. r + rows, columns s .. s + WEIGHT_TAPS. Outputs lo..hi along d, and along h for each row,
 * meet the image. */
typedef struct FN(tap_block) {
    const conv *c;
    int64_t d, r, s, rows, depth_lo, depth_hi, lo[WEIGHT_TAPS], hi[WEIGHT_TAPS];
} FN(tap_block);

/* Outputs first..last of dimension i meet the image at tap t. */
static inline void FN(outputs_meeting)(const conv *c, int i, int64_t t, int64_t *first, int64_t *last) {
    int64_t shift = c->pad[i] - t * c->dilation[i];
    *first = shift <= 0 ? 0 : min_i64(ceil_div(shift, c->step[i]), c->y.size[i]);
    *last = shift + c->x.size[i] <= 0 ? 0 : min_i64(ceil_div(shift + c->x.size[i], c->step[i]), c->y.size[i]);
}

/* Number `block` of those of one channel. */
static FN(tap_block) FN(tap_block_at)(const conv *c, int64_t block) {
    int64_t rows = convc_weight_rows(c), blocks = ceil_div(c->w.size[1], rows);
    FN(tap_block) t = {.c = c, .d = block / blocks, .r = block % blocks * rows};
    t.rows = min_i64(rows, c->w.size[1] - t.r);
    FN(outputs_meeting)(c, 0, t.d, &t.depth_lo, &t.depth_hi);
    for (int64_t r = 0; r < t.rows; r++) FN(outputs_meeting)(c, 1, t.r + r, &t.lo[r], &t.hi[r]);
    return t;
}

/* A coordinate that may lie far outside the image, where padding is large, times a stride. */
static inline int64_t FN(times)(int64_t at, int64_t stride) { return (int64_t)((uint64_t)at * (uint64_t)stride); }

/* Where tap (d, r, s) of output (n, od, oh, 0) lies in channel 0 of x. */
static inline const real *FN(x_under)(const FN(tap_block) * t, int64_t n, int64_t od, int64_t oh) {
    const conv *c = t->c;
    return (const real *)c->x.data + n * c->x.stride_n +
           FN(times)(od * c->step[0] + t->d * c->dilation[0] - c->pad[0], c->x.stride[0]) +
           FN(times)(oh * c->step[1] + t->r * c->dilation[1] - c->pad[1], c->x.stride[1]) +
           FN(times)(t->s * c->dilation[2] - c->pad[2], c->x.stride[2]);
}

static inline const real *FN(y_plane)(const conv *c, int64_t n, int64_t od) {
    return (const real *)c->y.data + n * c->y.stride_n + od * c->y.stride[0];
}

static inline real *FN(weight_at)(const FN(tap_block) * t, int64_t k, int64_t c, int64_t r, int64_t s) {
    const volume *w = &t->c->w;
    return (real *)w->data + k * w->stride_n + c * w->stride_c + t->d * w->stride[0] + (t->r + r) * w->stride[1] +
           (t->s + s) * w->stride[2];
}

/* The outputs along h that some row of the block meets. */
static inline void FN(rows_meeting)(const FN(tap_block) * t, const int rows, int64_t *lo, int64_t *hi) {
    *lo = t->lo[0];
    *hi = t->hi[0];
    for (int r = 1; r < rows; r++) {
        *lo = min_i64(*lo, t->lo[r]);
        *hi = max_i64(*hi, t->hi[r]);
    }
}

/* ---- vectors along w: x and y are contiguous there, the step is 1 or 2 ---- */

#undef WEIGHT_SUMS
#define WEIGHT_SUMS 12 /* WEIGHT_OUTS x 1 or 1 x WEIGHT_TAPS rows of WEIGHT_TAPS */

/* What sum_strip does in one plane for outputs lo..hi along h, where rows of taps meet the same row of x: each is read once. */
static inline ALWAYS_INLINE void FN(roll_strip)(const FN(tap_block) * t, const real *x, const real *y, int64_t lo, int64_t hi,
                                                int inside, vmask tail, const vspan span[WEIGHT_TAPS], vec sum[WEIGHT_SUMS],
                                                const int rows, const int taps, const int64_t step) {
    const conv *c = t->c;
    int64_t h = lo + t->r - c->pad[1];
    vec grad[WEIGHT_TAPS];
    EACH (r, rows) grad[r] = vzero();
    for (int64_t newest = lo; newest < hi + rows - 1; newest++, h++, x += c->x.stride[1], y += c->y.stride[1]) {
        UNROLL for (int r = rows - 1; r > 0; r--) grad[r] = grad[r - 1];
        if (newest < hi) grad[0] = inside ? vload(y) : vload_masked(y, tail);
        if (h < 0 || h >= c->x.size[1]) continue;
        vec in[WEIGHT_TAPS];
        EACH (s, taps) {
            in[s] = inside ? vload_step(x + s * c->dilation[2], step) : vload_span(x + s * c->dilation[2], step, span[s]);
            KEEP(in[s]);
        }
        EACH (r, rows) {
            if (newest - r < lo || newest - r >= hi) continue;
            EACH (s, taps) sum[r * taps + s] = vfma(grad[r], in[s], sum[r * taps + s]);
        }
    }
}

/* sum[k, r, s] += products of outputs j .. j + VL of every row of image n; x and y are offsets of the channels. */
static inline ALWAYS_INLINE void FN(sum_strip)(const FN(tap_block) * t, int64_t n, int64_t x_channel, int64_t y_channel,
                                               int64_t j, vec sum[WEIGHT_SUMS], const int outs, const int rows, const int taps,
                                               const int64_t step) {
    const conv *c = t->c;
    int lanes = (int)min_i64(VL, c->y.size[2] - j), inside = lanes == VL;
    int64_t down = FN(times)(c->step[1], c->x.stride[1]), apart = c->dilation[1] * c->x.stride[1], lo, hi;
    vmask tail = vlanes(0, lanes);
    vspan span[WEIGHT_TAPS];
    EACH (s, taps) {
        int64_t first, last;
        FN(outputs_meeting)(c, 2, t->s + s, &first, &last);
        span[s] = vspan_of(step, (int)min_i64(max_i64(first - j, 0), VL), (int)min_i64(max_i64(last - j, 0), lanes));
        inside &= first <= j && last >= j + VL;
    }
    FN(rows_meeting)(t, rows, &lo, &hi);
    if (rows > 1 && c->step[1] == 1 && c->dilation[1] == 1) {
        for (int64_t od = t->depth_lo; od < t->depth_hi; od++)
            FN(roll_strip)(t, FN(x_under)(t, n, od, lo) + x_channel + j * step,
                           FN(y_plane)(c, n, od) + y_channel + j + lo * c->y.stride[1], lo, hi, inside, tail, span, sum, rows,
                           taps, step);
        return;
    }
    for (int64_t od = t->depth_lo; od < t->depth_hi; od++) {
        const real *x = FN(x_under)(t, n, od, lo) + x_channel + j * step;
        const real *y = FN(y_plane)(c, n, od) + y_channel + j + lo * c->y.stride[1];
        for (int64_t oh = lo; oh < hi; oh++, x += down, y += c->y.stride[1]) {
            vec grad[WEIGHT_OUTS];
            EACH (k, outs) grad[k] = inside ? vload(y + k * c->y.stride_c) : vload_masked(y + k * c->y.stride_c, tail);
            EACH (r, rows) {
                if (rows > 1 && (oh < t->lo[r] || oh >= t->hi[r])) continue;
                const real *row = x + r * apart;
                EACH (s, taps) {
                    const real *from = row + s * c->dilation[2];
                    vec in = inside ? vload_step(from, step) : vload_span(from, step, span[s]);
                    EACH (k, outs) sum[(k * rows + r) * taps + s] = vfma(grad[k], in, sum[(k * rows + r) * taps + s]);
                }
            }
        }
    }
}

/* What the lanes of each vector come to. */
static void FN(sum_lanes)(const vec *v, int count, real *sums) {
    for (int i = 0; i < count; i += VL) {
        vec square[VL];
        EACH (lane, VL) square[lane] = i + lane < count ? v[i + lane] : vzero();
        vtranspose(square);
        for (int apart = 1; apart < VL; apart *= 2)
            for (int lane = 0; lane + apart < VL; lane += 2 * apart) square[lane] = vadd(square[lane], square[lane + apart]);
        vstore_step(sums + i, 1, square[0], count - i < VL ? count - i : VL);
    }
}

static inline ALWAYS_INLINE void FN(weight_block)(const FN(tap_block) * t, int64_t channel, int64_t k0, const int outs,
                                                  const int rows, const int taps, const int64_t step) {
    const conv *c = t->c;
    int64_t group = channel / c->w.c, outs_all = c->y.c / c->groups;
    vec total[WEIGHT_SUMS];
    real weights[WEIGHT_SUMS];
    EACH (i, outs * rows * taps) total[i] = vzero();
    for (int64_t n = 0; n < c->x.n; n++) {
        vec sum[WEIGHT_SUMS];
        EACH (i, outs * rows * taps) sum[i] = vzero();
        for (int64_t j = 0; j < c->y.size[2]; j += VL)
            FN(sum_strip)(t, n, channel * c->x.stride_c, (group * outs_all + k0) * c->y.stride_c, j, sum, outs, rows, taps, step);
        EACH (i, outs * rows * taps) total[i] = vadd(total[i], sum[i]);
    }
    FN(sum_lanes)(total, outs * rows * taps, weights);
    for (int k = 0; k < outs; k++)
        for (int r = 0; r < rows; r++)
            for (int s = 0; s < taps; s++)
                *FN(weight_at)(t, group * outs_all + k0 + k, channel % c->w.c, r, s) = weights[(k * rows + r) * taps + s];
}

/* clang-format off */
#define WEIGHT_CASE(outs, rows, taps)                                                \
    case (outs * 4 + rows) * 4 + taps:                                               \
        if (c->step[2] == 1) FN(weight_block)(&t, channel, k0, outs, rows, taps, 1); \
        else FN(weight_block)(&t, channel, k0, outs, rows, taps, 2);                 \
        break;
#define WEIGHT_CASES(outs, rows) WEIGHT_CASE(outs, rows, 1) WEIGHT_CASE(outs, rows, 2) WEIGHT_CASE(outs, rows, 3)
/* clang-format on */

/* Task (channel, block of taps) of grad_w. */
static void FN(weight_rows)(const conv *c, int64_t task) {
    int64_t blocks = convc_weight_blocks(c), channel = task / blocks, outs = c->y.c / c->groups;
    FN(tap_block) t = FN(tap_block_at)(c, task % blocks);
    for (int64_t k0 = 0; k0 < outs; k0 += WEIGHT_OUTS)
        for (t.s = 0; t.s < c->w.size[2]; t.s += WEIGHT_TAPS)
            switch ((min_i64(WEIGHT_OUTS, outs - k0) * 4 + t.rows) * 4 + min_i64(WEIGHT_TAPS, c->w.size[2] - t.s)) {
                WEIGHT_CASES(1, 1)
                WEIGHT_CASES(1, 2)
                WEIGHT_CASES(1, 3)
                WEIGHT_CASES(2, 1)
                WEIGHT_CASES(3, 1)
                WEIGHT_CASES(4, 1)
            default: break;
            }
}

/* ---- depthwise with vectors along the channels: x and y are contiguous there ---- */

/* Outputs first..last of a row meet the image at each of the block's columns, enter..leave at all of them. */
typedef struct FN(row_span) {
    int64_t first[WEIGHT_TAPS], last[WEIGHT_TAPS], enter, leave;
} FN(row_span);

static FN(row_span) FN(row_span_of)(const FN(tap_block) * t, const int taps) {
    FN(row_span) m = {.enter = 0, .leave = t->c->y.size[2]};
    EACH (s, taps) {
        FN(outputs_meeting)(t->c, 2, t->s + s, &m.first[s], &m.last[s]);
        m.enter = max_i64(m.enter, m.first[s]);
        m.leave = min_i64(m.leave, m.last[s]);
    }
    m.enter = min_i64(m.enter, t->c->y.size[2]);
    m.leave = max_i64(m.leave, m.enter);
    return m;
}

/* Outputs ow .. ow + cols of row oh: sum[r][s] += their products, where the tap's row and column meet the image. */
static inline ALWAYS_INLINE void FN(sum_pixels)(const FN(tap_block) * t, const FN(row_span) * m, const real *x, const real *y,
                                                int64_t oh, int64_t ow, vmask lanes, vec sum[WEIGHT_TAPS][WEIGHT_TAPS],
                                                const int taps, const int cols, const int step, const int whole,
                                                const int inside) {
    const conv *c = t->c;
    int64_t apart = c->dilation[1] * c->x.stride[1], aside = c->dilation[2] * c->x.stride[2];
    vec grad[WEIGHT_COLS];
    x += ow * c->step[2] * c->x.stride[2];
    y += ow * c->y.stride[2];
    EACH (p, cols) grad[p] = whole ? vload(y + p * c->y.stride[2]) : vload_masked(y + p * c->y.stride[2], lanes);
    EACH (r, WEIGHT_TAPS) {
        if (r >= t->rows || oh < t->lo[r] || oh >= t->hi[r]) continue;
        const real *row = x + r * apart;
        if (cols == 1) {
            EACH (s, taps) {
                if (!inside && (ow < m->first[s] || ow >= m->last[s])) continue;
                vec in = whole ? vload(row + s * aside) : vload_masked(row + s * aside, lanes);
                sum[r][s] = vfma(grad[0], in, sum[r][s]);
            }
        } else {
            UNROLL for (int i = 0; i < (cols - 1) * step + taps; i++) { /* a pixel of x meets several outputs */
                vec in = whole ? vload(row + i * c->x.stride[2]) : vload_masked(row + i * c->x.stride[2], lanes);
                KEEP(in);
                EACH (s, taps)
                    if (i - s >= 0 && (i - s) % step == 0 && (i - s) / step < cols)
                        sum[r][s] = vfma(grad[(i - s) / step], in, sum[r][s]);
            }
        }
    }
}

/* All of row oh. `step` is 0 where pixels of x do not meet several outputs. */
static inline ALWAYS_INLINE void FN(sum_row)(const FN(tap_block) * t, const FN(row_span) * m, const real *x, const real *y,
                                             int64_t oh, vmask lanes, vec sum[WEIGHT_TAPS][WEIGHT_TAPS], const int taps,
                                             const int step, const int whole) {
    vec acc[WEIGHT_TAPS][WEIGHT_TAPS];
    int64_t ow = 0;
    EACH (r, WEIGHT_TAPS)
        EACH (s, taps) acc[r][s] = sum[r][s];
    for (; ow < m->enter; ow++) FN(sum_pixels)(t, m, x, y, oh, ow, lanes, acc, taps, 1, 1, whole, 0);
    if (step)
        for (; ow + WEIGHT_COLS <= m->leave; ow += WEIGHT_COLS)
            FN(sum_pixels)(t, m, x, y, oh, ow, lanes, acc, taps, WEIGHT_COLS, step ? step : 1, whole, 1);
    for (; ow < m->leave; ow++) FN(sum_pixels)(t, m, x, y, oh, ow, lanes, acc, taps, 1, 1, whole, 1);
    for (; ow < t->c->y.size[2]; ow++) FN(sum_pixels)(t, m, x, y, oh, ow, lanes, acc, taps, 1, 1, whole, 0);
    EACH (r, WEIGHT_TAPS)
        EACH (s, taps) sum[r][s] = acc[r][s];
}

/* Image n; vectors of channels from `channel` on, for which each row is read while it is in the caches. */
static inline ALWAYS_INLINE void FN(sum_image)(const FN(tap_block) * t, const FN(row_span) * m, int64_t n, int64_t channel,
                                               int64_t vectors, vec sum[][WEIGHT_TAPS][WEIGHT_TAPS], const int taps,
                                               const int step) {
    const conv *c = t->c;
    int64_t lo, hi;
    FN(rows_meeting)(t, (int)t->rows, &lo, &hi);
    for (int64_t od = t->depth_lo; od < t->depth_hi; od++)
        for (int64_t oh = lo; oh < hi; oh++) {
            const real *x = FN(x_under)(t, n, od, oh) + channel;
            const real *y = FN(y_plane)(c, n, od) + oh * c->y.stride[1] + channel;
            for (int64_t v = 0; v < vectors; v++, x += VL, y += VL) {
                int64_t lanes = min_i64(VL, c->groups - channel - v * VL);
                if (lanes == VL) FN(sum_row)(t, m, x, y, oh, vlanes(0, VL), sum[v], taps, step, 1);
                else FN(sum_row)(t, m, x, y, oh, vlanes(0, (int)lanes), sum[v], taps, step, 0);
            }
        }
}

static inline ALWAYS_INLINE void FN(weight_vectors)(const FN(tap_block) * t, int64_t channel, int64_t vectors, const int taps,
                                                    const int step) {
    const conv *c = t->c;
    FN(row_span) m = FN(row_span_of)(t, taps);
    vec total[WEIGHT_VECTORS][WEIGHT_TAPS][WEIGHT_TAPS], sum[WEIGHT_VECTORS][WEIGHT_TAPS][WEIGHT_TAPS];
    for (int64_t v = 0; v < vectors; v++)
        EACH (i, WEIGHT_TAPS * WEIGHT_TAPS) total[v][i / WEIGHT_TAPS][i % WEIGHT_TAPS] = vzero();
    for (int64_t n = 0; n < c->x.n; n++) {
        for (int64_t v = 0; v < vectors; v++)
            EACH (i, WEIGHT_TAPS * WEIGHT_TAPS) sum[v][i / WEIGHT_TAPS][i % WEIGHT_TAPS] = vzero();
        FN(sum_image)(t, &m, n, channel, vectors, sum, taps, step);
        for (int64_t v = 0; v < vectors; v++)
            for (int64_t r = 0; r < t->rows; r++)
                EACH (s, taps) total[v][r][s] = vadd(total[v][r][s], sum[v][r][s]);
    }
    for (int64_t v = 0; v < vectors; v++, channel += VL)
        for (int64_t r = 0; r < t->rows; r++)
            for (int s = 0; s < taps; s++) {
                real lane[VL];
                vstore(lane, total[v][r][s]);
                for (int64_t i = 0; i < min_i64(VL, c->groups - channel); i++) *FN(weight_at)(t, channel + i, 0, r, s) = lane[i];
            }
}

#define VECTOR_CASE(taps, step) \
    case taps * 3 + step: FN(weight_vectors)(&t, first * VL, end - first, taps, step); break;

/* A block of taps of vectors first..end of the channels. */
static void FN(weight_channels)(const conv *c, int64_t block, int64_t first, int64_t end) {
    int64_t step = WEIGHT_COLS > 1 && c->dilation[2] == 1 && c->step[2] <= 2 ? c->step[2] : 0;
    FN(tap_block) t = FN(tap_block_at)(c, block);
    for (t.s = 0; t.s < c->w.size[2]; t.s += WEIGHT_TAPS) switch (min_i64(WEIGHT_TAPS, c->w.size[2] - t.s) * 3 + step) {
            VECTOR_CASE(1, 0)
            VECTOR_CASE(1, 1)
            VECTOR_CASE(1, 2)
            VECTOR_CASE(2, 0)
            VECTOR_CASE(2, 1)
            VECTOR_CASE(2, 2)
            VECTOR_CASE(3, 0)
            VECTOR_CASE(3, 1)
        default: VECTOR_CASE(3, 2)
        }
}

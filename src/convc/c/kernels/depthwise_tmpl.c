/* Depthwise convolution. Sums run over (kd, r, s), as in direct_tmpl.c, which takes what these leave. */

#undef ROLL_NV
#undef ROLL_SPANS
#undef CHANNEL_COLS
#if defined(VEC_AVX512) || defined(VEC_NEON)
#define ROLL_NV(taps) ((taps) <= 5 ? 4 : 2)
#define CHANNEL_COLS 8
#else
#define ROLL_NV(taps) ((taps) <= 5 ? 2 : 1)
#define CHANNEL_COLS 4
#endif
#define ROLL_SPANS 16 /* the widest kernel */
#define AHEAD_BYTES (64 << 10) /* of the next plane, which are still in L2 when their turn comes */

/* Taps first..last of dimension i meet the image at output position o. */
static inline void FN(tap_range)(const conv *c, int i, int64_t o, int64_t *first, int64_t *last) {
    int64_t shift = c->pad[i] - o * c->step[i];
    *first = 0;
    *last = c->w.size[i];
    if (shift <= 0 && shift + c->x.size[i] > (c->w.size[i] - 1) * c->dilation[i]) return;
    if (shift > 0) *first = ceil_div(shift, c->dilation[i]);
    *last = shift + c->x.size[i] <= 0 ? 0 : min_i64(c->w.size[i], ceil_div(shift + c->x.size[i], c->dilation[i]));
}

/* ---- vectors along w: rolling down the rows, each input row is read once and adds to all the outputs that it touches ---- */

/* Kernels of 3 x 3, 5 x 5 and 7 x 7, and at step 1 all that are up to 4 high, as the phases of their gradients are. Three outputs of
 * a channel are better computed side by side, from inputs that are read once. */
static int FN(is_rolling)(const conv *c) {
    int64_t high = c->w.size[1], wide = c->w.size[2];
    int square = high == wide && (high == 3 || high == 5 || high == 7) && c->dilation[2] == 1 && c->step[2] <= 2;
    int flat = c->w.size[0] == 1 && c->pad[0] == 0 && (c->y.size[0] - 1) * c->step[0] < c->x.size[0];
    return c->w.c == 1 && c->y.c <= 2 * c->groups && flat && c->dilation[1] == 1 && c->step[1] == c->step[2] &&
           c->x.stride[2] == 1 && (square || (high <= 4 && wide <= ROLL_SPANS && c->step[2] == 1));
}

/* One filter over one plane. */
typedef struct FN(roll) {
    const conv *c;
    const real *x, *w; /* x at coordinate (0, -pad) */
    real *y;
    real bias;
    int has_bias;
    int64_t ahead; /* from this plane's rows to the next one's, which are fetched meanwhile; or 0 */
    int64_t oh0, oh1;
} FN(roll);

/* Which taps of a block of columns may leave the row: none; those before the middle one in the first vector, and those behind it in
 * the last; or any. */
#define ROLL_INSIDE 0
#define ROLL_HALF 1
#define ROLL_ANYWHERE 2
#define MAY_LEAVE(s, v) \
    (where == ROLL_ANYWHERE || (where == ROLL_HALF && (((v) == 0 && (s) < taps / 2) || ((v) == nv - 1 && (s) > taps / 2))))

/* The first column of vector v of a block that begins at column j. One that would leave the row ends where the row does, and computes again what the one before
 * it does: a whole vector is stored faster than a part of one. */
static inline int64_t FN(roll_column)(const conv *c, int64_t j, int64_t v) {
    return min_i64(j + v * VL, max_i64(c->y.size[2] - VL, 0));
}

/* nv vectors of columns from j on, all rows; `taps` is the kernel's height. acc[q] is the output q rows above the newest. */
static inline ALWAYS_INLINE void FN(roll_columns)(const FN(roll) * t, int64_t j, const int taps, const int square, const int nv,
                                                  const int step, const int where) {
    const conv *c = t->c;
    const int outs = (taps + step - 1) / step;
    const int64_t width = square ? taps : c->w.size[2];
    const int whole = where == ROLL_INSIDE || (c->y.stride[2] == 1 && c->y.size[2] >= VL);
    int64_t at[4]; /* from j on */
    vspan span[ROLL_SPANS][4];
    vec acc[7][4];
    EACH (v, nv) at[v] = where == ROLL_INSIDE ? v * VL : FN(roll_column)(c, j, v) - j;
    for (int64_t s = 0; where != ROLL_INSIDE && s < width; s++)
        EACH (v, nv) {
            int64_t before = c->pad[2] - (j + at[v]) * step - s * c->dilation[2], past = before + c->x.size[2];
            span[s][v] = vspan_of(step, (int)min_i64(before <= 0 ? 0 : (before + step - 1) / step, VL),
                                  (int)min_i64(past <= 0 ? 0 : (past + step - 1) / step, VL));
        }
    EACH (q, outs)
        EACH (v, nv) acc[q][v] = vzero();
    for (int64_t newest = t->oh0; newest < t->oh1 + outs - 1; newest++) {
        UNROLL for (int i = 0; i < step; i++) {
            int64_t h = newest * step + i - c->pad[1];
            if (h < 0 || h >= c->x.size[1]) continue;
            const real *row = t->x + h * c->x.stride[1] + j * step, *w = t->w + i * width;
            if (t->ahead && j == 0)
                for (int64_t b = 0; b < c->x.size[2]; b += CACHE_LINE / (int64_t)sizeof(real)) PREFETCH_READ(row + t->ahead + b);
            const int64_t apart = square ? 1 : c->dilation[2];
            UNROLL for (int64_t s = 0; s < width; s++, row += apart, w++) {
                vec in[4];
                EACH (v, nv) {
                    in[v] =
                        MAY_LEAVE(s, v) ? vpick_span(row + at[v] * step, step, span[s][v]) : vpick_step(row + at[v] * step, step);
                    KEEP(in[v]);
                }
                EACH (q, outs)
                    if (q * step + i < taps) {
                        vec wq = vset1(w[q * step * width]);
                        EACH (v, nv) acc[q][v] = vfma(wq, in[v], acc[q][v]);
                    }
            }
        }
        int64_t oh = newest - (outs - 1);
        if (oh >= t->oh0)
            EACH (v, nv) {
                vec sum = t->has_bias ? vadd(acc[outs - 1][v], vset1(t->bias)) : acc[outs - 1][v];
                real *y = t->y + oh * c->y.stride[1] + (j + at[v]) * c->y.stride[2];
                if (step == 2) sum = vreorder(sum);
                if (c->activation == CONVC_RELU) sum = vmax_or_second(vzero(), sum);
                if (whole) vstore(y, sum);
                else vstore_step(y, c->y.stride[2], sum, (int)min_i64(VL, c->y.size[2]));
            }
        UNROLL for (int q = outs - 1; q > 0; q--) EACH (v, nv) acc[q][v] = acc[q - 1][v];
        EACH (v, nv) acc[0][v] = vzero();
    }
}

/* Do only the taps that ROLL_HALF says leave the row? */
static inline int FN(leaves_by_half)(const conv *c, int64_t j, const int taps, const int nv, const int step) {
    int64_t first = FN(roll_column)(c, j, 1), last = FN(roll_column)(c, j, nv - 1) + VL - 1, w = c->x.size[2] + c->pad[2];
    if (c->pad[2] > taps / 2 || last * step + taps / 2 >= w) return 0;
    return nv == 1 || (first * step >= c->pad[2] && (FN(roll_column)(c, j, nv - 2) + VL - 1) * step + taps - 1 < w);
}

static inline ALWAYS_INLINE void FN(roll_block)(const FN(roll) * t, int64_t j, const int taps, const int square, const int nv,
                                                const int step) {
    if (square && FN(leaves_by_half)(t->c, j, taps, nv, step)) FN(roll_columns)(t, j, taps, square, nv, step, ROLL_HALF);
    else FN(roll_columns)(t, j, taps, square, nv, step, ROLL_ANYWHERE);
}

static inline ALWAYS_INLINE void FN(roll_all_columns)(const FN(roll) * t, const int taps, const int square, const int step) {
    const conv *c = t->c;
    const int most = square ? ROLL_NV(taps) : 1;
    int64_t reach = (c->w.size[2] - 1) * c->dilation[2], nv;
    for (int64_t j = 0; j < c->y.size[2]; j += nv * VL) {
        int64_t left = j * step - c->pad[2], columns = c->y.size[2] - j;
        nv = most;
        if (left >= 0 && left + (most * VL - 1) * step + reach < c->x.size[2] && columns >= most * VL && c->y.stride[2] == 1) {
            FN(roll_columns)(t, j, taps, square, most, step, ROLL_INSIDE);
        } else if (VL >= 8 && columns > (most - 1) * VL) { /* elsewhere masks are slow */
            FN(roll_block)(t, j, taps, square, most, step);
        } else if (VL >= 8 && square && columns > VL) {
            nv = 2;
            FN(roll_block)(t, j, taps, square, 2, step);
        } else {
            nv = 1;
            FN(roll_block)(t, j, taps, square, 1, step);
        }
    }
}

#define ROLL_SQUARE(taps, step) \
    case taps * 10 + step: FN(roll_all_columns)(t, taps, 1, step); break;
#define ROLL_ANY(taps) \
    case taps: FN(roll_all_columns)(t, taps, 0, 1); break;

static void FN(roll_filter)(const FN(roll) * t) {
    const conv *c = t->c;
    switch (c->dilation[2] == 1 && c->w.size[1] == c->w.size[2] ? c->w.size[1] * 10 + c->step[2] : 0) {
        ROLL_SQUARE(3, 1)
        ROLL_SQUARE(3, 2)
        ROLL_SQUARE(5, 1)
        ROLL_SQUARE(5, 2)
        ROLL_SQUARE(7, 1)
        ROLL_SQUARE(7, 2)
    default:
        switch (c->w.size[1]) {
            ROLL_ANY(1)
            ROLL_ANY(2)
            ROLL_ANY(3)
        default: ROLL_ANY(4)
        }
    }
}

/* Rows oh0..oh1 of all the group's output channels. */
static void FN(roll_plane)(const conv *c, const void *packed, int64_t n, int64_t group, int64_t od, int64_t oh0, int64_t oh1) {
    int64_t outs = c->y.c / c->groups, taps = c->w.size[1] * c->w.size[2];
    int64_t plane = c->x.size[1] * c->x.size[2] * (int64_t)sizeof(real);
    int fetches = group + 1 < c->groups && c->y.size[0] == 1 && plane <= AHEAD_BYTES;
    for (int64_t k = group * outs; k < (group + 1) * outs; k++) {
        FN(roll) t = {.c = c, .w = (const real *)packed + k * taps, .has_bias = c->bias != NULL, .oh0 = oh0, .oh1 = oh1};
        t.x = (const real *)c->x.data + n * c->x.stride_n + group * c->x.stride_c + od * c->step[0] * c->x.stride[0] - c->pad[2];
        t.y = (real *)c->y.data + n * c->y.stride_n + k * c->y.stride_c + od * c->y.stride[0];
        if (k + 1 == (group + 1) * outs && fetches) t.ahead = c->x.stride_c;
        if (c->bias) t.bias = ((const real *)c->bias)[k];
        FN(roll_filter)(&t);
    }
}

/* ---- vectors along the channels: x and y are contiguous there; packed weights are (taps, channels) ---- */

/* Any pixel. */
static void FN(pixel)(const conv *c, const real *w, const real *x, real *y, const int64_t first[3], const int64_t last[3],
                      int64_t channel) {
    int count = (int)min_i64(VL, c->groups - channel);
    vmask lanes = vlanes(0, count);
    vec sum = vzero();
    for (int64_t d = first[0]; d < last[0]; d++)
        for (int64_t r = first[1]; r < last[1]; r++)
            for (int64_t s = first[2]; s < last[2]; s++) {
                const real *ws = w + ((d * c->w.size[1] + r) * c->w.size[2] + s) * c->groups + channel;
                const real *xs = x + d * c->dilation[0] * c->x.stride[0] + r * c->dilation[1] * c->x.stride[1] +
                                 s * c->dilation[2] * c->x.stride[2] + channel;
                sum = vfma(vload_masked(ws, lanes), vload_masked(xs, lanes), sum);
            }
    if (c->bias) sum = vadd(sum, vload_masked((const real *)c->bias + channel, lanes));
    if (c->activation == CONVC_RELU) sum = vmax_or_second(vzero(), sum);
    vstore_first(y + channel, sum, count);
}

/* Pixels ow .. ow + cols; `width` is the kernel's. Inside, none of their taps leaves the row. */
static inline ALWAYS_INLINE void FN(pixels)(const conv *c, const real *w, const real *x, real *y, const int64_t first[3],
                                            const int64_t last[3], int64_t left, int64_t channel, const int width, const int cols,
                                            const int step, const int inside) {
    vec acc[CHANNEL_COLS];
    EACH (p, cols) acc[p] = vzero();
    for (int64_t d = first[0]; d < last[0]; d++)
        for (int64_t r = first[1]; r < last[1]; r++) {
            const real *xs = x + d * c->dilation[0] * c->x.stride[0] + r * c->dilation[1] * c->x.stride[1] + channel;
            const real *ws = w + (d * c->w.size[1] + r) * width * c->groups + channel;
            vec taps[7];
            EACH (s, width) taps[s] = vload(ws + s * c->groups);
            UNROLL for (int i = 0; i < (cols - 1) * step + width; i++, xs += c->x.stride[2]) {
                if (!inside && (left + i < 0 || left + i >= c->x.size[2])) continue;
                vec in = vload(xs);
                KEEP(in);
                EACH (p, cols)
                    if (i - p * step >= 0 && i - p * step < width) acc[p] = vfma(taps[i - p * step], in, acc[p]);
            }
        }
    EACH (p, cols) {
        vec sum = c->bias ? vadd(acc[p], vload((const real *)c->bias + channel)) : acc[p];
        if (c->activation == CONVC_RELU) sum = vmax_or_second(vzero(), sum);
        vstore(y + p * c->y.stride[2] + channel, sum);
    }
}

#define PIXELS_CASE(width, step)                                                                           \
    case width * 2 + step:                                                                                 \
        if (cols == 1) FN(pixels)(c, w, x, y, first, last, left, channel, width, 1, step, 0);              \
        else if (inside) FN(pixels)(c, w, x, y, first, last, left, channel, width, CHANNEL_COLS, step, 1); \
        else FN(pixels)(c, w, x, y, first, last, left, channel, width, CHANNEL_COLS, step, 0);             \
        break;

static void FN(depthwise_row)(const conv *c, const void *packed, int64_t n, int64_t od, int64_t oh) {
    const real *w = packed;
    int64_t first[3], last[3], cols, width = c->w.size[2], step = c->step[2];
    int known = c->groups >= VL && c->dilation[2] == 1 && (width < 3 ? step == 1 : step <= 2 && width % 2 == 1 && width <= 7);
    FN(tap_range)(c, 0, od, &first[0], &last[0]);
    FN(tap_range)(c, 1, oh, &first[1], &last[1]);
    for (int64_t next = 0; next < c->y.size[2]; next += cols) {
        cols = known && c->y.size[2] >= CHANNEL_COLS ? CHANNEL_COLS : 1;
        int64_t ow = min_i64(next, c->y.size[2] - cols); /* the last block computes some pixels again, */
        int64_t left = ow * step - c->pad[2];
        int inside = left >= 0 && left + (cols - 1) * step + width <= c->x.size[2];
        const real *x = (const real *)c->x.data + n * c->x.stride_n + (od * c->step[0] - c->pad[0]) * c->x.stride[0] +
                        (oh * c->step[1] - c->pad[1]) * c->x.stride[1] + left * c->x.stride[2];
        real *y = (real *)c->y.data + n * c->y.stride_n + od * c->y.stride[0] + oh * c->y.stride[1] + ow * c->y.stride[2];
        FN(tap_range)(c, 2, ow, &first[2], &last[2]);
        for (int64_t at = 0; at < c->groups; at += VL) {
            int64_t channel = known ? min_i64(at, c->groups - VL) : at; /* and the last vector some channels */
            switch (known ? width * 2 + step : 0) {
                PIXELS_CASE(1, 1)
                PIXELS_CASE(2, 1)
                PIXELS_CASE(3, 1)
                PIXELS_CASE(3, 2)
                PIXELS_CASE(5, 1)
                PIXELS_CASE(5, 2)
                PIXELS_CASE(7, 1)
                PIXELS_CASE(7, 2)
            default: FN(pixel)(c, w, x, y, first, last, at); break;
            }
        }
    }
}

/* Rows oh0..oh1 of plane (n, od), all channels. */
static void FN(depthwise_rows)(const conv *c, const direct_tile *tile, const void *packed, int64_t plane, int64_t oh0,
                               int64_t oh1, void *workspace) {
    (void)tile;
    (void)workspace;
    for (int64_t oh = oh0; oh < oh1; oh++) FN(depthwise_row)(c, packed, plane / c->y.size[0], plane % c->y.size[0], oh);
}

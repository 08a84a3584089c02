/* Direct convolution for groups of few channels, depthwise above all, where a matrix product would leave most of its register block
 * empty. Sums run over (c, kd, r, s) in this order. */

#undef DIRECT_OUTS
#undef DIRECT_NV
#define DIRECT_OUTS 4 /* output channels of a group at once */
#if defined(VEC_AVX512)
#define DIRECT_NV 4
#else
#define DIRECT_NV 2
#endif

/* ---- vectors along w, the step is 1 or 2: input rows are copied to L1 with their padding, so that no tap needs a mask ---- */

/* A tile of outputs, rows x cols from (oh, ow) on, and its input: (c, kd, in_rows, line). */
typedef struct FN(tile_at) {
    const conv *c;
    const direct_tile *tile;
    const real *x; /* the group's image at depth od * step - pad */
    real *y; /* the group's outputs at depth od */
    int64_t od, oh, ow, rows, cols;
    real *in;
} FN(tile_at);

static void FN(copy_tile)(const FN(tile_at) * t) {
    const conv *c = t->c;
    int64_t line = t->tile->line, first_column = t->ow * c->step[2] - c->pad[2], first_row = t->oh * c->step[1] - c->pad[1];
    int64_t in_rows = (t->rows - 1) * c->step[1] + (c->w.size[1] - 1) * c->dilation[1] + 1;
    for (int64_t plane = 0; plane < c->w.c * c->w.size[0]; plane++) {
        int64_t channel = plane / c->w.size[0], d = plane % c->w.size[0] * c->dilation[0],
                depth = t->od * c->step[0] - c->pad[0] + d;
        const real *x = t->x + channel * c->x.stride_c + d * c->x.stride[0];
        for (int64_t i = 0; i < in_rows; i++) {
            real *to = t->in + (plane * t->tile->in_rows + i) * line;
            int64_t h = first_row + i, inside = h >= 0 && h < c->x.size[1] && depth >= 0 && depth < c->x.size[0];
            FN(copy_span)(to, x + h * c->x.stride[1] + first_column * c->x.stride[2], first_column, line, 0,
                          inside ? c->x.size[2] : 0, c->x.stride[2]);
        }
    }
}

/* Stores one vector of output channel k, at row i and column j of the tile. */
static inline ALWAYS_INLINE void FN(store_outputs)(const FN(tile_at) * t, vec sum, const real *bias, int64_t k, int64_t i,
                                                   int64_t j) {
    const conv *c = t->c;
    real *y = t->y + k * c->y.stride_c + (t->oh + i) * c->y.stride[1] + (t->ow + j) * c->y.stride[2];
    if (bias) sum = vadd(sum, vset1(*bias));
    if (c->activation == CONVC_RELU) sum = vmax_or_second(vzero(), sum);
    vstore_step(y, c->y.stride[2], sum, (int)min_i64(t->cols - j, VL));
}

/* Output channels k0 .. k0 + outs, nv vectors from column j on, of row i of the tile. */
static inline ALWAYS_INLINE void FN(outputs)(const FN(tile_at) * t, const real *w, const real *bias, int64_t k0, int64_t i,
                                             int64_t j, const int outs, const int nv, const int64_t step) {
    const conv *c = t->c;
    int64_t line = t->tile->line, width = c->w.size[2], taps = c->w.c * c->w.size[0] * c->w.size[1] * width;
    vec acc[DIRECT_OUTS][DIRECT_NV];
    EACH (k, outs)
        EACH (v, nv) acc[k][v] = vzero();
    const real *in = t->in + i * c->step[1] * line + j * step;
    for (int64_t plane = 0; plane < c->w.c * c->w.size[0]; plane++, in += t->tile->in_rows * line)
        for (int64_t r = 0; r < c->w.size[1]; r++) {
            const real *row = in + r * c->dilation[1] * line;
            for (int64_t s = 0; s < width; s++, row += c->dilation[2], w++) {
                vec x[DIRECT_NV];
                EACH (v, nv) x[v] = vload_step(row + v * VL * step, step);
                EACH (k, outs) {
                    vec wk = vset1(w[k * taps]);
                    EACH (v, nv) acc[k][v] = vfma(wk, x[v], acc[k][v]);
                }
            }
        }
    EACH (k, outs)
        EACH (v, nv) FN(store_outputs)(t, acc[k][v], bias ? bias + k : NULL, k0 + k, i, j + v * VL);
}

static inline ALWAYS_INLINE void FN(tile_outputs)(const FN(tile_at) * t, const real *w, const real *bias, int64_t k0,
                                                  const int outs, const int64_t step) {
    for (int64_t i = 0; i < t->rows; i++) {
        int64_t j = 0;
        for (; j + (DIRECT_NV - 1) * VL < t->cols; j += DIRECT_NV * VL) FN(outputs)(t, w, bias, k0, i, j, outs, DIRECT_NV, step);
        for (; j < t->cols; j += VL) FN(outputs)(t, w, bias, k0, i, j, outs, 1, step);
    }
}

#define DIRECT_CASE(outs)                                               \
    case outs:                                                          \
        if (c->step[2] == 1) FN(tile_outputs)(t, w, bias, k0, outs, 1); \
        else FN(tile_outputs)(t, w, bias, k0, outs, 2);                 \
        break;

static void FN(direct_tile)(const FN(tile_at) * t, const real *packed, int64_t group) {
    const conv *c = t->c;
    int64_t outs = c->y.c / c->groups, taps = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2];
    FN(copy_tile)(t);
    for (int64_t k0 = 0; k0 < outs; k0 += DIRECT_OUTS) {
        const real *w = packed + (group * outs + k0) * taps, *bias = c->bias ? (const real *)c->bias + group * outs + k0 : NULL;
        switch (min_i64(DIRECT_OUTS, outs - k0)) {
            DIRECT_CASE(1)
            DIRECT_CASE(2)
            DIRECT_CASE(3)
        default: DIRECT_CASE(4)
        }
    }
}

/* Rows oh0..oh1 of plane (n, group, od), all the group's output channels. */
static void FN(direct_rows)(const conv *c, const direct_tile *tile, const void *packed, int64_t plane, int64_t oh0, int64_t oh1,
                            void *workspace) {
    int64_t od = plane % c->y.size[0], group = plane / c->y.size[0] % c->groups, n = plane / c->y.size[0] / c->groups;
    if (FN(is_rolling)(c)) {
        FN(roll_plane)(c, packed, n, group, od, oh0, oh1);
        return;
    }
    FN(tile_at) t = {.c = c, .tile = tile, .od = od, .in = workspace};
    t.x = (const real *)c->x.data + n * c->x.stride_n + group * c->w.c * c->x.stride_c +
          (od * c->step[0] - c->pad[0]) * c->x.stride[0];
    t.y = (real *)c->y.data + n * c->y.stride_n + group * (c->y.c / c->groups) * c->y.stride_c + od * c->y.stride[0];
    for (t.oh = oh0; t.oh < oh1; t.oh += tile->rows)
        for (t.ow = 0; t.ow < c->y.size[2]; t.ow += tile->cols) {
            t.rows = min_i64(tile->rows, oh1 - t.oh);
            t.cols = min_i64(tile->cols, c->y.size[2] - t.ow);
            FN(direct_tile)(&t, packed, group);
        }
}

/* ---- weights: (k, c, kd, r, s) in a row, or for depthwise_row the transpose ---- */

static void FN(direct_pack)(const conv *c, int channels_last, void *packed) {
    int64_t taps = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2], k = c->y.c / c->groups;
    for (int64_t out = 0; out < c->y.c; out++)
        for (int64_t t = 0; t < taps; t++) {
            int64_t s = t % c->w.size[2], r = t / c->w.size[2] % c->w.size[1], rest = t / c->w.size[2] / c->w.size[1];
            const real *w = (const real *)c->w.data + out / k * c->w_group + out % k * c->w.stride_n +
                            rest / c->w.size[0] * c->w.stride_c + rest % c->w.size[0] * c->w.stride[0] + r * c->w.stride[1] +
                            s * c->w.stride[2];
            ((real *)packed)[channels_last ? t * c->y.c + out : out * taps + t] = *w;
        }
}

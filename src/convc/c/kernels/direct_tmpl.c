/* Direct convolution for groups of few channels, depthwise above all, where a matrix product would leave most of its register block
 * empty. Sums run over (c, kd, r, s) in this order. */

#undef DIRECT_OUTS
#undef DIRECT_NV
/* Output channels of a group, and vectors of pixels, at once. */
#if defined(VEC_AVX512) || defined(VEC_NEON)
#define DIRECT_OUTS 6
#define DIRECT_NV 4
#else
#define DIRECT_OUTS 4
#define DIRECT_NV 2
#endif

/* ---- vectors along w ---- */

/* Output channels k0 .. k0 + outs of the tile's vectors number `first` on, nv of them: row by row, each `across` vectors long. */
static inline ALWAYS_INLINE void FN(outputs)(const FN(tile_at) * t, const real *w, const real *bias, int64_t k0, int64_t first,
                                             int64_t across, const int outs, const int nv, const int64_t step) {
    const conv *c = t->c;
    int64_t line = t->tile->line, down = t->down, width = c->w.size[2];
    int64_t taps = c->w.c * c->w.size[0] * c->w.size[1] * width;
    int64_t at[DIRECT_NV], to[DIRECT_NV]; /* in the tile's input, and in y */
    int lanes[DIRECT_NV];
    vec acc[DIRECT_OUTS][DIRECT_NV];
    EACH (k, outs)
        EACH (v, nv) acc[k][v] = vzero();
    EACH (v, nv) {
        int64_t i = (first + v) / across, j = (first + v) % across * VL;
        at[v] = i * c->step[1] * down + j;
        to[v] = (t->oh + i) * c->y.stride[1] + (t->ow + j) * c->y.stride[2];
        lanes[v] = (int)min_i64(t->cols - j, VL);
    }
    const real *in = t->in;
    for (int64_t plane = 0; plane < c->w.c * c->w.size[0]; plane++, in += t->depth)
        for (int64_t r = 0; r < c->w.size[1]; r++) {
            const real *row = in + r * c->dilation[1] * down;
            for (int64_t s = 0, column = 0; s < width; s++, column += c->dilation[2], w++) {
                const real *from = row + (step == 1 ? column : column % step * line + column / step);
                vec x[DIRECT_NV];
                EACH (v, nv) {
                    x[v] = vload(from + at[v]);
                    KEEP(x[v]);
                }
                EACH (k, outs) {
                    vec wk = vset1(w[k * taps]);
                    EACH (v, nv) acc[k][v] = vfma(wk, x[v], acc[k][v]);
                }
            }
        }
    EACH (k, outs) {
        real *y = t->y + (k0 + k) * c->y.stride_c;
        vec shift = bias ? vset1(bias[k]) : vzero();
        EACH (v, nv) {
            vec sum = bias ? vadd(acc[k][v], shift) : acc[k][v];
            if (c->activation == CONVC_RELU) sum = vmax_or_second(vzero(), sum);
            vstore_step(y + to[v], c->y.stride[2], sum, lanes[v]);
        }
    }
}

static inline ALWAYS_INLINE void FN(tile_outputs)(const FN(tile_at) * t, const real *w, const real *bias, int64_t k0,
                                                  const int outs, const int64_t step) {
    int64_t across = ceil_div(t->cols, VL), vectors = t->rows * across, i = 0;
    for (; i + DIRECT_NV <= vectors; i += DIRECT_NV) FN(outputs)(t, w, bias, k0, i, across, outs, DIRECT_NV, step);
    for (; i < vectors; i++) FN(outputs)(t, w, bias, k0, i, across, outs, 1, step);
}

#define DIRECT_CASE(outs)                                               \
    case outs:                                                          \
        if (c->step[2] == 1) FN(tile_outputs)(t, w, bias, k0, outs, 1); \
        else FN(tile_outputs)(t, w, bias, k0, outs, 2);                 \
        break;

static void FN(group_outputs)(const FN(tile_at) * t, const real *packed, int64_t group) {
    const conv *c = t->c;
    int64_t outs = c->y.c / c->groups, taps = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2];
    int64_t blocks = ceil_div(outs, DIRECT_OUTS);
    for (int64_t block = 0; block < blocks; block++) {
        int64_t k0 = split_point(outs, blocks, block);
        const real *w = packed + (group * outs + k0) * taps, *bias = c->bias ? (const real *)c->bias + group * outs + k0 : NULL;
        switch (split_point(outs, blocks, block + 1) - k0) {
            DIRECT_CASE(1)
            DIRECT_CASE(2)
            DIRECT_CASE(3)
            DIRECT_CASE(4)
#if DIRECT_OUTS > 4
            DIRECT_CASE(5)
            DIRECT_CASE(6)
#endif
        default: break;
        }
    }
}

static void FN(direct_tile)(const FN(tile_at) * t, const real *packed, int64_t group) {
    const conv *c = t->c;
    FN(copy_tile)(t);
    if (c->phase_count == 0) FN(group_outputs)(t, packed, group);
    for (int64_t i = 0; i < c->phase_count; i++) {
        FN(tile_at) part = *t;
        const conv *phase = part.c = &c->phases[i];
        part.in += (c->pad[1] - phase->pad[1]) * t->down + c->pad[2] - phase->pad[2];
        part.y += (const real *)phase->y.data - (const real *)c->y.data;
        part.rows = min_i64(t->rows, phase->y.size[1] - t->oh);
        part.cols = min_i64(t->cols, phase->y.size[2] - t->ow);
        if (part.rows > 0 && part.cols > 0) FN(group_outputs)(&part, packed, group);
        packed += phase->y.c * phase->w.c * phase->w.size[0] * phase->w.size[1] * phase->w.size[2];
    }
}

/* Rows oh0..oh1 of plane (n, group, od), all the group's output channels. */
static void FN(direct_rows)(const conv *c, const direct_tile *tile, const void *packed, int64_t plane, int64_t oh0, int64_t oh1,
                            void *workspace) {
    int64_t od = plane % c->y.size[0], group = plane / c->y.size[0] % c->groups, n = plane / c->y.size[0] / c->groups;
    if (c->phase_count == 0 && FN(is_rolling)(c)) {
        FN(roll_plane)(c, packed, n, group, od, oh0, oh1);
        return;
    }
    FN(tile_at) t = FN(tile_of_plane)(c, tile, n, group, od, workspace);
    for (t.oh = oh0; t.oh < oh1; t.oh += tile->rows)
        for (t.ow = 0; t.ow < c->y.size[2]; t.ow += tile->cols) {
            t.rows = min_i64(tile->rows, oh1 - t.oh);
            t.cols = min_i64(tile->cols, c->y.size[2] - t.ow);
            FN(direct_tile)(&t, packed, group);
        }
}

/* ---- weights: (k, c, kd, r, s) in a row, or for depthwise_row the transpose ---- */

static void FN(direct_pack)(const conv *c, int channels_last, void *packed) {
    int64_t k = c->y.c / c->groups, taps = c->w.c * c->w.size[0] * c->w.size[1] * c->w.size[2];
    int64_t from_out = channels_last ? 1 : taps, from_tap = channels_last ? c->y.c : 1;
    for (int64_t out = 0; out < c->y.c; out++) {
        const real *w = (const real *)c->w.data + out / k * c->w_group + out % k * c->w.stride_n;
        real *to = (real *)packed + out * from_out;
        for (int64_t channel = 0; channel < c->w.c; channel++)
            for (int64_t d = 0; d < c->w.size[0]; d++)
                for (int64_t r = 0; r < c->w.size[1]; r++) {
                    const real *row = w + channel * c->w.stride_c + d * c->w.stride[0] + r * c->w.stride[1];
                    for (int64_t s = 0; s < c->w.size[2]; s++, to += from_tap) *to = row[s * c->w.stride[2]];
                }
    }
}

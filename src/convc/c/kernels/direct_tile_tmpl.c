/* What direct convolutions read: a tile of the image, copied with its padding, so that no tap needs a mask. */

/* A tile of outputs, rows x cols from (oh, ow) on, and its input: (c, kd, in_rows, phases, line). */
typedef struct FN(tile_at) {
    const conv *c;
    const direct_tile *tile;
    const real *x; /* the group's image at depth od * step - pad */
    real *y; /* the group's outputs at depth od */
    int64_t od, oh, ow, rows, cols;
    real *in;
    int64_t channel, depth, down; /* from one to the next in the input */
} FN(tile_at);

/* Plane (n, group, od), before its tiles. */
static FN(tile_at) FN(tile_of_plane)(const conv *c, const direct_tile *tile, int64_t n, int64_t group, int64_t od, real *in) {
    FN(tile_at) t = {.c = c, .tile = tile, .od = od, .in = in, .down = tile->phases * tile->line};
    t.depth = tile->in_rows * t.down;
    t.channel = c->w.size[0] * t.depth;
    t.x = (const real *)c->x.data + n * c->x.stride_n + group * c->w.c * c->x.stride_c +
          (od * c->step[0] - c->pad[0]) * c->x.stride[0];
    t.y = (real *)c->y.data + n * c->y.stride_n + group * (c->y.c / c->groups) * c->y.stride_c + od * c->y.stride[0];
    return t;
}

/* As copy_phases does, for `channels` of them that lie side by side in memory; from one to the next it is `plane`. */
static void FN(turn_phases)(const FN(tile_at) * t, const real *src, int64_t first, int64_t channels, real *to, int64_t plane) {
    const conv *c = t->c;
    int64_t line = t->tile->line, step = c->step[2];
    for (int64_t phase = 0; phase < t->tile->phases; phase++, to += line) {
        int64_t before = -first - phase, lo = min_i64(FN(steps_past)(before, step), line);
        int64_t hi = max_i64(min_i64(FN(steps_past)(before + c->x.size[2], step), line), lo);
        FN(turn)(src + (phase + lo * step) * c->x.stride[2], step * c->x.stride[2], channels, hi - lo, to + lo, plane);
        for (int64_t channel = 0; channel < channels; channel++) {
            FN(zero_run)(to + channel * plane, lo);
            FN(zero_run)(to + channel * plane + hi, line - hi);
        }
    }
}

#ifndef COPY_VECTORS
#define COPY_VECTORS 32 /* of a row, at once */
#endif

/* Rows of one phase of an image whose pixels lie side by side, `line` of them from column `first` on, which is src. Whole vectors are
 * stored: kernels that load a vector soon after it was stored in pieces have to wait. */
static inline ALWAYS_INLINE void FN(copy_rows)(const real *src, int64_t row_step, int64_t rows, int64_t first, int64_t extent,
                                               const int64_t step, real *to, int64_t down, int64_t line) {
    vspan span[COPY_VECTORS];
    for (int64_t begin = 0; begin < line; begin += COPY_VECTORS * VL) {
        int64_t vectors = min_i64(COPY_VECTORS, (line - begin) / VL);
        int64_t lo = FN(steps_past)(-first, step) - begin, hi = FN(steps_past)(extent - first, step) - begin;
        int64_t whole = max_i64(0, min_i64(ceil_div(lo, VL), vectors)), whole_end = max_i64(whole, min_i64(hi / VL, vectors));
        for (int64_t v = 0; v < vectors; v++)
            if (v < whole || v >= whole_end)
                span[v] = vspan_of(step, (int)max_i64(0, min_i64(lo - v * VL, VL)), (int)max_i64(0, min_i64(hi - v * VL, VL)));
        for (int64_t i = 0; i < rows; i++) {
            const real *from = src + i * row_step + begin * step;
            real *row = to + i * down + begin;
            int64_t v = 0;
            for (; v < whole; v++) vstore(row + v * VL, vload_span(from + v * VL * step, step, span[v]));
            for (; v < whole_end; v++) vstore(row + v * VL, vload_step(from + v * VL * step, step));
            for (; v < vectors; v++) vstore(row + v * VL, vload_span(from + v * VL * step, step, span[v]));
        }
    }
}

/* ---- planes: rows x pixels of one channel at one depth of the kernel, from row `top` and column `left` of the image on, where src is,
 * which may be outside ---- */

/* Step 1 or 2, pixels side by side. */
static void FN(copy_plane)(const FN(tile_at) * t, const real *src, int64_t top, int64_t left, int64_t rows, int inside,
                           real *to) {
    const conv *c = t->c;
    int64_t line = t->tile->line, lo = max_i64(0, min_i64(-top, rows)), hi = max_i64(lo, min_i64(c->x.size[1] - top, rows));
    if (!inside) lo = hi = 0;
    FN(zero_run)(to, lo * t->down);
    FN(zero_run)(to + hi * t->down, (rows - hi) * t->down);
    src += lo * c->x.stride[1];
    to += lo * t->down;
    for (int64_t phase = 0; phase < t->tile->phases; phase++, src++, to += line)
        if (c->step[2] == 1) FN(copy_rows)(src, c->x.stride[1], hi - lo, left, c->x.size[2], 1, to, t->down, line);
        else FN(copy_rows)(src, c->x.stride[1], hi - lo, left + phase, c->x.size[2], 2, to, t->down, line);
}

/* Any; `channels` planes. */
static void FN(gather_planes)(const FN(tile_at) * t, const real *src, int64_t top, int64_t left, int64_t rows, int inside,
                              int64_t channels, real *to) {
    const conv *c = t->c;
    for (int64_t i = 0; i < rows; i++, src += c->x.stride[1], to += t->down) {
        int meets = inside && top + i >= 0 && top + i < c->x.size[1];
        if (meets && c->x.stride_c == 1) {
            FN(turn_phases)(t, src, left, channels, to, t->channel);
            continue;
        }
        for (int64_t j = 0; j < channels; j++)
            FN(copy_phases)(src + j * c->x.stride_c, c->x.stride[2], left, meets ? c->x.size[2] : 0, c->step[2], t->tile->phases,
                            to + j * t->channel, t->tile->line);
    }
}

static void FN(copy_tile)(const FN(tile_at) * t) {
    const conv *c = t->c;
    int64_t left = t->ow * c->step[2] - c->pad[2], top = t->oh * c->step[1] - c->pad[1];
    int64_t rows = (t->rows - 1) * c->step[1] + (c->w.size[1] - 1) * c->dilation[1] + 1;
    int dense = c->x.stride[2] == 1 && c->step[2] <= 2;
    int64_t together = dense ? 1 : VL; /* channels */
    for (int64_t d = 0; d < c->w.size[0]; d++)
        for (int64_t channel = 0; channel < c->w.c; channel += together) {
            int64_t depth = t->od * c->step[0] - c->pad[0] + d * c->dilation[0];
            int inside = depth >= 0 && depth < c->x.size[0];
            const real *src = t->x + channel * c->x.stride_c + d * c->dilation[0] * c->x.stride[0] + top * c->x.stride[1] +
                              left * c->x.stride[2];
            real *to = t->in + channel * t->channel + d * t->depth;
            if (dense) FN(copy_plane)(t, src, top, left, rows, inside, to);
            else FN(gather_planes)(t, src, top, left, rows, inside, min_i64(VL, c->w.c - channel), to);
        }
}

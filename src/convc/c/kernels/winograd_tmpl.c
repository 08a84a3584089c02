/* Winograd's convolutions F(4x4, 3x3) and F(2x2, 3x3): 36 products a tile where direct sums need 144, or 16 where they need 36 (Lavin and
 * Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). Interpolation points 0, +-3/4, +-3/2 and infinity: exact in binary,
 * and of all such pairs nearly the least rounding error; for the smaller tile 0, +-1 and infinity. All transforms run with channels
 * along the vectors; channels-first images are transposed on the way through a strip in L1. `side` is that of a tile's outputs, a
 * constant wherever this is inlined. */

#undef WINOGRAD_KC
#undef WINOGRAD_LDA
#undef WINOGRAD_CHUNK
#undef WINOGRAD_WORKSPACE

/* A row of V has an odd number of cache lines. */
#if F64
#define WINOGRAD_KC 64
#define WINOGRAD_LDA 72
#else
#define WINOGRAD_KC 128
#define WINOGRAD_LDA 144
#endif
#define WINOGRAD_CHUNK (64 / NR > 1 ? 64 / NR : 1)
#define WINOGRAD_WORKSPACE \
    (sizeof(real) * (WINOGRAD_POINTS * (WINOGRAD_BLOCK * WINOGRAD_CHUNK * NR + PAD) + (WINOGRAD_IN * STRIP_COLS + VL) * VL))

#ifndef STRIP_COLS
#define PAD (WINOGRAD_PAD / (int64_t)sizeof(real))
#define STRIP_COLS 64 /* inputs of the tiles that are side by side at once, in whole vectors */
#define POINT_A 0.75
#define POINT_B 1.5
#endif

/* ---- the transforms of inputs, three weights and products along one dimension ---- */

static inline ALWAYS_INLINE void FN(transform_input)(const int side, vec d[WINOGRAD_IN]) {
    if (side == 2) {
        vec first = d[1], second = d[2];
        d[0] = vsub(d[0], second);
        d[1] = vadd(first, second);
        d[2] = vsub(second, first);
        d[3] = vsub(first, d[3]);
        return;
    }
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
    vec d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4], d5 = d[5];
    vec even_a = vfma(vset1(-b2), d2, d4), odd_a = vfma(vset1(-b2), d1, d3);
    vec even_b = vfma(vset1(-a2), d2, d4), odd_b = vfma(vset1(-a2), d1, d3);
    d[0] = vfma(vset1(a2 * b2), d0, vfma(vset1(-a2 - b2), d2, d4));
    d[1] = vfma(vset1(a), odd_a, even_a);
    d[2] = vfma(vset1(-a), odd_a, even_a);
    d[3] = vfma(vset1(b), odd_b, even_b);
    d[4] = vfma(vset1(-b), odd_b, even_b);
    d[5] = vfma(vset1(a2 * b2), d1, vfma(vset1(-a2 - b2), d3, d5));
}

static inline ALWAYS_INLINE void FN(transform_weight)(const int side, const vec g[3], vec u[WINOGRAD_IN]) {
    if (side == 2) {
        vec even = vmul(vset1((real)0.5), vadd(g[0], g[2])), half = vmul(vset1((real)0.5), g[1]);
        u[0] = g[0];
        u[1] = vadd(even, half);
        u[2] = vsub(even, half);
        u[3] = g[2];
        return;
    }
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b, n_a = 1 / (2 * a2 * (a2 - b2)), n_b = 1 / (2 * b2 * (b2 - a2));
    vec even_a = vmul(vset1(n_a), vfma(vset1(a2), g[2], g[0])), odd = g[1];
    vec even_b = vmul(vset1(n_b), vfma(vset1(b2), g[2], g[0]));
    u[0] = vmul(vset1(1 / (a2 * b2)), g[0]);
    u[1] = vfma(vset1(n_a * a), odd, even_a);
    u[2] = vfma(vset1(-n_a * a), odd, even_a);
    u[3] = vfma(vset1(n_b * b), odd, even_b);
    u[4] = vfma(vset1(-n_b * b), odd, even_b);
    u[5] = g[2];
}

static inline ALWAYS_INLINE void FN(transform_output)(const int side, const vec m[WINOGRAD_IN], vec y[WINOGRAD_OUT]) {
    if (side == 2) {
        y[0] = vadd(m[0], vadd(m[1], m[2]));
        y[1] = vsub(vsub(m[1], m[2]), m[3]);
        return;
    }
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
    vec sum_a = vadd(m[1], m[2]), sum_b = vadd(m[3], m[4]), apart_a = vsub(m[1], m[2]), apart_b = vsub(m[3], m[4]);
    y[0] = vadd(m[0], vadd(sum_a, sum_b));
    y[1] = vfma(vset1(a), apart_a, vmul(vset1(b), apart_b));
    y[2] = vfma(vset1(a2), sum_a, vmul(vset1(b2), sum_b));
    y[3] = vadd(vfma(vset1(a2 * a), apart_a, vmul(vset1(b2 * b), apart_b)), m[5]);
}

/* ---- runs of tiles, and the strips that hold their inputs or outputs: (row, column, VL channels) ---- */

/* Tiles side by side: `tiles` of them from tile (row, col) of a phase of output plane od of image n on. */
typedef struct FN(run) {
    int64_t n, od, phase[2], row, col, tiles;
} FN(run);

static FN(run) FN(run_at)(const winograd_job *j, int64_t tile, int64_t end) {
    int64_t phase = tile / j->tile_cols / j->tile_rows, plane = phase / j->phases[1] / j->phases[0];
    FN(run) run = {.n = plane / j->c->y.size[0], .od = plane % j->c->y.size[0]};
    run.phase[0] = phase / j->phases[1] % j->phases[0];
    run.phase[1] = phase % j->phases[1];
    run.row = tile / j->tile_cols % j->tile_rows;
    run.col = tile % j->tile_cols;
    run.tiles = min_i64(min_i64(end - tile, j->tile_cols - run.col), (STRIP_COLS - 2) / j->side);
    return run;
}

/* One row of a strip: `cols` pixels, a step apart, of `channels` channels. Pixels lo..hi are inside the image; src is pixel 0. Whole
 * squares are written, up to a vector of pixels beyond hi. */
static void FN(load_row)(const real *src, int64_t step, int64_t stride_c, int64_t channels, int64_t cols, int64_t lo, int64_t hi,
                         real *to) {
    if (stride_c == 1)
        for (int64_t i = lo; i < hi; i++) vstore(to + i * VL, FN(load_some)(src + i * step, 1, 0, channels));
    else
        for (int64_t i = lo; i < hi; i += VL) {
            vec pixels[VL];
            const real *from = src + i * step;
            if (step == 1 && channels == VL && i + VL <= hi)
                EACH (channel, VL) pixels[channel] = vload(from + channel * stride_c);
            else
                EACH (channel, VL)
                    pixels[channel] = channel < channels ? FN(load_some)(from + channel * stride_c, step, 0, hi - i) : vzero();
            vtranspose(pixels);
            EACH (at, VL) vstore(to + (i + at) * VL, pixels[at]);
        }
    FN(zero_run)(to, lo * VL);
    FN(zero_run)(to + hi * VL, (cols - hi) * VL);
}

/* What lies under a run: rows and columns, `down` and `along` elements apart; zero but for rows top..bottom of columns left..right. */
typedef struct FN(under) {
    const real *from;
    int64_t down, along, top, bottom, left, right;
} FN(under);

/* The inputs under a run, of channels c0 .. c0 + VL of the group, at depth d of the kernel: where they are, or in the strip if channels
 * are not a vector side by side. */
static FN(under) FN(inputs_under)(const winograd_job *j, const FN(run) * run, int64_t d, int64_t c0, real *strip) {
    const conv *c = j->c;
    int64_t depth = run->od * c->step[0] + d * c->dilation[0] - c->pad[0], channels = min_i64(VL, c->w.c - c0);
    int64_t down = c->dilation[1], along = c->dilation[2];
    int64_t top = run->row * j->side * down + run->phase[0] - c->pad[1];
    int64_t left = run->col * j->side * along + run->phase[1] - c->pad[2];
    int64_t rows = j->side + 2, cols = run->tiles * j->side + 2;
    FN(under) in = {.down = FN(times)(down, c->x.stride[1]), .along = FN(times)(along, c->x.stride[2])};
    in.top = top < 0 ? min_i64(ceil_div(-top, down), rows) : 0;
    in.bottom = top < c->x.size[1] ? max_i64(min_i64(ceil_div(c->x.size[1] - top, down), rows), in.top) : in.top;
    in.left = left < 0 ? min_i64(ceil_div(-left, along), cols) : 0;
    in.right = left < c->x.size[2] ? max_i64(min_i64(ceil_div(c->x.size[2] - left, along), cols), in.left) : in.left;
    if (depth < 0 || depth >= c->x.size[0]) in.bottom = in.top;
    in.from = (const real *)c->x.data + run->n * c->x.stride_n + (j->group * c->w.c + c0) * c->x.stride_c +
              FN(times)(depth, c->x.stride[0]) + FN(times)(top, c->x.stride[1]) + FN(times)(left, c->x.stride[2]);
    if (c->x.stride_c == 1 && channels == VL) return in;
    for (int64_t r = in.top; r < in.bottom; r++)
        FN(load_row)(in.from + r * in.down, in.along, c->x.stride_c, channels, cols, in.left, in.right,
                     strip + r * STRIP_COLS * VL);
    in.from = strip;
    in.down = STRIP_COLS * VL;
    in.along = VL;
    return in;
}

/* The outputs of a run that exist: rows and cols of them, `down` and `along` elements apart, from y on. */
typedef struct FN(window_of_y) {
    real *y;
    int64_t rows, cols, down, along;
} FN(window_of_y);

/* Of row `block_row` of the blocks, all columns. */
static FN(window_of_y) FN(window_at)(const winograd_job *j, const FN(run) * run, int64_t channel, int64_t block_row) {
    const conv *c = j->c;
    const volume *y = &c->y;
    const int64_t *dilation = c->dilation;
    int64_t row = run->row * j->side, col = run->col * j->side; /* of the phase */
    FN(window_of_y) at = {.down = dilation[1] * y->stride[1], .along = dilation[2] * y->stride[2]};
    at.rows = min_i64(j->side, ceil_div(y->size[1] - run->phase[0], dilation[1]) - row);
    at.cols = min_i64(run->tiles * j->side, ceil_div(y->size[2] - run->phase[1], dilation[2]) - col);
    if (j->forward) {
        const int64_t *size = j->forward->x.size;
        if (c->block[2] > 1) at.along = c->y_block[2];
        at.rows = min_i64(j->side, ceil_div(size[1] - block_row, c->block[1]) - row);
        at.cols = min_i64(run->tiles * j->side * c->block[2], size[2] - col * c->block[2]);
    }
    at.y = (real *)y->data + block_row * c->y_block[1] + run->n * y->stride_n + channel * y->stride_c + run->od * y->stride[0] +
           run->phase[0] * y->stride[1] + run->phase[1] * y->stride[2] + row * at.down + col * dilation[2] * y->stride[2];
    return at;
}

/* The outputs of a run, channels k0 .. k0 + VL of the group. */
static void FN(store_strip)(const winograd_job *j, const FN(run) * run, int64_t k0, int64_t block_row, real *strip) {
    int64_t outs = j->c->y.c / j->c->groups, stride_c = j->c->y.stride_c;
    FN(window_of_y) at = FN(window_at)(j, run, j->group * outs + k0, block_row);
    int channels = (int)min_i64(VL, outs - k0);
    for (int64_t r = 0; r < at.rows; r++, at.y += at.down, strip += STRIP_COLS * VL) {
        if (stride_c == 1) {
            for (int64_t i = 0; i < at.cols; i++) vstore_step(at.y + i * at.along, 1, vload(strip + i * VL), channels);
            continue;
        }
        for (int64_t i = 0; i < at.cols; i += VL) {
            vec pixels[VL];
            EACH (x, VL) pixels[x] = vload(strip + (i + x) * VL);
            vtranspose(pixels);
            EACH (channel, VL)
                if (channel < channels)
                    vstore_step(at.y + channel * stride_c + i * at.along, at.along, pixels[channel],
                                (int)min_i64(VL, at.cols - i));
        }
    }
}

/* ---- the three steps ---- */

/* block (channel, r, s, lane) from the filters of `lanes` output channels, of which w is the first. Their nine taps lie side by side as
 * a rule, backwards in the gradient of the data. */
static void FN(load_filters)(const volume *w, const real *from, int64_t channels, int64_t lanes, real *block) {
    int64_t along = w->stride[2], first = along < 0 ? 8 : 0;
    if (lanes < VL || channels < VL) FN(zero_run)(block, 9 * VL * VL);
    if (lanes <= 0) return;
    if (along == 1 && w->stride[1] == 3 && w->stride_c == 9) {
        FN(turn)(from, w->stride_n, 9 * channels, lanes, block, VL);
        return;
    }
    int flat = llabs(along) == 1 && w->stride[1] == 3 * along;
    for (int64_t i = 0; i < channels; i++, from += w->stride_c, block += 9 * VL) {
        for (int64_t lane = 0; lane < lanes; lane++) PREFETCH_READ(from + 4 * w->stride_c + lane * w->stride_n);
        if (flat) FN(turn)(from + first * along, w->stride_n, 9, lanes, block + first * VL, along * VL);
        else
            for (int64_t t = 0; t < 9; t++)
                for (int64_t lane = 0; lane < lanes; lane++)
                    block[t * VL + lane] = from[t / 3 * w->stride[1] + t % 3 * along + lane * w->stride_n];
    }
}

/* The same for one phase of a data gradient, whose w is that of the tap before the first one that may exist. */
static void FN(load_phase)(const winograd_job *j, const int64_t at[2], const real *from, int64_t channels, int64_t lanes,
                           real *block) {
    const conv *c = j->c, *f = j->forward;
    int64_t first[2]; /* the tap of the forward kernel at r = s = 0; the next one is a stride before it */
    for (int i = 0; i < 2; i++) first[i] = f->pad[i + 1] + f->step[i + 1] * c->pad[i + 1] + at[i];
    FN(zero_run)(block, 9 * VL * VL);
    for (int64_t t = 0; t < 9; t++) {
        int64_t r = first[0] - t / 3 * f->step[1], s = first[1] - t % 3 * f->step[2];
        if (r < 0 || r >= f->w.size[1] || s < 0 || s >= f->w.size[2]) continue;
        const real *tap = from + t / 3 * c->w.stride[1] + t % 3 * c->w.stride[2];
        for (int64_t i = 0; i < channels; i++)
            for (int64_t lane = 0; lane < lanes; lane++)
                block[(i * 9 + t) * VL + lane] = tap[i * c->w.stride_c + lane * c->w.stride_n];
    }
}

/* Output channels k, k + 1, ... of outputs (row, column) of a block: panel number `panel` of the group. */
typedef struct FN(panel_at) {
    int64_t k, at[2];
} FN(panel_at);

static FN(panel_at) FN(panel_of)(const conv *c, int64_t panel) {
    return (FN(panel_at)){panel / c->block[2] / c->block[1] * NR, {panel / c->block[2] % c->block[1], panel % c->block[2]}};
}

/* Where point p of a panel of U begins. */
static inline real *FN(u_rows)(const winograd_job *j, int64_t panel, int64_t p) {
    return (real *)j->u + (panel * j->points + p) * (j->depth * NR + PAD);
}

/* What task (panel, plane of the kernel, vector of channels) of the chunk reads of the filters. */
typedef struct FN(filters) {
    FN(panel_at) of;
    int64_t panel, d, c0, channels;
    const real *w; /* the first tap of the group's first filter */
} FN(filters);

static FN(filters) FN(filters_of)(const winograd_job *j, int64_t task) {
    const conv *c = j->c;
    FN(filters)
    f = {.panel = task / j->vectors / c->w.size[0], .d = task / j->vectors % c->w.size[0], .c0 = task % j->vectors * VL};
    f.of = FN(panel_of)(c, j->first_panel + f.panel);
    f.channels = min_i64(VL, c->w.c - f.c0);
    f.w = (const real *)c->w.data + j->group * c->w_group + f.c0 * c->w.stride_c + f.d * c->w.stride[0] +
          f.of.at[0] * c->w_block[1] + f.of.at[1] * c->w_block[2];
    return f;
}

/* A block of them: of output channels k .. k + VL of the panel. */
static void FN(load_block)(const winograd_job *j, const FN(filters) * f, int64_t k, real *block) {
    const conv *c = j->c;
    int64_t k0 = f->of.k + k, lanes = max_i64(0, min_i64(VL, c->y.c / c->groups - k0));
    const real *from = f->w + k0 * c->w.stride_n;
    if (j->forward) FN(load_phase)(j, f->of.at, from, f->channels, lanes, block);
    else FN(load_filters)(&c->w, from, f->channels, lanes, block);
}

/* Where it is among blocks that were loaded before. */
static int64_t FN(loaded_block)(const winograd_job *j, const FN(filters) * f, int64_t k) {
    int64_t depth = j->vectors * VL, planes = j->c->w.size[0];
    int64_t panel = j->group * j->panels + j->first_panel + f->panel;
    return panel * winograd_loaded(j, NR, VL) + ((k / VL * planes + f->d) * depth + f->c0) * 9 * VL;
}

static void FN(winograd_load)(const winograd_job *j, int64_t task, void *workspace) {
    FN(filters) f = FN(filters_of)(j, task);
    (void)workspace;
    for (int64_t k = 0; k < NR; k += VL) FN(load_block)(j, &f, k, (real *)j->u + FN(loaded_block)(j, &f, k));
}

/* The task's filters transformed, a block of VL channels by VL output channels at a time. */
static inline ALWAYS_INLINE void FN(weights_task)(const int side, const winograd_job *j, int64_t task, void *workspace) {
    FN(filters) f = FN(filters_of)(j, task);
    int64_t rows = f.d + 1 < j->c->w.size[0] ? VL : f.channels, point_step = FN(u_rows)(j, 0, 1) - FN(u_rows)(j, 0, 0);
    for (int64_t k = 0; k < NR; k += VL) {
        real *to = FN(u_rows)(j, f.panel, 0) + (f.d * j->vectors * VL + f.c0) * NR + k;
        const real *block = workspace;
        if (j->loaded) block = (const real *)j->loaded + FN(loaded_block)(j, &f, k);
        else FN(load_block)(j, &f, k, workspace);
        for (int64_t i = 0; i < rows; i++, to += NR) {
            vec mid[3][WINOGRAD_IN];
            for (int s = 0; s < 3; s++) {
                vec g[3];
                EACH (r, 3) g[r] = vload(block + (i * 9 + r * 3 + s) * VL);
                FN(transform_weight)(side, g, mid[s]);
            }
            for (int r = 0; r < side + 2; r++) {
                vec row[3] = {mid[0][r], mid[1][r], mid[2][r]}, out[WINOGRAD_IN];
                FN(transform_weight)(side, row, out);
                EACH (p, side + 2) vstore(to + (r * (side + 2) + p) * point_step, out[p]);
            }
        }
    }
}

/* Where the rows of point p and block kb of the depth begin in V. */
static inline real *FN(v_rows)(const winograd_job *j, int64_t p, int64_t kb) {
    int64_t block = j->count * WINOGRAD_LDA, rows = p / j->row_points;
    return (real *)j->v + rows * (ceil_div(j->depth, WINOGRAD_KC) * block + PAD) + kb * block + p % j->row_points * j->row_step;
}

/* Task (part of the tiles, plane of the kernel, vector of channels) of V. */
static inline ALWAYS_INLINE void FN(inputs_task)(const int side, const winograd_job *j, int64_t task, void *workspace) {
    real *strip = workspace;
    int64_t vectors = j->vectors * j->c->w.size[0], at = task % vectors * VL, part = task / vectors;
    int64_t end = split_point(j->count, j->parts, part + 1);
    real *rows[WINOGRAD_POINTS];
    FN(run) run;
    for (int p = 0; p < j->points; p++) rows[p] = FN(v_rows)(j, p, at / WINOGRAD_KC) + at % WINOGRAD_KC;
    for (int64_t tile = split_point(j->count, j->parts, part); tile < end; tile += run.tiles) {
        run = FN(run_at)(j, j->first + tile, j->first + end);
        const FN(under) in = FN(inputs_under)(j, &run, task % vectors / j->vectors, task % j->vectors * VL, strip);
        const int all_rows = in.top == 0 && in.bottom == side + 2;
        for (int64_t i = 0; i < run.tiles * side + 2; i++) { /* columns that tiles share, once */
            const real *from = in.from + FN(times)(i, in.along);
            vec d[WINOGRAD_IN];
            int outside = i < in.left || i >= in.right;
            if (all_rows && !outside)
                EACH (r, side + 2) d[r] = vload(from + r * in.down);
            else
                EACH (r, side + 2) d[r] = outside || r < in.top || r >= in.bottom ? vzero() : vload(from + r * in.down);
            FN(transform_input)(side, d);
            EACH (r, side + 2) vstore(strip + (r * STRIP_COLS + i) * VL, d[r]);
        }
        for (int64_t i = 0; i < run.tiles; i++) {
            int64_t row = (tile + i) * WINOGRAD_LDA;
            for (int r = 0; r < side + 2; r++) {
                vec d[WINOGRAD_IN];
                EACH (s, side + 2) d[s] = vload(strip + (r * STRIP_COLS + i * side + s) * VL);
                FN(transform_input)(side, d);
                EACH (s, side + 2) vstore(rows[r * (side + 2) + s] + row, d[s]);
            }
        }
    }
}

static void FN(tile_of_points)(int64_t mr, int64_t kc, const real *a, const real *b, real *c, int64_t ldc,
                               const FN(tail) * tail) {
    EVERY_HEIGHT(FN(tile), NV, WINOGRAD_LDA, 1, NULL, kc, a, b, c, ldc, tail)
}

/* m (point, tile, output channel) for tiles t0..t1 of the round and panels k0..k1. */
static void FN(multiply_points)(const winograd_job *j, int64_t t0, int64_t t1, int64_t k0, int64_t k1, real *m) {
    int64_t blocks = ceil_div(j->depth, WINOGRAD_KC), heights = ceil_div(t1 - t0, MR), ld = (k1 - k0) * NR;
    for (int64_t p = 0; p < j->points; p++, m += (t1 - t0) * ld + PAD)
        for (int64_t panel = k0; panel < k1; panel++)
            for (int64_t kb = 0; kb < blocks; kb++) { /* innermost, so that u is read in the order of its addresses */
                const FN(tail) tail = {.accumulate = kb > 0};
                int64_t from = kb * WINOGRAD_KC, kc = min_i64(j->depth - from, WINOGRAD_KC);
                const real *v = FN(v_rows)(j, p, kb) + t0 * WINOGRAD_LDA, *u = FN(u_rows)(j, panel, p) + from * NR;
                for (int64_t i = 0, row = 0, next; i < heights; i++, row = next) {
                    next = split_point(t1 - t0, heights, i + 1);
                    FN(tile_of_points)(next - row, kc, v + row * WINOGRAD_LDA, u, m + row * ld + (panel - k0) * NR, ld, &tail);
                }
            }
}

/* The rows of a strip from the products of one tile, whose outputs are `along` columns apart. */
static inline ALWAYS_INLINE void FN(tile_of_outputs)(const int side, const real *m, int64_t point_step, vec bias, int relu,
                                                     real *strip, int64_t along) {
    vec mid[WINOGRAD_IN][WINOGRAD_OUT];
    for (int s = 0; s < side + 2; s++) {
        vec column[WINOGRAD_IN];
        EACH (r, side + 2) column[r] = vload(m + (r * (side + 2) + s) * point_step);
        FN(transform_output)(side, column, mid[s]);
    }
    for (int r = 0; r < side; r++) {
        vec row[WINOGRAD_IN], y[WINOGRAD_OUT];
        EACH (s, side + 2) row[s] = mid[s][r];
        FN(transform_output)(side, row, y);
        EACH (s, side) {
            y[s] = vadd(y[s], bias);
            vstore(strip + (r * STRIP_COLS + s * along) * VL, relu ? vmax_or_second(vzero(), y[s]) : y[s]);
        }
    }
}

/* Task (block of tiles, chunk of panels) of y. */
static inline ALWAYS_INLINE void FN(outputs_task)(const int side, const winograd_job *j, int64_t task, void *workspace) {
    const conv *c = j->c;
    int64_t block = task / j->shares, share = task % j->shares, outs = c->y.c / c->groups, units = j->chunk / j->together;
    int64_t t0 = split_point(j->count, j->blocks, block), t1 = split_point(j->count, j->blocks, block + 1);
    int64_t k0 = split_point(units, j->shares, share) * j->together, k1 = split_point(units, j->shares, share + 1) * j->together;
    real *strip = workspace, *m = strip + (WINOGRAD_IN * STRIP_COLS + VL) * VL;
    int64_t ld = (k1 - k0) * NR, point_step = (t1 - t0) * ld + PAD;
    FN(multiply_points)(j, t0, t1, k0, k1, m);
    FN(run) run;
    for (int64_t tile = t0; tile < t1; tile += run.tiles) {
        run = FN(run_at)(j, j->first + tile, j->first + t1);
        run.tiles = min_i64(run.tiles, STRIP_COLS / (side * j->together));
        for (int64_t panel = k0; panel < k1; panel += j->together) {
            FN(panel_at) p = FN(panel_of)(c, j->first_panel + panel);
            for (int64_t k = 0; k < min_i64(NR, outs - p.k); k += VL) {
                vec bias =
                    c->bias ? FN(load_some)((const real *)c->bias + j->group * outs + p.k + k, 1, 0, outs - p.k - k) : vzero();
                for (int64_t i = 0; i < run.tiles * j->together; i++)
                    FN(tile_of_outputs)(side, m + (tile - t0 + i / j->together) * ld + (panel + i % j->together - k0) * NR + k,
                                        point_step, bias, c->activation == CONVC_RELU,
                                        strip + (i / j->together * side * j->together + i % j->together) * VL, j->together);
                FN(store_strip)(j, &run, p.k + k, p.at[0], strip);
            }
        }
    }
}

/* ---- the steps for tiles of either size ---- */

static void FN(winograd_weights)(const winograd_job *j, int64_t task, void *workspace) {
    if (j->side == 2) FN(weights_task)(2, j, task, workspace);
    else FN(weights_task)(4, j, task, workspace);
}

static void FN(winograd_inputs)(const winograd_job *j, int64_t task, void *workspace) {
    if (j->side == 2) FN(inputs_task)(2, j, task, workspace);
    else FN(inputs_task)(4, j, task, workspace);
}

static void FN(winograd_outputs)(const winograd_job *j, int64_t task, void *workspace) {
    if (j->side == 2) FN(outputs_task)(2, j, task, workspace);
    else FN(outputs_task)(4, j, task, workspace);
}

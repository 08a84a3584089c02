/* The gradient of the weights by Winograd's algorithm, F(3x3, 4x4) and F(3x3, 2x2): for each tile of gradients, 36 or 16 products give
 * what it adds to 3 x 3 weights. The points are those of winograd_tmpl.c, and so are the transformed images; at each point the sum
 * over all tiles is a matrix product, transformed back once at the end. */

static inline ALWAYS_INLINE void FN(transform_grad)(const int side, const vec g[WINOGRAD_OUT], vec z[WINOGRAD_IN]) {
    if (side == 2) {
        z[0] = g[0];
        z[1] = vadd(g[0], g[1]);
        z[2] = vsub(g[0], g[1]);
        z[3] = vsub(vzero(), g[1]);
        return;
    }
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b, n_a = 1 / (2 * a2 * (a2 - b2)), n_b = 1 / (2 * b2 * (b2 - a2));
    vec even_a = vmul(vset1(n_a), vfma(vset1(a2), g[2], g[0])), odd_a = vfma(vset1(a2), g[3], g[1]);
    vec even_b = vmul(vset1(n_b), vfma(vset1(b2), g[2], g[0])), odd_b = vfma(vset1(b2), g[3], g[1]);
    z[0] = vmul(vset1(1 / (a2 * b2)), g[0]);
    z[1] = vfma(vset1(n_a * a), odd_a, even_a);
    z[2] = vfma(vset1(-n_a * a), odd_a, even_a);
    z[3] = vfma(vset1(n_b * b), odd_b, even_b);
    z[4] = vfma(vset1(-n_b * b), odd_b, even_b);
    z[5] = g[3];
}

static inline ALWAYS_INLINE void FN(transform_product)(const int side, const vec m[WINOGRAD_IN], vec w[3]) {
    if (side == 2) {
        vec even = vmul(vset1((real)0.5), vadd(m[1], m[2]));
        w[0] = vadd(m[0], even);
        w[1] = vmul(vset1((real)0.5), vsub(m[1], m[2]));
        w[2] = vadd(even, m[3]);
        return;
    }
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
    vec sum_a = vadd(m[1], m[2]), sum_b = vadd(m[3], m[4]), apart_a = vsub(m[1], m[2]), apart_b = vsub(m[3], m[4]);
    w[0] = vadd(m[0], vadd(sum_a, sum_b));
    w[1] = vfma(vset1(a), apart_a, vmul(vset1(b), apart_b));
    w[2] = vadd(vfma(vset1(a2), sum_a, vmul(vset1(b2), sum_b)), m[5]);
}

/* Task (part of the tiles, vector of output channels of the chunk) of Z (point, panel, tile, NR). */
static inline ALWAYS_INLINE void FN(grads_task)(const int side, const winograd_job *j, int64_t task, void *workspace) {
    const volume *y = &j->c->y;
    real *strip = workspace;
    int64_t vectors = j->chunk * NV, part = task / vectors, outs = y->c / j->c->groups;
    int64_t k0 = j->first_panel * NR + task % vectors * VL, end = split_point(j->count, j->parts, part + 1);
    int64_t point_step = j->chunk * j->count * NR + PAD, channels = min_i64(VL, outs - k0);
    real *z = (real *)j->z + task % vectors / NV * j->count * NR + task % vectors % NV * VL;
    FN(run) run;
    for (int64_t tile = split_point(j->count, j->parts, part); tile < end; tile += run.tiles) {
        run = FN(run_at)(j, j->first + tile, j->first + end);
        FN(window_of_y) at = FN(window_at)(j, &run, j->group * outs + k0, 0);
        int64_t cols = run.tiles * side, down = at.down, along = at.along;
        /* Where they are, or in the strip if some do not exist or channels are not a vector side by side. */
        const real *grads = at.y;
        if (y->stride_c != 1 || channels < VL || at.rows < side || at.cols < cols) {
            for (int64_t r = 0; r < side; r++) {
                real *row = strip + r * STRIP_COLS * VL;
                if (r >= at.rows || channels <= 0) FN(zero_run)(row, cols * VL);
                else FN(load_row)(at.y + r * at.down, at.along, y->stride_c, channels, cols, 0, max_i64(at.cols, 0), row);
            }
            grads = strip;
            down = STRIP_COLS * VL;
            along = VL;
        }
        for (int64_t i = 0; i < run.tiles; i++) {
            vec mid[WINOGRAD_OUT][WINOGRAD_IN];
            real *to = z + (tile + i) * NR;
            for (int s = 0; s < side; s++) {
                vec g[WINOGRAD_OUT];
                EACH (r, side) g[r] = vload(grads + r * down + (i * side + s) * along);
                FN(transform_grad)(side, g, mid[s]);
            }
            for (int r = 0; r < side + 2; r++) {
                vec row[WINOGRAD_OUT], out[WINOGRAD_IN];
                EACH (s, side) row[s] = mid[s][r];
                FN(transform_grad)(side, row, out);
                EACH (s, side + 2) vstore(to + (r * (side + 2) + s) * point_step, out[s]);
            }
        }
    }
}

static void FN(tile_of_sums)(int64_t mr, int64_t kc, const real *a, const real *b, real *c, int64_t ldc, const FN(tail) * tail) {
    EVERY_HEIGHT(FN(tile), NV, 1, WINOGRAD_LDA, NULL, kc, a, b, c, ldc, tail)
}

/* Task (point, block of the depth): adds this round's tiles to M (point, depth, output channel of the chunk). */
static void FN(winograd_sums)(const winograd_job *j, int64_t task, void *workspace) {
    int64_t blocks = ceil_div(j->depth, WINOGRAD_KC), p = task / blocks, kb = task % blocks, ld = j->chunk * NR;
    int64_t from = kb * WINOGRAD_KC, depth = min_i64(j->depth - from, WINOGRAD_KC), heights = ceil_div(depth, MR);
    const FN(tail) tail = {.accumulate = j->first > 0};
    real *m = (real *)j->m + p * (j->depth * ld + PAD) + from * ld;
    (void)workspace;
    for (int64_t panel = 0; panel < j->chunk; panel++) {
        const real *z = (const real *)j->z + p * (j->chunk * j->count * NR + PAD) + panel * j->count * NR;
        for (int64_t i = 0, row = 0, next; i < heights; i++, row = next) {
            next = split_point(depth, heights, i + 1);
            FN(tile_of_sums)(next - row, j->count, FN(v_rows)(j, p, kb) + row, z, m + row * ld + panel * NR, ld, &tail);
        }
    }
}

/* The reverse of load_filters. */
static void FN(store_filters)(const volume *w, const real *block, int64_t channels, int64_t lanes, real *to) {
    if (w->stride[2] == 1 && w->stride[1] == 3 && w->stride_c == 9) {
        FN(turn)(block, VL, lanes, 9 * channels, to, w->stride_n);
        return;
    }
    for (int64_t i = 0; i < channels; i++)
        for (int64_t t = 0; t < 9; t++)
            for (int64_t lane = 0; lane < lanes; lane++)
                to[lane * w->stride_n + i * w->stride_c + t / 3 * w->stride[1] + t % 3 * w->stride[2]] =
                    block[(i * 9 + t) * VL + lane];
}

/* Task (plane of the kernel, vector of channels) of grad_w: a block of VL channels by VL output channels at a time, so that what is
 * read lane by lane is stored along the rows of grad_w. */
static inline ALWAYS_INLINE void FN(weight_rows_task)(const int side, const winograd_job *j, int64_t task, void *workspace) {
    const conv *c = j->c;
    real *block = workspace; /* (channel, r, s, output channel) */
    int64_t d = task / j->vectors, c0 = task % j->vectors * VL, channels = min_i64(VL, c->w.c - c0), ld = j->chunk * NR;
    int64_t k0 = j->first_panel * NR, outs = min_i64(ld, c->y.c / c->groups - k0);
    const real *m = (const real *)j->m + (d * j->vectors * VL + c0) * ld;
    for (int64_t k = 0; k < outs; k += VL) {
        for (int64_t i = 0; i < channels; i++) {
            vec mid[WINOGRAD_IN][3];
            for (int s = 0; s < side + 2; s++) {
                vec column[WINOGRAD_IN];
                EACH (r, side + 2) column[r] = vload(m + (r * (side + 2) + s) * (j->depth * ld + PAD) + i * ld + k);
                FN(transform_product)(side, column, mid[s]);
            }
            for (int r = 0; r < 3; r++) {
                vec row[WINOGRAD_IN], out[3];
                EACH (s, side + 2) row[s] = mid[s][r];
                FN(transform_product)(side, row, out);
                EACH (s, 3) vstore(block + (i * 9 + r * 3 + s) * VL, out[s]);
            }
        }
        FN(store_filters)(&c->w, block, channels, min_i64(VL, outs - k),
                          (real *)c->w.data + j->group * c->w_group + (k0 + k) * c->w.stride_n + c0 * c->w.stride_c +
                              d * c->w.stride[0]);
    }
}

/* ---- the steps for tiles of either size ---- */

static void FN(winograd_grads)(const winograd_job *j, int64_t task, void *workspace) {
    if (j->side == 2) FN(grads_task)(2, j, task, workspace);
    else FN(grads_task)(4, j, task, workspace);
}

static void FN(winograd_weight_rows)(const winograd_job *j, int64_t task, void *workspace) {
    if (j->side == 2) FN(weight_rows_task)(2, j, task, workspace);
    else FN(weight_rows_task)(4, j, task, workspace);
}

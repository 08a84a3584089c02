/* The gradient of the weights of images of few channels, whose columns a matrix product would pack for few multiplications: the kernel of
 * direct_outs_tmpl.c turned round. Output channels run along its vectors, its rows are taps, which find the pixels in the copied tile, and
 * its sums run over (row, pixel). */

#undef SUM_PIXELS
#define SUM_PIXELS 512 /* that one pass sums over, at most; DIRECT_COLS at least */

/* Rows of pixels of a tile: what each tap reads of them, and their gradients (row, pixel, NR). */
typedef struct FN(pixel_rows) {
    int64_t rows, cols;
    const real *in, *grad;
    int64_t in_row, grad_row, grad_pixel; /* from one to the next */
} FN(pixel_rows);

/* c (mr taps, nv * VL) += the pixels that lie `offset` from p->in, times their gradients. */
static inline ALWAYS_INLINE void FN(block_of_taps)(const int mr, const int nv, const FN(pixel_rows) * p, const int32_t *offset,
                                                   real *restrict c, int64_t ldc) {
    vec acc[MR][NV];
    const real *a[MR], *grad = p->grad;
    EACH (i, mr) {
        a[i] = p->in + offset[i];
        EACH (v, nv) acc[i][v] = vzero();
    }
    for (int64_t row = 0; row < p->rows; row++, grad += p->grad_row) {
        const real *g = grad;
        for (int64_t j = 0; j < p->cols; j++, g += p->grad_pixel) {
            vec gj[NV];
            EACH (v, nv) gj[v] = vload(g + v * VL);
            EACH (i, mr) {
                vec ai = vset1(a[i][j]);
                EACH (v, nv) acc[i][v] = vfma(ai, gj[v], acc[i][v]);
            }
        }
        EACH (i, mr) a[i] += p->in_row;
    }
    EACH (i, mr)
        EACH (v, nv) vstore(c + i * ldc + v * VL, vadd(vload(c + i * ldc + v * VL), acc[i][v]));
}

static void FN(taps_full)(int64_t mr, const FN(pixel_rows) * p, const int32_t *offset, real *c, int64_t ldc) {
    EVERY_HEIGHT(FN(block_of_taps), NV, p, offset, c, ldc)
}

static void FN(taps_narrow)(int64_t mr, const FN(pixel_rows) * p, const int32_t *offset, real *c, int64_t ldc) {
    EVERY_HEIGHT(FN(block_of_taps), 1, p, offset, c, ldc)
}

/* Gradients of rows oh .. oh + p->rows and output channels k .. k + width: where they are, or turned so that channels are the runs. */
static void FN(find_grads)(const FN(tile_at) * t, int64_t oh, int64_t k, int64_t width, real *gathered, FN(pixel_rows) * p) {
    const volume *y = &t->c->y;
    const real *from = t->y + k * y->stride_c + oh * y->stride[1] + t->ow * y->stride[2];
    p->grad_row = y->stride[1];
    p->grad_pixel = y->stride[2];
    p->grad = from;
    if (y->stride_c == 1 && (width == NR || width == VL)) return; /* whole vectors, as they are read */
    if (width < NR) FN(zero_run)(gathered, p->rows * p->cols * NR);
    p->grad_row = p->cols * NR;
    p->grad_pixel = NR;
    p->grad = gathered;
    for (int64_t i = 0; i < p->rows; i++, from += y->stride[1], gathered += p->grad_row) {
        if (y->stride[2] == 1 && y->stride_c != 1) FN(turn)(from, y->stride_c, p->cols, width, gathered, NR);
        else
            for (int64_t j = 0; j < p->cols; j++) FN(copy_run)(gathered + j * NR, from + j * y->stride[2], width, y->stride_c);
    }
}

/* Adds what a tile, copied before, gives to sums (taps, panels of NR). */
static void FN(sum_tile)(const FN(tile_at) * t, const int32_t *offset, int64_t taps, int64_t outs, real *gathered, real *sums) {
    int64_t together = max_i64(1, SUM_PIXELS / t->cols), blocks = ceil_div(taps, MR), ld = ceil_div(outs, NR) * NR;
    FN(pixel_rows) p = {.cols = t->cols, .in_row = t->c->step[1] * t->down};
    for (int64_t i = 0; i < t->rows; i += together) {
        p.rows = min_i64(together, t->rows - i);
        p.in = t->in + i * p.in_row;
        for (int64_t k = 0; k < outs; k += NR) {
            int64_t width = min_i64(NR, outs - k);
            FN(find_grads)(t, t->oh + i, k, width, gathered, &p);
            for (int64_t b = 0; b < blocks; b++) {
                int64_t tap = split_point(taps, blocks, b), mr = split_point(taps, blocks, b + 1) - tap;
                (width > VL ? FN(taps_full) : FN(taps_narrow))(mr, &p, offset + tap, sums + tap * ld + k, ld);
            }
        }
    }
}

/* Part `part` of the tiles of all planes (n, od), of a group, to its part of the job's sums (taps, outs). */
static void FN(outs_weight)(const gemm_job *job, const conv *c, const direct_tile *tile, int64_t task, void *workspace) {
    int64_t part = task % job->splits, group = task / job->splits, outs = job->n, taps = job->m, ld = ceil_div(outs, NR) * NR;
    int64_t down = ceil_div(c->y.size[1], tile->rows), along = ceil_div(c->y.size[2], tile->cols);
    int64_t tiles = c->y.n * c->y.size[0] * down * along;
    real *sums = workspace, *gathered = sums + taps * ld, *in = gathered + SUM_PIXELS * NR;
    FN(tile_at) t = FN(tile_of_plane)(c, tile, 0, group, 0, in);
    int32_t *offset = (int32_t *)(in + c->w.c * t.channel);
    FN(tap_offsets)(&t, offset);
    FN(zero_run)(sums, taps * ld);
    for (int64_t i = split_point(tiles, job->splits, part); i < split_point(tiles, job->splits, part + 1); i++) {
        int64_t plane = i / along / down;
        t = FN(tile_of_plane)(c, tile, plane / c->y.size[0], group, plane % c->y.size[0], in);
        t.oh = i / along % down * tile->rows;
        t.ow = i % along * tile->cols;
        t.rows = min_i64(tile->rows, c->y.size[1] - t.oh);
        t.cols = min_i64(tile->cols, c->y.size[2] - t.ow);
        FN(copy_tile)(&t);
        FN(sum_tile)(&t, offset, taps, outs, gathered, sums);
    }
    for (int64_t tap = 0; tap < taps; tap++) FN(copy_run)(FN(part)(job, group, part, tap), sums + tap * ld, outs, 1);
}

/* Direct convolution of images of few channels, whose columns a matrix product would pack for few multiplications. It is the kernel of
 * the matrix product, output channels along its vectors, but the pixels are read where they lie in the copied tile. Sums run over
 * (c, kd, r, s). */

#undef OUTS_PIXELS
#define OUTS_PIXELS 256 /* gathered before they are stored, at most; DIRECT_COLS at least */
#define OUTS_SCRATCH (sizeof(real) * (OUTS_PIXELS + 1) * NR) /* bytes, beside the input of a tile and an int32_t for each tap */

/* c (mr pixels, nv * VL) = pixels whose taps lie `offset` from them @ packed weights (taps, NR), then the tail. */
static void FN(pixels_full)(int64_t mr, int64_t kc, const real *a, const int32_t *offset, const real *b, real *c, int64_t ldc,
                            const FN(tail) * tail) {
    EVERY_HEIGHT(FN(tile), NV, 1, 0, offset, kc, a, b, c, ldc, tail)
}

static void FN(pixels_narrow)(int64_t mr, int64_t kc, const real *a, const int32_t *offset, const real *b, real *c, int64_t ldc,
                              const FN(tail) * tail) {
    EVERY_HEIGHT(FN(tile), 1, 1, 0, offset, kc, a, b, c, ldc, tail)
}

/* May the pixels be read in the image itself? No tap leaves it, neighbours are neighbours in memory, and int32_t counts to all taps. */
static int FN(reads_image)(const conv *c) {
    double reach = (double)c->w.size[2] * (double)c->dilation[2] + fabs((double)c->w.c * (double)c->x.stride_c);
    if (c->step[2] != 1 || c->x.stride[2] != 1) return 0;
    for (int i = 0; i < 3; i++) {
        int64_t last = (c->y.size[i] - 1) * c->step[i] + (c->w.size[i] - 1) * c->dilation[i] - c->pad[i];
        if (c->pad[i] > 0 || last >= c->x.size[i]) return 0;
        if (i < 2) reach += fabs((double)c->w.size[i] * (double)c->dilation[i] * (double)c->x.stride[i]);
    }
    return reach < INT32_MAX;
}

/* Where the taps of a pixel lie, from its first one on; returns how many there are. */
static int64_t FN(tap_offsets)(const FN(tile_at) * t, int32_t *offset) {
    const conv *c = t->c;
    int64_t count = 0, step = c->step[2], whole = c->dilation[2] / step, part = c->dilation[2] % step; /* steps from tap to tap */
    for (int64_t channel = 0; channel < c->w.c; channel++)
        for (int64_t d = 0; d < c->w.size[0]; d++)
            for (int64_t r = 0; r < c->w.size[1]; r++) {
                int64_t phase = 0, at = channel * t->channel + d * t->depth + r * c->dilation[1] * t->down;
                for (int64_t s = 0; s < c->w.size[2]; s++) {
                    offset[count++] = (int32_t)(at + phase * t->tile->line);
                    at += whole + (phase + part >= step);
                    phase += part - (phase + part >= step ? step : 0);
                }
            }
    return count;
}

/* Output channels k .. k + width of the group, of a tile. */
typedef struct FN(outs_panel) {
    const FN(tile_at) * t;
    const int32_t *offset;
    const real *w;
    int64_t taps, k, width;
    FN(tail) tail;
} FN(outs_panel);

/* Row i of the tile. */
static void FN(outs_row)(const FN(outs_panel) * p, int64_t i, real *to, int64_t ld) {
    const FN(tile_at) *t = p->t;
    const real *in = t->in + i * t->c->step[1] * t->down;
    int64_t blocks = ceil_div(t->cols, MR);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t j = split_point(t->cols, blocks, b), mr = split_point(t->cols, blocks, b + 1) - j;
        (p->width > VL ? FN(pixels_full) : FN(pixels_narrow))(mr, p->taps, in + j, p->offset, p->w, to + j * ld, ld, &p->tail);
    }
}

/* `count` pixels of one row from (oh, ow) on, or of as many rows as lie behind each other in y. */
static void FN(store_outs)(const FN(outs_panel) * p, const real *gathered, int64_t oh, int64_t count) {
    const volume *y = &p->t->c->y;
    real *to = p->t->y + p->k * y->stride_c + oh * y->stride[1] + p->t->ow * y->stride[2];
    if (y->stride[2] == 1 && y->stride_c != 1) {
        FN(turn)(gathered, NR, p->width, count, to, y->stride_c);
        return;
    }
    for (int64_t i = 0; i < count; i++, gathered += NR, to += y->stride[2]) {
        if (y->stride_c == 1) FN(copy_run)(to, gathered, p->width, 1);
        else
            for (int64_t k = 0; k < p->width; k++) to[k * y->stride_c] = gathered[k];
    }
}

static void FN(outs_tile)(const FN(outs_panel) * p, real *gathered) {
    const FN(tile_at) *t = p->t;
    const volume *y = &t->c->y;
    int in_place = y->stride_c == 1 && p->width == NR;
    int joined = t->cols == y->size[2] && y->stride[1] == y->size[2] * y->stride[2];
    int64_t together = joined ? OUTS_PIXELS / t->cols : 1;
    for (int64_t i = 0, rows; i < t->rows; i += rows) {
        rows = min_i64(together, t->rows - i);
        for (int64_t r = 0; r < rows; r++) {
            if (in_place)
                FN(outs_row)(p, i + r, t->y + p->k + (t->oh + i + r) * y->stride[1] + t->ow * y->stride[2], y->stride[2]);
            else FN(outs_row)(p, i + r, gathered + r * t->cols * NR, NR);
        }
        if (!in_place) FN(store_outs)(p, gathered, t->oh + i, rows * t->cols);
    }
}

/* Rows oh0..oh1 of plane (n, group, od), all the group's output channels; weights as pack_b_panel packs them. */
static void FN(direct_outs)(const conv *c, const direct_tile *tile, const void *packed, int64_t plane, int64_t oh0, int64_t oh1,
                            void *workspace) {
    int64_t od = plane % c->y.size[0], group = plane / c->y.size[0] % c->groups, n = plane / c->y.size[0] / c->groups;
    int64_t outs = c->y.c / c->groups, panels = ceil_div(outs, NR);
    real *gathered = workspace, *bias = gathered + OUTS_PIXELS * NR, *in = bias + NR;
    FN(tile_at) t = FN(tile_of_plane)(c, tile, n, group, od, in);
    int32_t *offset = (int32_t *)(in + c->w.c * t.channel);
    int copies = !FN(reads_image)(c);
    if (!copies) {
        t.channel = c->x.stride_c;
        t.depth = c->dilation[0] * c->x.stride[0];
        t.down = c->x.stride[1];
    }
    FN(outs_panel) p = {.t = &t, .offset = offset, .taps = FN(tap_offsets)(&t, offset)};
    p.tail.relu = c->activation == CONVC_RELU;
    p.tail.col_bias = c->bias ? bias : NULL;
    for (t.oh = oh0; t.oh < oh1; t.oh += tile->rows)
        for (t.ow = 0; t.ow < c->y.size[2]; t.ow += tile->cols) {
            t.rows = min_i64(tile->rows, oh1 - t.oh);
            t.cols = min_i64(tile->cols, c->y.size[2] - t.ow);
            if (copies) FN(copy_tile)(&t);
            else t.in = (real *)t.x + (t.oh * c->step[1] - c->pad[1]) * t.down + t.ow - c->pad[2];
            for (p.k = 0; p.k < outs; p.k += NR) {
                p.width = min_i64(NR, outs - p.k);
                p.w = (const real *)packed + (group * panels * NR + p.k) * p.taps;
                if (c->bias) FN(copy_run)(bias, (const real *)c->bias + group * outs + p.k, p.width, 1);
                FN(outs_tile)(&p, gathered);
            }
        }
}

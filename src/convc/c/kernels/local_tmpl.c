/* Locally connected layers, a position at a time: its weights, a matrix (k, taps), and the patches of all images under it, a matrix
 * (images, taps), are multiplied in registers. Patches are copied out of the image for that, and their gradients added back. */

#undef COMBINE_ROWS
#undef COMBINE_NV
#undef TURNED_LD
#undef TURNED_TAPS
#undef DOT_IMAGES
#undef DOT_TAPS
#undef DOT_ROWS
/* The register block: as in direct_tmpl.c. */
#if defined(VEC_AVX512) || defined(VEC_NEON)
#define COMBINE_ROWS 6
#define COMBINE_NV 4
#else
#define COMBINE_ROWS 4
#define COMBINE_NV 2
#endif
#define TURNED_LD (COMBINE_NV * VL)
/* Products of so few images, and of so many taps, are summed in vectors along the taps; for so many filters at once. */
#define DOT_IMAGES 4
#define DOT_TAPS 96
#define DOT_ROWS 4
#define TURNED_TAPS 128 /* of the weights that are turned at once: they stay in L1 */

/* ---- products: c (rows, cols) += a (rows, depth) @ b (depth, cols), or = where nothing is accumulated ---- */

typedef struct FN(factors) {
    const real *a, *b;
    int64_t a_row, a_col, b_row, depth; /* strides */
    int accumulate;
} FN(factors);

/* nv vectors of columns; or one, the first `count` lanes of it. */
static inline ALWAYS_INLINE void FN(combine_block)(const FN(factors) * f, const real *a, const real *b, real *c, int64_t c_row,
                                                   int count, const int rows, const int nv, const int whole) {
    vmask mask = vlanes(0, count);
    const int64_t a_row = f->a_row, a_col = f->a_col, b_row = f->b_row;
    vec acc[COMBINE_ROWS][COMBINE_NV];
    EACH (i, rows)
        EACH (v, nv) {
            if (!f->accumulate) acc[i][v] = vzero();
            else acc[i][v] = whole ? vload(c + i * c_row + v * VL) : vload_masked(c + i * c_row + v * VL, mask);
        }
    for (int64_t j = 0; j < f->depth; j++, a += a_col, b += b_row) {
        vec in[COMBINE_NV];
        EACH (v, nv) {
            in[v] = whole ? vload(b + v * VL) : vload_masked(b + v * VL, mask);
            KEEP(in[v]);
        }
        EACH (i, rows) {
            vec factor = vset1(a[i * a_row]);
            EACH (v, nv) acc[i][v] = vfma(factor, in[v], acc[i][v]);
        }
    }
    EACH (i, rows)
        EACH (v, nv) {
            if (whole) vstore(c + i * c_row + v * VL, acc[i][v]);
            else vstore_first(c + i * c_row + v * VL, acc[i][v], count);
        }
}

static inline ALWAYS_INLINE void FN(combine_rows)(const FN(factors) * f, const real *a, real *c, int64_t c_row, int64_t cols,
                                                  const int rows) {
    int64_t j = 0;
    for (; j + COMBINE_NV * VL <= cols; j += COMBINE_NV * VL)
        FN(combine_block)(f, a, f->b + j, c + j, c_row, VL, rows, COMBINE_NV, 1);
    for (; j + VL <= cols; j += VL) FN(combine_block)(f, a, f->b + j, c + j, c_row, VL, rows, 1, 1);
    if (j < cols) FN(combine_block)(f, a, f->b + j, c + j, c_row, (int)(cols - j), rows, 1, 0);
}

#define COMBINE_CASE(rows) \
    case rows: FN(combine_rows)(f, a, to, c_row, cols, rows); break;

static void FN(combine)(const FN(factors) * f, real *c, int64_t c_row, int64_t rows, int64_t cols) {
    int64_t blocks = ceil_div(rows, COMBINE_ROWS);
    for (int64_t block = 0; block < blocks; block++) {
        int64_t i = split_point(rows, blocks, block);
        const real *a = f->a + i * f->a_row;
        real *to = c + i * c_row;
        switch (split_point(rows, blocks, block + 1) - i) {
            COMBINE_CASE(1)
            COMBINE_CASE(2)
            COMBINE_CASE(3)
            COMBINE_CASE(4)
#if COMBINE_ROWS > 4
            COMBINE_CASE(5)
            COMBINE_CASE(6)
#endif
        default: break;
        }
    }
}

/* ---- taps: elements of an image or of a filter, in the order (c, r, s), and as they lie side by side in a buffer ---- */

/* Taps of which those with r and s between the bounds exist; the others are zero. `data` is where tap (0, 0, 0) would be. */
typedef struct FN(taps) {
    real *data;
    int64_t channel, row, column; /* steps */
    int64_t high, wide;
    int64_t first[2], last[2]; /* of r and s */
    real *pixels; /* scratch */
} FN(taps);

/* How taps t0..t1 are moved: whole channels row by row or pixel by pixel, where these are side by side; else element by element. */
static inline taps_way FN(way_of)(const FN(taps) * t, int64_t t0, int64_t t1) {
    int64_t plane = t->high * t->wide;
    if (VL == 1 || t0 % plane || t1 % plane) return BY_ELEMENT;
    return t->column == 1 ? BY_ROW : t->channel == 1 ? BY_PIXEL : BY_ELEMENT;
}

/* The taps of a row from s on that exist, in a vector. */
static inline vmask FN(existing)(const FN(taps) * t, int64_t s) { return vlanes((int)(t->first[1] - s), (int)(t->last[1] - s)); }

/* A stretch of a row of taps. */
typedef struct FN(tap_run) {
    real *data; /* of tap s */
    int64_t s, count, lo, hi; /* of its taps, those that exist */
} FN(tap_run);

/* The run of which t is the first tap. */
static inline FN(tap_run) FN(tap_run_at)(const FN(taps) * t, int64_t tap, int64_t end) {
    int64_t s = tap % t->wide, r = tap / t->wide % t->high, c = tap / t->wide / t->high;
    FN(tap_run) run = {.s = s, .count = min_i64(t->wide - s, end - tap)};
    run.data = t->data + FN(times)(c, t->channel) + FN(times)(r, t->row) + FN(times)(s, t->column);
    run.lo = min_i64(max_i64(t->first[1], s), s + run.count);
    run.hi = r >= t->first[0] && r < t->last[0] ? max_i64(run.lo, min_i64(t->last[1], s + run.count)) : run.lo;
    return run;
}

/* Rows of few taps, all of which exist: most vectors would cross a line of the cache. */
static inline ALWAYS_INLINE void FN(move_rows)(const FN(taps) * t, real *image, int64_t channels, real *buffer, int add,
                                               const int wide) {
    for (int64_t c = 0; c < channels; c++, image += t->channel)
        for (int64_t r = 0; r < t->high; r++, buffer += wide) {
            real *row = image + r * t->row;
            if (add)
                EACH (s, wide) row[s] += buffer[s];
            else
                EACH (s, wide) buffer[s] = row[s];
        }
}

#define MOVE_CASE(wide) \
    case wide: FN(move_rows)(t, image, channels, buffer, add, wide); return 1;

static int FN(move_few)(const FN(taps) * t, real *image, int64_t channels, real *buffer, int add) {
    if (t->first[0] > 0 || t->first[1] > 0 || t->last[0] < t->high || t->last[1] < t->wide) return 0;
    switch (t->wide) {
        MOVE_CASE(1)
        MOVE_CASE(2)
        MOVE_CASE(3)
        MOVE_CASE(4)
        MOVE_CASE(5)
        MOVE_CASE(7)
        MOVE_CASE(9)
    default: return 0;
    }
}

/* Taps t0..t1 go to dst; a vector more may be written. */
static void FN(read_taps)(const FN(taps) * t, int64_t t0, int64_t t1, real *dst) {
    int64_t plane = t->high * t->wide, channels = (t1 - t0) / plane;
    taps_way way = FN(way_of)(t, t0, t1);
    if (way == BY_ROW) {
        if (FN(move_few)(t, t->data + t0 / plane * t->channel, channels, dst, 0)) return;
        vmask mask = FN(existing)(t, 0);
        const real *channel = t->data + t0 / plane * t->channel;
        for (int64_t c = 0; c < channels; c++, channel += t->channel)
            for (int64_t r = 0; r < t->high; r++, dst += t->wide) {
                const real *row = channel + r * t->row;
                int inside = r >= t->first[0] && r < t->last[0];
                vstore(dst, inside ? vload_masked(row, mask) : vzero());
                for (int64_t s = VL; s < t->wide; s += VL)
                    vstore(dst + s, inside ? vload_masked(row + s, FN(existing)(t, s)) : vzero());
            }
        return;
    }
    if (way == BY_PIXEL) {
        const real *data = t->data + t0 / plane;
        real *pixels = plane == 1 ? dst : t->pixels;
        /* Where these are all channels, neighbouring pixels are one run. */
        int64_t together = t->column == channels ? t->wide : 1, run = together * channels;
        for (int64_t i = 0; i < plane; i += together) {
            int64_t r = i / t->wide, s = i % t->wide;
            int inside = r >= t->first[0] && r < t->last[0];
            FN(copy_span)(pixels + i * channels, data + FN(times)(r, t->row) + FN(times)(s, t->column), 0, run,
                          (t->first[1] - s) * channels, inside ? (t->last[1] - s) * channels : 0, 1);
        }
        if (plane > 1) FN(turn)(pixels, channels, channels, plane, dst, plane);
        return;
    }
    for (int64_t i = t0; i < t1;) {
        FN(tap_run) run = FN(tap_run_at)(t, i, t1);
        FN(copy_span)(dst + i - t0, run.data, run.s, run.count, run.lo, run.hi, t->column);
        i += run.count;
    }
}

/* data[i] += src[i], or = */
static inline void FN(put_run)(real *data, const real *src, int64_t n, int add) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) vstore(data + i, add ? vadd(vload(data + i), vload(src + i)) : vload(src + i));
    for (; i < n; i++) data[i] = add ? data[i] + src[i] : src[i];
}

static inline void FN(add_first)(real *data, const real *src, int64_t n) {
    vmask mask = vlanes(0, (int)n);
    vstore_first(data, vadd(vload_masked(data, mask), vload_masked(src, mask)), (int)n);
}

/* The way back: taps t0..t1 are set to src, or it is added to them. */
static void FN(write_taps)(const FN(taps) * t, int64_t t0, int64_t t1, real *src, int add) {
    int64_t plane = t->high * t->wide, channels = (t1 - t0) / plane;
    taps_way way = FN(way_of)(t, t0, t1);
    if (add && way == BY_ROW) {
        if (FN(move_few)(t, t->data + t0 / plane * t->channel, channels, src, 1)) return;
        real *channel = t->data + t0 / plane * t->channel;
        for (int64_t c = 0; c < channels; c++, channel += t->channel, src += plane)
            for (int64_t r = t->first[0]; r < t->last[0]; r++)
                for (int64_t s = t->first[1]; s < t->last[1]; s += VL)
                    FN(add_first)(channel + r * t->row + s, src + r * t->wide + s, min_i64(VL, t->last[1] - s));
        return;
    }
    if (way == BY_PIXEL) {
        real *data = t->data + t0 / plane;
        const real *pixels = plane == 1 ? src : t->pixels;
        if (plane > 1) FN(turn)(src, plane, plane, channels, t->pixels, channels);
        for (int64_t r = t->first[0]; r < t->last[0]; r++)
            for (int64_t s = t->first[1]; s < t->last[1]; s++)
                FN(put_run)(data + r * t->row + s * t->column, pixels + (r * t->wide + s) * channels, channels, add);
        return;
    }
    for (int64_t i = t0; i < t1;) {
        FN(tap_run) run = FN(tap_run_at)(t, i, t1);
        for (int64_t s = run.lo; s < run.hi; s++) {
            real *to = run.data + (s - run.s) * t->column;
            real value = src[i - t0 + s - run.s];
            *to = add ? *to + value : value;
        }
        i += run.count;
    }
}

/* ---- what a task has in its workspace ---- */

typedef struct FN(local_work) {
    const local *l;
    real *tile; /* (position, image, output channel) */
    real *patches; /* (image, tap), rows of l->chunk */
    real *rows; /* of weights whose taps are not side by side, LOCAL_TAPS each */
    real *turned; /* weights (tap, output channel) */
    real *pixels;
} FN(local_work);

#define LOCAL_WORKSPACE \
    (sizeof(real) * (LOCAL_TILE + LOCAL_PATCHES + LOCAL_ROWS * LOCAL_TAPS + TURNED_TAPS * TURNED_LD + LOCAL_TAPS + 4 * VL))

static FN(local_work) FN(local_work_in)(const local *l, void *workspace) {
    FN(local_work) t = {.l = l, .tile = workspace};
    t.rows = t.tile + LOCAL_TILE;
    t.turned = t.rows + LOCAL_ROWS * LOCAL_TAPS;
    t.pixels = t.turned + TURNED_TAPS * TURNED_LD;
    t.patches = t.pixels + LOCAL_TAPS; /* last, for read_taps writes beyond it */
    return t;
}

/* The patch of image n under output (oh, ow). */
static FN(taps) FN(patch_at)(const FN(local_work) * t, int64_t n, int64_t oh, int64_t ow) {
    const conv *c = &t->l->c;
    FN(taps) p = {.channel = c->x.stride_c, .high = c->w.size[1], .wide = c->w.size[2], .pixels = t->pixels};
    p.row = FN(times)(c->dilation[1], c->x.stride[1]);
    p.column = FN(times)(c->dilation[2], c->x.stride[2]);
    p.data = element(&c->x,
                     n * c->x.stride_n + FN(times)(oh * c->step[1] - c->pad[1], c->x.stride[1]) +
                         FN(times)(ow * c->step[2] - c->pad[2], c->x.stride[2]),
                     c->dtype);
    FN(tap_range)(c, 1, oh, &p.first[0], &p.last[0]);
    FN(tap_range)(c, 2, ow, &p.first[1], &p.last[1]);
    for (int i = 0; i < 2; i++) p.first[i] = min_i64(p.first[i], p.last[i]); /* far outside, it may be any number */
    return p;
}

/* The filter k of a position. */
static FN(taps) FN(filter_at)(const FN(local_work) * t, int64_t position, int64_t k) {
    const volume *w = &t->l->c.w;
    FN(taps) f = {.channel = w->stride_c, .row = w->stride[1], .column = w->stride[2], .high = w->size[1], .wide = w->size[2]};
    f.data = (real *)w->data + position * t->l->next + k * w->stride_n;
    f.last[0] = f.high;
    f.last[1] = f.wide;
    f.pixels = t->pixels;
    return f;
}

/* Taps t0..t1 of filters k .. k + count of a position: in place, or copied. */
static const real *FN(weights_at)(const FN(local_work) * t, int64_t position, int64_t k, int64_t count, int64_t t0, int64_t t1,
                                  int64_t *row) {
    FN(taps) f = FN(filter_at)(t, position, k);
    *row = t->l->is_dense ? t->l->c.w.stride_n : LOCAL_TAPS;
    if (t->l->is_dense) return f.data + t0;
    for (int64_t i = 0; i < count; i++, f.data += t->l->c.w.stride_n) FN(read_taps)(&f, t0, t1, t->rows + i * LOCAL_TAPS);
    return t->rows;
}

static inline real *FN(tile_of)(const FN(local_work) * t, const stretch *s, int64_t i) {
    return t->tile + i * s->images * s->outs;
}

static inline int64_t FN(position_of)(const FN(local_work) * t, const stretch *s, int64_t i) {
    return s->oh * t->l->c.y.size[2] + s->ow + i;
}

/* Patches of position i of a stretch. */
static void FN(read_patches)(const FN(local_work) * t, const stretch *s, int64_t i, int64_t t0, int64_t t1) {
    FN(taps) patch = FN(patch_at)(t, s->n, s->oh, s->ow + i);
    for (int64_t n = 0; n < s->images; n++, patch.data += t->l->c.x.stride_n)
        FN(read_taps)(&patch, t0, t1, t->patches + n * t->l->chunk);
}

/* ---- tiles ---- */

static real *FN(output_at)(const FN(local_work) * t, const stretch *s, int64_t n) {
    const volume *y = &t->l->c.y;
    return (real *)y->data + (s->n + n) * y->stride_n + s->k * y->stride_c + s->oh * y->stride[1] + s->ow * y->stride[2];
}

/* Is a tile turned on its way from or to the outputs? */
static int FN(is_turned)(const FN(local_work) * t, const stretch *s) {
    return t->l->c.y.stride[2] == 1 && t->l->c.y.stride_c != 1 && s->count > 2;
}

static void FN(load_tile)(const FN(local_work) * t, const stretch *s) {
    const volume *y = &t->l->c.y;
    for (int64_t n = 0; n < s->images; n++) {
        const real *from = FN(output_at)(t, s, n);
        real *to = t->tile + n * s->outs;
        int64_t next = s->images * s->outs;
        if (FN(is_turned)(t, s)) FN(turn)(from, y->stride_c, s->count, s->outs, to, next);
        else
            for (int64_t i = 0; i < s->count; i++) FN(copy_run)(to + i * next, from + i * y->stride[2], s->outs, y->stride_c);
    }
}

/* to[i * step] = from[i] */
static void FN(scatter)(const real *from, int64_t n, real *to, int64_t step) {
    if (step == 1) memcpy(to, from, (size_t)n * sizeof *to);
    else
        for (int64_t i = 0; i < n; i++) to[i * step] = from[i];
}

static void FN(store_tile)(const FN(local_work) * t, const stretch *s) {
    const volume *y = &t->l->c.y;
    int64_t next = s->images * s->outs;
    if (t->l->c.activation == CONVC_RELU)
        FN(map)(MAP_RELU, &(map_lines){(void *[]){t->tile, t->tile}, (int64_t[]){1, 1}, (int64_t[]){0, 0}, s->count * next, 1},
                0);
    for (int64_t n = 0; n < s->images; n++) {
        const real *from = t->tile + n * s->outs;
        real *to = FN(output_at)(t, s, n);
        if (FN(is_turned)(t, s)) FN(turn)(from, next, s->outs, s->count, to, y->stride_c);
        else
            for (int64_t i = 0; i < s->count; i++) FN(scatter)(from + i * next, s->outs, to + i * y->stride[2], y->stride_c);
    }
}

/* The bias, for all images alike: sums are added to it. */
static void FN(start_tile)(const FN(local_work) * t, const stretch *s) {
    const convc_tensor *bias = t->l->bias;
    int64_t item = sizeof(real);
    for (int64_t i = 0; i < s->count; i++) {
        real *to = FN(tile_of)(t, s, i);
        if (!bias) {
            FN(zero_run)(to, s->images * s->outs);
            continue;
        }
        const char *from = (const char *)bias->data + FN(position_of)(t, s, i) * bias->strides[0] + s->k * bias->strides[1];
        for (int64_t k = 0; k < s->outs; k++) to[k] = *(const real *)(from + k * bias->strides[1]);
        for (int64_t n = 1; n < s->images; n++) memcpy(to + n * s->outs, to, (size_t)(s->outs * item));
    }
}

/* ---- forward ---- */

/* tile (image, k) += patches (image, tap) @ weights (tap, k): these are turned, a piece at a time. */
static void FN(add_products)(const FN(local_work) * t, const stretch *s, int64_t i, int64_t t0, int64_t t1) {
    int64_t position = FN(position_of)(t, s, i), row;
    FN(factors) f = {.b = t->turned, .b_row = TURNED_LD, .a_row = t->l->chunk, .a_col = 1, .accumulate = 1};
    for (int64_t k = 0; k < s->outs; k += TURNED_LD)
        for (int64_t tap = t0; tap < t1; tap += TURNED_TAPS) {
            int64_t outs = min_i64(TURNED_LD, s->outs - k);
            f.depth = min_i64(TURNED_TAPS, t1 - tap);
            for (int64_t v = 0; v < outs; v += LOCAL_ROWS) {
                int64_t count = min_i64(LOCAL_ROWS, outs - v);
                const real *w = FN(weights_at)(t, position, s->k + k + v, count, tap, tap + f.depth, &row);
                FN(turn)(w, row, f.depth, count, t->turned + v, TURNED_LD);
            }
            f.a = t->patches + tap - t0;
            FN(combine)(&f, FN(tile_of)(t, s, i) + k, s->outs, s->images, outs);
        }
}

/* The same for few images: each weight meets them as it comes from memory, vectors along the taps. */
static inline ALWAYS_INLINE void FN(dots)(const FN(local_work) * t, const stretch *s, int64_t i, int64_t t0, int64_t t1,
                                          const int images) {
    int64_t row, taps = t1 - t0;
    vmask rest = vlanes(0, (int)(taps % VL));
    for (int64_t k = 0; k < s->outs; k += DOT_ROWS) {
        int64_t count = min_i64(DOT_ROWS, s->outs - k), j = 0;
        const real *w = FN(weights_at)(t, FN(position_of)(t, s, i), s->k + k, count, t0, t1, &row), *rows[DOT_ROWS];
        vec acc[DOT_IMAGES * DOT_ROWS];
        EACH (r, DOT_ROWS) rows[r] = w + min_i64(r, count - 1) * row; /* those beyond the last count for nothing */
        EACH (a, images * DOT_ROWS) acc[a] = vzero();
        for (; j + VL <= taps; j += VL) {
            vec in[DOT_ROWS];
            EACH (r, DOT_ROWS) in[r] = vload(rows[r] + j);
            EACH (n, images) {
                vec x = vload(t->patches + n * t->l->chunk + j);
                EACH (r, DOT_ROWS) acc[n * DOT_ROWS + r] = vfma(x, in[r], acc[n * DOT_ROWS + r]);
            }
        }
        if (j < taps)
            EACH (n, images) {
                vec x = vload_masked(t->patches + n * t->l->chunk + j, rest);
                EACH (r, DOT_ROWS) acc[n * DOT_ROWS + r] = vfma(x, vload_masked(rows[r] + j, rest), acc[n * DOT_ROWS + r]);
            }
        real sums[DOT_IMAGES * DOT_ROWS];
        FN(sum_lanes)(acc, images * DOT_ROWS, sums);
        for (int n = 0; n < images; n++)
            for (int64_t r = 0; r < count; r++) FN(tile_of)(t, s, i)[n * s->outs + k + r] += sums[n * DOT_ROWS + r];
    }
}

static void FN(add_dots)(const FN(local_work) * t, const stretch *s, int64_t i, int64_t t0, int64_t t1) {
    switch (s->images) {
    case 1: FN(dots)(t, s, i, t0, t1, 1); break;
    case 2: FN(dots)(t, s, i, t0, t1, 2); break;
    case 3: FN(dots)(t, s, i, t0, t1, 3); break;
    default: FN(dots)(t, s, i, t0, t1, DOT_IMAGES); break;
    }
}

static void FN(local_forward)(const local *l, int64_t task, void *workspace) {
    FN(local_work) t = FN(local_work_in)(l, workspace);
    stretch s = local_stretch(l, task);
    for (s.n = 0; s.n < l->c.x.n; s.n += s.images) {
        s.images = min_i64(l->images, l->c.x.n - s.n);
        FN(start_tile)(&t, &s);
        for (int64_t i = 0; i < s.count; i++)
            for (int64_t t0 = 0, t1; t0 < l->taps; t0 = t1) {
                t1 = min_i64(t0 + l->chunk, l->taps);
                FN(read_patches)(&t, &s, i, t0, t1);
                (s.images <= DOT_IMAGES && l->taps >= DOT_TAPS ? FN(add_dots) : FN(add_products))(&t, &s, i, t0, t1);
            }
        FN(store_tile)(&t, &s);
    }
}

/* ---- gradients ---- */

/* grad_w (k, tap) = the sum over the images of grad_y (k) and patch (tap). */
static void FN(add_outer_products)(const FN(local_work) * t, const stretch *s, int64_t i, int64_t t0, int64_t t1) {
    const local *l = t->l;
    FN(factors) f = {.a_row = 1, .a_col = s->outs, .b = t->patches, .b_row = l->chunk, .depth = s->images};
    for (int64_t k = 0, count; k < s->outs; k += count) {
        count = min_i64(LOCAL_ROWS, s->outs - k);
        FN(taps) filter = FN(filter_at)(t, FN(position_of)(t, s, i), s->k + k);
        f.a = FN(tile_of)(t, s, i) + k;
        if (l->is_dense) {
            f.accumulate = s->n > 0;
            FN(combine)(&f, filter.data + t0, l->c.w.stride_n, count, t1 - t0);
            continue;
        }
        FN(combine)(&f, t->rows, LOCAL_TAPS, count, t1 - t0);
        for (int64_t row = 0; row < count; row++, filter.data += l->c.w.stride_n)
            FN(write_taps)(&filter, t0, t1, t->rows + row * LOCAL_TAPS, s->n > 0);
    }
}

static void FN(local_weight)(const local *l, int64_t task, void *workspace) {
    FN(local_work) t = FN(local_work_in)(l, workspace);
    stretch s = local_stretch(l, task);
    for (s.n = 0; s.n < l->c.x.n; s.n += s.images) {
        s.images = min_i64(l->images, l->c.x.n - s.n);
        FN(load_tile)(&t, &s);
        for (int64_t i = 0; i < s.count; i++)
            for (int64_t t0 = 0, t1; t0 < l->taps; t0 = t1) {
                t1 = min_i64(t0 + l->chunk, l->taps);
                FN(read_patches)(&t, &s, i, t0, t1);
                FN(add_outer_products)(&t, &s, i, t0, t1);
            }
    }
}

/* patches (image, tap) = grad_y (image, k) @ weights (k, tap) */
static void FN(make_patches)(const FN(local_work) * t, const stretch *s, int64_t i, int64_t t0, int64_t t1) {
    FN(factors) f = {.a_row = s->outs, .a_col = 1};
    for (int64_t k = 0; k < s->outs; k += LOCAL_ROWS) {
        f.depth = min_i64(LOCAL_ROWS, s->outs - k);
        f.a = FN(tile_of)(t, s, i) + k;
        f.b = FN(weights_at)(t, FN(position_of)(t, s, i), s->k + k, f.depth, t0, t1, &f.b_row);
        f.accumulate = k > 0;
        FN(combine)(&f, t->patches, t->l->chunk, s->images, t1 - t0);
    }
}

/* Patches are added to the images that they came from. */
static void FN(add_patches)(const FN(local_work) * t, const stretch *s, int64_t i, int64_t t0, int64_t t1) {
    FN(taps) patch = FN(patch_at)(t, s->n, s->oh, s->ow + i);
    for (int64_t n = 0; n < s->images; n++, patch.data += t->l->c.x.stride_n)
        FN(write_taps)(&patch, t0, t1, t->patches + n * t->l->chunk, 1);
}

static void FN(local_data)(const local *l, const band *b, void *workspace) {
    FN(local_work) t = FN(local_work_in)(l, workspace);
    int64_t plane = l->c.w.size[1] * l->c.w.size[2], end = b->c1 * plane;
    stretch s = {0};
    for (; s.n < l->c.x.n; s.n += s.images)
        for (s.oh = b->oh0; s.oh < b->oh1; s.oh++)
            for (s.ow = b->ow0; s.ow < b->ow1; s.ow += s.count)
                for (s.k = 0; s.k < l->c.y.c; s.k += s.outs) {
                    s.images = min_i64(l->images, l->c.x.n - s.n);
                    s.count = min_i64(l->across, b->ow1 - s.ow);
                    s.outs = min_i64(l->outs, l->c.y.c - s.k);
                    FN(load_tile)(&t, &s);
                    for (int64_t i = 0; i < s.count; i++)
                        for (int64_t t0 = b->c0 * plane, t1; t0 < end; t0 = t1) {
                            t1 = min_i64(t0 + l->chunk, end);
                            FN(make_patches)(&t, &s, i, t0, t1);
                            FN(add_patches)(&t, &s, i, t0, t1);
                        }
                }
}

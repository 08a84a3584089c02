/* Copies of matrix blocks into packed panels: the im2col of convolution happens here, one cache-sized block at a time.
 * dst is row-major with leading dimension ld, rows i0..i1 of the matrix along columns j0..j1; ld has room for whole vectors, and
 * the lanes beyond the last column become zero. Columns are read in *runs*: stretches of an axis's last digit. */

#define MAX_COLS 256 /* the longest row of a packed panel */

static inline void FN(advance)(const axis *a, int64_t digit[4]) {
    for (int i = 3; i >= 0; i--) {
        if (++digit[i] < a->size[i] || i == 0) return;
        digit[i] = 0;
    }
}

static inline int64_t FN(address)(const axis *a, const int64_t digit[4]) {
    return digit[0] * a->stride[0] + digit[1] * a->stride[1] + digit[2] * a->stride[2] + digit[3] * a->stride[3];
}

/* Does output position o meet the image at tap t, along spatial dimension i? */
static inline int FN(inside)(const window *w, int i, int64_t o, int64_t t) {
    int64_t at = o * w->step[i] + t * w->dilation[i] - w->pad[i];
    return at >= 0 && at < w->extent[i];
}

/* ---- columns are pixels (or plain): a recipe is worked out once and replayed for all rows that it fits ---- */

/* One vector of a row, or a part of one. */
typedef struct FN(piece) {
    enum piece_kind kind;
    int64_t dst, src;
    vmask mask;
} FN(piece);

typedef struct FN(recipe) {
    int pieces, singles, vectors; /* vectors: how many have a piece already */
    FN(piece) piece[2 * MAX_COLS];
    int64_t single_dst[MAX_COLS], single_src[MAX_COLS]; /* elements of runs with wide strides, copied one by one */
} FN(recipe);

/* Gives every vector before number `end` that has no piece yet a zero. */
static void FN(zero_until)(FN(recipe) * recipe, int64_t end) {
    for (; recipe->vectors < end; recipe->vectors++)
        recipe->piece[recipe->pieces++] = (FN(piece)){.kind = ZERO, .dst = (int64_t)recipe->vectors * VL};
}

/* Elements lo..hi of the row come from src, src + stride, ... Runs are added in rising order. */
static void FN(add_run)(FN(recipe) * recipe, int64_t lo, int64_t hi, int64_t src, int64_t stride) {
    for (int64_t at = lo / VL * VL; at < hi; at += VL) {
        int64_t from = max_i64(lo, at), to = min_i64(hi, at + VL);
        int whole = to - from == VL;
        FN(piece) piece = {.kind = LOAD_MASKED, .dst = at, .src = src + (at - lo) * stride};
        FN(zero_until)(recipe, at / VL);
        if (stride == 1 || (stride == 2 && whole)) {
            if (whole) piece.kind = stride == 1 ? LOAD : LOAD_EVEN;
            else piece.mask = vlanes((int)(from - at), (int)(to - at));
            if (recipe->vectors > at / VL) piece.kind = MERGE;
            recipe->vectors = (int)(at / VL + 1);
            recipe->piece[recipe->pieces++] = piece;
        } else {
            FN(zero_until)(recipe, at / VL + 1);
            for (int64_t j = from; j < to; j++) {
                recipe->single_dst[recipe->singles] = j;
                recipe->single_src[recipe->singles++] = src + (j - lo) * stride;
            }
        }
    }
}

/* The recipe for columns j0..j1 at the tap given, or for a plain matrix (window NULL). */
static void FN(build)(FN(recipe) * recipe, const matrix *a, int64_t j0, int64_t j1, const int64_t tap[4]) {
    const window *w = a->window;
    const axis *cols = &a->cols;
    int64_t first = 0, last = cols->size[3], digit[4];
    recipe->pieces = recipe->singles = recipe->vectors = 0;
    if (w) { /* the outputs of a row that meet the image at this tap */
        int64_t shift = w->pad[2] - tap[2] * w->dilation[2];
        first = shift <= 0 ? 0 : ceil_div(shift, w->step[2]);
        last = shift + w->extent[2] <= 0 ? 0 : min_i64(last, ceil_div(shift + w->extent[2], w->step[2]));
    }
    axis_digits(cols, j0, digit);
    for (int64_t j = j0; j < j1;) {
        int64_t run = min_i64(j1 - j, cols->size[3] - digit[3]);
        int64_t lo = max_i64(digit[3], first), hi = min_i64(digit[3] + run, last);
        if (lo < hi && (!w || (FN(inside)(w, 0, digit[1], tap[0]) && FN(inside)(w, 1, digit[2], tap[1])))) {
            int64_t at = j - j0 - digit[3];
            int64_t src = FN(address)(cols, digit) + (lo - digit[3]) * cols->stride[3];
            FN(add_run)(recipe, at + lo, at + hi, src, cols->stride[3]);
        }
        j += run;
        digit[3] += run - 1;
        FN(advance)(cols, digit);
    }
    FN(zero_until)(recipe, ceil_div(j1 - j0, VL));
}

static inline void FN(replay)(const FN(recipe) * recipe, const real *src, real *dst) {
    for (int i = 0; i < recipe->pieces; i++) {
        const FN(piece) *p = &recipe->piece[i];
        vec v;
        switch (p->kind) {
        case LOAD: v = vload(src + p->src); break;
        case LOAD_EVEN: v = vload_even(src + p->src); break;
        case LOAD_MASKED: v = vload_masked(src + p->src, p->mask); break;
        case MERGE: v = vor(vload(dst + p->dst), vload_masked(src + p->src, p->mask)); break;
        default: v = vzero(); break;
        }
        vstore(dst + p->dst, v);
    }
    for (int i = 0; i < recipe->singles; i++) dst[recipe->single_dst[i]] = src[recipe->single_src[i]];
}

static void FN(copy_along_pixels)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, real *dst, int64_t ld) {
    FN(recipe) recipe;
    int64_t digit[4];
    axis_digits(&a->rows, i0, digit);
    if (!a->window) FN(build)(&recipe, a, j0, j1, digit);
    for (int64_t i = i0; i < i1;) {
        int64_t run = min_i64(i1 - i, a->rows.size[3] - digit[3]);
        const real *src = (const real *)a->data + FN(address)(&a->rows, digit);
        if (a->window) FN(build)(&recipe, a, j0, j1, digit);
        for (int64_t end = i + run; i < end; i++, dst += ld, src += a->rows.stride[3]) FN(replay)(&recipe, src, dst);
        digit[3] += run - 1;
        FN(advance)(&a->rows, digit);
    }
}

/* ---- columns are taps: rows of channels, read at every pixel ---- */

static inline void FN(copy_run)(real *dst, const real *src, int64_t n, int64_t stride) {
    int64_t i = 0;
    if (stride == 1) {
        for (; i + VL <= n; i += VL) vstore(dst + i, vload(src + i));
        if (i < n) vstore_masked(dst + i, vload_masked(src + i, vlanes(0, (int)(n - i))), vlanes(0, (int)(n - i)));
        return;
    }
    for (; i < n; i++) dst[i] = src[i * stride];
}

static inline void FN(zero_run)(real *dst, int64_t n) {
    for (int64_t i = 0; i < n; i++) dst[i] = 0;
}

static void FN(copy_along_taps)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, real *dst, int64_t ld) {
    const window *w = a->window;
    int64_t pixel[4], padded = ceil_div(j1 - j0, VL) * VL;
    axis_digits(&a->rows, i0, pixel);
    for (int64_t i = i0; i < i1; i++, dst += ld, FN(advance)(&a->rows, pixel)) {
        const real *src = (const real *)a->data + FN(address)(&a->rows, pixel);
        int64_t tap[4];
        axis_digits(&a->cols, j0, tap);
        for (int64_t j = j0; j < j1;) {
            int64_t run = min_i64(j1 - j, a->cols.size[3] - tap[3]);
            int meets = FN(inside)(w, 0, pixel[1], tap[0]) && FN(inside)(w, 1, pixel[2], tap[1]) &&
                        FN(inside)(w, 2, pixel[3], tap[2]);
            if (meets) FN(copy_run)(dst + j - j0, src + FN(address)(&a->cols, tap), run, a->cols.stride[3]);
            else FN(zero_run)(dst + j - j0, run);
            j += run;
            tap[3] += run - 1;
            FN(advance)(&a->cols, tap);
        }
        FN(zero_run)(dst + j1 - j0, padded - (j1 - j0));
    }
}

/* ---- a plain matrix that is contiguous down its columns: read so, too ---- */

static void FN(copy_transposed)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, real *dst, int64_t ld) {
    int64_t col[4], padded = ceil_div(j1 - j0, VL) * VL;
    axis_digits(&a->cols, j0, col);
    for (int64_t j = j0; j < j1; j++, FN(advance)(&a->cols, col)) {
        const real *column = (const real *)a->data + FN(address)(&a->cols, col);
        int64_t row[4];
        axis_digits(&a->rows, i0, row);
        for (int64_t i = i0; i < i1;) {
            int64_t run = min_i64(i1 - i, a->rows.size[3] - row[3]);
            const real *src = column + FN(address)(&a->rows, row);
            for (int64_t end = i + run; i < end; i++, src++) dst[(i - i0) * ld + j - j0] = *src;
            row[3] += run - 1;
            FN(advance)(&a->rows, row);
        }
    }
    for (int64_t i = 0; i < i1 - i0; i++) FN(zero_run)(dst + i * ld + j1 - j0, padded - (j1 - j0));
}

static void FN(copy_block)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, void *dst, int64_t ld) {
    if (a->window && !a->taps_on_rows) FN(copy_along_taps)(a, i0, i1, j0, j1, dst, ld);
    else if (!a->window && a->cols.stride[3] != 1 && a->rows.stride[3] == 1)
        FN(copy_transposed)(a, i0, i1, j0, j1, dst, ld);
    else FN(copy_along_pixels)(a, i0, i1, j0, j1, dst, ld);
}

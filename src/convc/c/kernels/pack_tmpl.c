/* Copies of matrix blocks into packed panels: the im2col of convolution happens here, one cache-sized block at a time.
 * Rows i0..i1 of the matrix along columns j0..j1 go to panels of `ld` columns, each row-major and `panel_step` elements after the
 * one before. Whole vectors are written: the lanes beyond the last column become zero. Columns are read in *runs*: stretches of
 * an axis's last digit. */

#define MAX_COLS 400 /* of a block */
#define MAX_PIECES (MAX_COLS * 3 / 2) /* a vector may need one for each lane and a zero */
#define COPY_SCRATCH (RECIPES * MAX_PIECES * 16) /* bytes */

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

/* ---- columns are pixels (or plain): recipes are worked out once and replayed for all rows that they fit ---- */

/* Elements lo..hi of one vector of a row: src + i * stride for lane i. */
typedef struct FN(piece) {
    int64_t src;
    int32_t dst;
    int8_t kind, lo, hi;
} FN(piece);

typedef struct FN(recipe) {
    const matrix *a;
    int64_t ld, panel_step;
    int count, vectors; /* pieces; vectors that have one already */
    FN(piece) * piece;
} FN(recipe);

static void FN(add_piece)(FN(recipe) * recipe, enum piece_kind kind, int64_t vector, int64_t src, int64_t lo, int64_t hi) {
    int64_t j = vector * VL, dst = j < recipe->ld ? j : j / recipe->ld * recipe->panel_step + j % recipe->ld;
    recipe->piece[recipe->count++] = (FN(piece)){src, (int32_t)dst, (int8_t)kind, (int8_t)lo, (int8_t)hi};
}

/* Gives every vector before number `end` that has no piece yet a zero. */
static void FN(zero_until)(FN(recipe) * recipe, int64_t end) {
    for (; recipe->vectors < end; recipe->vectors++) FN(add_piece)(recipe, ZERO, recipe->vectors, 0, 0, 0);
}

/* Elements lo..hi of the row come from src, src + stride, ... Runs are added in rising order. */
static void FN(add_run)(FN(recipe) * recipe, int64_t lo, int64_t hi, int64_t src, int64_t stride) {
    for (int64_t v = lo / VL; v * VL < hi; v++) {
        int64_t from = max_i64(lo - v * VL, 0), to = min_i64(hi - v * VL, VL), at = src + (v * VL - lo) * stride;
        int whole = to - from == VL;
        FN(zero_until)(recipe, v);
        if (stride == 1 || VL == 1 || (stride == 2 && whole)) {
            enum piece_kind kind = !whole ? LOAD_MASKED : stride == 2 ? LOAD_EVEN : LOAD;
            FN(add_piece)(recipe, recipe->vectors > v ? MERGE : kind, v, at, from, to);
            recipe->vectors = (int)v + 1;
        } else {
            FN(zero_until)(recipe, v + 1);
            FN(add_piece)(recipe, STRIDED, v, at, from, to);
        }
    }
}

/* The recipe for columns j0..j1 at the tap given, or for a plain matrix (window NULL). */
static void FN(build)(FN(recipe) * recipe, int64_t j0, int64_t j1, const int64_t *tap) {
    const window *w = recipe->a->window;
    const axis *cols = &recipe->a->cols;
    int64_t first = 0, last = cols->size[3], digit[4];
    recipe->count = recipe->vectors = 0;
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

/* Fills `rows` rows of dst, dst_step apart, from places src_step apart. Piece by piece, so that each loop is a load and a store. */
static void FN(replay)(const FN(recipe) * recipe, const real *src, int64_t src_step, real *dst, int64_t dst_step, int64_t rows) {
    int64_t stride = recipe->a->cols.stride[3];
    for (int i = 0; i < recipe->count; i++) {
        const FN(piece) *p = &recipe->piece[i];
        const real *from = src + p->src;
        real *to = dst + p->dst, *end = to + rows * dst_step;
        vmask mask;
        switch (p->kind) {
        case LOAD:
            for (; to < end; to += dst_step, from += src_step) vstore(to, vload(from));
            break;
        case LOAD_EVEN:
            for (; to < end; to += dst_step, from += src_step) vstore(to, vload_step(from, 2));
            break;
        case LOAD_MASKED:
            mask = vlanes(p->lo, p->hi);
            if (i + 1 < recipe->count && p[1].kind == MERGE) { /* the usual case: a row of outputs ends within the vector */
                const real *other = src + (++p)->src;
                vmask rest = vlanes(p->lo, p->hi);
                for (i++; to < end; to += dst_step, from += src_step, other += src_step)
                    vstore(to, vor(vload_masked(from, mask), vload_masked(other, rest)));
                break;
            }
            for (; to < end; to += dst_step, from += src_step) vstore(to, vload_masked(from, mask));
            break;
        case MERGE:
            mask = vlanes(p->lo, p->hi);
            for (; to < end; to += dst_step, from += src_step) vstore(to, vor(vload(to), vload_masked(from, mask)));
            break;
        case STRIDED:
            for (; to < end; to += dst_step, from += src_step)
                for (int lane = p->lo; lane < p->hi; lane++) to[lane] = from[lane * stride];
            break;
        default:
            for (; to < end; to += dst_step) vstore(to, vzero());
            break;
        }
    }
}

/* Rows that differ in one digit of the row axis only, and the recipe that fits them. */
typedef struct FN(rows) {
    const FN(recipe) * recipe;
    const real *src;
    int64_t first, left, every; /* the next row to fill, how many are left, and from one to the next */
} FN(rows);

/* Those of rows i0..i1 that belong to run number u along digit 0 or 3. */
static FN(rows) FN(rows_of_run)(const matrix *a, int along, int64_t u, int64_t i0, int64_t i1, int64_t digit[4]) {
    int64_t last_size = a->rows.size[3];
    FN(rows) r = {.every = along == 0 ? a->rows.size[1] * a->rows.size[2] * last_size : 1};
    r.first = along == 3 ? max_i64(i0, u * last_size) : u >= i0 ? u : i0 + (u - i0 % r.every + r.every) % r.every;
    int64_t end = along == 3 ? min_i64(i1, (u + 1) * last_size) : i1;
    r.left = end > r.first ? ceil_div(end - r.first, r.every) : 0;
    axis_digits(&a->rows, r.first, digit);
    r.src = (const real *)a->data + FN(address)(&a->rows, digit);
    return r;
}

/* So few rows at a time that L1 keeps what they read until the next tap reads it again, and enough to pay for the pieces. */
#define ROWS_AT_ONCE 8
#define RECIPES 16

/* The runs take turns, ROWS_AT_ONCE rows each. dst is row i0. */
static void FN(fill_rows)(FN(rows) * runs, int count, int64_t src_step, real *dst, int64_t ld, int64_t i0) {
    for (int busy = 1; busy;) {
        busy = 0;
        for (int u = 0; u < count; u++) {
            FN(rows) *r = &runs[u];
            int64_t rows = min_i64(ROWS_AT_ONCE, r->left);
            if (rows == 0) continue;
            FN(replay)(r->recipe, r->src, src_step, dst + (r->first - i0) * ld, r->every * ld, rows);
            r->first += rows * r->every;
            r->src += rows * src_step;
            r->left -= rows;
            busy |= r->left > 0;
        }
    }
}

static void FN(copy_along_pixels)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, real *dst, int64_t ld,
                                  int64_t panel_step, FN(piece) * pieces) {
    FN(recipe) recipes[RECIPES];
    FN(rows) runs[RECIPES];
    int along = a->window ? a->channel_digit : a->rows.size[0] > a->rows.size[3] ? 0 : 3;
    int64_t last_size = a->rows.size[3], digit[4];
    int64_t u = along == 3 ? i0 / last_size : 0;
    int64_t end = along == 3 ? ceil_div(i1, last_size) : a->rows.size[1] * a->rows.size[2] * last_size;
    for (int i = 0; i < RECIPES; i++) recipes[i] = (FN(recipe)){a, ld, panel_step, 0, 0, pieces + i * MAX_PIECES};
    if (!a->window) FN(build)(&recipes[0], j0, j1, NULL);
    while (u < end) {
        int count = 0;
        for (; u < end && count < RECIPES; u++) {
            FN(rows) r = FN(rows_of_run)(a, along, u, i0, i1, digit);
            if (r.left == 0) continue;
            if (a->window) FN(build)(&recipes[count], j0, j1, along == 0 ? digit + 1 : digit);
            r.recipe = &recipes[a->window ? count : 0];
            runs[count++] = r;
        }
        FN(fill_rows)(runs, count, a->rows.stride[along], dst, ld, i0);
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
    int64_t i = 0;
    for (; i + VL <= n; i += VL) vstore(dst + i, vzero());
    if (i < n) vstore_masked(dst + i, vzero(), vlanes(0, (int)(n - i)));
}

/* Elements at .. at + run of a row of taps, of which only lo..hi are inside the image. */
static inline void FN(copy_span)(real *dst, const real *src, int64_t at, int64_t run, int64_t lo, int64_t hi, int64_t stride) {
    int64_t first = min_i64(max_i64(lo - at, 0), run), last = max_i64(min_i64(hi - at, run), first);
    FN(zero_run)(dst, first);
    FN(copy_run)(dst + first, src + first * stride, last - first, stride);
    FN(zero_run)(dst + last, run - last);
}

static void FN(copy_along_taps)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, real *dst, int64_t ld) {
    const window *w = a->window;
    const axis *taps = &a->cols;
    int64_t pixel[4], first[4], padded = ceil_div(j1 - j0, VL) * VL, width = taps->size[2], channels = taps->size[3];
    /* Pixels that lie side by side are copied together: with few channels the runs would be short. */
    int together = taps->stride[2] == channels * taps->stride[3];
    int64_t span = together ? width * channels : channels;
    axis_digits(&a->rows, i0, pixel);
    axis_digits(taps, j0, first);
    for (int64_t i = i0; i < i1; i++, dst += ld, FN(advance)(&a->rows, pixel)) {
        const real *src = (const real *)a->data + FN(address)(&a->rows, pixel);
        int64_t tap[4] = {first[0], first[1], first[2], first[3]};
        int64_t start = pixel[3] * w->step[2] - w->pad[2], room = w->extent[2] - start; /* taps inside, of a row of them */
        int64_t enter = start < 0 ? min_i64(ceil_div(-start, w->dilation[2]), width) : 0;
        int64_t leave = (width - 1) * w->dilation[2] < room ? width : room > 0 ? ceil_div(room, w->dilation[2]) : 0;
        for (int64_t j = j0; j < j1;) {
            int64_t at = together ? tap[2] * channels + tap[3] : tap[3], run = min_i64(j1 - j, span - at);
            int64_t lo = together ? enter * channels : 0, hi = together ? leave * channels : channels;
            int meets = FN(inside)(w, 0, pixel[1], tap[0]) && FN(inside)(w, 1, pixel[2], tap[1]);
            if (!meets || (!together && (tap[2] < enter || tap[2] >= leave))) hi = 0;
            FN(copy_span)(dst + j - j0, src + FN(address)(taps, tap), at, run, lo, hi, taps->stride[3]);
            j += run;
            tap[3] = channels - 1; /* the run ended there, or with the block */
            if (together) tap[2] = width - 1;
            FN(advance)(taps, tap);
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

static void FN(copy_block)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, void *dst, int64_t ld,
                           int64_t panel_step, void *scratch) {
    int along_taps = a->window && !a->taps_on_rows;
    int transposed = !a->window && a->cols.stride[3] != 1 && a->rows.stride[3] == 1;
    if (!along_taps && !transposed) {
        FN(copy_along_pixels)(a, i0, i1, j0, j1, dst, ld, panel_step, scratch);
        return;
    }
    for (real *panel = dst; j0 < j1; j0 += ld, panel += panel_step)
        (along_taps ? FN(copy_along_taps) : FN(copy_transposed))(a, i0, i1, j0, min_i64(j0 + ld, j1), panel, ld);
}

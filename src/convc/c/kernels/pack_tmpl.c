/* Copies of matrix blocks into packed panels: the im2col of convolution happens here, one cache-sized block at a time.
 * Rows i0..i1 of the matrix along columns j0..j1 go to panels of `ld` columns, each row-major and `panel_step` elements after the
 * one before. Whole vectors are written: the lanes beyond the last column become zero. Columns are read in *runs*: stretches of
 * an axis's last digit. */

#define RECIPES 16
#define PIXELS_AT_ONCE 32
#define COPY_SCRATCH (RECIPES * MAX_PIECES * 16 + PATCH_MOST * sizeof(real)) /* bytes */

static inline void FN(swap)(axis *a, int i, int j) {
    int64_t size = a->size[i], stride = a->stride[i];
    a->size[i] = a->size[j];
    a->stride[i] = a->stride[j];
    a->size[j] = size;
    a->stride[j] = stride;
}

static inline int64_t FN(width)(const axis *a, int i) { return a->size[i] == 1 ? INT64_MAX : llabs(a->stride[i]); }

/* Puts the digits of an axis in the order of their strides, the widest first, and those of its index alike. */
static void FN(sort_digits)(axis *a, axis *index) {
    for (int i = 1; i < 4; i++)
        for (int j = i; j > 0 && FN(width)(a, j - 1) < FN(width)(a, j); j--) {
            FN(swap)(a, j - 1, j);
            FN(swap)(index, j - 1, j);
        }
}

/* A plain matrix: one recipe for all rows. If all of them are wanted, they are read in the order of their addresses. */
static void FN(copy_plain)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, real *dst, int64_t ld,
                           int64_t panel_step, FN(piece) * pieces) {
    FN(recipe) recipe = {a, ld, panel_step, 0, 0, 0, pieces};
    axis rows = a->rows, index = a->rows;
    int64_t digit[4], offset[MAX_ROWS], target[MAX_ROWS];
    FN(build)(&recipe, j0, j1, NULL);
    for (int64_t d = 3, step = ld; d >= 0; step *= rows.size[d--]) index.stride[d] = step;
    if (i1 - i0 == axis_length(&rows)) FN(sort_digits)(&rows, &index);
    recipe.ahead = rows.stride[2] * (llabs(rows.stride[2]) < 64 ? 8 : 2);
    int64_t most = llabs(rows.stride[3]) == 1 ? VL : ROWS_AT_ONCE;
    axis_digits(&rows, i0, digit);
    for (int64_t i = i0, count; i < i1; i += count) {
        int64_t first = FN(address)(&rows, digit), to = FN(address)(&index, digit) - i0 * ld;
        count = min_i64(min_i64(most, i1 - i), rows.size[3] - digit[3]);
        for (int64_t r = 0; r < count; r++) {
            offset[r] = first + r * rows.stride[3];
            target[r] = to + r * index.stride[3];
        }
        FN(replay)(&recipe, a->data, offset, dst, target, count);
        digit[3] += count - 1;
        FN(advance)(&rows, digit);
    }
}

/* ---- columns of an image: a recipe for each tap, replayed for all channels ---- */

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

/* The runs take turns, ROWS_AT_ONCE rows each. dst is row i0. */
static void FN(fill_rows)(FN(rows) * runs, int count, int64_t src_step, real *dst, int64_t ld, int64_t i0) {
    int64_t offset[ROWS_AT_ONCE], target[ROWS_AT_ONCE];
    for (int busy = 1; busy;) {
        busy = 0;
        for (int u = 0; u < count; u++) {
            FN(rows) *r = &runs[u];
            int64_t rows = min_i64(ROWS_AT_ONCE, r->left);
            if (rows == 0) continue;
            for (int64_t row = 0; row < rows; row++) {
                offset[row] = row * src_step;
                target[row] = row * r->every * ld;
            }
            FN(replay)(r->recipe, r->src, offset, dst + (r->first - i0) * ld, target, rows);
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
    int along = a->channel_digit;
    int64_t last_size = a->rows.size[3], digit[4];
    int64_t u = along == 3 ? i0 / last_size : 0;
    int64_t end = along == 3 ? ceil_div(i1, last_size) : a->rows.size[1] * a->rows.size[2] * last_size;
    for (int i = 0; i < RECIPES; i++) recipes[i] = (FN(recipe)){a, ld, panel_step, 0, 0, 0, pieces + i * MAX_PIECES};
    while (u < end) {
        int count = 0;
        for (; u < end && count < RECIPES; u++) {
            FN(rows) r = FN(rows_of_run)(a, along, u, i0, i1, digit);
            if (r.left == 0) continue;
            FN(build)(&recipes[count], j0, j1, along == 0 ? digit + 1 : digit);
            r.recipe = &recipes[count];
            runs[count++] = r;
        }
        FN(fill_rows)(runs, count, a->rows.stride[along], dst, ld, i0);
    }
}

/* ---- columns are taps: rows of channels, read at every pixel ---- */

/* All taps of a pixel that lies inside with all of them: rows of `span` elements side by side. Stores reach beyond each row, into the
 * next one or the panel's end. */
static inline void FN(copy_pixel)(const axis *taps, const real *src, int64_t span, real *dst) {
    vmask rest = vlanes(0, (int)((span - 1) % VL + 1));
    for (int64_t d = 0; d < taps->size[0]; d++)
        for (int64_t r = 0; r < taps->size[1]; r++, dst += span) {
            const real *row = src + d * taps->stride[0] + r * taps->stride[1];
            int64_t i = 0;
            for (; i + VL < span; i += VL) vstore(dst + i, vload(row + i));
            vstore(dst + i, vload_masked(row + i, rest));
        }
}

/* Is pixel (n, od, oh, ow) inside with all its taps, in depth and height? */
static inline int FN(is_inside)(const window *w, const axis *taps, const int64_t pixel[4]) {
    for (int i = 0; i < 2; i++)
        if (!FN(inside)(w, i, pixel[i + 1], 0) || !FN(inside)(w, i, pixel[i + 1], taps->size[i] - 1)) return 0;
    return 1;
}

static void FN(copy_along_taps)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, real *dst, int64_t ld) {
    const window *w = a->window;
    const axis *taps = &a->cols;
    int64_t pixel[4], first[4], padded = ceil_div(j1 - j0, VL) * VL, width = taps->size[2], channels = taps->size[3];
    /* Pixels that lie side by side are copied together, for with few channels the runs would be short; */
    int together = taps->stride[2] == channels * taps->stride[3];
    int64_t span = together ? width * channels : channels;
    /* and whole pixels at once, if vectors pay and a panel has room for them. */
    int whole = together && VL >= 4 && taps->stride[3] == 1 && j0 == 0 && j1 == axis_length(taps) && j1 + VL <= ld;
    axis_digits(&a->rows, i0, pixel);
    axis_digits(taps, j0, first);
    for (int64_t i = i0; i < i1; i++, dst += ld, FN(advance)(&a->rows, pixel)) {
        const real *src = (const real *)a->data + FN(address)(&a->rows, pixel);
        int64_t tap[4] = {first[0], first[1], first[2], first[3]};
        int64_t start = pixel[3] * w->step[2] - w->pad[2], room = w->extent[2] - start; /* taps inside, of a row of them */
        int64_t enter = start < 0 ? min_i64(ceil_div(-start, w->dilation[2]), width) : 0;
        int64_t leave = (width - 1) * w->dilation[2] < room ? width : room > 0 ? ceil_div(room, w->dilation[2]) : 0;
        if (whole && enter == 0 && leave == width && FN(is_inside)(w, taps, pixel)) {
            FN(copy_pixel)(taps, src, span, dst);
            FN(zero_run)(dst + j1, padded - j1);
            continue;
        }
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
    for (int64_t j = j0, across; j < j1; j += across) {
        int64_t row[4];
        across = min_i64(j1 - j, a->cols.size[3] - col[3]);
        axis_digits(&a->rows, i0, row);
        for (int64_t i = i0, down; i < i1; i += down) {
            down = min_i64(i1 - i, a->rows.size[3] - row[3]);
            const real *src = (const real *)a->data + FN(address)(&a->cols, col) + FN(address)(&a->rows, row);
            FN(turn)(src, a->cols.stride[3], down, across, dst + (i - i0) * ld + j - j0, ld);
            row[3] += down - 1;
            FN(advance)(&a->rows, row);
        }
        col[3] += across - 1;
        FN(advance)(&a->cols, col);
    }
    for (int64_t i = 0; i < i1 - i0; i++) FN(zero_run)(dst + i * ld + j1 - j0, padded - (j1 - j0));
}

static void FN(copy_block)(const matrix *a, int64_t i0, int64_t i1, int64_t j0, int64_t j1, void *dst, int64_t ld,
                           int64_t panel_step, void *scratch) {
    int along_taps = a->window && !a->taps_on_rows;
    int transposed = !a->window && a->cols.stride[3] != 1 && a->rows.stride[3] == 1;
    if (!along_taps && !transposed) {
        FN(patch) patch;
        FN(piece) *pieces = scratch;
        if (!a->window) FN(copy_plain)(a, i0, i1, j0, j1, dst, ld, panel_step, pieces);
        else if (FN(patch_of)(a, i0, i1, j0, j1, (real *)(pieces + RECIPES * MAX_PIECES), &patch))
            FN(copy_patch)(&patch, i0, i1, j0, j1, dst, ld, panel_step, pieces);
        else FN(copy_along_pixels)(a, i0, i1, j0, j1, dst, ld, panel_step, pieces);
        return;
    }
    /* Each panel takes a part of every pixel: some pixels at a time, so that they are still in L1 for the next one. */
    int64_t rows = along_taps && j1 - j0 > ld ? PIXELS_AT_ONCE : i1 - i0;
    for (int64_t i = i0; i < i1; i += rows) {
        real *panel = (real *)dst + (i - i0) * ld;
        for (int64_t j = j0, end = min_i64(i + rows, i1); j < j1; j += ld, panel += panel_step)
            (along_taps ? FN(copy_along_taps) : FN(copy_transposed))(a, i, end, j, min_i64(j + ld, j1), panel, ld);
    }
}

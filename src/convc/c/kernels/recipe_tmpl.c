/* How a row of a packed block is put together, vector by vector: worked out once as a recipe, and replayed for all rows that it
 * fits. And what packing does element by element. */

#define MAX_COLS 400 /* of a block */
#define MAX_PIECES (MAX_COLS * 3 / 2) /* a vector may need one for each lane and a zero */

static inline void FN(advance)(const axis *a, int64_t digit[4]) {
    for (int i = 3; i >= 0; i--) {
        if (++digit[i] < a->size[i] || i == 0) return;
        digit[i] = 0;
    }
}

static inline int64_t FN(address)(const axis *a, const int64_t digit[4]) {
    return digit[0] * a->stride[0] + digit[1] * a->stride[1] + digit[2] * a->stride[2] + digit[3] * a->stride[3];
}

/* ---- runs ---- */

static inline void FN(copy_run)(real *dst, const real *src, int64_t n, int64_t stride) {
    int64_t i = 0;
    if (stride == 1) {
        for (; i + VL <= n; i += VL) vstore(dst + i, vload(src + i));
        if (i < n) vstore_first(dst + i, vload_masked(src + i, vlanes(0, (int)(n - i))), (int)(n - i));
        return;
    }
    if (stride == 2)
        for (; i + VL <= n; i += VL) vstore(dst + i, vload_step(src + 2 * i, 2));
    for (; i < n; i++) dst[i] = src[i * stride];
}

static inline void FN(zero_run)(real *dst, int64_t n) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) vstore(dst + i, vzero());
    if (i < n) vstore_first(dst + i, vzero(), (int)(n - i));
}

/* Elements at .. at + run of a row of taps, of which only lo..hi are inside the image. */
static inline void FN(copy_span)(real *dst, const real *src, int64_t at, int64_t run, int64_t lo, int64_t hi, int64_t stride) {
    int64_t first = min_i64(max_i64(lo - at, 0), run), last = max_i64(min_i64(hi - at, run), first);
    FN(zero_run)(dst, first);
    FN(copy_run)(dst + first, src + first * stride, last - first, stride);
    FN(zero_run)(dst + last, run - last);
}

/* Lanes i of p[i * stride], only for lo <= i < hi; the others are zero. */
static inline vec FN(load_some)(const real *p, int64_t stride, int64_t lo, int64_t hi) {
    if (stride == 1) return lo <= 0 && hi >= VL ? vload(p) : vload_masked(p, vlanes((int)max_i64(lo, 0), (int)min_i64(hi, VL)));
    real lane[VL];
    for (int i = 0; i < VL; i++) lane[i] = i >= lo && i < hi ? p[i * stride] : 0;
    return vload(lane);
}

/* dst (down, across) from src (across, down), a square of VL or a part of it. */
static inline ALWAYS_INLINE void FN(turn_square)(const real *src, int64_t src_ld, int64_t down, int64_t across, real *dst,
                                                 int64_t dst_ld, const int whole) {
    vec square[VL];
    vmask read = vlanes(0, (int)down);
    EACH (v, VL) {
        square[v] = whole ? vload(src) : v < across ? vload_masked(src, read) : vzero();
        if (whole || v + 1 < across) src += src_ld;
    }
    vtranspose(square);
    EACH (v, VL) {
        if (whole) vstore(dst, square[v]);
        else if (v < down) vstore_first(dst, square[v], (int)across);
        dst += dst_ld;
    }
}

/* The same where cols < VL: element by element, for that is as fast as masked stores; or in whole vectors where dst has no gaps, for what
 * is too much of one is overwritten by the next. */
static void FN(turn_narrow)(const real *src, int64_t src_ld, int64_t rows, int64_t cols, real *dst, int64_t dst_ld) {
    int64_t i = 0;
    for (; cols == 2 && dst_ld == 2 && i + VL <= rows; i += VL) {
        vec a = vload(src + i), b = vload(src + src_ld + i);
        vstore(dst + 2 * i, vzip_low(a, b));
        vstore(dst + 2 * i + VL, vzip_high(a, b));
    }
    for (; cols == dst_ld && i + 2 * VL <= rows; i += VL) {
        vec square[VL];
        EACH (v, VL) square[v] = v < cols ? vload(src + v * src_ld + i) : vzero();
        vtranspose(square);
        EACH (v, VL) vstore(dst + (i + v) * cols, square[v]);
    }
    for (; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) dst[i * dst_ld + j] = src[j * src_ld + i];
}

/* dst (rows, cols) from src (cols, rows), both row-major: turned in squares, which registers hold. */
static void FN(turn)(const void *source, int64_t src_ld, int64_t rows, int64_t cols, void *target, int64_t dst_ld) {
    if (cols <= VL / 2) {
        FN(turn_narrow)(source, src_ld, rows, cols, target, dst_ld);
        return;
    }
    for (int64_t i = 0; i < rows; i += VL)
        for (int64_t j = 0; j < cols; j += VL) {
            const real *src = (const real *)source + j * src_ld + i;
            real *dst = (real *)target + i * dst_ld + j;
            if (i + VL <= rows && j + VL <= cols) FN(turn_square)(src, src_ld, VL, VL, dst, dst_ld, 1);
            else FN(turn_square)(src, src_ld, min_i64(VL, rows - i), min_i64(VL, cols - j), dst, dst_ld, 0);
        }
}

/* Does output position o meet the image at tap t, along spatial dimension i? */
static inline int FN(inside)(const window *w, int i, int64_t o, int64_t t) {
    int64_t at = o * w->step[i] + t * w->dilation[i] - w->pad[i];
    return at >= 0 && at < w->extent[i];
}

/* ---- recipes ---- */

/* Elements lo..hi of one vector of a row: src + i * stride for lane i. */
typedef struct FN(piece) {
    int64_t src;
    int32_t dst;
    int8_t kind, lo, hi;
} FN(piece);

typedef struct FN(recipe) {
    const matrix *a;
    int64_t ld, panel_step;
    int64_t ahead; /* from strided elements to others that will be read soon */
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

#define ROWS_AT_ONCE 8 /* so few that L1 keeps what they read until the next tap reads it again; enough to pay for the pieces */
#define MAX_ROWS 16 /* that replay takes: a square of the widest vectors */

/* A strided piece of rows that are one element apart: their lanes are columns of a matrix that lies there transposed. */
static void FN(replay_turned)(const FN(piece) * p, const real *from, int64_t stride, int64_t ahead, int descending, real *to,
                              const int64_t *target, int64_t rows) {
    for (int lane = p->lo; lane < p->hi; lane++) PREFETCH_READ(from + lane * stride + ahead);
    vec square[VL];
    int count = p->hi - p->lo;
    if (descending) from -= rows - 1;
    from += p->lo * stride;
    EACH (lane, VL) square[lane] = lane < count ? FN(load_some)(from + lane * stride, 1, 0, rows) : vzero();
    vtranspose(square);
    EACH (i, VL)
        if (i < rows) vstore_first(to + target[descending ? rows - 1 - i : i] + p->lo, square[i], count);
}

/* Fills rows dst + target[row] from src + offset[row]. Piece by piece, so that each loop is a load and a store. Where pieces are
 * strided, the rows are equally apart. */
static void FN(replay)(const FN(recipe) * recipe, const real *src, const int64_t *offset, real *dst, const int64_t *target,
                       int64_t rows) {
    int64_t stride = recipe->a->cols.stride[3];
    for (int i = 0; i < recipe->count; i++) {
        const FN(piece) *p = &recipe->piece[i];
        const real *from = src + p->src;
        real *to = dst + p->dst;
        vmask mask;
        switch (p->kind) {
        case LOAD:
            for (int64_t r = 0; r < rows; r++) vstore(to + target[r], vload(from + offset[r]));
            break;
        case LOAD_EVEN:
            for (int64_t r = 0; r < rows; r++) vstore(to + target[r], vload_step(from + offset[r], 2));
            break;
        case LOAD_MASKED:
            mask = vlanes(p->lo, p->hi);
            if (i + 1 < recipe->count && p[1].kind == MERGE) { /* the usual case: a row of outputs ends within the vector */
                const real *other = src + (++p)->src;
                vmask rest = vlanes(p->lo, p->hi);
                i++;
                for (int64_t r = 0; r < rows; r++)
                    vstore(to + target[r], vor(vload_masked(from + offset[r], mask), vload_masked(other + offset[r], rest)));
                break;
            }
            for (int64_t r = 0; r < rows; r++) vstore(to + target[r], vload_masked(from + offset[r], mask));
            break;
        case MERGE:
            mask = vlanes(p->lo, p->hi);
            for (int64_t r = 0; r < rows; r++)
                vstore(to + target[r], vor(vload(to + target[r]), vload_masked(from + offset[r], mask)));
            break;
        case STRIDED:
            if (rows > 1 && rows <= VL && llabs(offset[1] - offset[0]) == 1) {
                FN(replay_turned)(p, from + offset[0], stride, recipe->ahead, offset[1] < offset[0], to, target, rows);
                break;
            }
            for (int64_t r = 0; r < rows; r++)
                for (int lane = p->lo; lane < p->hi; lane++) to[target[r] + lane] = from[offset[r] + lane * stride];
            break;
        default:
            for (int64_t r = 0; r < rows; r++) vstore(to + target[r], vzero());
            break;
        }
    }
}
